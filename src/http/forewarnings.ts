/**
 * What happens next to an organization that is made or changed, or why nothing does: nobody should learn of it from
 * the card's statement, or from calls that are refused.
 */
import type { Organization } from '../database/entities.ts';
import * as organizations from '../database/organizations.ts';
import { withDeadline } from '../deadline.ts';
import { loweredBudget } from '../domain/hold.ts';
import { formatQuota, moneyText, type QuotaMicros, quotaMicros } from '../domain/money.ts';
import { type Decision, type LiveBudget, type RechargeHistory, type Refusal, whyRefused } from '../domain/policy.ts';
import { neverCharged } from '../domain/settings-warnings.ts';
import { isUnused } from '../domain/sweep.ts';
import { adviceOnDeleted } from '../domain/sync.ts';
import { KmsError } from '../kms/errors.ts';
import type { HttpDependencies } from './dependencies.ts';
import { decideNow } from './outlook.ts';

/** A caller waits for the answer to what is stored already: without a budget by then nothing is foreseen, and that is said. */
const LOOK_AHEAD_MS = 3_000;

/** A team that the synchronisation makes. */
const NEW_TEAM: LiveBudget = {
  quota: quotaMicros(0),
  spend: quotaMicros(0),
  softBudget: null,
  budgetDuration: null,
  hasBudgetLimits: false,
  blocked: false,
};

/** Fine, or what whoever has set it knows. */
const UNSAID: readonly Refusal[] = ['above_minimum', 'auto_recharge_disabled', 'recharge_open'];
/** What `neverCharged` says of the settings is not said again of this moment. */
const OF_LIMITS: readonly Refusal[] = ['daily_limit_reached', 'daily_amount_reached', 'monthly_limit_reached', 'amount_too_large'];

const BLOCKED =
  'blocked is true, so LiteLLM refuses every call of the team and nothing is charged: set it to false (--blocked off) to have it charged';

/** `budget`: what LiteLLM shows of the team; null where it has none, or cannot say now. */
export type Forewarned = { warnings: string[]; budget: LiveBudget | null };

/**
 * What is known of the organization before LiteLLM is read, as a recharge looks: a write meanwhile leaves more than is
 * expected. `wasAskedFor`: see domain/sweep. `isTeamWished`: create_team was given now.
 */
export type Known = { history: RechargeHistory; expected: QuotaMicros | null; wasAskedFor: boolean; isTeamWished: boolean };

export async function forewarningsOf(
  { kms }: Pick<HttpDependencies, 'kms'>,
  organization: Organization,
  { history, expected, wasAskedFor, isTeamWished }: Known,
): Promise<Forewarned> {
  const looked = kms.teamBudget(organization.litellmTeamId);
  const budget = await withDeadline(looked, LOOK_AHEAD_MS, 'LiteLLM did not answer: no answer').catch((error: Error) =>
    error instanceof KmsError && error.kind === 'not_found' ? null : error,
  );
  const ofBlock = organization.blocked ? [BLOCKED] : [];
  if (budget instanceof Error) return { warnings: [...ofBlock, ...unforeseen(organization, budget)], budget: null };
  if (budget === null) return { warnings: [...ofBlock, ...(isTeamWished ? ofMissingTeam() : [])], budget };
  return { warnings: [...ofBlock, ...ofBudget(budget)], budget };

  function ofBudget(shown: LiveBudget): string[] {
    const { litellmTeamId: teamId, createTeam, currency } = organization;
    const decision = decideNow(organization, shown, history);
    if (decision.kind === 'refuse') return ofDecision(decision, organization);
    const lowered = loweredBudget({ teamId, shown: shown.quota, expected });
    if (lowered !== null) return [`the next alert or sweep holds the organization (budget_lowered): ${lowered}`];
    if (decision.kind === 'hold' || !isUnused({ createTeam, wasAskedFor, team: shown })) return ofDecision(decision, organization);
    const [balance, amount] = [formatQuota(decision.balance), moneyText(decision.amount, currency)];
    return [`the balance is ${balance} USD, and ${amount} is charged from the first call or alert of its team on`];
  }

  function ofMissingTeam(): string[] {
    const { id, litellmTeamId, litellmSeenAt } = organization;
    if (!litellmSeenAt) {
      const made = `LiteLLM does not have the team ${litellmTeamId}: the next synchronisation makes it with max_budget 0`;
      const decision = decideNow(organization, NEW_TEAM, history);
      if (decision.kind !== 'recharge') return [made];
      return [`${made}, and its first call or alert has ${moneyText(decision.amount, organization.currency)} charged`];
    }
    return [`create_team makes no team again that was deleted. ${adviceOnDeleted(id)}`];
  }
}

/** Nothing is charged of one whose charging is off, whatever LiteLLM says. */
function unforeseen({ autoRechargeEnabled, blocked, litellmTeamId }: Organization, { message }: Error): string[] {
  if (!autoRechargeEnabled || blocked) return [];
  const [reason] = message.split('\n');
  return [
    `what is charged next could not be foreseen, because its balance was not read (${reason}): bill webhook send --team ${litellmTeamId} --dry-run says it once LiteLLM answers`,
  ];
}

function ofDecision(decision: Decision, organization: Organization): string[] {
  const balance = decision.balance === null ? '' : `the balance is ${formatQuota(decision.balance)} USD, and `;
  const isSaid = neverCharged(organizations.policyOf(organization)).length > 0;
  switch (decision.kind) {
    case 'recharge': {
      const amount = moneyText(decision.amount, organization.currency);
      return [
        `the balance is ${formatQuota(decision.balance)} USD, so ${amount} is charged within a minute: set auto_recharge_enabled to false (--auto-recharge off) to look first`,
      ];
    }
    case 'hold':
      return isSaid ? [] : [`${balance}the next alert or sweep holds the organization (${decision.reason}): ${decision.detail}`];
    case 'refuse': {
      const { refusal } = decision;
      if (UNSAID.includes(refusal) || (isSaid && OF_LIMITS.includes(refusal))) return [];
      if (refusal === 'team_blocked' && organization.blocked) return [];
      return [`${balance}nothing is charged: ${whyRefused(decision)}`];
    }
  }
}

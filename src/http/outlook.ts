/** What would be charged now: a recharge's rules on the facts of this moment, and nothing reserved, held or charged. */
import * as budgets from '../database/budgets.ts';
import type { Organization } from '../database/entities.ts';
import * as organizations from '../database/organizations.ts';
import { historyOf } from '../database/recharge-history.ts';
import { loweredBudget } from '../domain/hold.ts';
import { formatMoney, formatQuota, formatQuotaOrNull, quotaMicros } from '../domain/money.ts';
import { type Decision, decideRecharge, type LiveBudget, REFUSALS, type RechargeHistory, whyNoCard } from '../domain/policy.ts';
import { whyRefusedUnder } from '../domain/settings-warnings.ts';
import { KmsError } from '../kms/errors.ts';
import type { HttpDependencies } from './dependencies.ts';

/** Every field that does not apply is null. `reason` is the outcome of the event, or the hold that would open. */
export type Outlook = {
  would: 'charge' | 'hold' | 'refuse';
  amount: string | null;
  currency: string;
  quota: string | null;
  balance: string | null;
  reason: string | null;
  why: string | null;
};

/**
 * What an alert of the organization would lead to now.
 *
 * @throws KmsError, PaymentsError
 */
export async function outlookOf(
  { database, kms, payments }: Pick<HttpDependencies, 'database' | 'kms' | 'payments'>,
  organization: Organization,
): Promise<Outlook> {
  const em = database.fork();
  // Before LiteLLM is read, as a recharge does it: a write meanwhile leaves more than is expected.
  const expected = await budgets.expectedOf(em, organization.id);
  const [budget, choice] = await Promise.all([budgetOf(kms, organization), payments.chooseCard(organization.stripeCustomerId)]);
  const refused = (reason: keyof typeof REFUSALS, balance: string | null, why: string = REFUSALS[reason]): Outlook => ({
    ...NOTHING,
    would: 'refuse',
    currency: organization.currency,
    balance,
    reason,
    why,
  });
  if (budget === null) return refused('team_not_found', null);

  const lowered = loweredBudget({ teamId: organization.litellmTeamId, shown: budget.quota, expected });
  if (lowered !== null) {
    return { ...refused('held', balanceText(budget), lowered), would: 'hold', reason: 'budget_lowered' };
  }
  const history = await historyOf(em, organization.id, choice.kind === 'found' ? { card: choice.card } : {});
  const decision = decideNow(organization, budget, history);
  if (decision.kind === 'recharge' && choice.kind !== 'found') {
    return refused(choice.kind, balanceText(budget), whyNoCard(choice));
  }
  return outlook(decision, organization);
}

const NOTHING = { amount: null, quota: null, balance: null, reason: null, why: null };

/** The decision for an alert, whatever it claims. */
export function decideNow(organization: Organization, budget: LiveBudget, history: RechargeHistory): Decision {
  return decideRecharge({ policy: organizations.policyOf(organization), budget, history, occasion: { kind: 'alert', isRefusal: false } });
}

function outlook(decision: Decision, organization: Organization): Outlook {
  const { currency } = organization;
  const balance = formatQuotaOrNull(decision.balance);
  const told = { ...NOTHING, currency, balance };
  switch (decision.kind) {
    case 'recharge':
      return { ...told, would: 'charge', amount: formatMoney(decision.amount, currency), quota: formatQuota(decision.quota) };
    case 'hold':
      return { ...told, would: 'hold', amount: formatMoney(decision.amount, currency), reason: decision.reason, why: decision.detail };
    case 'refuse':
      return { ...told, would: 'refuse', reason: decision.refusal, why: whyRefusedUnder(organizations.policyOf(organization), decision) };
  }
}

function balanceText({ quota, spend }: LiveBudget): string | null {
  return quota === null ? null : formatQuota(quotaMicros(quota - spend));
}

async function budgetOf(kms: HttpDependencies['kms'], { litellmTeamId }: Organization): Promise<LiveBudget | null> {
  try {
    return await kms.teamBudget(litellmTeamId);
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return null;
    throw error;
  }
}

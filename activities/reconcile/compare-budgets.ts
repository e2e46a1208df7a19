import { Context } from '@temporalio/activity';
import * as budgets from '../../src/database/budgets.ts';
import type { EntityManager } from '../../src/database/database.ts';
import { tellFindings } from '../../src/database/drift-events.ts';
import type { Organization } from '../../src/database/entities.ts';
import * as ledger from '../../src/database/ledger.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as reversals from '../../src/database/reversals.ts';
import { type Finding, findingOf, parkedReversal } from '../../src/domain/finding.ts';
import { formatQuota, type QuotaMicros } from '../../src/domain/money.ts';
import { isBudgetEdited } from '../../src/domain/sync.ts';
import type { KmsClient } from '../../src/kms/client.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { sideBySide } from '../../src/teams/side-by-side.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { BudgetsPage } from './types.ts';

const ORGANIZATIONS_A_PAGE = 100;

/**
 * One page of organizations: each one's ledger, its parked reversals, and its team's budget in LiteLLM
 * against our last write.
 */
export function compareBudgets({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ after = '' }: { after?: string }): Promise<BudgetsPage> => {
    const em = database.fork();
    const data = await organizations.inOrderOfId(em, { after, limit: ORGANIZATIONS_A_PAGE });
    const ids = data.map(({ id }) => id);
    const expected = await budgets.expected(em, ids);
    const faults = Map.groupBy(await ledger.verifyNew(em, ids), ({ organizationId }) => organizationId);
    const parked = await reversals.parkedOf(em, ids);
    const found = new Map<string, Finding[]>();
    const compare = async (organization: Organization) => {
      const { id } = organization;
      const look = findBudgetDifference({ em: database.fork(), kms }, organization, expected.get(id));
      const budget = await look.catch(unreadable(kms, organization));
      found.set(id, [...(faults.get(id) ?? []).map(ledgerFault), ...(parked.get(id) ?? []).map(parkedReversal), ...budget]);
    };
    await sideBySide(data, compare, Context.current().cancellationSignal);
    const findings = ids.flatMap((id) => found.get(id) ?? []);
    await tellFindings(em, findings);
    const next = data.length === ORGANIZATIONS_A_PAGE ? (data.at(-1)?.id ?? null) : null;
    return { compared: data.length, findings, next };
  };
}

function ledgerFault({ organizationId, sequence, fault }: ledger.ChainFault): Finding {
  return findingOf('ledger_changed', { subject: `transfer ${sequence}`, organizationId, seen: fault });
}

/** @param left the budget that our last write left, or the lower one that a person has accepted since; undefined when there was none, or one is under way. */
async function findBudgetDifference(
  { em, kms }: { em: EntityManager; kms: KmsClient },
  { id: organizationId, litellmTeamId: subject }: Organization,
  left: QuotaMicros | undefined,
): Promise<Finding[]> {
  if (left === undefined) return [];
  const shown = await budgetShown(kms, subject);
  if (shown === left) return [];
  const leftAfter = (await budgets.expected(em, [organizationId])).get(organizationId);
  if (!isBudgetEdited({ leftBefore: left, shown, leftAfter })) return [];
  // A lower one was accepted by the release of its hold, and what our write has left is there again.
  if (shown === (await budgets.last(em, [organizationId])).get(organizationId)) return [];
  const isThere = shown !== undefined;
  return [findingOf('budget_differs', { subject, organizationId, seen: describe(shown), left: formatQuota(left), isThere })];
}

/**
 * A team that cannot be read is its organization's difference, and the others go on.
 *
 * @throws KmsError while no team can be read.
 */
function unreadable(kms: KmsClient, { id: organizationId, litellmTeamId: subject }: Organization) {
  return async (error: unknown): Promise<Finding[]> => {
    if (!(error instanceof KmsError) || error.kind === 'unauthenticated' || error.kind === 'forbidden') throw error;
    await kms.ping();
    return [findingOf('team_unreadable', { subject, organizationId, seen: error.message })];
  };
}

/** null: unlimited; undefined: LiteLLM has no such team. @throws KmsError */
async function budgetShown(kms: KmsClient, teamId: string): Promise<QuotaMicros | null | undefined> {
  try {
    return (await kms.teamBudget(teamId)).quota;
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return undefined;
    throw error;
  }
}

function describe(shown: QuotaMicros | null | undefined): string {
  if (shown === undefined) return 'LiteLLM has no such team';
  return `max_budget ${shown === null ? 'unlimited' : formatQuota(shown)}`;
}

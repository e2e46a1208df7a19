/** The one way in which a team's budget is changed. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import type { EntityManager } from '../src/database/database.ts';
import * as organizations from '../src/database/organizations.ts';
import { UnexpectedStatusError } from '../src/database/recharges.ts';
import { ReversalSettledError } from '../src/database/reversals.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { formatQuota, type QuotaMicros } from '../src/domain/money.ts';
import type { KmsClient } from '../src/kms/client.ts';
import { KmsError, type KmsErrorKind } from '../src/kms/errors.ts';

export type BudgetWrite =
  | { kind: 'written'; before: QuotaMicros; after: QuotaMicros }
  /** The budget is neither of the two: somebody else has edited it, and it stays as it is. */
  | { kind: 'edited'; reason: string };

/**
 * Brings a team's budget from one absolute value to another. LiteLLM has no increment and no version check, so the writer
 * first becomes the only one of the organization, then both values are stored, then the second is written, however often
 * it takes, and read back.
 *
 * @param writer the recharge or reversal that this belongs to; it lets go of the budget when it records the outcome.
 * @param plan stores both values at the first call and answers the stored ones at every further call; throws when the writer
 *   is settled, which then lets go of the budget again.
 * @throws KmsError; a retryable failure while another writer is at it or LiteLLM still shows the old value; the final
 *   failure `BudgetRefused` when LiteLLM will not take the budget and is seen to have the old one.
 */
export async function writeBudget(
  em: EntityManager,
  kms: KmsClient,
  { organizationId, teamId, writer }: { organizationId: string; teamId: string; writer: string },
  plan: (live: QuotaMicros) => Promise<{ before: QuotaMicros; after: QuotaMicros }>,
): Promise<BudgetWrite> {
  if (!(await organizations.claimBudget(em, organizationId, writer))) {
    throw ApplicationFailure.retryable('another change of this budget is under way', FAILURE.budgetBusy);
  }
  const found = (await kms.teamBudget(teamId)).quota;
  if (found === null) return { kind: 'edited', reason: 'the team has become unlimited in LiteLLM (max_budget is null)' };
  const { before, after } = await plan(found).catch(async (error) => {
    // An attempt that was held up: the one that settled it has let go, so nobody else would do it for this one.
    const isSettled = error instanceof UnexpectedStatusError || error instanceof ReversalSettledError;
    if (isSettled) await organizations.releaseBudget(em, organizationId, writer);
    throw error;
  });
  let live: QuotaMicros | null = found;
  let refusal: KmsError | undefined;
  if (live === before && before !== after) {
    Context.current().cancellationSignal.throwIfAborted();
    refusal = await refusalOf(kms.setTeamBudget(teamId, after));
    live = (await kms.teamBudget(teamId)).quota;
  }
  if (live === after) return { kind: 'written', before, after };
  if (live === before && refusal) throw ApplicationFailure.nonRetryable(refusal.message, FAILURE.budgetRefused);
  if (live === before)
    throw ApplicationFailure.retryable('LiteLLM still shows the budget from before the write', FAILURE.kmsWriteNotVisible);
  const shown = live === null ? 'unlimited' : formatQuota(live);
  return {
    kind: 'edited',
    reason: `max_budget is ${shown}, expected ${formatQuota(before)} or ${formatQuota(after)}: somebody else has edited it`,
  };
}

/** What LiteLLM will say again to the same write. */
const REFUSALS: readonly KmsErrorKind[] = ['invalid', 'conflict', 'forbidden'];

/** A refusal is believed only when a look afterwards shows that nothing has changed: a proxy in between may refuse what it let through before. */
async function refusalOf(write: Promise<void>): Promise<KmsError | undefined> {
  try {
    await write;
    return undefined;
  } catch (error) {
    if (error instanceof KmsError && REFUSALS.includes(error.kind)) return error;
    throw error;
  }
}

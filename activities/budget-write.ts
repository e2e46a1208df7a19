/** The only way in which a team's budget is changed. */
import { ApplicationFailure } from '@temporalio/activity';
import * as budgets from '../src/database/budgets.ts';
import type { EntityManager } from '../src/database/database.ts';
import { FAILURE } from '../src/domain/failures.ts';
import { formatQuota, type QuotaMicros } from '../src/domain/money.ts';
import type { KmsClient } from '../src/kms/client.ts';
import { KmsError, type KmsErrorKind } from '../src/kms/errors.ts';
import { requireInTime } from './in-time.ts';

export type BudgetWrite =
  | { kind: 'written'; before: QuotaMicros; after: QuotaMicros }
  /** The budget is neither of the two: somebody else has edited it. It stays as it is. */
  | { kind: 'edited'; reason: string };

export type BudgetPlan = {
  before: QuotaMicros;
  after: QuotaMicros;
  /** The write of this plan is not under way any more: answered, or never sent. */
  onOver?: () => Promise<void>;
  /** It is over, and was seen to have changed nothing. */
  onWithoutEffect?: () => Promise<void>;
};

/**
 * Changes a team's budget from one absolute value to another. LiteLLM has neither an increment nor a version
 * check. So the writer claims the organization's budget, stores both values, writes `after`, and reads it back.
 * A retry writes the same value.
 *
 * @param writer the recharge or reversal that the write belongs to. It releases the budget when it records
 *   the outcome.
 * @param plan stores both values at the first call and returns the stored ones at every further call. Throws
 *   when the writer is settled: whoever has settled it has released the budget.
 * @throws KmsError; a retryable failure while another writer has the budget, or while LiteLLM still shows the
 *   old value; BudgetRefusedError when LiteLLM refuses the budget and still shows the old one.
 */
export async function writeBudget(
  em: EntityManager,
  kms: KmsClient,
  { organizationId, teamId, writer }: { organizationId: string; teamId: string; writer: budgets.BudgetWriter },
  plan: (live: QuotaMicros) => Promise<BudgetPlan>,
): Promise<BudgetWrite> {
  if (!(await budgets.claim(em, organizationId, writer))) {
    throw ApplicationFailure.retryable('another change of this budget is under way', FAILURE.budgetBusy);
  }
  // Before the look: a process may stand still while the answer is on its way.
  const lookedAt = Date.now();
  const found = (await kms.teamBudget(teamId)).quota;
  if (found === null) return { kind: 'edited', reason: 'the team has become unlimited in LiteLLM (max_budget is null)' };
  const { before, after, onOver, onWithoutEffect } = await plan(found);
  let live: QuotaMicros | null = found;
  let refusal: KmsError | undefined;
  if (live === before && before !== after) {
    try {
      requireInTime({ at: lookedAt, what: 'the budget' });
      refusal = await refusalOf(kms.setTeamBudget(teamId, after));
    } catch (error) {
      if (!isUnderWay(error)) await onOver?.();
      throw error;
    }
    await onOver?.();
    live = (await kms.teamBudget(teamId)).quota;
  } else await onOver?.();
  if (live === after) return { kind: 'written', before, after };
  if (live === before && refusal) {
    await onWithoutEffect?.();
    throw new BudgetRefusedError(refusal);
  }
  if (live === before)
    throw ApplicationFailure.retryable('LiteLLM still shows the budget from before the write', FAILURE.kmsWriteNotVisible);
  await onWithoutEffect?.();
  return { kind: 'edited', reason: editedReason(live, before, after) };
}

/**
 * Makes sure that a budget is the one from before a write whose outcome nobody has seen, because the money of
 * that write goes back. LiteLLM may read from a replica, so `before` is written also where it shows already; what
 * is read after that decides, since LiteLLM may refuse every write of the team.
 *
 * @param writer the recharge that the write belongs to. It keeps the budget until it has recorded the outcome.
 * @returns why a person has to look; undefined when the budget is the one from before, or the team is deleted.
 * @throws KmsError; a retryable failure while another writer has the budget, or while it is still raised.
 */
export async function takeBackBudget(
  em: EntityManager,
  kms: KmsClient,
  {
    organizationId,
    teamId,
    writer,
    before,
    after,
  }: { organizationId: string; teamId: string; writer: budgets.BudgetWriter; before: QuotaMicros; after: QuotaMicros },
): Promise<string | undefined> {
  if (!(await budgets.claim(em, organizationId, writer))) {
    throw ApplicationFailure.retryable('another change of this budget is under way', FAILURE.budgetBusy);
  }
  const read = async () => (await kms.teamBudget(teamId)).quota;
  try {
    const lookedAt = Date.now();
    const found = await read();
    if (found !== before && found !== after) return editedReason(found, before, after);
    requireInTime({ at: lookedAt, what: 'the budget' });
    const failure = await failureOf(kms.setTeamBudget(teamId, before));
    const live = await read();
    if (live === before) return undefined;
    if (live !== after) return editedReason(live, before, after);
    if (failure && FINAL_ERRORS.includes(failure.kind))
      return `the quota was raised to ${formatQuota(after)}, and LiteLLM refuses to lower it: ${failure.message}`;
    throw failure ?? ApplicationFailure.retryable('LiteLLM still shows the raised budget', FAILURE.kmsWriteNotVisible);
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return undefined;
    throw error;
  }
}

function editedReason(live: QuotaMicros | null, before: QuotaMicros, after: QuotaMicros): string {
  const shown = live === null ? 'unlimited' : formatQuota(live);
  return `max_budget is ${shown}, expected ${formatQuota(before)} or ${formatQuota(after)}: somebody else has edited it`;
}

/** Whether LiteLLM may still be working on a write that has failed so. */
function isUnderWay(error: unknown): boolean {
  return error instanceof KmsError && error.kind === 'unknown_outcome' && !error.isAnswered;
}

/** LiteLLM has refused the budget for good, and shows the old one. */
export class BudgetRefusedError extends Error {
  override name = 'BudgetRefusedError';
  /** By 403, which is about our key and not about the team. */
  readonly isForbidden: boolean;

  constructor({ message, kind }: KmsError) {
    super(message);
    this.isForbidden = kind === 'forbidden';
  }
}

/** Errors that a retry cannot fix. A 403 is among them: money must not be held until somebody mends the key. */
const FINAL_ERRORS: readonly KmsErrorKind[] = ['invalid', 'conflict', 'forbidden'];

/**
 * A refusal counts only when the budget read afterwards is the old one: a proxy may refuse a call that it let
 * through.
 */
async function refusalOf(write: Promise<void>): Promise<KmsError | undefined> {
  const failure = await failureOf(write);
  if (failure && !FINAL_ERRORS.includes(failure.kind)) throw failure;
  return failure;
}

async function failureOf(write: Promise<void>): Promise<KmsError | undefined> {
  try {
    await write;
    return undefined;
  } catch (error) {
    if (error instanceof KmsError) return error;
    throw error;
  }
}

/**
 * The budget in LiteLLM around the write that takes a reversal's quota back, or gives it back, and what the ledger moves
 * with it. Pure. When such a write is due: reversal.ts.
 */
import { type QuotaMicros, quotaMicros } from './money.ts';
import type { KnownReversal } from './reversal.ts';

/** The budget around the write that takes a reversal's quota back; null where none was planned. */
export type TakenBudget = {
  quota: QuotaMicros;
  takenBefore?: QuotaMicros | null | undefined;
  takenAfter?: QuotaMicros | null | undefined;
};

/** A write of the budget takes quota, or gives it back. */
export type BudgetDirection = 'take' | 'give';

/**
 * The budget around a write, as it was noted at Stripe before it was sent. `upon`: the recharge or reversal that had
 * moved the organization's quota last.
 */
export type RememberedWrite = { before: QuotaMicros; after: QuotaMicros; upon: string };

/** One change of the budget: a recharge's, or a reversal's. null where a person has settled it without a plan of ours. */
export type BudgetStep = { before: QuotaMicros | null; after: QuotaMicros | null };

/**
 * What LiteLLM tells of a write that Stripe remembers, and that the database has lost:
 *
 * - `outstanding`: what has changed the budget since began with `before` and has left what LiteLLM shows. So nothing
 *   of the write is in it, and it is to be made upon that.
 * - `made`: LiteLLM shows `after`.
 * - `doubtful`: LiteLLM shows `before`, and something else has changed the budget since. A recharge after the write may
 *   have raised it to `before` once more: to make the write again would take what that recharge has given.
 * - `overwritten`: LiteLLM shows something else.
 *
 * @param live the budget that LiteLLM shows.
 * @param since the steps after `upon`, oldest first; null when the database does not know `upon`.
 */
export function standingOf(
  { before, after }: RememberedWrite,
  { live, since }: { live: QuotaMicros; since: readonly BudgetStep[] | null },
): 'outstanding' | 'made' | 'doubtful' | 'overwritten' {
  if (since && leftBy(since, before) === live) return 'outstanding';
  if (live === after) return 'made';
  return live === before ? 'doubtful' : 'overwritten';
}

/** The budget that the steps leave where each begins with what the one before has left; else null. */
function leftBy(steps: readonly BudgetStep[], first: QuotaMicros): QuotaMicros | null {
  return steps.reduce<QuotaMicros | null>((left, step) => (step.before === left ? step.after : null), first);
}

/**
 * The budget after the write. Taking lowers it by the quota, or to nothing where it holds less: LiteLLM takes
 * no negative budget, and a team whose budget is nothing is refused all the same. Giving raises it by what
 * was taken.
 */
export function budgetAfter(reversal: TakenBudget, direction: BudgetDirection, live: QuotaMicros): QuotaMicros {
  if (direction === 'give') return quotaMicros(live + takenBy(reversal));
  return quotaMicros(live - Math.min(reversal.quota, Math.max(live, 0)));
}

/**
 * The quota that a reversal has really taken: this is what the ledger moves with the money, and all that is
 * given back.
 *
 * The money of a refund or dispute has gone in full, so its transfers always carry the whole amount. Of the
 * quota less may have been there, because a person has lowered the budget after the grant. That person has
 * removed the missing part already; to give it back later would make quota that nobody has paid for, beyond
 * what the team had before the money went. In the ledger the missing part stays on `granted`, without money:
 * granted by us, removed by somebody else.
 *
 * Where no write was planned the whole quota counts: it went with its team, which LiteLLM has no more, or a
 * person has settled the budget before we came to it.
 */
export function takenBy({ quota, takenBefore, takenAfter }: TakenBudget): QuotaMicros {
  // Stryker disable next-line ConditionalExpression,LogicalOperator: one statement stores both.
  const isPlanned = typeof takenBefore === 'number' && typeof takenAfter === 'number';
  return isPlanned ? quotaMicros(takenBefore - takenAfter) : quota;
}

/**
 * What the ledger lacks when a person accepts a reversal as it is: the taking where the money has gone, the
 * giving back where it has come back. Nothing for a reversal without quota: no account of ours has ever held
 * what has gone.
 *
 * @param isTaken the ledger has the taking, and not the giving back.
 */
export function missingTransfers(
  { quota }: Pick<KnownReversal, 'quota'>,
  { isTaken, isGone }: { isTaken: boolean; isGone: boolean },
): 'taking' | 'giving' | 'none' {
  if (quota === 0 || isTaken === isGone) return 'none';
  return isGone ? 'taking' : 'giving';
}

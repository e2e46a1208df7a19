/**
 * Many recharges in a row that are each within bounds, and together far above what the organization is used
 * to: a loop, a counter that doubles, a price that was mistyped.
 */

/** An organization's recharges that succeeded, by the database's clock. */
export type RecentRecharges = {
  /** In the last hour; after a person has released a runaway hold, since then. */
  lastHour: number;
  /** The most in any hour that ended in the 30 days before the last hour. */
  busiestHourBefore: number;
  /** How long ago the first one was, whatever became of it; null: there was none. */
  firstAgoMs: number | null;
};

/** A shorter life has no normal yet; the limits of the amounts bound it. */
export const NORMAL_AFTER_MS = 7 * 24 * 60 * 60_000;
/** Fewer in an hour are no series. */
export const SERIES = 5;
/** So many times the busiest hour before is still normal. */
export const NORMAL_TIMES = 3;

/** Whether the next charge waits for a person. */
export function isRunaway({ lastHour, busiestHourBefore, firstAgoMs }: RecentRecharges): boolean {
  if ((firstAgoMs ?? 0) < NORMAL_AFTER_MS) return false;
  return lastHour >= SERIES && lastHour > NORMAL_TIMES * busiestHourBefore;
}

/**
 * How long the sweep leaves an organization alone after attempts that came to nothing. It looks every minute,
 * and nobody asked it to: without a pause a dead card would be tried until the daily limit, every day.
 *
 * Stripe advises eight retries at most, and Visa counts fifteen attempts per card in 30 days. A pause that
 * doubles from 15 minutes to a week makes seven attempts on the first day and thirteen in 30 days.
 * https://docs.stripe.com/declines/card#retries
 */

/**
 * Attempts that failed one after the other, with no success between, and how long ago the last one did, by
 * the database's clock.
 */
export type FailuresInARow = { count: number; lastAgoMs: number | null };

const FIRST_PAUSE_MS = 15 * 60_000;
const LAST_PAUSE_MS = 7 * 24 * 60 * 60_000;

/** Whether the sweep has to wait still before it tries again. */
export function isCoolingDown({ count, lastAgoMs }: FailuresInARow): boolean {
  return count > 0 && lastAgoMs !== null && lastAgoMs < Math.min(FIRST_PAUSE_MS * 2 ** (count - 1), LAST_PAUSE_MS);
}

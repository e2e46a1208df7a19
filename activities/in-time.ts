/** What an attempt has looked at holds for a while only, also for a process that stood still after it. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { FAILURE } from '../src/domain/failures.ts';

/**
 * So long after a look what was decided on it may still be sent: longer than the calls in between take, and so much less
 * than a plan of a budget lasts (`quota-writes.ts`) that the write is over before that.
 */
const LOOK_LASTS_MS = 30_000;

/**
 * Nothing may be written, and no card charged, by an attempt that Temporal has given up. One whose process stood still has
 * not heard of that yet, and meanwhile others may have changed the budget, given the money back, or opened a hold. By the
 * time of day: other clocks stand still with a machine.
 *
 * @param look.at from before it, by `Date.now()`.
 * @param look.what was looked at, for the failure: "the budget".
 * @throws a retryable failure: the next attempt looks again.
 */
export function requireInTime({ at, what }: { at: number; what: string }): void {
  Context.current().cancellationSignal.throwIfAborted();
  if (Date.now() - at > LOOK_LASTS_MS)
    throw ApplicationFailure.retryable(`the look at ${what} is too long ago to act on it`, FAILURE.lookTooOld);
}

/**
 * How long the sweep leaves an organization alone after its own events that came to nothing. It looks every
 * minute, and nobody asked it to.
 */
import { pauseAfter } from './attempts.ts';

/** Events that came to nothing one after the other, and how long ago the last one did, by the database's clock. */
export type FailuresInARow = { count: number; lastAgoMs: number | null };

/** Whether the sweep has to wait still before it tries again. */
export function isCoolingDown({ count, lastAgoMs }: FailuresInARow): boolean {
  return lastAgoMs !== null && lastAgoMs < pauseAfter(count);
}

/**
 * How long the sweep leaves an organization alone after its own events that came to nothing. It looks every
 * minute, and nobody asked it to.
 */
import { pauseAfter } from './attempts.ts';

/** Events that came to nothing one after the other, and how long ago the last one did, by the database's clock. */
export type FailuresInARow = { count: number; lastAgoMs: number | null };

/** Whether the sweep has to wait still before it tries again. */
export function isCoolingDown(failures: FailuresInARow): boolean {
  return remainingPauseMs(failures) > 0;
}

/** How long the sweep has to wait still, in milliseconds; 0 or less: not at all. */
export function remainingPauseMs({ count, lastAgoMs }: FailuresInARow): number {
  return lastAgoMs === null ? 0 : pauseAfter(count) - lastAgoMs;
}

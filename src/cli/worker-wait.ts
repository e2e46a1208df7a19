/** Waiting for work that only a worker does: says once that none is there, and gives up after a stated time. */
import { CommandError } from './exit.ts';

/** A worker that is started anew, as by a deployment, asks for work sooner. */
export const WAITS_FOR_WORKER_MS = 20_000;

/**
 * @param waiting what waits, such as the id of a run: it goes on when a worker is there.
 * @param say prints a line.
 * @returns to be called with each look: what is said of the workers that are missing, empty where there are some.
 *   It throws CommandError when they have been missing for WAITS_FOR_WORKER_MS.
 */
export function workerWait(waiting: string, say: (line: string) => void): (missing: readonly string[], now?: number) => void {
  let since: number | undefined;
  return (missing, now = Date.now()) => {
    if (missing.length === 0) {
      since = undefined;
      return;
    }
    if (since === undefined) {
      since = now;
      for (const line of missing) say(line);
      say(`waiting ${WAITS_FOR_WORKER_MS / 1000} s for a worker`);
    }
    if (now - since < WAITS_FOR_WORKER_MS) return;
    throw new CommandError(`no worker for ${WAITS_FOR_WORKER_MS / 1000} s: start one (bill worker), and ${waiting} goes on by itself`);
  };
}

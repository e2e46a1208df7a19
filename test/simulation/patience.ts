/** How a run waits. */

/** Longer than any restart: whoever sends to us has sent again by then. */
const PERSISTENCE_MS = 60_000;
const PERSISTENCE_PAUSE_MS = 250;

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Again and again until it works: the service or its database may be unavailable for a while.
 *
 * @throws when it has not within a minute.
 */
export async function persist<T>(what: string, attempt: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + PERSISTENCE_MS; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`not within ${PERSISTENCE_MS / 1000} s: ${what}: ${(error as Error).message}`);
      await pause(PERSISTENCE_PAUSE_MS);
    }
  }
}

/** Returns false when it has not come to it within so long. */
export async function within(ms: number, everyMs: number, moment: () => Promise<boolean>): Promise<boolean> {
  for (const deadline = Date.now() + ms; !(await moment()); await pause(everyMs)) {
    if (Date.now() > deadline) return false;
  }
  return true;
}

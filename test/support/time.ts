/**
 * How long tests wait. A wait costs nothing when the thing happens, so each is long enough for a machine
 * whose cores are all busy.
 */

/**
 * A recharge takes about a second, one that waits for a retry or a deadline of ours half a minute; one that
 * outlives this is forgotten.
 */
export const SETTLE_TIMEOUT_MS = 120_000;

/** Longer than a wait, so that what was waited for is what a failed test reports. */
export const TEST_TIMEOUT_MS = 300_000;

/** Between two looks at what is waited for. */
const LOOK_EVERY_MS = 50;

/** Waits until `look` returns something, and returns that. A look that fails is one that saw nothing. */
export async function eventually<T>(
  look: () => Promise<T | null | undefined | false>,
  what: string,
  timeoutMs = SETTLE_TIMEOUT_MS,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    const seen = await look().catch((error) => {
      failure = error;
      return undefined;
    });
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: failure });
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

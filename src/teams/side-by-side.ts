/** A first synchronisation makes thousands of teams, and LiteLLM has users to serve. */
const SIDE_BY_SIDE = 5;

/**
 * Works on SIDE_BY_SIDE items at a time. Waits for all of them, also when one fails: nothing may run on when
 * the activity is over.
 *
 * @param signal begins none of the further items once it is aborted, and throws its reason.
 */
export async function sideBySide<T>(items: readonly T[], work: (item: T) => Promise<void>, signal?: AbortSignal): Promise<void> {
  for (let start = 0; start < items.length; start += SIDE_BY_SIDE) {
    signal?.throwIfAborted();
    const results = await Promise.allSettled(items.slice(start, start + SIDE_BY_SIDE).map(work));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

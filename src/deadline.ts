/** What was awaited has not come in time. */
export class DeadlineError extends Error {
  override name = 'DeadlineError';
}

/**
 * Waits for `work`, but no longer than `ms` milliseconds. Work that is late goes on.
 *
 * @param what is awaited, for the error: "no answer".
 * @throws DeadlineError such as "no answer within 10 s", or whatever `work` throws.
 */
export async function withDeadline<T>(work: Promise<T>, ms: number, what = 'no answer'): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`${what} within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

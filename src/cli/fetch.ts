import { whyUnreachable } from '../domain/unreachable.ts';

/** `fetch` with a deadline. Its error says why there was no answer, where fetch's own says "fetch failed". */
export async function fetchWithin(deadlineMs: number, url: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(url, { ...init, signal: AbortSignal.timeout(deadlineMs) });
  } catch (error) {
    const isLate = (error as Error).name === 'TimeoutError';
    const reason = isLate ? `no answer within ${deadlineMs / 1000} s` : (whyUnreachable(error) ?? reasonOf(error as Error));
    throw new Error(reason, { cause: error });
  }
}

/** Of a host with several addresses the first failure. */
function reasonOf({ message, cause }: Error): string {
  const failure = cause instanceof AggregateError ? cause.errors[0] : cause;
  return (failure instanceof Error && failure.message) || message;
}

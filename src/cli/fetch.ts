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

/** Of a host with several addresses the first failure, and of that its first line. */
function reasonOf({ message, cause }: Error): string {
  const { errors, message: itsOwn } = (cause ?? {}) as { errors?: Error[]; message?: string };
  const said = errors?.[0]?.message || itsOwn || message;
  // Of ports that other protocols have: https://fetch.spec.whatwg.org/#port-blocking
  return said === 'bad port' ? 'its port belongs to another protocol, and is not asked by HTTP' : (said.split('\n')[0] ?? said);
}

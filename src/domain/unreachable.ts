/** Why a server gave no answer, in words: Node's codes of sockets and names. Pure. */

/** Of the address that Node says in its message, such as "connect ECONNREFUSED 127.0.0.1:1". */
const REASONS: Readonly<Record<string, (where: string) => string>> = {
  ECONNREFUSED: (where) => `nothing listens at ${where || 'its address'}`,
  ENOTFOUND: (where) => `the name ${where || 'of its host'} is not known`,
  EAI_AGAIN: (where) => `the name ${where || 'of its host'} cannot be looked up now`,
  EHOSTUNREACH: (where) => `no way leads to ${where || 'its host'}`,
  ENETUNREACH: (where) => `no way leads to ${where || 'its network'}`,
  ETIMEDOUT: () => 'no answer in time',
  ECONNRESET: () => 'it has closed the connection',
  EPIPE: () => 'it has closed the connection',
};

/**
 * The reason in the error, or in what caused it; undefined where it is about something else than the way to a server.
 * Of a host with several addresses the first failure.
 */
export function whyUnreachable(error: unknown): string | undefined {
  const { code, message = '', cause, errors } = (error ?? {}) as { code?: unknown; message?: string; cause?: unknown; errors?: unknown[] };
  const [, fromMessage] = /\b(E[A-Z_]{4,})\b/.exec(message) ?? [];
  const reason = REASONS[String(code)] ?? REASONS[fromMessage ?? ''];
  if (reason) return reason(whereIn(message) || (errors?.length ? whereIn((errors[0] as Error).message) : ''));
  return cause ? whyUnreachable(cause) : errors?.length ? whyUnreachable(errors[0]) : undefined;
}

function whereIn(message: string): string {
  const [, where = ''] = /\bE[A-Z_]{4,} ([\w.:[\]-]+)/.exec(message) ?? [];
  return where.replace(/[.:]+$/, '');
}

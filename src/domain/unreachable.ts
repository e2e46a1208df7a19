/** Why a server gave no answer, in words: Node's codes of sockets and names. Pure. */

/** OpenSSL's words for an answer that is none of TLS. */
const PLAIN = 'what listens there speaks no TLS, so its address begins with http:// and not https://';

/** `where`: the address that Node says in its message, such as "connect ECONNREFUSED 127.0.0.1:1". */
const REASONS: Readonly<Record<string, (where?: string) => string>> = {
  ECONNREFUSED: (where = 'its address') => `nothing listens at ${where}`,
  ENOTFOUND: (where = 'of its host') => `the name ${where} is not known`,
  EAI_AGAIN: (where = 'of its host') => `the name ${where} cannot be looked up now`,
  EHOSTUNREACH: (where = 'its host') => `no way leads to ${where}`,
  ENETUNREACH: (where = 'its network') => `no way leads to ${where}`,
  ETIMEDOUT: () => 'no answer in time',
  ECONNRESET: () => 'it has closed the connection',
  EPIPE: () => 'it has closed the connection',
  ERR_SSL_WRONG_VERSION_NUMBER: () => PLAIN,
  ERR_SSL_TLS_VALIDATE_RECORD_HEADER: () => PLAIN,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: () => PLAIN,
};

type Failure = { code?: unknown; message?: unknown; cause?: unknown; errors?: unknown[] };

/**
 * The reason in the error, or in what caused it; undefined where it is about something else than the way to a server.
 * Of a host with several addresses the first failure.
 */
export function whyUnreachable(error: unknown): string | undefined {
  if (!error) return undefined;
  const { code, message, cause, errors } = error as Failure;
  const first = errors?.[0];
  const reason = REASONS[String(code)] ?? REASONS[String(/\bE[A-Z_]{4,}\b/.exec(String(message))?.[0])];
  if (reason) return reason(whereIn(message) ?? whereIn((first as Failure | undefined)?.message));
  return whyUnreachable(cause) ?? whyUnreachable(first);
}

function whereIn(message: unknown): string | undefined {
  return /\bE[A-Z_]{4,} ([\w.:[\]-]*[\w\]])/.exec(String(message))?.[1];
}

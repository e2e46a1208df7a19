/**
 * What can go wrong with LiteLLM, by HTTP status, because the `type` and `code` in its bodies are often
 * misleading.
 */

export type KmsErrorKind =
  /** 404 from a LiteLLM whose database is connected: no such team, user or key. */
  | 'not_found'
  /** 409, or a 400 that says so: it exists already. */
  | 'conflict'
  /** 400, 422: LiteLLM refuses this request however often it is sent. */
  | 'invalid'
  /** 403: the key may not do this. */
  | 'forbidden'
  /** 401: a wrong key, or a LiteLLM that has lost its database; its answers to both look alike. */
  | 'unauthenticated'
  /** Nothing was read, or nothing has changed: no connection, 429, a redirect, or any failure of a read. */
  | 'unavailable'
  /** A write whose answer was lost, cut or a 5xx: it may have taken effect, or may yet. */
  | 'unknown_outcome';

/** Whether a call can change something: only then its failure leaves a doubt. */
export type KmsEffect = 'read' | 'write';

export class KmsError extends Error {
  override name = 'KmsError';
  readonly kind: KmsErrorKind;
  /** LiteLLM, or a proxy that has not given up waiting for it, has answered: it works on the call no longer. */
  readonly isAnswered: boolean;
  /** The answer was larger than is read, or later than is waited for. A smaller question may be answered. */
  readonly excess: 'size' | 'time' | undefined;
  /** Of the answer, where one came. */
  readonly status: number | undefined;

  constructor(
    kind: KmsErrorKind,
    message: string,
    { isAnswered = false, excess, status }: { isAnswered?: boolean; excess?: 'size' | 'time' | undefined; status?: number } = {},
  ) {
    super(message);
    this.kind = kind;
    this.isAnswered = isAnswered;
    this.excess = excess;
    this.status = status;
  }
}

/**
 * Of a proxy in front of LiteLLM that has not waited longer for it: LiteLLM may still be at work. 524 is Cloudflare's.
 * https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/error-524/
 */
const GATEWAY_TIMEOUTS = [504, 524];

/** Longer messages hold a stack trace. */
const MAX_MESSAGE_LENGTH = 300;

/** The error that an answer with such a status and body stands for. Its message holds no key. */
export function kmsErrorFromStatus(status: number, body: unknown, effect: KmsEffect): KmsError {
  const message = withoutKeys(messageIn(body));
  const kind = kindOf(status, message, effect);
  const said = `LiteLLM answered ${status}: ${message.slice(0, MAX_MESSAGE_LENGTH)}`;
  const isLate = GATEWAY_TIMEOUTS.includes(status);
  return new KmsError(kind, said, { isAnswered: !isLate, excess: isLate ? 'time' : undefined, status });
}

/** Teams and key aliases that exist, and members that are in the team, are 400; a user that exists is 409. */
const CONFLICT = /already exists|already in team/;

function kindOf(status: number, message: string, effect: KmsEffect): KmsErrorKind {
  if (status === 404) return 'not_found';
  if (status === 409 || (status === 400 && CONFLICT.test(message))) return 'conflict';
  if (status === 400 || status === 422) return 'invalid';
  if (status === 403) return 'forbidden';
  if (status === 401) return 'unauthenticated';
  return effect === 'write' && (status >= 500 || status === 408) ? 'unknown_outcome' : 'unavailable';
}

/**
 * LiteLLM hides its sentence in `error.message`, `detail.error`, `detail[].msg`, or in a Python dict printed
 * as a string.
 */
function messageIn(body: unknown): string {
  if (typeof body !== 'object' || body === null) return typeof body === 'string' ? body : 'no message';
  const { error, detail } = body as { error?: { message?: unknown }; detail?: unknown };
  const message = error?.message ?? (detail as { error?: unknown } | undefined)?.error ?? detail;
  if (Array.isArray(message)) return message.map((item) => textOf((item as { msg?: unknown } | null)?.msg ?? item)).join('; ');
  const text = textOf(message ?? 'no message');
  return /^\{'(?:error|message)': (['"])(.*)\1\}$/s.exec(text)?.[2] ?? text;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/**
 * LiteLLM repeats keys that it refuses, and a proxy in front of it whole headers; all its keys begin with
 * `sk-`.
 */
function withoutKeys(message: string): string {
  return message.replace(/\bbearer\s+\S+/gi, 'Bearer ***').replace(/\bsk-[\w-]+/g, 'sk-***');
}

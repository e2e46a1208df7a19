/** What can go wrong with LiteLLM, by HTTP status: the `type` and `code` in its bodies are often misleading. */

export type KmsErrorKind =
  /** 404 from a LiteLLM whose database is connected: no such team. */
  | 'not_found'
  /** 400, 422: LiteLLM will refuse this request whenever it is sent. */
  | 'invalid'
  /** 403: the key may not do this. */
  | 'forbidden'
  /** 401: a wrong key, or a LiteLLM that has lost its database; its answers to both look alike. */
  | 'unauthenticated'
  /** 5xx, 429, cut or missing answers: whether a write happened is unknown. */
  | 'unavailable';

export class KmsError extends Error {
  override name = 'KmsError';
  readonly kind: KmsErrorKind;

  constructor(kind: KmsErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Longer messages hold a stack trace. */
const MAX_MESSAGE_LENGTH = 300;

export function kmsErrorFromStatus(status: number, body: unknown): KmsError {
  return new KmsError(kindOf(status), `LiteLLM answered ${status}: ${messageIn(body).slice(0, MAX_MESSAGE_LENGTH)}`);
}

function kindOf(status: number): KmsErrorKind {
  if (status === 404) return 'not_found';
  if (status === 400 || status === 422) return 'invalid';
  if (status === 403) return 'forbidden';
  if (status === 401) return 'unauthenticated';
  return 'unavailable';
}

/** LiteLLM hides its sentence in `error.message`, `detail.error`, `detail[].msg`, or in a Python dict printed as a string. */
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

/**
 * Whether an alert is authentic: signed as Standard Webhooks, signed in LiteLLM's own header, or posted to a
 * URL that holds a secret. One of them suffices. Pure: the caller gives the time.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { webhookKey } from '../domain/webhook-key.ts';

/** Standard Webhooks: a message may be this much older or newer than our clock says. */
export const TIMESTAMP_TOLERANCE_S = 5 * 60;

export type SignedRequest = {
  /** Every header with all its values: a repeated one is refused, not joined. */
  headers: NodeJS.Dict<string[]>;
  /** The `token` parameters of the URL. */
  tokens: string[];
  /** The raw body. */
  body: Buffer;
};

/** An alert is authentic by any one of these. */
export type AlertSecrets = { hmacSecrets: readonly string[]; urlTokens: readonly string[] };

/** `deliveryId` is null unless the sender has signed it: anyone could make up another one. */
export type Authenticity = { authentic: true; deliveryId: string | null } | { authentic: false };

export function authenticate(request: SignedRequest, secrets: AlertSecrets, nowSeconds: number): Authenticity {
  const deliveryId = verifyStandardWebhook(request, secrets.hmacSecrets, nowSeconds);
  if (deliveryId !== null) return { authentic: true, deliveryId };
  if (verifyLiteLLMSignature(request, secrets.hmacSecrets, nowSeconds)) return { authentic: true, deliveryId: null };
  if (verifyToken(request, secrets.urlTokens)) return { authentic: true, deliveryId: null };
  return { authentic: false };
}

/**
 * The signed `webhook-id`, or null. Signed string: `id.timestamp.body` (https://www.standardwebhooks.com).
 */
function verifyStandardWebhook({ headers, body }: SignedRequest, secrets: readonly string[], nowSeconds: number): string | null {
  const id = singleValue(headers, 'webhook-id');
  const timestamp = singleValue(headers, 'webhook-timestamp');
  const signatures = singleValue(headers, 'webhook-signature');
  if (!id || !timestamp || !signatures || !isTimely(timestamp, nowSeconds)) return null;
  // A list separated by spaces: a sender may sign with an old and a new secret at once. A header that a proxy
  // has joined with commas is refused.
  const offered = signatures.split(' ');
  if (!offered.every((part) => /^\w+,[\w+/=]+$/.test(part))) return null;
  const isSigned = secrets.some((secret) => {
    const expected = `v1,${createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest('base64')}`;
    // Compared as text: several base64 texts decode to the same bytes, and only one of them is the signature.
    return offered.some((signature) => equalInConstantTime(Buffer.from(signature), Buffer.from(expected)));
  });
  return isSigned ? id : null;
}

/** `sha256=<hex>` of the body, or of `timestamp.body` when a timestamp is sent. Hex in either case. */
function verifyLiteLLMSignature({ headers, body }: SignedRequest, secrets: readonly string[], nowSeconds: number): boolean {
  const match = /^sha256=([0-9a-f]{64})$/i.exec(singleValue(headers, 'x-litellm-signature') ?? '');
  if (!match?.[1]) return false;
  const signature = Buffer.from(match[1], 'hex');
  let prefix = '';
  if (headers['x-litellm-timestamp']) {
    const timestamp = singleValue(headers, 'x-litellm-timestamp');
    if (!timestamp || !isTimely(timestamp, nowSeconds)) return false;
    prefix = `${timestamp}.`;
  }
  return secrets.some((secret) => equalInConstantTime(signature, createHmac('sha256', keyOf(secret)).update(prefix).update(body).digest()));
}

function verifyToken({ tokens }: SignedRequest, accepted: readonly string[]): boolean {
  const [token, another] = tokens;
  if (!token || another !== undefined) return false;
  return accepted.some((secret) => equalInConstantTime(Buffer.from(token), Buffer.from(secret)));
}

const keys = new Map<string, KeyObject>();

/** Made once for each secret of the settings: from bytes Node makes it anew each time, for 14 µs instead of 3. */
function keyOf(secret: string): KeyObject {
  const known = keys.get(secret);
  if (known) return known;
  const key = createSecretKey(webhookKey(secret));
  keys.set(secret, key);
  return key;
}

/** The one value of a header; undefined when it is missing or repeated. */
function singleValue(headers: NodeJS.Dict<string[]>, name: string): string | undefined {
  const values = headers[name];
  return values?.length === 1 ? values[0] : undefined;
}

/**
 * Whole seconds since 1970, within the tolerance both ways: a message from far in the future could be
 * replayed for as long.
 */
function isTimely(timestamp: string, nowSeconds: number): boolean {
  return /^\d{1,12}$/.test(timestamp) && Math.abs(nowSeconds - Number(timestamp)) <= TIMESTAMP_TOLERANCE_S;
}

function equalInConstantTime(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

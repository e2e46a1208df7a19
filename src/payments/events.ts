/** Stripe's webhook: whether an event is authentic, and what it is about. */
import Stripe from 'stripe';
import { z } from 'zod';

/** Stripe's own tolerance; the library applies it to the past only, we also to the future. */
const TOLERANCE_S = 5 * 60;

/**
 * What an event is about. What it says is left out: it comes late, twice and in any order, so the object
 * itself is read.
 */
export type StripeNotice = { id: string; type: string; objectId: string; paymentIntentId: string | null };

/** What the service listens to; an endpoint at Stripe needs no others. */
export const EVENT_TYPES = [
  'payment_intent.succeeded',
  'payment_intent.payment_failed',
  'payment_intent.canceled',
  'payment_intent.processing',
  'charge.refunded',
  'refund.created',
  'refund.updated',
  'refund.failed',
  'charge.dispute.created',
  // An inquiry that has become a dispute says so by this one.
  'charge.dispute.funds_withdrawn',
  'charge.dispute.closed',
] as const;

const verifier = Stripe.webhooks.signature as Stripe.Signature;

/**
 * Authentic, and not what Stripe documents an event to be: an endpoint of another API version, or a thin
 * event.
 */
export class MalformedStripeEventError extends Error {
  override name = 'MalformedStripeEventError';
}

// PostgreSQL stores no NUL, and no id has one.
const id = z.string().regex(/^[^\0]+$/);
const snapshotEvent = z.object({
  id,
  type: id,
  data: z.object({
    object: z.object({
      id: id.optional(),
      object: z.string().optional(),
      payment_intent: z.union([id, z.object({ id })]).nullish(),
    }),
  }),
});

/**
 * The event in a signed request, or undefined for one that is not authentic. Any of the secrets is accepted.
 *
 * @throws MalformedStripeEventError
 */
export function readStripeEvent(body: Buffer, signature: string, secrets: readonly string[], nowSeconds: number): StripeNotice | undefined {
  const [timestamp, ...others] = [...signature.matchAll(/(?:^|,)t=([^,]*)/g)].map((match) => match[1] ?? '');
  if (timestamp === undefined || others.length > 0 || !/^\d+$/.test(timestamp)) return undefined;
  if (Number(timestamp) - nowSeconds > TOLERANCE_S) return undefined;
  // The library throws for an empty one, as if we had called it wrongly.
  if (/(?:^|,)v1=(?:,|$)/.test(signature)) return undefined;
  return secrets.some((secret) => isSignedBy(secret, body, signature, nowSeconds)) ? noticeOf(body) : undefined;
}

function isSignedBy(secret: string, body: Buffer, signature: string, nowSeconds: number): boolean {
  try {
    return verifier.verifyHeader(body, signature, secret, TOLERANCE_S, undefined, nowSeconds * 1000);
  } catch (error) {
    if (error instanceof Stripe.errors.StripeSignatureVerificationError) return false;
    throw error;
  }
}

function noticeOf(body: Buffer): StripeNotice {
  const event = snapshotEvent.safeParse(jsonIn(body));
  if (!event.success) throw new MalformedStripeEventError(`not an event: ${z.prettifyError(event.error)}`);
  const { id: eventId, type, data } = event.data;
  const { id: objectId = eventId, object, payment_intent: ofObject } = data.object;
  const intent = object === 'payment_intent' ? objectId : ofObject;
  return { id: eventId, type, objectId, paymentIntentId: (typeof intent === 'object' ? intent?.id : intent) ?? null };
}

function jsonIn(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new MalformedStripeEventError('not JSON');
  }
}

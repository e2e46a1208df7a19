/** Stripe's webhook: whether an event is authentic, and what it is about. */
import Stripe from 'stripe';
import { z } from 'zod';
import type { OpaqueStripeEvent, StripeNotice } from '../domain/stripe-notice.ts';
import { idIn } from './fields.ts';

/** Stripe's own tolerance; the library applies it to the past only, we also to the future. */
const TOLERANCE_S = 5 * 60;

/** The card's issuer reports a charge as fraudulent. https://docs.stripe.com/api/radar/early_fraud_warnings */
const FRAUD_WARNING_TYPES = ['radar.early_fraud_warning.created', 'radar.early_fraud_warning.updated'] as const;

/** After one of these a customer may have another card, or the same one renewed. */
const CARD_TYPES = [
  'payment_method.attached',
  'payment_method.automatically_updated',
  'payment_method.updated',
  'payment_method.detached',
  'customer.updated',
] as const;

/** What the service listens to; an endpoint at Stripe needs no others. docs/connecting-stripe.md lists them. */
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
  ...FRAUD_WARNING_TYPES,
  ...CARD_TYPES,
] as const;

/** Also those that only an endpoint with every event sends: `charge.refund.updated`, `charge.dispute.updated`. */
const RETURN_TYPES = /^(refund\.|charge\.refund|charge\.dispute\.)/;

/**
 * What an event of this type is about: whether a charge is fraudulent, what a customer can pay with, whether a
 * payment goes through, or money that goes back. `other`: nothing that the service acts on, such as
 * `charge.succeeded`, which says again what `payment_intent.succeeded` says.
 */
export function topicOf(type: string): 'fraud' | 'card' | 'payment' | 'return' | 'other' {
  if (FRAUD_WARNING_TYPES.some((each) => each === type)) return 'fraud';
  if (CARD_TYPES.some((each) => each === type)) return 'card';
  if (type.startsWith('payment_intent.')) return 'payment';
  return RETURN_TYPES.test(type) ? 'return' : 'other';
}

const verifier = Stripe.webhooks.signature as Stripe.Signature;

/** Authentic, and no event that could be told from another: it has no id, or no type. */
export class MalformedStripeEventError extends Error {
  override name = 'MalformedStripeEventError';
}

// PostgreSQL stores no NUL, and no id has one.
const id = z.string().regex(/^[^\0]+$/);
const reference = z.union([id, z.object({ id })]).nullish();
/** What another object than ours has under such a name says nothing to us. */
const readableReference = reference.catch(null);
const anyEvent = z.object({ id, type: id });
const snapshotEvent = anyEvent.extend({
  data: z.object({
    object: z.object({
      id: id.optional(),
      object: z.string().optional(),
      payment_intent: reference,
      charge: readableReference,
      customer: readableReference,
    }),
    previous_attributes: z.object({ customer: readableReference }).optional().catch(undefined),
  }),
});

/**
 * The event in a signed request, or undefined for one that is not authentic. Any of the secrets is accepted.
 *
 * @throws MalformedStripeEventError
 */
export function readStripeEvent(
  body: Buffer,
  signature: string,
  secrets: readonly string[],
  nowSeconds: number,
): StripeNotice | OpaqueStripeEvent | undefined {
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

function noticeOf(body: Buffer): StripeNotice | OpaqueStripeEvent {
  const json = jsonIn(body);
  const any = anyEvent.safeParse(json);
  if (!any.success) throw new MalformedStripeEventError("it is not one of Stripe's events: an object with an id and a type, both strings");
  const event = snapshotEvent.safeParse(json);
  if (!event.success) return { ...any.data, isOpaque: true };
  const { id: eventId, type, data } = event.data;
  const { id: objectId = eventId, object, payment_intent: intent, charge, customer } = data.object;
  return {
    id: eventId,
    type,
    objectId,
    paymentIntentId: object === 'payment_intent' ? objectId : idIn(intent),
    chargeId: object === 'charge' ? objectId : idIn(charge),
    customerId: object === 'customer' ? objectId : idIn(customer ?? data.previous_attributes?.customer),
  };
}

function jsonIn(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new MalformedStripeEventError('not JSON');
  }
}

/** Stripe's webhook: whether an event is authentic, and what it is about. */
import Stripe from 'stripe';

/** Stripe's own tolerance; the library applies it to the past only, we also to the future. */
const TOLERANCE_S = 5 * 60;

/** What an event is about. What it says is left out: it comes late, twice and in any order, so the object itself is read. */
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
  'charge.dispute.closed',
] as const;

/** The event in a signed request, or undefined for one that is not authentic. Any of the secrets is accepted. */
export function readStripeEvent(body: Buffer, signature: string, secrets: readonly string[], nowSeconds: number): StripeNotice | undefined {
  const timestamp = Number(/(?:^|,)t=(\d+)(?:,|$)/.exec(signature)?.[1]);
  if (!(timestamp - nowSeconds <= TOLERANCE_S)) return undefined;
  for (const secret of secrets) {
    try {
      return noticeOf(Stripe.webhooks.constructEvent(body, signature, secret, TOLERANCE_S, undefined, nowSeconds * 1000));
    } catch (error) {
      if (!(error instanceof Stripe.errors.StripeSignatureVerificationError)) throw error;
    }
  }
  return undefined;
}

function noticeOf(event: Stripe.Event): StripeNotice {
  const object = event.data.object as { id?: string; object?: string; payment_intent?: string | { id: string } | null };
  const intent = object.object === 'payment_intent' ? object.id : object.payment_intent;
  return {
    id: event.id,
    type: event.type,
    objectId: object.id ?? event.id,
    paymentIntentId: (typeof intent === 'object' ? intent?.id : intent) ?? null,
  };
}

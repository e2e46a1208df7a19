/**
 * What one of Stripe's events is about. What it says is left out: it comes late, twice and in any order, so
 * the object itself is read.
 */
export type StripeNotice = {
  id: string;
  type: string;
  objectId: string;
  /** What the object is, or names. A payment method that was detached names the customer that it had. */
  paymentIntentId: string | null;
  chargeId: string | null;
  customerId: string | null;
};

/**
 * An event that does not hold the object that it is about, such as one of Stripe's thin events. Nothing follows
 * it. https://docs.stripe.com/event-destinations#thin-events
 */
export type OpaqueStripeEvent = Pick<StripeNotice, 'id' | 'type'> & { isOpaque: true };

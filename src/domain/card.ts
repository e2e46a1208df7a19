/** A payment method, as far as attempts and holds tell one from another. */
export type Card = {
  /** Of the payment method at Stripe: each customer's own. */
  id: string;
  /** The same for the same card, whoever saved it; see https://docs.stripe.com/api/payment_methods/object */
  fingerprint: string;
  /** Such as `12/2029`; empty for a payment method that does not expire. */
  expiry: string;
};

/**
 * What a hold on a card applies to: the card under whatever id, until it gets a new expiry. Card updaters
 * renew a card under the same id.
 */
export function holdSubjectOf({ fingerprint, expiry }: Card): string {
  return expiry === '' ? fingerprint : `${fingerprint} ${expiry}`;
}

/** Where Stripe is, and where to look when nobody answers there. */

/** Stripe itself. Any other address is that of a stand-in, such as stripe-mock. */
export const STRIPE_API_BASE = 'https://api.stripe.com';

/** What to look at while Stripe gives no usable answer: a stand-in has no page that says how it does. */
export function adviceOnSilence(apiBase: string): string {
  return apiBase === STRIPE_API_BASE
    ? `see that this machine reaches ${apiBase} (STRIPE_API_BASE), and what status.stripe.com says`
    : `the stand-in for Stripe at ${apiBase} (STRIPE_API_BASE) gives no usable answer: see that it runs`;
}

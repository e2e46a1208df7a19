import { expect, test } from '@jest/globals';
import { adviceOnSilence } from '../../../src/domain/stripe-address.ts';

test('only Stripe itself has a page that says how it does', () => {
  expect(adviceOnSilence('https://api.stripe.com')).toBe(
    'see that this machine reaches https://api.stripe.com (STRIPE_API_BASE), and what status.stripe.com says',
  );
  expect(adviceOnSilence('http://127.0.0.1:12111')).toBe(
    'the stand-in for Stripe at http://127.0.0.1:12111 (STRIPE_API_BASE) gives no usable answer: see that it runs',
  );
});

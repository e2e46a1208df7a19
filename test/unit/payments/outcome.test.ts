import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import Stripe from 'stripe';
import { classifyStripeError, failureOfError, isSavedServerError, outcomeOf } from '../../../src/payments/outcome.ts';

/** The fields of an intent that the outcome is read from. */
function intent(status: string, fields: Partial<Record<keyof Stripe.PaymentIntent, unknown>> = {}): Stripe.PaymentIntent {
  return {
    id: 'pi_1',
    status,
    amount: 2050,
    amount_received: 0,
    currency: 'usd',
    last_payment_error: null,
    ...fields,
  } as Stripe.PaymentIntent;
}

/** An error as stripe-node makes it of Stripe's answer. */
function stripeError(
  statusCode: number,
  fields: { type?: string; code?: string; headers?: Record<string, string> } & Record<string, unknown> = {},
) {
  const { type = 'invalid_request_error', ...rest } = fields;
  return Stripe.errors.generateV1Error({ message: 'a sentence', type, statusCode, ...rest } as Parameters<
    typeof Stripe.errors.generateV1Error
  >[0]);
}

describe('a PaymentIntent', () => {
  test('that succeeded has captured what was received, not what was asked for', () => {
    expect(outcomeOf(intent('succeeded', { amount: 2050, amount_received: 2000 }))).toEqual({
      kind: 'captured',
      amountMinor: 2000,
      currency: 'usd',
    });
  });

  test('that is processing, or not confirmed, has taken no money yet', () => {
    expect(outcomeOf(intent('processing'))).toEqual({ kind: 'processing' });
    expect(outcomeOf(intent('requires_confirmation'))).toEqual({ kind: 'unconfirmed' });
  });

  test('whose card was refused is declined, with every code that Stripe gives', () => {
    const error = { code: 'card_declined', decline_code: 'lost_card', advice_code: 'do_not_try_again', message: 'Your card was declined.' };
    expect(outcomeOf(intent('requires_payment_method', { last_payment_error: error }))).toEqual({
      kind: 'declined',
      failure: { code: 'card_declined', declineCode: 'lost_card', adviceCode: 'do_not_try_again', message: 'Your card was declined.' },
    });
  });

  test.each([{ code: 'authentication_required' }, { code: 'card_declined', decline_code: 'authentication_required' }])(
    'whose bank wants the customer present needs action: %j',
    (error) => {
      expect(outcomeOf(intent('requires_payment_method', { last_payment_error: error })).kind).toBe('action_required');
    },
  );

  test.each([
    ['requires_action', 'action_required', 'authentication_required'],
    ['requires_payment_method', 'declined', 'payment_method_required'],
    ['canceled', 'declined', 'payment_intent_canceled'],
  ])('in %s for which Stripe gives no reason is %s with the code %s', (status, kind, code) => {
    expect(outcomeOf(intent(status))).toEqual({
      kind,
      failure: { code, declineCode: null, adviceCode: null, message: `Stripe gives no reason (${code})` },
    });
  });

  test('is a success in no other status, known today or not', () => {
    const known = ['succeeded', 'processing', 'requires_confirmation', 'requires_action', 'requires_payment_method', 'canceled'];
    const statuses = fc.oneof(fc.constantFrom('requires_capture', 'SUCCEEDED', 'succeeded ', '', 'toString'), fc.string());
    fc.assert(
      fc.property(statuses, (status) => {
        fc.pre(!known.includes(status));
        expect(outcomeOf(intent(status, { amount_received: 2050 }))).toEqual({ kind: 'unexpected', status });
      }),
    );
  });
});

describe("an error's status and code, whatever its class, say what it means", () => {
  test.each([
    [400, {}, 'refused'],
    [404, { code: 'resource_missing' }, 'refused'],
    [400, { type: 'idempotency_error' }, 'refused'],
    [402, { type: 'card_error', code: 'card_declined' }, 'card'],
    [402, { type: 'invalid_request_error' }, 'card'],
    [401, {}, 'key'],
    [403, {}, 'key'],
    [409, {}, 'busy'],
    [409, { code: 'idempotency_key_in_use' }, 'busy'],
    [429, {}, 'busy'],
    [429, { code: 'lock_timeout' }, 'busy'],
    [400, { code: 'lock_timeout' }, 'busy'],
    [400, { code: 'idempotency_key_in_use' }, 'busy'],
    [500, { type: 'api_error' }, 'unknown'],
    [502, {}, 'unknown'],
    [503, {}, 'unknown'],
    // A 200 whose body is HTML or cut short arrives as a StripeAPIError.
    [200, { type: 'api_error' }, 'unknown'],
  ] as const)('%d %j is %s', (status, fields, kind) => {
    expect(classifyStripeError(stripeError(status, fields))).toBe(kind);
  });

  test('a connection that broke, and anything that is not from Stripe, is unknown: the money may have moved', () => {
    expect(classifyStripeError(new Stripe.errors.StripeConnectionError({ type: 'api_error', message: 'socket hang up' }))).toBe('unknown');
    expect(classifyStripeError(Object.assign(new Error('boom'), { statusCode: 400 }))).toBe('unknown');
    expect(classifyStripeError(undefined)).toBe('unknown');
    expect(classifyStripeError('boom')).toBe('unknown');
  });

  test('a status that nobody has seen yet never says that no money has moved', () => {
    const known = [400, 401, 402, 403, 404, 409, 429];
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), (status) => {
        fc.pre(!known.includes(status));
        expect(classifyStripeError(stripeError(status))).toBe('unknown');
      }),
    );
  });
});

test('a 500 that Stripe has saved is known by the header of its replay', () => {
  const replayed = { headers: { 'idempotent-replayed': 'true' } };
  expect(isSavedServerError(stripeError(500, replayed))).toBe(true);
  expect(isSavedServerError(stripeError(500, { headers: { 'idempotent-replayed': 'false' } }))).toBe(false);
  expect(isSavedServerError(stripeError(500, { headers: {} }))).toBe(false);
  expect(isSavedServerError(new Stripe.errors.StripeConnectionError({ type: 'api_error', message: 'm' }))).toBe(false);
});

test.each([400, 401, 402, 404, 409, 429])('a saved %d is no saved 500: its key is not given up', (status) => {
  expect(isSavedServerError(stripeError(status, { headers: { 'idempotent-replayed': 'true' } }))).toBe(false);
});

describe('a refused request, in the form of a decline', () => {
  test('has every code that Stripe gives', () => {
    const error = stripeError(402, {
      type: 'card_error',
      code: 'card_declined',
      decline_code: 'insufficient_funds',
      advice_code: 'try_again_later',
    });
    expect(failureOfError(error)).toEqual({
      code: 'card_declined',
      declineCode: 'insufficient_funds',
      adviceCode: 'try_again_later',
      message: 'a sentence',
    });
  });

  test('without a code has the kind of error for one', () => {
    expect(failureOfError(stripeError(400))).toEqual({
      code: 'StripeInvalidRequestError',
      declineCode: null,
      adviceCode: null,
      message: 'a sentence',
    });
  });

  test('that is not from Stripe is unknown', () => {
    expect(failureOfError(new Error('boom'))).toEqual({ code: 'unknown', declineCode: null, adviceCode: null, message: 'Error: boom' });
  });
});

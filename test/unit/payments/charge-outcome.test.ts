import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type Stripe from 'stripe';
import { outcomeOf } from '../../../src/payments/charge-outcome.ts';

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

describe('a PaymentIntent', () => {
  test('that succeeded has captured what was received, not what was asked for', () => {
    expect(outcomeOf(intent('succeeded', { amount: 2050, amount_received: 2000 }))).toEqual({
      kind: 'captured',
      amountMinor: 2000,
      currency: 'usd',
    });
  });

  test.each([
    ['amount_received', undefined],
    ['amount_received', null],
    ['amount_received', '2050'],
    ['amount_received', 0],
    ['amount_received', -2050],
    ['amount_received', 20.5],
    ['amount_received', Number.NaN],
    ['currency', undefined],
    ['currency', null],
    ['currency', ''],
    ['currency', 'US$'],
    ['currency', 840],
  ])('that succeeded with %s %j has captured nobody knows what', (field, value) => {
    expect(outcomeOf(intent('succeeded', { amount_received: 2050, [field]: value }))).toEqual({
      kind: 'unexpected',
      status: 'succeeded',
      reason: `is succeeded without a readable ${field}`,
    });
  });

  test('without a status is in an unknown one', () => {
    expect(outcomeOf(intent(undefined as never))).toMatchObject({ kind: 'unexpected', status: 'undefined' });
  });

  test('that is processing, or not confirmed, has taken no money yet', () => {
    expect(outcomeOf(intent('processing'))).toEqual({ kind: 'processing' });
    expect(outcomeOf(intent('requires_confirmation'))).toEqual({ kind: 'unconfirmed' });
  });

  test('whose card was refused is declined, with every code that Stripe gives', () => {
    const error = {
      code: 'card_declined',
      decline_code: 'lost_card',
      advice_code: 'do_not_try_again',
      network_advice_code: '03',
      network_decline_code: '41',
      message: 'Your card was declined.',
    };
    expect(outcomeOf(intent('requires_payment_method', { last_payment_error: error }))).toEqual({
      kind: 'declined',
      failure: {
        code: 'card_declined',
        declineCode: 'lost_card',
        adviceCode: 'do_not_try_again',
        networkAdviceCode: '03',
        networkDeclineCode: '41',
        message: 'Your card was declined.',
      },
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
      failure: {
        code,
        declineCode: null,
        adviceCode: null,
        networkAdviceCode: null,
        networkDeclineCode: null,
        message: `Stripe gives no reason (${code})`,
      },
    });
  });

  test('is a success in no other status, known today or not', () => {
    const known = ['succeeded', 'processing', 'requires_confirmation', 'requires_action', 'requires_payment_method', 'canceled'];
    const statuses = fc.oneof(fc.constantFrom('requires_capture', 'SUCCEEDED', 'succeeded ', '', 'toString'), fc.string());
    fc.assert(
      fc.property(statuses, (status) => {
        fc.pre(!known.includes(status));
        const reason = `is in the unknown status "${status}"`;
        expect(outcomeOf(intent(status, { amount_received: 2050 }))).toEqual({ kind: 'unexpected', status, reason });
      }),
    );
  });
});

import { describe, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { ofDispute, ofRefund } from '../../../src/payments/returned-money.ts';

const refund = (status: string | null, fields: object = {}) =>
  ofRefund({ id: 're_1', amount: 500, currency: 'usd', metadata: {}, status, ...fields } as unknown as Stripe.Refund);
const dispute = (status: string) => ofDispute({ id: 'du_1', amount: 2050, currency: 'eur', status } as unknown as Stripe.Dispute);

describe('a refund', () => {
  test.each([
    ['succeeded', { outcome: 'succeeded', isGone: true, isFinal: true }],
    ['pending', { outcome: 'pending', isGone: true, isFinal: false }],
    ['requires_action', { outcome: 'pending', isGone: true, isFinal: false }],
    ['failed', { outcome: 'failed', isGone: false, isFinal: true }],
    ['canceled', { outcome: 'failed', isGone: false, isFinal: true }],
    ['levitating', { outcome: 'unexpected', isGone: true, isFinal: true }],
    [null, { outcome: 'unexpected', isGone: true, isFinal: true }],
  ])('that is %s', (status, meaning) => {
    expect(refund(status)).toMatchObject({
      id: 're_1',
      kind: 'refund',
      amountMinor: 500,
      currency: 'usd',
      isInquiry: false,
      status: String(status),
      ...meaning,
    });
  });

  test.each([undefined, null, '500', 0, -1, 0.5])('whose amount is %j is none that has succeeded: a person looks', (amount) => {
    expect(refund('succeeded', { amount })).toMatchObject({
      outcome: 'unexpected',
      isGone: true,
      amountMinor: 0,
      status: 'succeeded without a readable amount',
    });
  });

  test('names the recharge that asked for it, if one did, and why it failed', () => {
    const ours = { metadata: { recharge_id: 'rch_1' }, failure_reason: 'lost_or_stolen_card' };
    expect(refund('failed', ours)).toMatchObject({ rechargeId: 'rch_1', failureReason: 'lost_or_stolen_card' });
    expect(refund('failed')).toMatchObject({ rechargeId: null, failureReason: null });
    expect(refund('failed', { metadata: null })).toMatchObject({ rechargeId: null });
  });
});

describe('a dispute', () => {
  test.each([
    ['needs_response', { isGone: true, isFinal: false, isInquiry: false }],
    ['under_review', { isGone: true, isFinal: false, isInquiry: false }],
    ['won', { isGone: false, isFinal: true, isInquiry: false }],
    ['lost', { isGone: true, isFinal: true, isInquiry: false }],
    ['prevented', { isGone: true, isFinal: true, isInquiry: false }],
    ['warning_needs_response', { isGone: false, isFinal: false, isInquiry: true }],
    ['warning_under_review', { isGone: false, isFinal: false, isInquiry: true }],
    ['warning_closed', { isGone: false, isFinal: true, isInquiry: true }],
    ['levitating', { isGone: true, isFinal: false, isInquiry: false }],
  ])('that is %s', (status, meaning) => {
    const given = { id: 'du_1', kind: 'dispute', amountMinor: 2050, currency: 'eur', reason: null, rechargeId: null };
    expect(dispute(status)).toEqual({ ...given, ...meaning });
  });

  test("says why, in Stripe's word", () => {
    expect(ofDispute({ id: 'du_1', reason: 'fraudulent' } as unknown as Stripe.Dispute)).toMatchObject({ reason: 'fraudulent' });
  });

  test('without a status or an amount has taken the money, nobody knows how much', () => {
    expect(ofDispute({ id: 'du_1' } as unknown as Stripe.Dispute)).toMatchObject({ isGone: true, isFinal: false, amountMinor: 0 });
  });
});

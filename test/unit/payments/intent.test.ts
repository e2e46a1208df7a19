import { describe, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { currency, minorUnits, parseQuota } from '../../../src/domain/money.ts';
import { type ChargeOrder, metadataOf, metadataOfWrite, ofIntent, readWrite } from '../../../src/payments/intent.ts';

const ORDER: ChargeOrder = {
  id: 'rch_1',
  eventId: 'evt_1',
  organizationId: 'acme',
  litellmTeamId: 'acme-team',
  stripeCustomerId: 'cus_1',
  amountMinor: minorUnits(2050),
  currency: currency('usd'),
  quotaGranted: parseQuota('20.50'),
  quotaBefore: parseQuota('10'),
  balanceSeen: parseQuota('-0.50'),
  keysSpent: 0,
};

const intent = (fields: object) =>
  ofIntent({
    id: 'pi_1',
    status: 'requires_confirmation',
    amount: 2050,
    currency: 'usd',
    customer: 'cus_1',
    ...fields,
  } as Stripe.PaymentIntent);

test('an intent is read in our own words', () => {
  expect(intent({ metadata: {} })).toEqual({
    id: 'pi_1',
    outcome: { kind: 'unconfirmed' },
    isCanceled: false,
    reachedNetwork: false,
    status: 'requires_confirmation',
    amountMinor: 2050,
    currency: 'usd',
    customerId: 'cus_1',
    metadata: null,
  });
  expect(intent({ status: 'canceled' })).toMatchObject({ isCanceled: true, status: 'canceled' });
  expect(intent({ customer: { id: 'cus_1' } })).toMatchObject({ customerId: 'cus_1' });
  expect(intent({ customer: null })).toMatchObject({ customerId: null });
  expect(intent({ amount: undefined, currency: null })).toMatchObject({ amountMinor: null, currency: null });
});

describe('what an intent remembers of its recharge', () => {
  test('is all that is needed to enter the recharge again', () => {
    expect(intent({ metadata: metadataOf(ORDER, 'ins_1') }).metadata).toEqual({
      installation: 'ins_1',
      rechargeId: 'rch_1',
      eventId: 'evt_1',
      organizationId: 'acme',
      litellmTeamId: 'acme-team',
      quota: parseQuota('20.50'),
      quotaBefore: parseQuota('10'),
      balance: parseQuota('-0.50'),
    });
  });

  test.each([null, undefined])('has no budget from before where the order has %s', (quotaBefore) => {
    const metadata = metadataOf({ ...ORDER, quotaBefore }, 'ins_1');
    expect(metadata).toMatchObject({ quota_before: '' });
    expect(intent({ metadata }).metadata).toMatchObject({ quota: parseQuota('20.50'), quotaBefore: null });
  });

  test('that somebody has edited is not known where it cannot be read', () => {
    const metadata = { recharge_id: 'rch_1', quota: 'twenty', balance: '' };
    expect(intent({ metadata }).metadata).toEqual({
      installation: null,
      rechargeId: 'rch_1',
      eventId: '',
      organizationId: '',
      litellmTeamId: '',
      quota: null,
      quotaBefore: null,
      balance: null,
    });
  });

  test.each([{}, { recharge_id: '' }, { order: '7' }])('is nothing where it names no recharge: %j', (metadata) => {
    expect(intent({ metadata }).metadata).toBeNull();
  });
});

describe('a write of the budget that an intent remembers', () => {
  const WRITE = { before: parseQuota('30.5'), after: parseQuota('10.000001'), upon: 'rch_1' };

  test('is read as it was noted, under a key that Stripe takes', () => {
    // The longest that there are: a dispute that has come for the hundredth time.
    const id = 'du_1ABCDEFGHIJKLMNOPQRSTUVWX.100';
    const metadata = metadataOfWrite(id, 'take', WRITE) as Stripe.Metadata;
    expect(Object.keys(metadata).join().length).toBeLessThanOrEqual(40);
    expect(readWrite(metadata, id, 'take')).toEqual(WRITE);
  });

  test('is that of one reversal and one direction', () => {
    const metadata = metadataOfWrite('du_1', 'take', WRITE) as Stripe.Metadata;
    expect(readWrite(metadata, 'du_1', 'give')).toBeUndefined();
    expect(readWrite(metadata, 'du_1.2', 'take')).toBeUndefined();
  });

  test('of an organization whose quota nothing has moved is upon nothing', () => {
    const write = { ...WRITE, upon: '' };
    expect(readWrite(metadataOfWrite('du_1', 'take', write) as Stripe.Metadata, 'du_1', 'take')).toEqual(write);
  });

  test.each(['', '30.50', 'much 10.00 rch_1', '30.50 little rch_1'])('that was edited to %j is none', (note) => {
    expect(readWrite({ 'take/du_1': note }, 'du_1', 'take')).toBeUndefined();
  });
});

test.each([
  ['a charge that Stripe blocked', { outcome: { network_status: 'not_sent_to_network' } }, false],
  ['a charge that the bank declined', { outcome: { network_status: 'declined_by_network' } }, true],
  ['a charge that is not expanded', 'ch_1', true],
  ['an error without a charge', null, true, { code: 'card_declined' }],
  ['neither charge nor error', null, false],
])('whether the network was asked: %s', (_, latest_charge, asked, last_payment_error: object | null = null) => {
  const intent = { id: 'pi_1', status: 'requires_payment_method', last_payment_error, metadata: {}, latest_charge };
  expect(ofIntent(intent as unknown as Parameters<typeof ofIntent>[0]).reachedNetwork).toBe(asked);
});

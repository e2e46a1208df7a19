/** Whatever happens to our calls to Stripe: one charge and its quota, or neither. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { DECLINED, NEEDS_ATTENTION, RECHARGED, UNTOUCHED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { CONFIRM, CREATE_INTENT, HOLD, READ_INTENT, RESET } from '../support/faults.ts';
import { failedAttempts } from '../support/runs.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(async () => {
  await world.clearFaults();
  await world.revokeStripeKey(false);
});
afterAll(() => world.close());

const RATE_LIMIT = { error: { type: 'invalid_request_error', code: 'rate_limit', message: 'slow down' } };
const API_ERROR = { error: { type: 'api_error', message: 'An unknown error occurred' } };

/** Without an `error`, stripe-node takes it for an answer of Stripe's. */
const GATEWAY = { message: 'Service Unavailable' };

/** `times: 2` where stripe-node itself sends once more, under the same key, after a closed connection. */
const TRANSIENT_FAULTS: [string, FaultRequest][] = [
  ['case 19: the answer to the confirm is lost after the capture', { ...CONFIRM, when: 'after', times: 2, action: RESET }],
  ['case 20: the connection is reset before the confirm arrives', { ...CONFIRM, when: 'before', times: 2, action: RESET }],
  ['case 20: the connection is reset before the intent is created', { ...CREATE_INTENT, when: 'before', times: 2, action: RESET }],
  ['case 20: the answer to the creation is lost', { ...CREATE_INTENT, when: 'after', times: 2, action: RESET }],
  ['case 21: headers, then the connection drops in the body', { ...CONFIRM, when: 'after', action: { kind: 'cut_body' } }],
  [
    'case 22: 200 with HTML after the capture',
    { ...CONFIRM, when: 'after', action: { kind: 'respond', status: 200, body: '<html>hello</html>' } },
  ],
  [
    'case 23: a saved 500 although the charge succeeded',
    { ...CONFIRM, when: 'after', saved: true, action: { kind: 'respond', status: 500 } },
  ],
  ['case 24: a saved 500 and nothing charged', { ...CONFIRM, when: 'before', saved: true, action: { kind: 'respond', status: 500 } }],
  ['case 24: a saved 500 to the creation', { ...CREATE_INTENT, when: 'before', saved: true, action: { kind: 'respond', status: 500 } }],
  [
    "case 22: a gateway's own 503 in JSON after the capture, and again when the intent is read",
    { path: '/v1/payment_intents/**', when: 'after', times: 3, action: { kind: 'respond', status: 503, body: GATEWAY } },
  ],
  [
    "case 22: a gateway's own 503 in JSON to the creation",
    { ...CREATE_INTENT, when: 'after', action: { kind: 'respond', status: 503, body: GATEWAY } },
  ],
  [
    'case 26: 409 idempotency_key_in_use',
    {
      ...CONFIRM,
      when: 'before',
      action: {
        kind: 'respond',
        status: 409,
        body: { error: { type: 'idempotency_error', code: 'idempotency_key_in_use', message: 'in use' } },
      },
    },
  ],
  [
    'case 27: 429 at first',
    {
      ...CONFIRM,
      when: 'before',
      times: 2,
      action: {
        kind: 'respond',
        status: 429,
        body: RATE_LIMIT,
      },
    },
  ],
  [
    'case 28: lock_timeout on the intent',
    {
      ...CONFIRM,
      when: 'before',
      action: { kind: 'respond', status: 429, body: { error: { type: 'invalid_request_error', code: 'lock_timeout', message: 'locked' } } },
    },
  ],
  [
    'case 28: Stripe-Should-Retry: false on a 500, though another attempt is right',
    {
      ...CONFIRM,
      when: 'before',
      action: { kind: 'respond', status: 500, body: API_ERROR, headers: { 'Stripe-Should-Retry': 'false' } },
    },
  ],
  [
    'case 28: Stripe-Should-Retry: true on a 500 after the capture',
    { ...CONFIRM, when: 'after', action: { kind: 'respond', status: 500, body: API_ERROR, headers: { 'Stripe-Should-Retry': 'true' } } },
  ],
  [
    'the customer cannot be read for a while',
    { path: '/v1/customers/*', times: 2, action: { kind: 'respond', status: 500, body: API_ERROR } },
  ],
];

describe('a fault that passes ends with one charge and the quota raised', () => {
  test.each(TRANSIENT_FAULTS)('%s', async (_name, fault) => {
    const organization = await world.organization();
    const standing = await world.stripeFault(fault);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await standing.strikes()).toBe(fault.times ?? 1);
    await expectChargedOnce(world, organization);
  });

  test.each<[string, number, object]>([
    ['case 27: 429 again and again when the outcome is asked for after a lost answer', 429, RATE_LIMIT],
    ['the intent cannot be read for a while after a lost answer', 503, API_ERROR],
  ])('%s', async (_name, status, body) => {
    const organization = await world.organization();
    await world.stripeFault({ ...CONFIRM, when: 'after', times: 2, action: RESET });
    await world.stripeFault({ ...READ_INTENT, times: 3, action: { kind: 'respond', status, body } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.strikes()).toBe(5);
    await expectChargedOnce(world, organization);
  });

  test('case 21: headers, then silence: our own deadline ends the wait and the intent is read', async () => {
    const organization = await world.organization();
    await world.stripeFault({ ...CONFIRM, when: 'after', action: { kind: 'hang', after_headers: true } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('case 25: the idempotency keys are pruned while the answer to the confirm is outstanding', async () => {
    const organization = await world.organization();
    await world.stripeFault({ ...CONFIRM, when: 'after', times: 2, action: RESET });
    const held = await world.stripeFault({ ...READ_INTENT, action: HOLD });
    const eventId = await world.accepted(organization);
    await held.struck();
    expect((await world.books(organization)).charges).toBe(1);
    await world.stripeKnob('idempotency/prune');
    await held.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('case 37: a revoked key is no storm, and the recharge resumes when the key works again', async () => {
    const organization = await world.organization();
    await world.revokeStripeKey(true);
    const fourth = await world.stripeFault({ method: 'GET', path: '/v1/payment_intents', skip: 3, action: HOLD });
    const eventId = await world.accepted(organization);
    const { type, failures, pauseMs } = await failedAttempts(await world.runOf(eventId));
    expect({ type, pauseMs }).toEqual({ type: FAILURE.stripeKeyRefused, pauseMs: 1_000 * 2 ** (failures - 1) });
    await fourth.struck();
    expect(await refusedCalls()).toBe(3);
    await world.revokeStripeKey(false);
    await fourth.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  /** How often Stripe has answered 401 when it was asked for the customer's payments: once for each attempt. */
  async function refusedCalls(): Promise<number> {
    return (await world.stripeState()).requests.filter(({ status, path }) => status === 401 && path === '/v1/payment_intents').length;
  }
});

describe('a card that is refused gets no quota and is not tried again by the same run', () => {
  test.each([
    ['chargeDeclined', 'card_declined', 'generic_decline'],
    ['chargeDeclinedInsufficientFunds', 'card_declined', 'insufficient_funds'],
    ['chargeDeclinedLostCard', 'card_declined', 'lost_card'],
    ['chargeDeclinedStolenCard', 'card_declined', 'stolen_card'],
    ['chargeDeclinedFraudulent', 'card_declined', 'fraudulent'],
    ['chargeDeclinedVelocityLimitExceeded', 'card_declined', 'card_velocity_exceeded'],
    ['chargeDeclinedExpiredCard', 'expired_card', 'expired_card'],
    ['chargeDeclinedIncorrectCvc', 'incorrect_cvc', 'incorrect_cvc'],
    ['chargeDeclinedProcessingError', 'processing_error', 'processing_error'],
  ])('case 30: pm_card_%s is declined with %s/%s on record, after one attempt', async (card, code, declineCode) => {
    const organization = await world.organization();
    const [saved] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
    await world.stripeKnob(`payment_methods/${saved?.id}`, { behaves_like: `pm_card_${card}` });
    expect(await world.alerted(organization)).toEqual(DECLINED);
    const recharge = await world.rechargeOf(organization);
    expect(recharge.failure).toMatchObject({ code, decline_code: declineCode });
    expect((await world.stripe.charges.list({ payment_intent: recharge.payment_intent_id })).data).toHaveLength(1);
    await expectUncharged(world, organization);
  });

  test('case 30: a decline is recorded with its codes, and its intent cannot be confirmed any more', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    expect(await world.alerted(organization)).toEqual(DECLINED);
    const recharge = await world.rechargeOf(organization);
    expect(recharge).toMatchObject({ status: 'declined', failure: { code: 'card_declined', decline_code: 'generic_decline' } });
    const intent = await world.stripe.paymentIntents.retrieve(recharge.payment_intent_id);
    expect(intent.status).toBe('canceled');
    expect((await world.stripe.charges.list({ payment_intent: intent.id })).data).toHaveLength(1);
    await expectUncharged(world, organization);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
  });

  test('case 32: authentication_required is parked as action_required', async () => {
    const organization = await world.organization({ card: 'pm_card_authenticationRequired' });
    expect(await world.alerted(organization)).toEqual(unsuccessful('action_required'));
    await expectUncharged(world, organization);
  });

  test('case 33: a bank debit gets its quota when it has settled, not before', async () => {
    const organization = await world.organization({ card: 'pm_usBankAccount' });
    const { eventId, intentId } = await world.rechargeIs(await world.accepted(organization), 'processing');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await world.stripeKnob(`payment_intents/${intentId}/settle`, { outcome: 'succeeded' });
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('case 34: a customer without a card, and one that is deleted, are refused with a reason to act on, and count as no attempt', async () => {
    const [cardless, deleted] = [await world.organization(), await world.organization()];
    const [card] = (await world.stripe.customers.listPaymentMethods(cardless.customerId)).data;
    await world.stripe.paymentMethods.detach(card?.id ?? '');
    await world.stripe.customers.del(deleted.customerId);
    for (const [organization, code] of [
      [cardless, 'no_payment_method'],
      [deleted, 'customer_missing'],
    ] as const) {
      expect(await world.alerted(organization)).toEqual(unsuccessful(code));
      expect(await world.rechargeOf(organization)).toMatchObject({ status: 'cancelled', failure: { code } });
    }
  });

  test("case 34: another customer's card as the default is refused, and that customer is not charged", async () => {
    const [organization, stranger] = [await world.organization(), await world.organization()];
    const [foreign] = (await world.stripe.customers.listPaymentMethods(stranger.customerId)).data;
    // Stripe refuses such a default itself; one that was moved in a migration of accounts may be left.
    const customer = await world.stripe.customers.retrieve(organization.customerId);
    const invoice_settings = { default_payment_method: foreign?.id };
    await world.stripeFault({
      path: `/v1/customers/${organization.customerId}`,
      action: { kind: 'respond', status: 200, body: { ...customer, invoice_settings } },
    });
    expect(await world.alerted(organization)).toEqual(unsuccessful('no_payment_method'));
    expect([await world.books(organization), await world.books(stranger)]).toEqual([UNTOUCHED, UNTOUCHED]);
  });

  test('case 36: an intent in a status that nobody knows is left to a person', async () => {
    const organization = await world.organization();
    await world.stripeFault({
      ...CONFIRM,
      when: 'before',
      action: { kind: 'respond', status: 200, body: { id: 'pi_1', object: 'payment_intent', status: 'requires_telepathy' } },
    });
    expect(await world.alerted(organization)).toEqual(NEEDS_ATTENTION);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
  });
});

test('case 29: settings edited while the charge is in flight do not change its amount', async () => {
  const organization = await world.organization();
  const held = await world.stripeFault({ ...CONFIRM, action: HOLD });
  const eventId = await world.accepted(organization);
  await held.struck();
  await world.admin.patch(`/api/v1/organizations/${organization.id}`, { target_balance: '500.00', quota_per_unit: '9.00' });
  await held.remove();
  expect(await world.closed(eventId)).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
});

describe('case 35: the amount is one that Stripe takes, and the quota is what it buys', () => {
  test.each<[string, object, number, number, number]>([
    // 10.00 spent to the last cent: what is missing is worth a tenth of the minimum charge.
    ['below the minimum charge it is the minimum', { minimum: '0.00', target: '0.05', spend: 10 }, 50, 0.5, 10.5],
    ['a zero-decimal currency counts whole units', { settings: { currency: 'jpy', quota_per_unit: '0.0065' } }, 3154, 20.501, 30.501],
    ['a three-decimal currency counts in tens', { settings: { currency: 'kwd', quota_per_unit: '3.25' } }, 6310, 20.5075, 30.5075],
  ])('%s', async (_name, wish, amount, bought, budget) => {
    const organization = await world.organization(wish);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.accounts(organization)).toMatchObject({ captured: amount, granted: amount, prepaid: 0, quota: bought });
    expect(await world.budgetOf(organization.teamId)).toBe(budget);
  });

  test('case 70: below a minimum that only Stripe knows: Stripe refuses the request, which is left to a person, and nothing is charged', async () => {
    const organization = await world.organization({
      minimum: '0.00',
      target: '0.01',
      spend: 10,
      settings: { currency: 'eur', quota_per_unit: '1' },
    });
    expect(await world.alerted(organization)).toEqual(NEEDS_ATTENTION);
    expect((await world.rechargeOf(organization)).failure?.code).toBe('amount_too_small');
    await expectUncharged(world, organization);
  });
});

/** Whatever happens to our calls to Stripe: one charge and its quota, or neither. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const UNTOUCHED = { charges: 0, captured: 0, refunded: 0, granted: 0, prepaid: 0 };

let world: World;
beforeAll(async () => {
  world = await World.start();
}, 60_000);
afterAll(() => world.close());

const CREATE = '/v1/payment_intents';
const CONFIRM = '/v1/payment_intents/*/confirm';
const API_ERROR = { error: { type: 'api_error', message: 'An unknown error occurred' } };

/** Without an `error`, stripe-node takes it for an answer of Stripe's. */
const GATEWAY = { message: 'Service Unavailable' };

/** `times: 2` where stripe-node itself sends once more, under the same key, after a closed connection. */
const TRANSIENT_FAULTS: [string, FaultRequest][] = [
  ['case 19: the answer to the confirm is lost after the capture', { path: CONFIRM, when: 'after', times: 2, action: { kind: 'reset' } }],
  ['case 20: the connection is reset before the confirm arrives', { path: CONFIRM, when: 'before', times: 2, action: { kind: 'reset' } }],
  ['case 20: the connection is reset before the intent is created', { path: CREATE, when: 'before', times: 2, action: { kind: 'reset' } }],
  ['case 20: the answer to the creation is lost', { path: CREATE, when: 'after', times: 2, action: { kind: 'reset' } }],
  ['case 21: headers, then the connection drops in the body', { path: CONFIRM, when: 'after', times: 2, action: { kind: 'cut_body' } }],
  [
    'case 22: 200 with HTML after the capture',
    { path: CONFIRM, when: 'after', action: { kind: 'respond', status: 200, body: '<html>hello</html>' } },
  ],
  [
    'case 23: a saved 500 although the charge succeeded',
    { path: CONFIRM, when: 'after', saved: true, action: { kind: 'respond', status: 500 } },
  ],
  ['case 24: a saved 500 and nothing charged', { path: CONFIRM, when: 'before', saved: true, action: { kind: 'respond', status: 500 } }],
  ['case 24: a saved 500 to the creation', { path: CREATE, when: 'before', saved: true, action: { kind: 'respond', status: 500 } }],
  [
    "case 22: a gateway's own 503 in JSON after the capture, and again when the intent is read",
    { path: '/v1/payment_intents/**', when: 'after', times: 3, action: { kind: 'respond', status: 503, body: GATEWAY } },
  ],
  [
    "case 22: a gateway's own 503 in JSON to the creation",
    { path: CREATE, when: 'after', action: { kind: 'respond', status: 503, body: GATEWAY } },
  ],
  [
    'case 26: 409 idempotency_key_in_use',
    {
      path: CONFIRM,
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
      path: CONFIRM,
      when: 'before',
      times: 2,
      action: {
        kind: 'respond',
        status: 429,
        body: { error: { type: 'invalid_request_error', code: 'rate_limit', message: 'slow down' } },
      },
    },
  ],
  [
    'case 28: lock_timeout on the intent',
    {
      path: CONFIRM,
      when: 'before',
      action: { kind: 'respond', status: 429, body: { error: { type: 'invalid_request_error', code: 'lock_timeout', message: 'locked' } } },
    },
  ],
  [
    'case 28: Stripe-Should-Retry: false on a 500, though another attempt is right',
    {
      path: CONFIRM,
      when: 'before',
      action: { kind: 'respond', status: 500, body: API_ERROR, headers: { 'Stripe-Should-Retry': 'false' } },
    },
  ],
  [
    'case 28: Stripe-Should-Retry: true on a 500 after the capture',
    { path: CONFIRM, when: 'after', action: { kind: 'respond', status: 500, body: API_ERROR, headers: { 'Stripe-Should-Retry': 'true' } } },
  ],
  [
    'the intent cannot be read for a while',
    { method: 'GET', path: '/v1/payment_intents/*', times: 3, action: { kind: 'respond', status: 503, body: API_ERROR } },
  ],
  [
    'the customer cannot be read for a while',
    { path: '/v1/customers/*', times: 2, action: { kind: 'respond', status: 500, body: API_ERROR } },
  ],
];

describe('a fault that passes ends with one charge and the quota raised', () => {
  test.each(TRANSIENT_FAULTS)(
    '%s',
    async (_name, fault) => {
      const organization = await world.organization();
      await world.stripeFault(fault);
      const { data } = await world.alert(organization.teamId);
      expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
      expect(await world.budgetOf(organization.teamId)).toBe(30.5);
      expect(await world.books(organization)).toEqual(CHARGED_ONCE);
      await world.clearFaults();
    },
    60_000,
  );

  test('case 27: 429 again and again when the outcome is asked for after a lost answer', async () => {
    const organization = await world.organization();
    const slowDown = {
      kind: 'respond',
      status: 429,
      body: { error: { type: 'invalid_request_error', code: 'rate_limit', message: 'slow' } },
    } as const;
    await world.stripeFault({ path: CONFIRM, when: 'after', times: 2, action: { kind: 'reset' } });
    await world.stripeFault({ method: 'GET', path: '/v1/payment_intents/*', times: 3, action: slowDown });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.strikes()).toBeGreaterThanOrEqual(4);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    await world.clearFaults();
  }, 60_000);

  test('case 21: headers, then silence: our own deadline ends the wait and the intent is read', async () => {
    const organization = await world.organization();
    await world.stripeFault({ path: CONFIRM, when: 'after', action: { kind: 'hang', after_headers: true } });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id, 60_000)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 90_000);

  test('case 25: the idempotency keys are pruned while the answer to the confirm is outstanding', async () => {
    const organization = await world.organization();
    await world.stripeFault({ path: CONFIRM, when: 'after', times: 2, action: { kind: 'reset' } });
    await world.stripeFault({
      method: 'GET',
      path: '/v1/payment_intents/*',
      times: 2,
      action: { kind: 'respond', status: 503, body: API_ERROR },
    });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.books(organization)).charges === 1, 'the card is charged');
    await axios.post(`${world.stripeUrl}/_sandbox/idempotency/prune`);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 37: a revoked key is no storm, and the recharge resumes when the key works again', async () => {
    const organization = await world.organization();
    await axios.post(`${world.stripeUrl}/_sandbox/keys`, { revoked: [world.config.stripe.secretKey] });
    const { data } = await world.alert(organization.teamId);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const { data: state } = await axios.get(`${world.stripeUrl}/_sandbox/state`);
    expect(state.requests.filter(({ status }: { status: number }) => status === 401).length).toBeLessThanOrEqual(4);
    await axios.post(`${world.stripeUrl}/_sandbox/keys`, { revoked: [] });
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);
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
  ])(
    'case 30: pm_card_%s is declined with %s/%s on record, after one attempt',
    async (card, code, declineCode) => {
      const organization = await world.organization();
      const [saved] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
      await world.stripeKnob(`payment_methods/${saved?.id}`, { behaves_like: `pm_card_${card}` });
      const { data } = await world.alert(organization.teamId);
      expect(await world.closed(data.event_id)).toEqual({ outcome: 'declined', success: false });
      const [recharge] = (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data;
      expect(recharge.failure).toMatchObject({ code, decline_code: declineCode });
      expect((await world.stripe.charges.list({ payment_intent: recharge.payment_intent_id })).data).toHaveLength(1);
      expect(await world.books(organization)).toEqual(UNTOUCHED);
    },
    60_000,
  );

  test('case 30: a decline is recorded with its codes, and its intent cannot be confirmed any more', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'declined', success: false });
    const [recharge] = (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data;
    expect(recharge).toMatchObject({ status: 'declined', failure: { code: 'card_declined', decline_code: 'generic_decline' } });
    const intent = await world.stripe.paymentIntents.retrieve(recharge.payment_intent_id);
    expect(intent.status).toBe('canceled');
    expect((await world.stripe.charges.list({ payment_intent: intent.id })).data).toHaveLength(1);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
  }, 60_000);

  test('case 32: authentication_required is parked as action_required', async () => {
    const organization = await world.organization({ card: 'pm_card_authenticationRequired' });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'action_required', success: false });
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  }, 60_000);

  test('case 33: a bank debit gets its quota when it has settled, not before', async () => {
    const organization = await world.organization({ card: 'pm_usBankAccount' });
    const { data } = await world.alert(organization.teamId);
    const intentId = await world.eventually(async () => {
      const { rows } = await world.sql.query("select payment_intent_id from recharge where event_id = $1 and status = 'processing'", [
        data.event_id,
      ]);
      return rows[0]?.payment_intent_id as string;
    }, 'the recharge is processing');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await axios.post(`${world.stripeUrl}/_sandbox/payment_intents/${intentId}/settle`, { outcome: 'succeeded' });
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 34: a customer without a card, and one that is deleted, are declined with a reason to act on', async () => {
    const [cardless, deleted] = [await world.organization(), await world.organization()];
    const [card] = (await world.stripe.customers.listPaymentMethods(cardless.customerId)).data;
    await world.stripe.paymentMethods.detach(card?.id ?? '');
    await world.stripe.customers.del(deleted.customerId);
    for (const [organization, code] of [
      [cardless, 'no_payment_method'],
      [deleted, 'customer_deleted'],
    ] as const) {
      const { data } = await world.alert(organization.teamId);
      expect(await world.closed(data.event_id)).toEqual({ outcome: 'declined', success: false });
      const [recharge] = (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data;
      expect(recharge.failure.code).toBe(code);
    }
  }, 60_000);

  test("case 34: another customer's card as the default is declined, and that customer is not charged", async () => {
    const [organization, stranger] = [await world.organization(), await world.organization()];
    const [foreign] = (await world.stripe.customers.listPaymentMethods(stranger.customerId)).data;
    // Stripe refuses such a default itself; one that was moved in a migration of accounts may be left.
    const customer = await world.stripe.customers.retrieve(organization.customerId);
    const invoice_settings = { default_payment_method: foreign?.id };
    await world.stripeFault({
      path: `/v1/customers/${organization.customerId}`,
      action: { kind: 'respond', status: 200, body: { ...customer, invoice_settings } },
    });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'declined', success: false });
    expect([await world.books(organization), await world.books(stranger)]).toEqual([UNTOUCHED, UNTOUCHED]);
    await world.clearFaults();
  }, 60_000);

  test('case 36: an intent in a status that nobody knows is left to a person', async () => {
    const organization = await world.organization();
    await world.stripeFault({
      path: CONFIRM,
      when: 'before',
      action: { kind: 'respond', status: 200, body: { id: 'pi_1', object: 'payment_intent', status: 'requires_telepathy' } },
    });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'needs_attention', success: false });
    expect(await world.budgetOf(organization.teamId)).toBe(10);
  }, 60_000);
});

test('case 29: settings edited while the charge is in flight do not change its amount', async () => {
  const organization = await world.organization();
  await world.stripeFault({ path: CONFIRM, when: 'before', action: { kind: 'delay', ms: 1_500 } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(
    async () => (await world.sql.query("select 1 from recharge where event_id = $1 and status = 'charging'", [data.event_id])).rows[0],
    'charging',
  );
  await world.admin.patch(`/api/v1/organizations/${organization.id}`, { target_balance: '500.00', quota_per_unit: '9.00' });
  expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 60_000);

describe('case 35: the amount is one that Stripe takes, and the quota is what it buys', () => {
  test.each<[string, object, number, number, number]>([
    // 10.00 spent to the last cent: what is missing is worth a tenth of the minimum charge.
    ['below the minimum charge it is the minimum', { minimum: '0.00', target: '0.05', spend: 10 }, 50, 0.5, 10.5],
    ['a zero-decimal currency counts whole units', { settings: { currency: 'jpy', quota_per_unit: '0.0065' } }, 3154, 20.501, 30.501],
    ['a three-decimal currency counts in tens', { settings: { currency: 'kwd', quota_per_unit: '3.25' } }, 6310, 20.5075, 30.5075],
  ])(
    '%s',
    async (_name, wish, amount, bought, budget) => {
      const organization = await world.organization(wish);
      const { data } = await world.alert(organization.teamId);
      expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
      expect(await world.accounts(organization)).toMatchObject({ captured: amount, granted: amount, prepaid: 0, quota: bought });
      expect(await world.budgetOf(organization.teamId)).toBe(budget);
    },
    60_000,
  );

  test('below a minimum that only Stripe knows: declined as amount_too_small, and nothing is charged', async () => {
    const organization = await world.organization({ minimum: '0.00', target: '0.01', spend: 10, settings: { currency: 'eur' } });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'declined', success: false });
    const [recharge] = (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data;
    expect(recharge.failure.code).toBe('amount_too_small');
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  }, 60_000);
});

/** Two things at once, or one thing half known: what a review of the money path broke, and must not break again. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Client } from '@temporalio/client';
import axios from 'axios';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { openClient } from '../../src/temporal/connection.ts';
import { rechargeWorkflowId } from '../../src/temporal/starter.ts';
import { type Organization, World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const UNTOUCHED = { charges: 0, captured: 0, refunded: 0, granted: 0, prepaid: 0 };
const RECHARGED = { outcome: 'recharged', success: true };
const CANCELLED = { outcome: 'cancelled', success: false };

const READ = { method: 'GET', path: '/team/info' } as const;
const WRITE = { method: 'POST', path: '/team/update' } as const;
const CANCEL = '/v1/payment_intents/*/cancel';

const forbidden = { kind: 'respond', status: 403, body: { error: { message: 'forbidden' } } } as const;
const invalid = { kind: 'respond', status: 400, body: { error: { message: 'invalid' } } } as const;
const nothingHere = { kind: 'respond', status: 404, body: '404 page not found' } as const;
const away = { kind: 'respond', status: 503, body: {} } as const;

let world: World;
let temporal: Client;
beforeAll(async () => {
  world = await World.start();
  temporal = openClient(world.config.temporal);
}, 60_000);
afterEach(async () => {
  await world.clearFaults();
  await revokeStripeKey(false);
});
afterAll(async () => {
  await temporal.connection.close();
  await world.close();
});

describe('a refusal that the budget itself does not confirm refunds nothing, and the quota is raised once', () => {
  /** The balance is read once to decide and once before the write: what is to strike afterwards lets two reads through. */
  const BEFORE_WRITE = 2;

  test.each<[string, FaultRequest[]]>([
    ['the write is made and answered 400', [{ ...WRITE, when: 'after', action: invalid }]],
    ['the write is made and answered 403', [{ ...WRITE, when: 'after', action: forbidden }]],
    [
      'the write is made, its answer lost, and the next look at it is 403',
      [
        { ...WRITE, when: 'after', action: { kind: 'reset' } },
        { ...READ, skip: BEFORE_WRITE, action: forbidden },
      ],
    ],
    [
      'the write is made and answered 403, and so is the look at it',
      [
        { ...WRITE, when: 'after', action: forbidden },
        { ...READ, skip: BEFORE_WRITE, action: forbidden },
      ],
    ],
    [
      'the write is made, its answer lost, and then an ingress answers 404 to everything for a while',
      [
        { ...WRITE, when: 'after', action: { kind: 'reset' } },
        { path: '**', skip: BEFORE_WRITE, times: 2, action: nothingHere },
      ],
    ],
    [
      'the write does not arrive, and then an ingress answers 404 to everything for a while',
      [
        { ...WRITE, when: 'before', action: { kind: 'reset' } },
        { path: '**', skip: BEFORE_WRITE, times: 2, action: nothingHere },
      ],
    ],
  ])(
    '%s',
    async (_name, faults) => {
      const organization = await world.organization();
      for (const fault of faults) await world.kmsFault(fault);
      const { data } = await world.alert(organization.teamId);
      expect(await world.closed(data.event_id)).toEqual(RECHARGED);
      expect(await world.strikes()).toBe(faults.reduce((sum, { times = 1 }) => sum + times, 0));
      expect(await world.budgetOf(organization.teamId)).toBe(30.5);
      expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    },
    60_000,
  );

  test('an ingress that answers 404 to everything while the balance is looked at does not make the team a missing one', async () => {
    const organization = await world.organization();
    await world.kmsFault({ path: '**', times: 4, action: nothingHere });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    expect(await world.strikes()).toBe(4);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);
});

describe('a run that is cancelled before the card is touched charges nothing, closes its event, and the next alert is handled', () => {
  test('while a look at the balance is under way that fails', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ, when: 'before', action: { kind: 'delay', ms: 1_500 } });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.strikes()) === 1, 'the look is under way');
    await loseLitellmDatabase(true);
    await cancel(data.event_id);
    const ending = await world.closed(data.event_id).finally(() => loseLitellmDatabase(false));
    expect(ending).toEqual(CANCELLED);
    expect(await rechargesOf(organization)).toEqual([]);
    await expectNextAlertHandled(organization);
  }, 60_000);

  test('between two looks at the balance that fail', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ, times: 1000, action: away });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.strikes()) >= 2, 'the look has failed twice');
    await cancel(data.event_id);
    expect(await world.closed(data.event_id)).toEqual(CANCELLED);
    await world.clearFaults();
    expect(await rechargesOf(organization)).toEqual([]);
    await expectNextAlertHandled(organization);
  }, 60_000);

  test('while a look at the balance is under way that reserves', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ, when: 'after', action: { kind: 'delay', ms: 1_500 } });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.strikes()) === 1, 'the look is under way');
    await cancel(data.event_id);
    expect(await world.closed(data.event_id)).toEqual(CANCELLED);
    expect(await rechargesOf(organization)).toMatchObject([{ status: 'cancelled', payment_intent_id: null }]);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    await expectNextAlertHandled(organization);
  }, 60_000);

  test("while Stripe's key is revoked and the recharge only reserved", async () => {
    const organization = await world.organization();
    const eventId = await reservedOnly(organization);
    await cancel(eventId);
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await revokeStripeKey(false);
    expect(await rechargesOf(organization)).toMatchObject([{ status: 'cancelled', payment_intent_id: null }]);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    await expectNextAlertHandled(organization);
  }, 60_000);

  test("while an attempt to charge is under way that fails, as Stripe's key is revoked", async () => {
    const organization = await world.organization();
    await world.stripeFault({ method: 'GET', path: '/v1/customers/*', when: 'before', action: { kind: 'delay', ms: 1_000 } });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.strikes()) === 1, 'the attempt is under way');
    await revokeStripeKey(true);
    await cancel(data.event_id);
    expect(await world.closed(data.event_id)).toEqual(CANCELLED);
    await revokeStripeKey(false);
    expect(await rechargesOf(organization)).toMatchObject([{ status: 'cancelled', payment_intent_id: null }]);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    await expectNextAlertHandled(organization);
  }, 60_000);

  test("an organization that is suspended while Stripe's key is revoked is not charged when the key works again", async () => {
    const organization = await world.organization();
    const eventId = await reservedOnly(organization);
    await world.admin.post(`/api/v1/organizations/${organization.id}/suspend`, {});
    await revokeStripeKey(false);
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    expect(await rechargesOf(organization)).toMatchObject([{ status: 'cancelled', payment_intent_id: null }]);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await expectNextAlertHandled(organization);
  }, 60_000);

  async function expectNextAlertHandled(organization: Organization): Promise<void> {
    const { data } = await world.alert(organization.teamId);
    expect(data.status).toBe('accepted');
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }
});

test('a run that is cancelled while its card is being charged and the answer to that is lost goes on to its end', async () => {
  const organization = await world.organization();
  await world.stripeFault({ method: 'POST', path: '/v1/payment_intents', when: 'after', action: { kind: 'delay', ms: 1_000 } });
  await world.stripeFault({ path: '/v1/payment_intents/*/confirm', when: 'after', times: 2, action: { kind: 'reset' } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.strikes()) === 1, 'the intent is being created');
  await cancel(data.event_id);
  expect(await world.closed(data.event_id)).toEqual(RECHARGED);
  expect(await world.strikes()).toBeGreaterThan(1);
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 60_000);

describe('what Stripe has decided stays decided', () => {
  test('a refund that was pending and fails leaves the money to a person, and no second one is made', async () => {
    const organization = await world.organization();
    const eventId = await chargedButNotGranted(organization);
    await axios.post(`${world.stripeUrl}/_sandbox/refunds/mode`, { status: 'pending' });
    await world.deleteTeam(organization.teamId);
    await world.clearFaults();
    const refund = await world
      .eventually(async () => (await rechargesOf(organization)).find(({ refund_id }) => refund_id), 'the refund is asked for')
      .finally(() => axios.post(`${world.stripeUrl}/_sandbox/refunds/mode`, { status: 'succeeded' }));
    await axios.post(`${world.stripeUrl}/_sandbox/refunds/${refund.refund_id}`, { status: 'failed' });
    await temporal.workflow.getHandle(rechargeWorkflowId(eventId)).signal('stripeChanged');

    expect(await world.closed(eventId)).toEqual({ outcome: 'needs_attention', success: false });
    expect(await rechargesOf(organization)).toMatchObject([{ status: 'needs_attention', failure: { code: 'refund_failed' } }]);
    const { data: refunds } = await world.stripe.refunds.list({ payment_intent: refund.payment_intent_id });
    expect(refunds).toMatchObject([{ id: refund.refund_id, status: 'failed' }]);
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, granted: 0, prepaid: 2050 });
  }, 60_000);

  test('a saved 500 to the cancellation of a declined intent does not stick: it is cancelled under another key', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    await world.stripeFault({ path: CANCEL, when: 'before', saved: true, action: { kind: 'respond', status: 500 } });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'declined', success: false });
    expect(await world.strikes()).toBe(1);
    const [recharge] = await rechargesOf(organization);
    expect(recharge?.failure).toMatchObject({ decline_code: 'generic_decline' });
    expect((await world.stripe.paymentIntents.retrieve(recharge?.payment_intent_id ?? '')).status).toBe('canceled');
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  }, 60_000);

  test('a card that wants its owner present stays action_required when the answer to the cancellation is lost', async () => {
    const organization = await world.organization({ card: 'pm_card_authenticationRequired' });
    // Twice, as stripe-node itself sends once more after a closed connection.
    await world.stripeFault({ path: CANCEL, when: 'after', times: 2, action: { kind: 'reset' } });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'action_required', success: false });
    expect(await world.strikes()).toBeGreaterThan(0);
    expect(await rechargesOf(organization)).toMatchObject([{ status: 'action_required', failure: { code: 'authentication_required' } }]);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  }, 60_000);

  test('case 31: a card that was refused for good is not tried again, until the customer names another one', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedLostCard');
    expect(await alertAndClose(organization)).toEqual({ outcome: 'declined', success: false });
    expect(await alertAndClose(organization)).toEqual({ outcome: 'declined', success: false });
    expect((await rechargesOf(organization)).map(({ failure }) => failure?.code)).toEqual(['card_refused_before', 'card_declined']);
    expect(await chargeAttempts(organization)).toBe(1);

    const another = await world.stripe.paymentMethods.attach('pm_card_mastercard', { customer: organization.customerId });
    await world.stripe.customers.update(organization.customerId, { invoice_settings: { default_payment_method: another.id } });
    expect(await alertAndClose(organization)).toEqual(RECHARGED);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('a card that was short of funds is tried again by the next alert', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await alertAndClose(organization)).toEqual({ outcome: 'declined', success: false });
    await makeCardBehaveLike(organization, 'pm_card_visa');
    expect(await alertAndClose(organization)).toEqual(RECHARGED);
    expect(await chargeAttempts(organization)).toBe(2);
  }, 60_000);

  async function alertAndClose(organization: Organization): Promise<{ outcome: string; success: boolean }> {
    const { data } = await world.alert(organization.teamId);
    return world.closed(data.event_id);
  }

  async function makeCardBehaveLike({ customerId }: Organization, testCard: string): Promise<void> {
    const [card] = (await world.stripe.customers.listPaymentMethods(customerId)).data;
    await axios.post(`${world.stripeUrl}/_sandbox/payment_methods/${card?.id}`, { behaves_like: testCard });
  }

  /** How often a card of this customer was asked for money, in vain or not. */
  async function chargeAttempts({ customerId }: Organization): Promise<number> {
    return (await world.stripe.charges.list({ customer: customerId, limit: 100 })).data.length;
  }
});

test('case 54: fifty crossings reported at once for an organization with one recharge left today are one charge', async () => {
  const organization = await world.organization({ settings: { max_daily_recharges: 1 } });
  const answers = await Promise.all(
    // Each reports another budget, so no two are copies of one crossing.
    Array.from({ length: 50 }, (_, copy) => world.alert(organization.teamId, { body: { max_budget: 10 + copy / 1000 } })),
  );
  expect(answers.map(({ status, data }) => [status, data.status])).toEqual(Array(50).fill([200, 'accepted']));
  const outcomes = await Promise.all(answers.map(async ({ data }) => (await world.closed(data.event_id, 60_000)).outcome));
  expect(outcomes.filter((outcome) => outcome === 'recharged')).toHaveLength(1);
  for (const outcome of outcomes) expect(['recharged', 'recharge_open', 'above_minimum', 'daily_limit_reached']).toContain(outcome);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
}, 90_000);

describe('case 56: what is asked is behind the times', () => {
  test('LiteLLM shows the budget from before the last recharge: it is read again, and the next charge is decided on the right one', async () => {
    const organization = await world.organization();
    const before = await world.teamInfo(organization.teamId);
    expect(await world.closed((await world.alert(organization.teamId)).data.event_id)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    await world.kmsFault({ ...READ, contains: organization.teamId, times: 3, action: { kind: 'respond', status: 200, body: before } });
    const { data } = await world.alert(organization.teamId, { body: { max_budget: 30.5 } });
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    expect(await world.strikes()).toBe(3);
    expect(await world.budgetOf(organization.teamId)).toBe(50.5);
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, charges: 2, captured: 4050, granted: 4050 });
  }, 60_000);

  test('the key of LiteLLM is replaced while money is held: no storm, and a worker with the new key goes on', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...WRITE, contains: organization.teamId, times: 1000, action: away });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
    await world.stopWorker();
    await world.clearFaults();
    const [stale, fresh] = [{ KMS_API_KEY: 'sk-was-revoked' }, {}];
    await world.startWorker(stale);
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await world.stopWorker();
    await world.startWorker(fresh);
    expect(await world.closed(data.event_id, 60_000)).toEqual(RECHARGED);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 120_000);
});

describe('an organization', () => {
  test('cannot be deleted while an event of it is open', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ, times: 1000, action: away });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.strikes()) > 0, 'the run looks at the balance');
    expect(await rechargesOf(organization)).toEqual([]);
    expect((await world.admin.delete(`/api/v1/organizations/${organization.id}`)).status).toBe(409);
    await world.clearFaults();
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('does not move to another team while a recharge of the present one is open', async () => {
    const organization = await world.organization();
    const eventId = await chargedButNotGranted(organization);
    const move = () => world.admin.patch(`/api/v1/organizations/${organization.id}`, { litellm_team_id: `${organization.teamId}-new` });
    expect((await move()).status).toBe(409);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect((await move()).status).toBe(200);
  }, 60_000);

  // PostgreSQL and JavaScript read the sign of such an offset differently: the day of the daily limit would be another one.
  test.each(['+05:30', '-03:00', 'Mars/Olympus'])('has no time zone %s, neither when it is created nor later', async (timeZone) => {
    const organization = await world.organization();
    const refused = { status: 422, data: { type: 'urn:bill-service:problem:invalid', detail: expect.stringContaining('time_zone') } };
    const settings = { stripe_customer_id: organization.customerId, minimum_balance: '2.00', target_balance: '20.00' };
    const wanted = {
      ...settings,
      c_organization_id: `${organization.id}-zone`,
      litellm_team_id: `${organization.teamId}-zone`,
      time_zone: timeZone,
    };
    expect(await world.admin.post('/api/v1/organizations', wanted)).toMatchObject(refused);
    expect(await world.admin.patch(`/api/v1/organizations/${organization.id}`, { time_zone: timeZone })).toMatchObject(refused);
    expect((await world.admin.get(`/api/v1/organizations/${wanted.c_organization_id}`)).status).toBe(404);
  });

  test('whose team has a max_budget beyond reckoning is not charged: that budget is unlimited', async () => {
    const organization = await world.organization();
    await world.setBudget(organization.teamId, 1e308);
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toMatchObject({ outcome: 'unlimited_budget' });
    expect(await world.budgetOf(organization.teamId)).toBe(1e308);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  }, 60_000);
});

type RechargeAnswer = { status: string; payment_intent_id: string; refund_id: string | null; failure: { code: string } | null };

/** Newest first. */
async function rechargesOf({ id }: Organization): Promise<RechargeAnswer[]> {
  return (await world.admin.get('/api/v1/recharges', { params: { organization_id: id } })).data.data;
}

async function cancel(eventId: string): Promise<void> {
  await temporal.workflow.getHandle(rechargeWorkflowId(eventId)).cancel();
}

async function revokeStripeKey(revoked: boolean): Promise<void> {
  await axios.post(`${world.stripeUrl}/_sandbox/keys`, { revoked: revoked ? [world.config.stripe.secretKey] : [] });
}

async function loseLitellmDatabase(lost: boolean): Promise<void> {
  await axios.post(`${world.kmsUrl}/_sandbox/settings`, { database_down: lost });
}

/** An event whose recharge is reserved and whose charge Stripe refuses to talk about. Ended by `revokeStripeKey(false)`. */
async function reservedOnly(organization: Organization): Promise<string> {
  await revokeStripeKey(true);
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await rechargesOf(organization))[0]?.status === 'reserved', 'the recharge is reserved');
  return data.event_id;
}

/** An event whose charge is in the ledger and whose budget write LiteLLM refuses for now. Ended by `clearFaults`. */
async function chargedButNotGranted(organization: Organization): Promise<string> {
  await world.kmsFault({ ...WRITE, times: 1000, action: away });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.strikes()) > 0, 'the write is refused');
  return data.event_id;
}

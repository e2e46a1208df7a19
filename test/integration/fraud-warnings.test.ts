/** An early fraud warning of Stripe: who is held for it, what is told, and that no lost event changes that. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import Stripe from 'stripe';
import { Database } from '../../src/database/database.ts';
import * as fraudWarnings from '../../src/database/fraud-warnings.ts';
import * as recharges from '../../src/database/recharges.ts';
import type { FraudWarning } from '../../src/domain/fraud-warning.ts';
import { PaymentsClient } from '../../src/payments/client.ts';
import { HELD } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS } from '../support/faults.ts';
import { delivered } from '../support/stripe-events.ts';
import { type Organization, World } from '../support/world.ts';

const SECRET = 'whsec_signs_the_warnings';
const LISTED = { method: 'GET', path: '/v1/radar/early_fraud_warnings' };
const NOT_ALLOWED = { kind: 'respond', status: 403, body: { error: { type: 'invalid_request_error', message: 'not allowed' } } } as const;

let world: World;
let database: Database;
let payments: PaymentsClient;
beforeAll(async () => {
  world = await World.start({ STRIPE_WEBHOOK_SECRETS: SECRET });
  database = await Database.open(world.config.databaseUrl);
  payments = new PaymentsClient(world.config.stripe);
});
afterEach(async () => {
  await world.clearFaults();
  await hear(true);
});
afterAll(async () => {
  await database.close();
  await world.close();
});

/** Off, every event is lost. */
function hear(enabled: boolean): Promise<unknown> {
  return world.stripeKnob('webhooks', { enabled });
}

/** Posts an event of a warning that Stripe itself does not show. */
async function post(warning: Record<string, unknown>, type = 'radar.early_fraud_warning.created'): Promise<void> {
  const id = `evt_${randomBytes(8).toString('hex')}`;
  const object = { object: 'radar.early_fraud_warning', actionable: true, fraud_type: 'made_with_stolen_card', ...warning };
  const payload = JSON.stringify({ id, object: 'event', type, data: { object } });
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret: SECRET });
  const headers = { 'content-type': 'application/json', 'stripe-signature': signature };
  await axios.post(`${world.apiUrl}/webhooks/stripe`, payload, { headers });
  await handled();
}

async function handled(): Promise<void> {
  const unhandled = 'select 1 from stripe_event where handled_at is null';
  await world.eventually(async () => (await world.sql.query(unhandled)).rowCount === 0, 'every event is handled');
}

async function chargeOf(intentId: string): Promise<string> {
  return String((await world.stripe.paymentIntents.retrieve(intentId)).latest_charge);
}

/** The issuer warns of the charge; returns the warning's id. */
async function warn(intentId: string, wish: Record<string, unknown> = {}): Promise<string> {
  const { id } = await world.stripeKnob(`charges/${await chargeOf(intentId)}/early_fraud_warning`, wish);
  return id;
}

type ShownHold = { id: string; reason: string; detail: string; opened_by: string };

async function holdsOf({ id }: Organization): Promise<ShownHold[]> {
  return (await world.admin.get(`/api/v1/organizations/${id}`)).data.holds;
}

async function fraudHold(organization: Organization): Promise<ShownHold> {
  return world.eventually(
    async () => (await holdsOf(organization)).find(({ reason }) => reason === 'fraud_warning'),
    'the organization is held for the warning',
  );
}

async function releaseFraudHold(organization: Organization): Promise<void> {
  const { id } = await fraudHold(organization);
  expect(await world.admin.post(`/api/v1/holds/${id}/release`, { reason: "the card is the customer's" })).toMatchObject({ status: 200 });
}

/** What was told of holds of the organization that have opened, the first one first. */
async function toldHolds({ id }: Organization): Promise<Record<string, unknown>[]> {
  const query = "select data from outbound_event where organization_id = $1 and type = 'hold.opened' order by id";
  return (await world.sql.query(query, [id])).rows.map(({ data }) => data);
}

/** The team spends all of its budget, and LiteLLM says so. */
async function spendAll(organization: Organization): Promise<string> {
  const budget = (await world.budgetOf(organization.teamId)) ?? 0;
  await world.spend(organization.teamId, budget);
  return world.accepted(organization, { spend: budget + 10.5, max_budget: budget });
}

describe('case 86: an early fraud warning', () => {
  test('case 86: holds the organization before the next charge, is told once with the refund that avoids a dispute, and a person ends it', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const charge = await chargeOf(intentId);
    const warning = await warn(intentId);
    const { id, detail, opened_by } = await fraudHold(organization);
    expect(opened_by).toBe(warning);
    expect(detail).toBe(
      `the card's issuer reports charge ${charge} of 20.50 USD, recharge ${rechargeId}, as fraudulent (${warning}); a refund now avoids a dispute: stripe refunds create --charge=${charge}`,
    );
    expect(await world.closed(await spendAll(organization))).toEqual(HELD);
    await expectChargedOnce(world, organization);
    expect(await toldHolds(organization)).toMatchObject([{ hold_id: id, reason: 'fraud_warning', detail }]);

    await releaseFraudHold(organization);
    expect(await world.alerted(organization, { spend: 41, max_budget: 30.5 })).toMatchObject({ success: true });
    expect((await world.books(organization)).charges).toBe(2);
  });

  test.each<[string, (ids: { charge: string; intent: string }) => Record<string, unknown>]>([
    ['names charge and intent, and Stripe does not show it', ({ charge, intent }) => ({ charge, payment_intent: intent })],
    ['leaves the intent to its charge', ({ charge }) => ({ charge })],
    ['names a charge that Stripe does not show', ({ intent }) => ({ charge: 'ch_unknown', payment_intent: intent })],
    [
      'is about a charge that was not worth a refund any more',
      ({ charge, intent }) => ({ charge, payment_intent: intent, actionable: false }),
    ],
  ])('whose event %s holds all the same', async (_what, warning) => {
    const { organization, intentId } = await world.recharged();
    await post({ id: `issfr_${intentId}`, ...warning({ charge: await chargeOf(intentId), intent: intentId }) });
    expect(await holdsOf(organization)).toMatchObject([{ reason: 'fraud_warning', opened_by: `issfr_${intentId}` }]);
  });

  test('that leaves the intent to its charge holds when Stripe shows it', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const warning = await warn(intentId, { with_payment_intent: false });
    expect(await fraudHold(organization)).toMatchObject({ opened_by: warning, detail: expect.stringContaining(rechargeId) });
  });

  test.each<[string, Record<string, unknown>, (intentId: string) => Promise<unknown>, string]>([
    ['not actionable', { actionable: false }, async () => {}, 'a refund avoids nothing any more'],
    ['refunded', {}, (payment_intent) => world.stripe.refunds.create({ payment_intent }), 'it is refunded already'],
    ['disputed', {}, (payment_intent) => world.stripeKnob('disputes', { payment_intent }), 'it is disputed already'],
  ])('that is %s holds, and promises nothing of a refund', async (_what, wish, before, words) => {
    const { organization, intentId } = await world.recharged();
    await before(intentId);
    await warn(intentId, wish);
    const { detail } = await fraudHold(organization);
    expect(detail).toContain(words);
    expect(detail).not.toContain('avoids a dispute');
  });

  test('holds while the recharge is charged and not granted, and what is taken goes on', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, intentId, goOn } = await world.chargedButNotGranted(organization);
    await warn(intentId);
    expect((await fraudHold(organization)).detail).toContain(`bill resolve ${rechargeId} --refund`);
    await goOn();
    expect(await world.closed(eventId)).toMatchObject({ success: true });
    await expectChargedOnce(world, organization);
  });

  test('of a charge that is not ours holds nobody', async () => {
    const organization = await world.organization();
    const intent = await world.payElsewhere(organization);
    await warn(intent.id);
    await delivered(world, intent.id);
    await post({ id: 'issfr_foreign', charge: String(intent.latest_charge) });
    await post({ id: 'issfr_nowhere', charge: 'ch_nowhere' });
    expect(await holdsOf(organization)).toEqual([]);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('waits for Stripe while Stripe does not answer, and is not lost', async () => {
    const { organization, intentId } = await world.recharged();
    const fault = await world.stripeFault({
      method: 'GET',
      path: '/v1/radar/early_fraud_warnings/*',
      times: 1,
      action: { kind: 'respond', status: 500, body: { error: { type: 'api_error', message: 'no' } } },
    });
    const warning = await warn(intentId);
    await fault.struck();
    expect(await fraudHold(organization)).toMatchObject({ opened_by: warning });
  });
});

describe('a warning that a person has released', () => {
  test('does not hold again, by whatever way it comes', async () => {
    const { organization, intentId } = await world.recharged();
    const id = await warn(intentId);
    await releaseFraudHold(organization);
    const named = { id, charge: await chargeOf(intentId), payment_intent: intentId };
    await post(named);
    await post(named, 'radar.early_fraud_warning.updated');
    expect(await world.findingsOf(organization)).toEqual([]);
    expect(await holdsOf(organization)).toEqual([]);
    expect(await toldHolds(organization)).toHaveLength(1);
  });

  test('leaves another one of the organization to hold', async () => {
    const { organization, intentId } = await world.recharged();
    const first = await warn(intentId);
    await releaseFraudHold(organization);
    const second = await warn(intentId);
    expect(await fraudHold(organization)).toMatchObject({ opened_by: second });
    expect(second).not.toBe(first);
  });
});

test('a second warning while the first one holds is told too, in the same hold, and released with it', async () => {
  const { organization, intentId } = await world.recharged();
  const first = await warn(intentId);
  const { id } = await fraudHold(organization);
  const second = await warn(intentId);
  await handled();
  await world.eventually(async () => (await toldHolds(organization)).length === 2, 'the second warning is told');
  expect(await holdsOf(organization)).toMatchObject([{ id, opened_by: `${first} ${second}`, detail: expect.stringContaining(second) }]);
  expect(await toldHolds(organization)).toMatchObject([
    { hold_id: id, detail: expect.not.stringContaining(second) },
    { hold_id: id, detail: expect.stringContaining(second) },
  ]);
  await releaseFraudHold(organization);
  expect(await world.findingsOf(organization)).toEqual([]);
  expect(await holdsOf(organization)).toEqual([]);
});

test('a warning that its event and reconciliation bring at once, while another one holds, is added and told once', async () => {
  const { organization, rechargeId, intentId } = await world.recharged();
  const first = await warn(intentId);
  await fraudHold(organization);
  await hear(false);
  const id = await warn(intentId);
  const [warning] = (await Array.fromAsync(payments.fraudWarningsSince(new Date(0)))).filter((each) => each.id === id);
  const recharge = await recharges.get(database.fork(), rechargeId);
  await Promise.all(Array.from({ length: 10 }, () => fraudWarnings.hold(database.fork(), recharge, warning as FraudWarning)));
  expect(await holdsOf(organization)).toMatchObject([{ opened_by: `${first} ${id}` }]);
  expect(await toldHolds(organization)).toHaveLength(2);
});

describe('a warning whose event was lost', () => {
  test('is found by reconciliation, which holds the organization when it may', async () => {
    await hear(false);
    const { organization, rechargeId, intentId } = await world.recharged();
    const id = await warn(intentId, { with_payment_intent: false });
    const found = { kind: 'fraud_warning_missed', subject: id, seen: expect.stringContaining(rechargeId) };
    expect(await world.findingsOf(organization, { fix: false })).toMatchObject([
      { ...found, settled: false, command: 'bill reconcile --fix' },
    ]);
    expect(await holdsOf(organization)).toEqual([]);
    expect(await world.findingsOf(organization)).toMatchObject([{ ...found, settled: true }]);
    expect(await holdsOf(organization)).toMatchObject([{ reason: 'fraud_warning', opened_by: id }]);
    expect(await toldHolds(organization)).toHaveLength(1);
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'hold_stands' }]);
  });

  test('is none of a restricted key that may not read warnings, and the rest is reconciled', async () => {
    await hear(false);
    const { organization, intentId } = await world.recharged();
    await warn(intentId);
    await world.stripeFault({ ...LISTED, times: ALWAYS, action: NOT_ALLOWED });
    expect(await world.findingsOf(organization)).toEqual([]);
    await world.clearFaults();
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'fraud_warning_missed', settled: true }]);
  });
});

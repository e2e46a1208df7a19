/** Money that goes back to the customer after its quota was granted: the quota follows it, once, in whatever order we hear of it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { findReversals } from '../../activities/reversal/find-reversals.ts';
import { giveBackQuota } from '../../activities/reversal/give-back-quota.ts';
import { takeBackQuota } from '../../activities/reversal/take-back-quota.ts';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { Database } from '../../src/database/database.ts';
import * as ledger from '../../src/database/ledger.ts';
import { type QuotaMicros, quotaFromDollars } from '../../src/domain/money.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { PaymentsClient } from '../../src/payments/client.ts';
import { type Organization, type OrganizationWish, World } from '../support/world.ts';

const UPDATE = { method: 'POST', path: '/team/update' } as const;
const AWAY = { kind: 'respond', status: 503, body: {} } as const;
const RECHARGED = { outcome: 'recharged', success: true };

let world: World;
let database: Database;
beforeAll(async () => {
  world = await World.start({ STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events' });
  database = await Database.open(world.config.databaseUrl);
}, 60_000);
afterEach(async () => {
  await world.clearFaults();
  await world.stripeKnob('webhooks', { enabled: true });
  await world.stripeKnob('refunds/mode', { status: 'succeeded' });
});
afterAll(async () => {
  await database.close();
  await world.close();
});

type Paid = { organization: Organization; eventId: string; rechargeId: string; intentId: string };

/** An organization with 10.00 of budget whose recharge of 20.50 has been granted: 30.50. */
async function recharged(wish: OrganizationWish = {}): Promise<Paid> {
  const organization = await world.organization(wish);
  return { organization, ...(await rechargeOf(organization)) };
}

async function rechargeOf(organization: Organization, maxBudget = 10): Promise<Omit<Paid, 'organization'>> {
  const { data } = await world.alert(organization.teamId, { body: { max_budget: maxBudget } });
  expect(await world.closed(data.event_id)).toEqual(RECHARGED);
  return { eventId: data.event_id, ...(await rechargeIds(data.event_id)) };
}

async function rechargeIdsOf(rechargeId: string): Promise<{ intentId: string }> {
  return (await world.sql.query('select payment_intent_id as "intentId" from recharge where id = $1', [rechargeId])).rows[0];
}

async function rechargeIds(eventId: string): Promise<{ rechargeId: string; intentId: string }> {
  const { rows } = await world.sql.query('select id as "rechargeId", payment_intent_id as "intentId" from recharge where event_id = $1', [
    eventId,
  ]);
  return rows[0];
}

/** A charge that is in the ledger and whose budget write LiteLLM refuses for now, its plan stored. Ended by `clearFaults`. */
async function chargedButNotGranted(organization: Organization, maxBudget = 10): Promise<Omit<Paid, 'organization'>> {
  await world.kmsFault({ ...UPDATE, contains: organization.teamId, times: 1000, action: AWAY });
  const { data } = await world.alert(organization.teamId, { body: { max_budget: maxBudget } });
  const query = `select 1 from recharge r join organization_balance_config o on o.budget_writer = r.id
    where r.event_id = $1 and r.status = 'charged' and r.quota_after is not null`;
  await world.eventually(async () => (await world.sql.query(query, [data.event_id])).rows[0], 'charged, and writing the budget');
  // What is done to the budget from here on comes between two attempts, not into one.
  await world.eventually(async () => (await world.strikes()) > 0, 'the budget was refused once');
  return { eventId: data.event_id, ...(await rechargeIds(data.event_id)) };
}

type ReversalRow = { status: string; kind: string; failure_message: string | null; taken_before: string; taken_after: string };

async function reversal(id: string): Promise<ReversalRow | undefined> {
  return (await world.sql.query('select * from reversal where id = $1', [id])).rows[0];
}

function reversalIs(id: string, status: string): Promise<ReversalRow> {
  return world.eventually(
    async () => {
      const row = await reversal(id);
      return row?.status === status && row;
    },
    `reversal ${id} ${status}`,
    40_000,
  );
}

async function transfersOf(rechargeId: string): Promise<string[]> {
  const { rows } = await world.sql.query('select kind from ledger_transfer where recharge_id = $1 order by sequence', [rechargeId]);
  return rows.map(({ kind }) => kind);
}

async function suspension({ id }: Organization): Promise<string | null> {
  return (await world.admin.get(`/api/v1/organizations/${id}`)).data.suspended_reason;
}

async function budgetWriter({ id }: Organization): Promise<string | null> {
  const { rows } = await world.sql.query('select budget_writer from organization_balance_config where c_organization_id = $1', [id]);
  return rows[0].budget_writer;
}

/** Every event that Stripe has of an intent once more; waits until all that was accepted has been looked at. */
async function tellEverythingAgain(intentId: string): Promise<void> {
  const events = (await world.stripe.events.list({ limit: 100 })).data.filter((event) => JSON.stringify(event.data).includes(intentId));
  for (const { id } of events) await world.stripeKnob(`events/${id}/resend`);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await world.eventually(
    async () => (await world.sql.query('select bool_and(handled_at is not null) as done from stripe_event')).rows[0].done as boolean,
    'every event handled',
  );
}

/** One of Stripe's events of a dispute, accepted. */
async function hearOf(disputeId: string, intentId: string, type: string): Promise<void> {
  await world.sql.query("insert into stripe_event (id, type, object_id, payment_intent_id) values ('evt_' || $3 || $1, $3, $1, $2)", [
    disputeId,
    intentId,
    type,
  ]);
}

/** The oracle: nothing is held, what Stripe has of the customer's is what the ledger has granted, and the budget is just that. */
async function expectBalanced(organization: Organization, { start = 10 } = {}): Promise<void> {
  const { captured, refunded, disputed, granted, prepaid, quota } = await world.accounts(organization);
  expect({ prepaid, granted }).toEqual({ prepaid: 0, granted: captured - refunded - disputed });
  expect(await world.budgetOf(organization.teamId)).toBeCloseTo(start + quota, 6);
  expect(await ledger.verify(database.fork(), organization.id)).toMatchObject({ faults: [] });
  expect(await budgetWriter(organization)).toBeNull();
}

describe('case 44: a refund made elsewhere', () => {
  test('takes the quota back and suspends the organization, until a person resumes it', async () => {
    const { organization, rechargeId, intentId } = await recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    expect(await reversalIs(refund.id, 'taken_back')).toMatchObject({
      kind: 'refund',
      taken_before: '30.500000',
      taken_after: '10.000000',
    });
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    await expectBalanced(organization);
    expect(await suspension(organization)).toBe(`refund ${refund.id} of recharge ${rechargeId}`);

    const refused = await world.alert(organization.teamId);
    expect(await world.closed(refused.data.event_id)).toEqual({ outcome: 'suspended', success: false });
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await rechargeOf(organization);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    await expectBalanced(organization);
  }, 60_000);

  test('of a part takes that part, and the next part takes its own', async () => {
    const { organization, intentId } = await recharged();
    const first = await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
    await reversalIs(first.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(25.5);
    await expectBalanced(organization);
    const second = await world.stripe.refunds.create({ payment_intent: intentId, amount: 1550 });
    await reversalIs(second.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await expectBalanced(organization);
  }, 60_000);

  test('in parts that no micro-dollar divides evenly never takes more than was granted', async () => {
    const { organization, intentId } = await recharged({ settings: { quota_per_unit: '1.333333' } });
    const { captured } = await world.accounts(organization);
    const parts = [701, 333, captured - 701 - 333];
    const refunds = await Promise.all(parts.map((amount) => world.stripe.refunds.create({ payment_intent: intentId, amount })));
    for (const { id } of refunds) await reversalIs(id, 'taken_back');
    await expectBalanced(organization);
    expect(await world.budgetOf(organization.teamId)).toBeGreaterThanOrEqual(10);
    expect(await world.budgetOf(organization.teamId)).toBeCloseTo(10, 5);
  }, 60_000);

  test('that we hear of again and again is taken back once', async () => {
    const { organization, rechargeId, intentId } = await recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await reversalIs(refund.id, 'taken_back');
    await tellEverythingAgain(intentId);
    // Under ids that nobody has seen.
    await world.sql.query(
      `insert into stripe_event (id, type, object_id, payment_intent_id)
       select 'evt_again_' || n || $1, 'refund.updated', 're_' || n || $1, $1 from generate_series(1, 5) n`,
      [intentId],
    );
    await tellEverythingAgain(intentId);
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    await expectBalanced(organization);
  }, 60_000);

  test.each([
    ['fails in the end', (id: string) => world.stripeKnob(`refunds/${id}`, { status: 'failed' })],
    ['is canceled', (id: string) => world.stripe.refunds.cancel(id)],
  ])(
    'that is pending takes the quota back at once, and gives it back when it %s',
    async (_what, end) => {
      const { organization, rechargeId, intentId } = await recharged();
      await world.stripeKnob('refunds/mode', { status: 'pending' });
      const refund = await world.stripe.refunds.create({ payment_intent: intentId });
      await reversalIs(refund.id, 'taken_back');
      expect(await world.budgetOf(organization.teamId)).toBe(10);
      await end(refund.id);
      await reversalIs(refund.id, 'given_back');
      expect(await world.budgetOf(organization.teamId)).toBe(30.5);
      await tellEverythingAgain(intentId);
      expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund', 'recovery', 'grant']);
      await expectBalanced(organization);
      expect(await suspension(organization)).toContain(refund.id);
    },
    60_000,
  );

  test.each([5, 0])(
    'of a team whose budget a person has lowered to %d takes that, and gives back just that when it fails',
    async (lowered) => {
      const { organization, rechargeId, intentId } = await recharged();
      await world.setBudget(organization.teamId, lowered);
      await world.stripeKnob('refunds/mode', { status: 'pending' });
      const refund = await world.stripe.refunds.create({ payment_intent: intentId });
      await reversalIs(refund.id, 'taken_back');
      expect(await world.budgetOf(organization.teamId)).toBe(0);
      // All of the money has gone; of the quota the ledger has taken what was there, the rest was removed by that person.
      expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0, quota: 20.5 - lowered });
      await world.stripeKnob(`refunds/${refund.id}`, { status: 'failed' });
      await reversalIs(refund.id, 'given_back');
      expect(await world.budgetOf(organization.teamId)).toBe(lowered);
      expect(await world.accounts(organization)).toMatchObject({ granted: 2050, prepaid: 0, quota: 20.5 });
      expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund', 'recovery', 'grant']);
      expect(await ledger.verify(database.fork(), organization.id)).toMatchObject({ faults: [] });
    },
    60_000,
  );
});

describe('case 44: a dispute', () => {
  test('takes the quota back and freezes auto-recharge; won, it gives it back', async () => {
    const { organization, rechargeId, intentId } = await recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await expectBalanced(organization);
    expect(await suspension(organization)).toBe(`dispute ${id} of recharge ${rechargeId}`);
    const refused = await world.alert(organization.teamId);
    expect(await world.closed(refused.data.event_id)).toEqual({ outcome: 'suspended', success: false });

    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await reversalIs(id, 'given_back');
    await tellEverythingAgain(intentId);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant']);
    await expectBalanced(organization);
    expect(await suspension(organization)).toContain(id);
  }, 60_000);

  test('that is lost gives nothing back', async () => {
    const { organization, rechargeId, intentId } = await recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 1000 });
    await reversalIs(id, 'taken_back');
    await world.stripeKnob(`disputes/${id}`, { status: 'lost' });
    await tellEverythingAgain(intentId);
    expect(await reversal(id)).toMatchObject({ status: 'taken_back' });
    expect(await world.budgetOf(organization.teamId)).toBe(20.5);
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    await expectBalanced(organization);
  }, 60_000);

  test('that is won and then reinstated takes the quota back again, until it is won again', async () => {
    const { organization, rechargeId, intentId } = await recharged();
    const dispute = await world.stripeKnob<{ id: string }>('disputes', { payment_intent: intentId });
    const { id } = dispute;
    await reversalIs(id, 'taken_back');
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await reversalIs(id, 'given_back');

    const body = { object: 'list', data: [{ ...dispute, status: 'needs_response' }], has_more: false, url: '/v1/disputes' };
    const action = { kind: 'respond', status: 200, body } as const;
    await world.stripeFault({ method: 'GET', path: '/v1/disputes', contains: intentId, times: 1000, action });
    await hearOf(id, intentId, 'charge.dispute.funds_withdrawn');
    await reversalIs(`${id}.2`, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    const first = ['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant'];
    expect(await transfersOf(rechargeId)).toEqual([...first, 'reversal', 'chargeback']);

    await world.clearFaults();
    await hearOf(id, intentId, 'charge.dispute.closed');
    await reversalIs(`${id}.2`, 'given_back');
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await transfersOf(rechargeId)).toEqual([...first, 'reversal', 'chargeback', 'recovery', 'grant']);
    await expectBalanced(organization);
    expect(await reversal(id)).toMatchObject({ status: 'given_back', taken_before: '30.500000', taken_after: '10.000000' });
  }, 60_000);

  test('that we hear of when it has been won takes nothing, and is a reason to look all the same', async () => {
    await world.stripeKnob('webhooks', { enabled: false });
    const { organization, rechargeId, intentId } = await recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.stripeKnob('webhooks', { enabled: true });
    await tellEverythingAgain(intentId);
    await reversalIs(id, 'given_back');
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant']);
    await expectBalanced(organization);
    expect(await suspension(organization)).toContain(id);
  }, 60_000);

  test('that begins as an inquiry takes the quota back when it becomes a dispute, not before', async () => {
    const { organization, intentId } = await recharged();
    const { id } = await inquiry(intentId, 'warning_needs_response');
    await world.eventually(async () => (await looksAtDisputes()) > 0, 'looked at');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await suspension(organization)).toBeNull();
    await world.clearFaults();
    await hearOf(id, intentId, 'charge.dispute.funds_withdrawn');
    await reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await expectBalanced(organization);
  }, 60_000);

  test('opened while the recharge is still being granted waits for it', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, intentId } = await chargedButNotGranted(organization);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect([await reversal(id), await world.budgetOf(organization.teamId)]).toEqual([undefined, 10]);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await reversalIs(id, 'taken_back');
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await expectBalanced(organization);
  }, 60_000);
});

/** A dispute that Stripe shows in another status than the stand-in can bring it to, until `clearFaults`. */
async function inquiry(intentId: string, status: string): Promise<{ id: string }> {
  await world.stripeKnob('webhooks', { enabled: false });
  const dispute = await world.stripeKnob<{ id: string }>('disputes', { payment_intent: intentId });
  const body = { object: 'list', data: [{ ...dispute, status }], has_more: false, url: '/v1/disputes' };
  await world.stripeFault({
    method: 'GET',
    path: '/v1/disputes',
    contains: intentId,
    times: 1000,
    action: { kind: 'respond', status: 200, body },
  });
  await world.stripeKnob('webhooks', { enabled: true });
  const created = (await world.stripe.events.list({ limit: 20 })).data.find(
    ({ data }) => (data.object as { id?: string }).id === dispute.id,
  );
  await world.stripeKnob(`events/${created?.id}/resend`);
  return dispute;
}

async function looksAtDisputes(): Promise<number> {
  const { data } = (await (await fetch(`${world.stripeUrl}/_sandbox/faults`)).json()) as { data: { path: string; struck: number }[] };
  return data.reduce((sum, { path, struck }) => sum + (path === '/v1/disputes' ? struck : 0), 0);
}

describe('case 43: a refund races a dispute', () => {
  test('made elsewhere and pending, it fails, and the quota is taken back for the dispute alone', async () => {
    const { organization, intentId } = await recharged();
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await reversalIs(refund.id, 'taken_back');
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
    await reversalIs(refund.id, 'given_back');
    await reversalIs(dispute.id, 'taken_back');
    expect(await world.accounts(organization)).toMatchObject({ refunded: 0, disputed: 2050, granted: 0 });
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await expectBalanced(organization);
  }, 60_000);

  test('heard of in one go, it comes to the same', async () => {
    const { organization, intentId } = await recharged();
    await world.stripeKnob('webhooks', { enabled: false });
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    await world.stripe.refunds.create({ payment_intent: intentId });
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.stripeKnob('webhooks', { enabled: true });
    await tellEverythingAgain(intentId);
    await reversalIs(dispute.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await expectBalanced(organization);
  }, 60_000);

  test.each([
    ['ours, due when the dispute is open already, is refused', 0],
    ['ours, on its way when the dispute opens, fails', 1],
  ])(
    '%s: nothing is paid twice, and a person decides',
    async (_name, refunds) => {
      const organization = await world.organization();
      const { eventId, rechargeId, intentId } = await chargedButNotGranted(organization);
      await world.stripeKnob('refunds/mode', { status: 'pending' });
      if (refunds === 0) await world.stripeKnob('disputes', { payment_intent: intentId });
      await world.deleteTeam(organization.teamId);
      await world.clearFaults();
      if (refunds === 1) {
        const find = 'select 1 from recharge where id = $1 and refund_id is not null';
        await world.eventually(async () => (await world.sql.query(find, [rechargeId])).rows[0], 'the refund is asked for');
        await world.stripeKnob('disputes', { payment_intent: intentId });
      }
      expect(await world.closed(eventId)).toEqual({ outcome: 'needs_attention', success: false });
      await tellEverythingAgain(intentId);
      expect((await world.stripe.refunds.list({ payment_intent: intentId })).data.map(({ status }) => status)).toEqual(
        Array(refunds).fill('failed'),
      );
      expect(await world.accounts(organization)).toMatchObject({ captured: 2050, refunded: 0, disputed: 2050, granted: 0, prepaid: 2050 });
    },
    60_000,
  );
});

test('case 42: a refund of ours that fails weeks later reopens the recharge: the money is held, and a person decides', async () => {
  const organization = await world.organization();
  await world.kmsFault({
    ...UPDATE,
    contains: organization.teamId,
    times: 1000,
    action: { kind: 'respond', status: 400, body: { error: { message: 'no' } } },
  });
  const { data } = await world.alert(organization.teamId);
  expect(await world.closed(data.event_id)).toEqual({ outcome: 'refunded', success: false });
  const { rechargeId, intentId } = await rechargeIds(data.event_id);
  await tellEverythingAgain(intentId);
  // Our own refund is no reversal.
  expect((await world.sql.query('select 1 from reversal where recharge_id = $1', [rechargeId])).rows).toEqual([]);
  expect(await suspension(organization)).toBeNull();
  await expectBalanced(organization);

  const [refund] = (await world.stripe.refunds.list({ payment_intent: intentId })).data;
  await world.stripeKnob(`refunds/${refund?.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
  await world.eventually(
    async () => (await world.admin.get(`/api/v1/recharges/${rechargeId}`)).data.status === 'needs_attention',
    'the recharge needs attention',
  );
  await tellEverythingAgain(intentId);
  const { data: recharge } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
  expect(recharge.failure).toMatchObject({ code: 'refund_failed', message: expect.stringContaining('lost_or_stolen_card') });
  expect(await transfersOf(rechargeId)).toEqual(['charge', 'refund', 'recovery']);
  expect(await world.accounts(organization)).toMatchObject({ captured: 2050, refunded: 0, granted: 0, prepaid: 2050 });
  const next = await world.alert(organization.teamId);
  expect(await world.closed(next.data.event_id)).toEqual({ outcome: 'recharge_open', success: false });
}, 90_000);

describe('a reversal and a recharge of the same organization never undo each other', () => {
  test('the reversal waits for the recharge that is writing the budget', async () => {
    const { organization, intentId } = await recharged();
    await world.spend(organization.teamId, 20);
    const second = await chargedButNotGranted(organization, 30.5);
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await reversalIs(refund.id, 'open');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect((await reversal(refund.id))?.taken_before).toBeNull();
    await world.clearFaults();
    expect(await world.closed(second.eventId)).toEqual(RECHARGED);
    await reversalIs(refund.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    await expectBalanced(organization);
  }, 90_000);

  test('the recharge waits for the reversal that is writing the budget', async () => {
    const { organization, intentId } = await recharged();
    await world.spend(organization.teamId, 20);
    await world.kmsFault({ ...UPDATE, contains: organization.teamId, times: 1000, action: AWAY });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.eventually(async () => (await budgetWriter(organization)) === refund.id, 'the reversal writes');
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    const { data } = await world.alert(organization.teamId, { body: { max_budget: 30.5 } });
    const isCharged = "select 1 from recharge where event_id = $1 and status = 'charged'";
    await world.eventually(async () => (await world.sql.query(isCharged, [data.event_id])).rows[0], 'charged');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await budgetWriter(organization)).toBe(refund.id);
    await world.clearFaults();
    await reversalIs(refund.id, 'taken_back');
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    await expectBalanced(organization);
  }, 90_000);

  test('quota taken back between the reservation and the grant of another recharge is missed by neither', async () => {
    const { organization, intentId } = await recharged();
    await world.spend(organization.teamId, 20);
    await world.stripeFault({
      path: '/v1/payment_intents/*/confirm',
      contains: organization.customerId,
      action: { kind: 'delay', ms: 4_000 },
    });
    const { data } = await world.alert(organization.teamId, { body: { max_budget: 30.5 } });
    const isCharging = "select 1 from recharge where event_id = $1 and status = 'charging'";
    await world.eventually(async () => (await world.sql.query(isCharging, [data.event_id])).rows[0], 'charging');
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await reversalIs(refund.id, 'taken_back');
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    await expectBalanced(organization);
  }, 90_000);
});

describe('what can go wrong on the way takes the quota back once', () => {
  test.each<[string, 'kms' | 'stripe', FaultRequest]>([
    ['LiteLLM is away for a while', 'kms', { ...UPDATE, times: 4, action: AWAY }],
    ['the write is made and its answer lost', 'kms', { ...UPDATE, when: 'after', action: { kind: 'reset' } }],
    ['the write is made and answered 400', 'kms', { ...UPDATE, when: 'after', action: { kind: 'respond', status: 400, body: {} } }],
    ['LiteLLM answers HTML and changes nothing', 'kms', { ...UPDATE, action: { kind: 'respond', status: 200, body: '<html></html>' } }],
    [
      'the budget cannot be read',
      'kms',
      { method: 'GET', path: '/team/info', times: 3, action: { kind: 'respond', status: 502, body: '' } },
    ],
    ['Stripe is away when its refunds are read', 'stripe', { method: 'GET', path: '/v1/refunds', times: 2, action: AWAY }],
    ['the disputes are answered in half', 'stripe', { method: 'GET', path: '/v1/disputes', times: 2, action: { kind: 'cut_body' } }],
  ])(
    '%s',
    async (_name, whose, fault) => {
      const { organization, rechargeId, intentId } = await recharged();
      const contains = whose === 'kms' ? organization.teamId : intentId;
      await (whose === 'kms' ? world.kmsFault({ ...fault, contains }) : world.stripeFault({ ...fault, contains }));
      const refund = await world.stripe.refunds.create({ payment_intent: intentId });
      await reversalIs(refund.id, 'taken_back');
      expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
      expect(await world.budgetOf(organization.teamId)).toBe(10);
      await expectBalanced(organization);
    },
    60_000,
  );

  test('the worker stops in the middle and another one goes on', async () => {
    const { organization, intentId } = await recharged();
    await world.kmsFault({ ...UPDATE, contains: organization.teamId, times: 1000, action: AWAY });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.eventually(async () => (await reversal(id))?.taken_after, 'planned');
    await world.stopWorker();
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.clearFaults();
    await world.startWorker();
    await reversalIs(id, 'given_back');
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    await expectBalanced(organization);
  }, 90_000);
});

describe('what nobody can settle but a person stays visible, and holds up nothing else', () => {
  test('somebody edits the budget between our plan and our write', async () => {
    const { organization, intentId } = await recharged();
    await world.kmsFault({ ...UPDATE, contains: organization.teamId, times: 1000, action: AWAY });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.eventually(async () => (await reversal(refund.id))?.taken_after, 'planned');
    await world.setBudget(organization.teamId, 28);
    await world.clearFaults();
    const { failure_message } = await reversalIs(refund.id, 'needs_attention');
    expect(failure_message).toContain('max_budget is 28.00, expected 30.50 or 10.00');
    expect([await world.budgetOf(organization.teamId), await budgetWriter(organization)]).toEqual([28, null]);
  }, 60_000);

  test('LiteLLM refuses the lower budget', async () => {
    const { organization, intentId } = await recharged();
    await world.kmsFault({
      ...UPDATE,
      contains: organization.teamId,
      times: 1000,
      action: { kind: 'respond', status: 400, body: { error: { message: 'max_budget must be strictly greater than soft_budget' } } },
    });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    const { failure_message } = await reversalIs(refund.id, 'needs_attention');
    expect(failure_message).toContain('soft_budget');
    expect([await world.budgetOf(organization.teamId), await budgetWriter(organization)]).toEqual([30.5, null]);
  }, 60_000);

  test('the team is gone: the quota went with it, and cannot be given back to it', async () => {
    const { organization, intentId, rechargeId } = await recharged();
    await world.deleteTeam(organization.teamId);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await reversalIs(id, 'taken_back');
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    expect((await reversalIs(id, 'needs_attention')).failure_message).toContain('the team is gone');
    expect(await budgetWriter(organization)).toBeNull();
  }, 60_000);
});

describe('money that goes twice, or that was never granted', () => {
  test('a dispute after a refund of a part takes the rest of the quota, and no more', async () => {
    const { organization, rechargeId, intentId } = await recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
    await reversalIs(refund.id, 'taken_back');
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 2050 });
    expect(await reversalIs(dispute.id, 'taken_back')).toMatchObject({ taken_before: '25.500000', taken_after: '10.000000' });
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund', 'reversal', 'chargeback']);
    const { granted, prepaid, quota } = await world.accounts(organization);
    expect({ granted, prepaid, quota }).toEqual({ granted: 0, prepaid: 0, quota: 0 });
  }, 60_000);

  test('case 43: a dispute of what we have refunded suspends the organization and is left to a person', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, intentId } = await chargedButNotGranted(organization);
    await world.deleteTeam(organization.teamId);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual({ outcome: 'refunded', success: false });
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 2050 });
    expect((await reversalIs(dispute.id, 'needs_attention')).failure_message).toContain('settle it at Stripe');
    expect(await suspension(organization)).toBe(`dispute ${dispute.id} of recharge ${rechargeId}`);
    const { data: answer } = await world.admin.post(`/api/v1/reversals/${dispute.id}/resolve`, {
      resolution: 'accept',
      reason: 'answered',
    });
    expect(answer.status).toBe('taken_back');
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'refund']);
    expect((await world.accounts(organization)).prepaid).toBe(0);
  }, 60_000);
});

test('a person grants what was disputed while it was held: the quota follows the money all the same', async () => {
  const organization = await world.organization();
  const { eventId, rechargeId, intentId } = await chargedButNotGranted(organization);
  await world.setBudget(organization.teamId, 12);
  await world.clearFaults();
  expect(await world.closed(eventId)).toEqual({ outcome: 'needs_attention', success: false });
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'grant', reason: 'the edit was ours' });
  expect(await reversalIs(dispute.id, 'taken_back')).toMatchObject({ taken_before: '32.500000', taken_after: '12.000000' });
  await expectBalanced(organization, { start: 12 });
}, 90_000);

test('case 43: our refund fails after a dispute was noted for it, and a person grants: the quota follows the dispute', async () => {
  const organization = await world.organization();
  const refusal = { kind: 'respond', status: 400, body: { error: { message: 'no' } } } as const;
  await world.kmsFault({ ...UPDATE, contains: organization.teamId, times: 1000, action: refusal });
  const { data } = await world.alert(organization.teamId);
  expect(await world.closed(data.event_id)).toEqual({ outcome: 'refunded', success: false });
  await world.clearFaults();
  const { rechargeId, intentId } = await rechargeIds(data.event_id);
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 2050 });
  await reversalIs(dispute.id, 'needs_attention');
  await world.admin.post(`/api/v1/reversals/${dispute.id}/resolve`, { resolution: 'accept', reason: 'answered' });
  const [refund] = (await world.stripe.refunds.list({ payment_intent: intentId })).data;
  await world.stripeKnob(`refunds/${refund?.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
  const isReopened = async () => (await world.admin.get(`/api/v1/recharges/${rechargeId}`)).data.status === 'needs_attention';
  await world.eventually(isReopened, 'the recharge needs attention');
  await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'grant', reason: 'not looked at the dispute' });
  await world.eventually(async () => (await reversal(dispute.id))?.taken_after === '10.000000', 'the quota is taken back');
  await reversalIs(dispute.id, 'taken_back');
  expect(await world.budgetOf(organization.teamId)).toBe(10);
  await expectBalanced(organization);
}, 90_000);

describe('a person accepts a parked reversal', () => {
  async function parked(): Promise<Paid & { refundId: string }> {
    const paid = await recharged();
    await world.kmsFault({ ...UPDATE, contains: paid.organization.teamId, times: 1000, action: AWAY });
    const { id: refundId } = await world.stripe.refunds.create({ payment_intent: paid.intentId });
    await world.eventually(async () => (await reversal(refundId))?.taken_after, 'planned');
    await world.setBudget(paid.organization.teamId, 28);
    await world.clearFaults();
    await reversalIs(refundId, 'needs_attention');
    return { ...paid, refundId };
  }

  test('with the budget put right: the ledger follows the money, and who, when and why are kept', async () => {
    const { organization, rechargeId, refundId } = await parked();
    const { data: list } = await world.admin.get('/api/v1/reversals', {
      params: { organization_id: organization.id, status: 'needs_attention' },
    });
    expect(list.data.map(({ id }: { id: string }) => id)).toEqual([refundId]);
    await world.setBudget(organization.teamId, 10);
    const wish = { resolution: 'accept', reason: 'set by hand', by: 'ann' };
    const { status, data } = await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish);
    expect([status, data]).toMatchObject([200, { id: refundId, status: 'taken_back', recharge_id: rechargeId }]);
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    await expectBalanced(organization);
    const { data: recharge } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
    expect(recharge.timeline.at(-1)).toMatchObject({ status: 'succeeded', reversal: refundId, by: 'ann', reason: 'set by hand' });
  }, 60_000);

  test('when the money has come again meanwhile: nothing is booked, and no quota is given on top', async () => {
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const { organization, rechargeId, refundId } = await parked();
    await world.stripeKnob(`refunds/${refundId}`, { status: 'failed', failure_reason: 'declined' });
    await world.setBudget(organization.teamId, 30.5);
    const { status, data } = await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, {
      resolution: 'accept',
      reason: 'set by hand',
    });
    expect([status, data]).toMatchObject([200, { status: 'given_back' }]);
    await tellEverythingAgain((await rechargeIdsOf(rechargeId)).intentId);
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant']);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    await expectBalanced(organization);
  }, 60_000);

  test('not while Stripe cannot say where the money is: the reversal stays as it is', async () => {
    const { refundId } = await parked();
    await world.stripeFault({ method: 'GET', path: '/v1/refunds', times: 1, action: AWAY });
    const wish = { resolution: 'accept', reason: 'set by hand' };
    const { status, data } = await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish);
    expect([status, data.type]).toEqual([503, 'urn:bill-service:problem:unavailable']);
    expect(data.detail).toMatch(/no usable answer came: Stripe: .*503/);
    expect(await reversal(refundId)).toMatchObject({ status: 'needs_attention' });
    expect((await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish)).status).toBe(200);
  }, 60_000);

  test('once, and only a reversal that there is, with a reason, by accepting it', async () => {
    const { refundId } = await parked();
    const wish = { resolution: 'accept', reason: 'set by hand' };
    const resolve = (id: string, body: object) => world.admin.post(`/api/v1/reversals/${id}/resolve`, body).then(({ status }) => status);
    expect(await resolve('re_nobody', wish)).toBe(404);
    expect(await resolve(refundId, { resolution: 'grant', reason: 'no' })).toBe(422);
    expect(await resolve(refundId, { resolution: 'accept' })).toBe(422);
    expect(await resolve(refundId, { resolution: 'accept', reason: 'half \ud800' })).toBe(422);
    expect((await Promise.all([resolve(refundId, wish), resolve(refundId, wish)])).sort()).toEqual([200, 409]);
  }, 60_000);
});

describe('an attempt that was held up, or a run that was ended, on the way', () => {
  /** The activities as a worker runs them, on a LiteLLM that may be tampered with. */
  function activities(tamper: Partial<KmsClient> = {}) {
    const real = new KmsClient(world.config.kms);
    const kms = {
      teamBudget: (team: string) => real.teamBudget(team),
      setTeamBudget: (team: string, quota: QuotaMicros) => real.setTeamBudget(team, quota),
      ...tamper,
    } as KmsClient;
    const payments = new PaymentsClient(world.config.stripe);
    const run = <I, R>(activity: (input: I) => Promise<R>, input: I): Promise<R> => new MockActivityEnvironment().run(activity, input);
    return {
      find: (rechargeId: string) => run(findReversals({ database, payments }), { rechargeId }),
      take: (reversalId: string) => run(takeBackQuota({ database, kms }), { reversalId }),
      give: (reversalId: string) => run(giveBackQuota({ database, kms }), { reversalId }),
    };
  }

  /** A reversal that no run works on: the test does. */
  async function openReversal(): Promise<Paid & { id: string }> {
    await world.stripeKnob('webhooks', { enabled: false });
    const paid = await recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: paid.intentId });
    await activities().find(paid.rechargeId);
    return { ...paid, id };
  }

  test.each([
    ['planned on the budget that the reversal had written already', 10],
    ['of another team that the organization has now, whose budget happens to be what ours was', 30.5],
  ])(
    'a recharge %s keeps its plan',
    async (_name, budget) => {
      const { organization, id } = await openReversal();
      const isMoved = budget !== 10;
      // The budget is written, and that is not recorded yet.
      const cut = activities({
        setTeamBudget: async (team, quota) => {
          await new KmsClient(world.config.kms).setTeamBudget(team, quota);
          throw new Error('cut');
        },
      });
      await expect(cut.take(id)).rejects.toThrow('cut');
      await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
      const other = isMoved ? await world.anotherTeam(organization, { budget, spend: budget + 0.5 }) : organization.teamId;
      if (!isMoved) await world.spend(organization.teamId, 0);
      const { data } = await world.alert(other, { body: { max_budget: budget } });
      const find = "select 1 from recharge where event_id = $1 and status = 'charged'";
      await world.eventually(async () => (await world.sql.query(find, [data.event_id])).rows[0], 'it waits for the budget');
      await activities().take(id);
      expect(await world.closed(data.event_id)).toEqual(RECHARGED);
      expect(await world.budgetOf(other)).toBe(budget + 20.5);
    },
    90_000,
  );

  test('a late attempt to take finds it taken and given back, and changes nothing', async () => {
    const { organization, rechargeId, id } = await openReversal();
    let letGo: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const late = activities({
      teamBudget: async (team) => {
        await held;
        return new KmsClient(world.config.kms).teamBudget(team);
      },
    }).take(id);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await activities().take(id);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await activities().give(id);
    letGo();
    await late.catch(() => {});
    expect(await reversal(id)).toMatchObject({ status: 'given_back' });
    expect(await transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant']);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    await expectBalanced(organization);
  }, 60_000);

  test('a late attempt that sees a budget from after the next recharge leaves what is settled, and the budget to others', async () => {
    const { organization, id } = await openReversal();
    let reads = 0;
    const late = activities({
      teamBudget: async (team) => {
        const seen = await new KmsClient(world.config.kms).teamBudget(team);
        if (reads++ > 0) return seen;
        // Between its claim and its plan the other attempt does it all, and a recharge follows.
        await activities().take(id);
        return { ...seen, quota: quotaFromDollars(77) };
      },
    });
    await late.take(id).catch(() => {});
    expect(await reversal(id)).toMatchObject({ status: 'taken_back' });
    await expectBalanced(organization);
  }, 60_000);

  test('money that comes again after the budget was lowered and before that was recorded gives the quota back', async () => {
    const { organization, rechargeId, id } = await openReversal();
    let written = false;
    const killed = activities({
      teamBudget: async (team) => {
        if (written) throw new Error('killed');
        return new KmsClient(world.config.kms).teamBudget(team);
      },
      setTeamBudget: async (team, quota) => {
        await new KmsClient(world.config.kms).setTeamBudget(team, quota);
        written = true;
      },
    });
    await expect(killed.take(id)).rejects.toThrow('killed');
    expect([await world.budgetOf(organization.teamId), await reversal(id)]).toMatchObject([10, { status: 'open' }]);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    const { steps } = await activities().find(rechargeId);
    expect(steps).toMatchObject([{ step: 'dismiss' }]);
    await activities().give(id);
    expect(await reversal(id)).toMatchObject({ status: 'given_back' });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    await expectBalanced(organization);
  }, 60_000);
});

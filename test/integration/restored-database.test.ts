/**
 * A database that was restored from before a charge, or from the middle of one: nothing is charged or granted twice, and
 * what Stripe has is entered again.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { WorkflowHandle } from '@temporalio/client';
import { NEWEST_INTENTS } from '../../activities/lost-recharge.ts';
import { WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { BUDGET_AFTER, BUDGET_BEFORE, RECHARGED, REFUNDED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS, HOLD, READ_BUDGET, WRITE_BUDGET } from '../support/faults.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.close());
afterEach(() => world.clearFaults());

const PAID_TWICE = { charges: 2, captured: 4100 };

/** The database is as it was before the organization's first alert, from one moment to the next. */
async function restoreBefore({ id }: Organization): Promise<void> {
  const connection = await world.sql.connect();
  try {
    await connection.query('begin');
    // As somebody whom neither privilege nor trigger stops.
    await connection.query("set local session_replication_role = 'replica'");
    await connection.query(
      `update organization_balance_config set ledger_sequence = 0, ledger_hash = '', ledger_verified_sequence = 0, ledger_verified_hash = '',
         version = 0, budget_writer = null where c_organization_id = $1`,
      [id],
    );
    for (const table of ['ledger_transfer', 'reversal', 'hold', 'card_attempt', 'refusal', 'outbound_event', 'recharge', 'webhook_event'])
      await connection.query(`delete from ${table} where organization_id = $1`, [id]);
    await connection.query('commit');
  } finally {
    connection.release(true);
  }
}

type Middle = 'reserved' | 'charging' | 'charged';

/** The database is as it was in the middle of the recharge of an event, whose run is started again, as reconciliation does. */
async function restoreTo(status: Middle, organization: Organization, eventId: string): Promise<void> {
  await restoreWithoutRun(status, organization);
  await runAgain(eventId);
}

async function restoreWithoutRun(status: Middle, { id }: Organization): Promise<void> {
  const connection = await world.sql.connect();
  try {
    await connection.query('begin');
    await connection.query("set local session_replication_role = 'replica'");
    for (const table of ['card_attempt', 'refusal', 'outbound_event', 'hold'])
      await connection.query(`delete from ${table} where organization_id = $1`, [id]);
    await connection.query("delete from ledger_transfer where organization_id = $1 and ($2 <> 'charged' or kind <> 'charge')", [
      id,
      status,
    ]);
    await connection.query(
      `update organization_balance_config set ledger_sequence = coalesce(t.sequence, 0), ledger_hash = coalesce(t.hash, ''),
         ledger_verified_sequence = 0, ledger_verified_hash = '', budget_writer = null
       from (select max(sequence) as sequence, max(hash) as hash from ledger_transfer where organization_id = $1) t where c_organization_id = $1`,
      [id],
    );
    await connection.query(
      `update recharge set status = $2, refund_id = null, write_until = null, payment_intent_id = case when $2 = 'reserved' then null else payment_intent_id end
       where organization_id = $1`,
      [id, status],
    );
    await connection.query(
      `update webhook_event set processed = false, success = null, outcome = null, processed_at = null where organization_id = $1`,
      [id],
    );
    await connection.query('commit');
  } finally {
    connection.release(true);
  }
}

/** The database is as it was when it had stored an alert, and before its recharge. */
async function restoreToAlert(organization: Organization, eventId: string): Promise<void> {
  const { rows } = await world.sql.query('select payload, body_sha256 from webhook_event where id = $1', [eventId]);
  await restoreBefore(organization);
  await world.sql.query(
    `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256, dispatched_at)
     values ($1, 'webhook', 'budget_crossed', $2, $3, $4, $5, now())`,
    [eventId, organization.teamId, organization.id, rows[0].payload, rows[0].body_sha256],
  );
}

/** The run of an event, as reconciliation starts it again. */
async function runAgain(eventId: string): Promise<void> {
  const run = { workflowId: `again/${eventId}`, taskQueue: world.name, args: [{ eventId }] };
  await world.temporal.workflow.execute(WORKFLOW_TYPES.recharge, run);
}

/** A recharge that LiteLLM has not taken, so that it was refunded. */
async function refunded(): Promise<{ organization: Organization; eventId: string }> {
  const organization = await world.organization();
  const cap = await world.kmsFault({
    ...WRITE_BUDGET,
    contains: organization.teamId,
    times: ALWAYS,
    action: { kind: 'respond', status: 400 },
  });
  const eventId = await world.accepted(organization);
  expect(await world.closed(eventId)).toEqual(REFUNDED);
  await cap.remove();
  return { organization, eventId };
}

const LIST_INTENTS = { method: 'GET', path: '/v1/payment_intents' } as const;

/** Stripe lists no payment, as right after one was made. */
function hideIntents() {
  const body = { object: 'list', data: [], has_more: false, url: '/v1/payment_intents' };
  return world.stripeFault({ ...LIST_INTENTS, times: ALWAYS, action: { kind: 'respond', status: 200, body } });
}

/** A recharge of the organization, as the API shows it. */
async function recharge({ id }: Organization, status: string) {
  return world.eventually(async () => {
    const { data } = await world.admin.get(`/api/v1/recharges?organization_id=${id}&status=${status}`);
    return data.data[0] as { id: string; failure: { message: string } | null } | undefined;
  }, `a recharge of ${id} is ${status}`);
}

describe('case 78: a restored database', () => {
  test('does not charge again what Stripe has taken: the next alert enters it again, and its run gives the quota', async () => {
    const { organization } = await world.recharged();
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE); // LiteLLM comes back from the same hour
    expect(await world.alerted(organization)).toEqual(unsuccessful('payment_unknown'));
    await recharge(organization, 'succeeded');
    await expectChargedOnce(world, organization);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('and a LiteLLM that has the raise still: the money is known again, and nothing is raised twice', async () => {
    const { organization } = await world.recharged();
    await restoreBefore(organization);
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization)).toEqual(unsuccessful('payment_unknown'));
    await recharge(organization, 'succeeded');
    await expectChargedOnce(world, organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
  });

  test('of which Stripe lists a payment without saying how much: it is entered again, and read anew, and nothing is charged', async () => {
    const { organization, intentId } = await world.recharged();
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    const listed = { ...(await world.stripe.paymentIntents.retrieve(intentId)), amount_received: null };
    const body = { object: 'list', data: [listed], has_more: false, url: '/v1/payment_intents' };
    const listing = await world.stripeFault({ ...LIST_INTENTS, action: { kind: 'respond', status: 200, body } });
    expect(await world.alerted(organization)).toEqual(unsuccessful('payment_unknown'));
    expect(await listing.strikes()).toBe(1);
    await recharge(organization, 'succeeded');
    await expectChargedOnce(world, organization);
  });

  test('that has lost a recharge of a team which another organization has by now: that budget is left, and a person refunds it', async () => {
    const { organization } = await world.recharged();
    const { id, teamId, customerId } = organization;
    await restoreBefore(organization);
    await world.setBudget(teamId, BUDGET_BEFORE);
    await world.anotherTeam(organization, { budget: 50, spend: 0 });
    const next = { c_organization_id: `${id}-next`, stripe_customer_id: customerId, litellm_team_id: teamId };
    const settings = { minimum_balance: '2.00', target_balance: '20.00', auto_recharge_enabled: false };
    expect((await world.admin.post('/api/v1/organizations', { ...next, ...settings })).status).toBe(201);
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'recharge_lost' }]);
    const { id: rechargeId } = await recharge(organization, 'needs_attention');
    expect(await world.budgetOf(teamId)).toBe(BUDGET_BEFORE);
    const wish = { resolution: 'refund', reason: 'the team has moved' };
    expect((await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, wish)).status).toBe(200);
    await recharge(organization, 'refunded');
    expect(await world.budgetOf(teamId)).toBe(BUDGET_BEFORE);
    expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0 });
  });

  test('of whose customer Stripe lists many newer payments, by others: the lost one is found behind them', async () => {
    const { organization } = await world.recharged();
    const { customerId: customer } = organization;
    await Promise.all(
      Array.from({ length: 2 * NEWEST_INTENTS }, () => world.stripe.paymentIntents.create({ amount: 100, currency: 'usd', customer })),
    );
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    expect(await world.alerted(organization)).toEqual(unsuccessful('payment_unknown'));
    await recharge(organization, 'succeeded');
    await expectChargedOnce(world, organization);
  });

  test('of which Stripe lists nothing, for a while: two payments of one step are never both granted by one raise', async () => {
    const { organization } = await world.recharged();
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    const hidden = await hideIntents();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await hidden.remove();
    const second = await recharge(organization, 'succeeded');

    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'recharge_lost', settled: true }]);
    const first = await recharge(organization, 'needs_attention');
    expect(first.failure?.message).toContain(
      `max_budget is 30.50 already, and recharge ${second.id} has made the step from 10.00 to 30.50`,
    );
    expect(await world.books(organization)).toEqual({ ...PAID_TWICE, refunded: 0, granted: 2050, prepaid: 2050 });
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'recharge_parked', subject: first.id }]);
  });

  test('that has the alert and not its recharge: the payment gets an event of its own', async () => {
    const { organization, eventId } = await world.recharged();
    await restoreToAlert(organization, eventId);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    // It would charge again.
    await runAgain(eventId);
    expect(await world.closed(eventId)).toEqual(unsuccessful('payment_unknown'));
    await recharge(organization, 'succeeded');
    await expectChargedOnce(world, organization);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('that has the alert and not its recharge, and has ended it by what LiteLLM shows: the recharge says how it has ended', async () => {
    const { organization, eventId } = await world.recharged();
    await restoreToAlert(organization, eventId);
    await runAgain(eventId);
    expect(await world.closed(eventId)).toMatchObject({ outcome: 'above_minimum' });
    await world.findingsOf(organization);
    await recharge(organization, 'succeeded');
    await world.eventually(async () => (await world.closed(eventId)).outcome === 'succeeded', 'the event has ended as its recharge');
    await expectChargedOnce(world, organization);
  });

  test('from before the payment of a recharge was stored, and a Stripe that has forgotten its idempotency keys: that payment is its own', async () => {
    const { organization, eventId } = await world.recharged();
    await world.stripeKnob('idempotency/prune');
    await restoreTo('reserved', organization, eventId);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test.each(['reserved', 'charging', 'charged'] as const)(
    'from when a recharge was %s that was refunded later: it gets no quota, and the refund is entered again',
    async (status) => {
      const { organization, eventId } = await refunded();
      await world.stripeKnob('idempotency/prune');
      await restoreTo(status, organization, eventId);
      expect(await world.closed(eventId)).toEqual(REFUNDED);
      expect(await world.books(organization)).toEqual({ charges: 1, captured: 2050, refunded: 2050, granted: 0, prepaid: 0 });
      expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
    },
  );

  test('is not left with an event alone when the organization has an open recharge', async () => {
    const { organization } = await world.recharged();
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    const hidden = await hideIntents();
    const { goOn } = await world.chargedButNotGranted(organization);
    await hidden.remove();
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'recharge_lost', settled: false }]);
    const { rows } = await world.sql.query('select id from webhook_event where organization_id = $1', [organization.id]);
    expect(rows).toHaveLength(1);
    await goOn();
    await recharge(organization, 'succeeded');
  });

  test('that has forgotten the alert whose run looks at the balance: the run ends, and the next alert is charged for', async () => {
    const organization = await world.organization();
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: HOLD });
    const run = await world.runOf(await world.accepted(organization));
    await look.struck();
    await restoreBefore(organization);
    await look.remove();
    await hasFailed(run);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('that has forgotten what a run has reserved, and not its alert: the run ends, and reconciliation starts another one', async () => {
    const organization = await world.organization();
    await world.revokeStripeKey(true);
    const eventId = await world.accepted(organization);
    const run = await world.runOf(eventId);
    await world.rechargeIs(eventId, 'reserved');
    await restoreToAlert(organization, eventId);
    await world.revokeStripeKey(false);
    await hasFailed(run);
    await world.sql.query(
      "update webhook_event set received_at = now() - interval '1 hour', dispatched_at = now() - interval '1 hour' where id = $1",
      [eventId],
    );
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'run_missing', subject: eventId, settled: true }]);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('of whose reserved recharge Stripe lists no payment, for a while: the second payment is shown, until it is refunded', async () => {
    const { organization, eventId, intentId } = await world.recharged();
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    await world.stripeKnob('idempotency/prune');
    const hidden = await hideIntents();
    await restoreTo('reserved', organization, eventId);
    await hidden.remove();
    expect((await world.books(organization)).charges).toBe(2);
    expect(await world.findingsOf(organization)).toMatchObject([
      { kind: 'captured_unknown', seen: expect.stringContaining(intentId), command: expect.stringContaining(intentId), settled: false },
    ]);
    await world.stripe.refunds.create({ payment_intent: intentId });
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('of whose reserved recharge a person says that nothing was charged: nobody is charged again, and its payment is settled', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    await restoreWithoutRun('reserved', organization);
    const resolve = (resolution: string) =>
      world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution, reason: 'the database was restored' });
    expect((await resolve('accept')).data.status).toBe('cancelled');
    expect(await world.alerted(organization)).toEqual(unsuccessful('payment_unknown'));
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'captured_unknown', subject: rechargeId }]);
    expect((await resolve('refund')).data).toMatchObject({ payment_intent_id: intentId });
    await recharge(organization, 'refunded');
    expect(await world.books(organization)).toEqual({ charges: 1, captured: 2050, refunded: 2050, granted: 0, prepaid: 0 });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
  });

  async function hasFailed(run: WorkflowHandle): Promise<void> {
    await world.eventually(async () => (await run.describe()).status.name === 'FAILED', `${run.workflowId} has failed`, 60_000);
  }

  test.each([
    ['grant', { budget: BUDGET_AFTER + 20.5, refunded: 0, granted: 4100 }],
    ['refund', { budget: BUDGET_AFTER, refunded: 2050, granted: 2050 }],
  ] as const)('and a person who decides to %s: every cent is explained', async (resolution, { budget, ...books }) => {
    const { organization } = await world.recharged();
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    const hidden = await hideIntents();
    await world.alerted(organization);
    await hidden.remove();
    await world.findingsOf(organization);
    const { id } = await recharge(organization, 'needs_attention');
    await world.admin.post(`/api/v1/recharges/${id}/resolve`, { resolution, reason: 'the database was restored', by: 'ada' });
    await world.eventually(async () => (await world.books(organization)).prepaid === 0, 'nothing is held');
    expect(await world.books(organization)).toEqual({ ...PAID_TWICE, ...books, prepaid: 0 });
    expect(await world.budgetOf(organization.teamId)).toBe(budget);
    expect(await world.findingsOf(organization)).toEqual([]);
  });
});

test('case 78: an hour that is lost is explained to the cent by one run of bill reconcile --fix', async () => {
  const captured = await world.organization();
  const { eventId } = await world.chargedButNotGranted(captured);
  await (await world.runOf(eventId)).terminate('the database is restored');
  await world.clearFaults();
  const { organization: granted } = await world.recharged();
  const refunded = await world.organization();
  const cap = await world.kmsFault({ ...WRITE_BUDGET, contains: refunded.teamId, times: ALWAYS, action: { kind: 'respond', status: 400 } });
  expect(await world.alerted(refunded)).toEqual(REFUNDED);
  await cap.remove();
  const { organization: disputed, intentId } = await world.recharged();
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.findingsOf(disputed);
  await world.reversalIs(dispute.id, 'taken_back');

  const all = { captured, granted, refunded, disputed };
  for (const organization of Object.values(all)) await restoreBefore(organization);
  await world.findingsOf(captured);
  await world.reversalIs(dispute.id, 'taken_back');
  const ends = { captured: 'succeeded', granted: 'succeeded', refunded: 'refunded', disputed: 'succeeded' } as const;
  for (const [name, organization] of Object.entries(all)) await recharge(organization, ends[name as keyof typeof ends]);

  const books = async (organization: Organization) => ({
    ...(await world.accounts(organization)),
    budget: await world.budgetOf(organization.teamId),
  });
  const paid = { captured: 2050, refunded: 0, disputed: 0, granted: 2050, prepaid: 0, quota: 20.5, budget: BUDGET_AFTER };
  const back = { ...paid, granted: 0, quota: 0, budget: BUDGET_BEFORE };
  expect(await books(captured)).toEqual(paid);
  expect(await books(granted)).toEqual(paid);
  expect(await books(refunded)).toEqual({ ...back, refunded: 2050 });
  expect(await books(disputed)).toEqual({ ...back, disputed: 2050 });
  for (const organization of [captured, granted, refunded]) expect(await world.findingsOf(organization)).toEqual([]);
  // Whoever disputes a charge is not charged again before a person has looked.
  expect(await world.findingsOf(disputed)).toMatchObject([{ kind: 'hold_stands' }]);
});

describe('case 82: two installations on one Stripe account', () => {
  test("leave each other's payments alone", async () => {
    const { organization, intentId } = await world.recharged();
    await restoreBefore(organization);
    await world.setBudget(organization.teamId, BUDGET_BEFORE);
    await world.stripe.paymentIntents.update(intentId, { metadata: { installation: 'ins_another' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.findingsOf(organization)).toEqual([]);
    expect(await world.books(organization)).toMatchObject({ ...PAID_TWICE, granted: 2050, prepaid: 0 });
  });
});

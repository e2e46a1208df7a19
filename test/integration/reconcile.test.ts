/** What was forgotten, lost or changed is found, settled where that is safe, and left to a person with the command where it is not. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import type { ReconcileResult, ReconcileWorkflow } from '../../workflows/contract.ts';
import { freePort } from '../support/ports.ts';
import { type Organization, World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const REFUNDED = { charges: 1, captured: 2050, refunded: 2050, granted: 0, prepaid: 0 };
const NO_INTENTS = { object: 'list', data: [], has_more: false, url: '/v1/payment_intents' };
const BUSY = { method: 'POST', path: '/team/update', times: 1000, action: { kind: 'respond', status: 503, body: {} } } as const;

let world: World;
let client: Client;
beforeAll(async () => {
  world = await World.start();
  client = new Client({ connection: await Connection.connect({ address: world.env['TEMPORAL_ADDRESS'] ?? '' }) });
}, 60_000);
afterEach(() => world.clearFaults());
afterAll(async () => {
  await client.connection.close();
  await world.close();
});

async function reconcile(organization: Organization, fix = true): Promise<ReconcileResult['findings']> {
  const result = await client.workflow.execute<ReconcileWorkflow>('reconcileWorkflow', {
    workflowId: `reconcile/${randomUUID()}`,
    taskQueue: world.name,
    args: [{ fix }],
  });
  return result.findings.filter(({ organizationId }) => organizationId === organization.id);
}

/** The organization's event and recharge look untouched for an hour. */
async function letAnHourPass(organization: Organization): Promise<void> {
  await world.sql.query(
    "update webhook_event set received_at = received_at - interval '1 hour', dispatched_at = dispatched_at - interval '1 hour' where organization_id = $1",
    [organization.id],
  );
  await world.sql.query("update recharge set updated_at = updated_at - interval '1 hour' where organization_id = $1", [organization.id]);
}

async function recharged(wish = {}): Promise<{ organization: Organization; eventId: string }> {
  const organization = await world.organization(wish);
  const { data } = await world.alert(organization.teamId);
  expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
  return { organization, eventId: data.event_id };
}

async function chargedAndStuck(): Promise<{ organization: Organization; eventId: string }> {
  const organization = await world.organization();
  await world.kmsFault(BUSY);
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
  // What is done to the budget from here on comes between two attempts, not into one.
  await world.eventually(async () => (await world.strikes()) > 0, 'the budget was refused once');
  return { organization, eventId: data.event_id };
}

/** Runs statements as somebody whom neither privilege nor trigger stops: a restore from a backup, say. */
async function pastEveryGuard(...statements: [string, unknown[]][]): Promise<void> {
  const connection = await world.sql.connect();
  try {
    await connection.query("set session_replication_role = 'replica'");
    for (const [statement, values] of statements) await connection.query(statement, values);
  } finally {
    connection.release(true);
  }
}

async function rechargeOf(organization: Organization) {
  return (await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })).data.data[0];
}

describe('reconciliation', () => {
  test('finds nothing where all is well', async () => {
    const { organization } = await recharged();
    expect(await reconcile(organization)).toEqual([]);
  }, 60_000);

  test('case 51: a run that was terminated after the capture is started again, and ends with one charge and the quota raised', async () => {
    const { organization, eventId } = await chargedAndStuck();
    await client.workflow.getHandle(`recharge/${eventId}`).terminate('by hand');
    // The attempt under way ends in its fault; nobody makes another.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await world.clearFaults();
    await letAnHourPass(organization);
    expect(await reconcile(organization, false)).toMatchObject([{ kind: 'run_missing', subject: eventId, settled: false }]);
    expect(await reconcile(organization)).toMatchObject([{ kind: 'run_missing', subject: eventId, settled: true }]);
    expect(await world.closed(eventId)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 51: a run that is reset to its beginning after it has ended charges and grants nothing again', async () => {
    const { organization, eventId } = await recharged();
    const workflowExecution = { workflowId: `recharge/${eventId}` };
    const reset: unknown = await client.workflowService.resetWorkflowExecution({
      namespace: 'default',
      workflowExecution,
      reason: 'by hand',
      requestId: randomUUID(),
      // The first workflow task's completion: everything is done once more.
      workflowTaskFinishEventId: 4 as never, // typed as a Long, and a number is taken
    });
    const { runId } = reset as { runId: string };
    expect(await client.workflow.getHandle(workflowExecution.workflowId, runId).result()).toMatchObject({ outcome: 'recharged' });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 51: a run that is started again by hand under another id charges and grants nothing again', async () => {
    const { organization, eventId } = await recharged();
    const input = { taskQueue: world.name, workflowId: `by-hand/${eventId}`, args: [{ eventId }] };
    expect(await client.workflow.execute('rechargeWorkflow', input)).toMatchObject({ outcome: 'recharged' });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('a recharge that a restored database has lost is entered again from its intent, and not granted twice', async () => {
    const { organization, eventId } = await recharged();
    await pastEveryGuard(
      ['delete from ledger_transfer where organization_id = $1', [organization.id]],
      ['delete from recharge where organization_id = $1', [organization.id]],
      ['delete from webhook_event where organization_id = $1', [organization.id]],
      [
        "update organization_balance_config set ledger_sequence = 0, ledger_hash = '', version = 0 where c_organization_id = $1",
        [organization.id],
      ],
    );
    expect(await reconcile(organization)).toMatchObject([{ kind: 'recharge_lost', settled: true }]);
    expect(await world.closed(eventId)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    expect(await reconcile(organization)).toEqual([]);
  }, 60_000);

  test('a captured intent whose recharge says that it was declined is held, and a person decides', async () => {
    const { organization } = await recharged();
    await pastEveryGuard(
      ['delete from ledger_transfer where organization_id = $1', [organization.id]],
      ["update recharge set status = 'declined' where organization_id = $1", [organization.id]],
      ["update organization_balance_config set ledger_sequence = 0, ledger_hash = '' where c_organization_id = $1", [organization.id]],
    );
    expect(await reconcile(organization)).toMatchObject([{ kind: 'captured_unknown' }]);
    expect((await rechargeOf(organization)).status).toBe('needs_attention');
    expect((await world.books(organization)).prepaid).toBe(2050);
  }, 60_000);

  test('a ledger that was changed past every guard is found', async () => {
    const { organization } = await recharged();
    await pastEveryGuard(['update ledger_transfer set amount_minor = 1 where organization_id = $1 and sequence = 1', [organization.id]]);
    expect(await reconcile(organization)).toMatchObject([{ kind: 'ledger_changed', subject: 'transfer 1' }]);
  }, 60_000);

  test('a budget that somebody has edited is shown and left alone', async () => {
    const { organization } = await recharged();
    await world.setBudget(organization.teamId, 99);
    expect(await reconcile(organization)).toMatchObject([{ kind: 'budget_differs', seen: 'max_budget 99.00', settled: false }]);
    expect(await world.budgetOf(organization.teamId)).toBe(99);
  }, 60_000);

  test('a refund made elsewhere, whose event was lost, is found and its quota taken back', async () => {
    const { organization } = await recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: (await rechargeOf(organization)).payment_intent_id });
    const found = { kind: 'money_returned', subject: refund.id };
    expect(await reconcile(organization, false)).toMatchObject([{ ...found, settled: false }]);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await reconcile(organization)).toMatchObject([{ ...found, settled: true }]);
    const isTakenBack = async () =>
      (await world.sql.query("select 1 from reversal where id = $1 and status = 'taken_back'", [refund.id])).rows[0];
    await world.eventually(isTakenBack, 'the quota is taken back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    expect(await reconcile(organization)).toEqual([]);
  }, 60_000);
});

test('a refund of ours that fails later, whose event was lost, is found: the money is held, and a person decides', async () => {
  const organization = await world.organization();
  await world.kmsFault({ ...BUSY, action: { kind: 'respond', status: 400, body: { error: { message: 'no' } } } });
  const { data } = await world.alert(organization.teamId);
  expect(await world.closed(data.event_id)).toEqual({ outcome: 'refunded', success: false });
  const { refund_id, payment_intent_id } = (
    await world.sql.query('select refund_id, payment_intent_id from recharge where event_id = $1', [data.event_id])
  ).rows[0];
  await world.stripeKnob(`refunds/${refund_id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
  await reconcile(organization);
  await world.eventually(async () => (await rechargeOf(organization)).status === 'needs_attention', `${payment_intent_id} is looked at`);
  expect((await world.books(organization)).prepaid).toBe(2050);
}, 60_000);

test('a dispute of a charge that is older than all that is compared is found by its own age', async () => {
  const { organization } = await recharged();
  const { payment_intent_id: intentId } = await rechargeOf(organization);
  await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.stripeFault({ method: 'GET', path: '/v1/payment_intents', action: { kind: 'respond', status: 200, body: NO_INTENTS } });
  await reconcile(organization);
  await world.eventually(async () => (await world.budgetOf(organization.teamId)) === 10, 'the quota is taken back');
}, 60_000);

describe('a person settles what needs attention', () => {
  async function parked(): Promise<{ organization: Organization; rechargeId: string; eventId: string }> {
    const { organization, eventId } = await chargedAndStuck();
    await world.setBudget(organization.teamId, 11);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual({ outcome: 'needs_attention', success: false });
    return { organization, rechargeId: (await rechargeOf(organization)).id, eventId };
  }
  const resolve = (rechargeId: string, resolution: string) =>
    world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution, reason: 'looked at it', by: 'ada' });

  test('by granting: the quota is raised from what the budget is now', async () => {
    const { organization, rechargeId } = await parked();
    expect((await resolve(rechargeId, 'grant')).status).toBe(200);
    await world.eventually(async () => (await rechargeOf(organization)).status === 'succeeded', 'granted');
    expect(await world.budgetOf(organization.teamId)).toBe(31.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    const { data } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
    expect(data.timeline).toContainEqual(expect.objectContaining({ resolution: 'grant', by: 'ada', reason: 'looked at it' }));
  }, 60_000);

  test('by refunding: what is held goes back', async () => {
    const { organization, rechargeId } = await parked();
    await resolve(rechargeId, 'refund');
    await world.eventually(async () => (await rechargeOf(organization)).status === 'refunded', 'refunded');
    expect(await world.budgetOf(organization.teamId)).toBe(11);
    expect(await world.books(organization)).toEqual(REFUNDED);
  }, 60_000);

  test('by accepting: what is held counts as granted, and the budget stays', async () => {
    const { organization, rechargeId, eventId } = await parked();
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('succeeded');
    expect(await world.budgetOf(organization.teamId)).toBe(11);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    expect(await world.closed(eventId)).toEqual({ outcome: 'recharged', success: true });
  }, 60_000);

  test('while Temporal is away: the decision stands, and reconciliation starts the run that follows from it', async () => {
    const { organization, rechargeId } = await parked();
    await world.withAnotherApi({ TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}` }, async (url) => {
      const wish = { resolution: 'refund', reason: 'not ours' };
      const { status, data } = await world.admin.post(`${url}/api/v1/recharges/${rechargeId}/resolve`, wish);
      expect([status, data.status]).toEqual([200, 'refunding']);
    });
    await letAnHourPass(organization);
    await reconcile(organization);
    await world.eventually(async () => (await rechargeOf(organization)).status === 'refunded', 'refunded');
    expect(await world.books(organization)).toEqual(REFUNDED);
  }, 60_000);

  test('once: what is settled cannot be settled again', async () => {
    const { rechargeId } = await parked();
    await resolve(rechargeId, 'accept');
    const { status, data } = await resolve(rechargeId, 'refund');
    expect([status, data.type]).toEqual([409, 'urn:bill-service:problem:conflict']);
  }, 60_000);

  test('once, also when two do it at the same moment: the books show one of the two', async () => {
    const { organization, rechargeId } = await parked();
    const answers = await Promise.all([resolve(rechargeId, 'accept'), resolve(rechargeId, 'refund')]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409]);
    const books = answers[0].status === 200 ? CHARGED_ONCE : REFUNDED;
    await world.eventually(async () => (await world.books(organization)).prepaid === 0, 'the ledger is at rest');
    expect(await world.books(organization)).toEqual(books);
  }, 60_000);
});

/**
 * What was forgotten, lost or changed is found, settled where that is safe, and left to a person with the
 * command where it is not.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort } from '../../sandbox/ports.ts';
import { BUDGET_AFTER, CHARGED_AND_REFUNDED, CHARGED_ONCE, NEEDS_ATTENTION, RECHARGED, REFUNDED, SUCCEEDED } from '../support/books.ts';
import { expectChargedOnce, expectRefunded } from '../support/expectations.ts';
import { idle } from '../support/runs.ts';
import { type Organization, World } from '../support/world.ts';

const NO_INTENTS = { object: 'list', data: [], has_more: false, url: '/v1/payment_intents' };

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

/** The organization's event and recharge look untouched for an hour. */
async function letAnHourPass(organization: Organization): Promise<void> {
  await world.sql.query(
    "update webhook_event set received_at = received_at - interval '1 hour', dispatched_at = dispatched_at - interval '1 hour' where organization_id = $1",
    [organization.id],
  );
  await world.sql.query("update recharge set updated_at = updated_at - interval '1 hour' where organization_id = $1", [organization.id]);
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

describe('reconciliation', () => {
  test('finds nothing where all is well', async () => {
    const { organization } = await world.recharged();
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('case 51: a run that was terminated after the capture is started again, and ends with one charge and the quota raised', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization);
    const eventId = await world.accepted(organization);
    await refusal.struck();
    // The attempt under way ends with the worker, and without the run nobody makes another.
    await world.stopWorker();
    await (await world.runOf(eventId)).terminate('by hand');
    await refusal.remove();
    await world.startWorker();
    await letAnHourPass(organization);
    expect(await world.findingsOf(organization, { fix: false })).toMatchObject([{ kind: 'run_missing', subject: eventId, settled: false }]);
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'run_missing', subject: eventId, settled: true }]);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('case 51: a run that was started when its id did not name the organization is not missing, and goes on', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization);
    const eventId = await world.accepted(organization);
    await refusal.struck();
    await world.stopWorker();
    await (await world.runOf(eventId)).terminate('as if it had never been started');
    const former = await world.temporal.workflow.start('rechargeWorkflow', {
      workflowId: `recharge/${eventId}`,
      taskQueue: world.name,
      args: [{ eventId }],
    });
    await world.startWorker();
    await letAnHourPass(organization);
    expect(await world.findingsOf(organization, { fix: false })).toEqual([]);
    await refusal.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await former.result()).toMatchObject({ outcome: SUCCEEDED });
    await expectChargedOnce(world, organization);
  });

  test('case 51: a run that is reset to its beginning after it has ended charges and grants nothing again', async () => {
    const { organization, eventId } = await world.recharged();
    const run = await world.runOf(eventId);
    await run.result();
    const workflowExecution = { workflowId: run.workflowId };
    const reset: unknown = await world.temporal.workflowService.resetWorkflowExecution({
      namespace: 'default',
      workflowExecution,
      reason: 'by hand',
      requestId: randomUUID(),
      // The first workflow task's completion: everything is done once more.
      workflowTaskFinishEventId: 4 as never, // typed as a Long, and a number is taken
    });
    const { runId } = reset as { runId: string };
    expect(await world.temporal.workflow.getHandle(workflowExecution.workflowId, runId).result()).toMatchObject({ outcome: SUCCEEDED });
    await expectChargedOnce(world, organization);
  });

  test('case 51: a run that is started again by hand under another id charges and grants nothing again', async () => {
    const { organization, eventId } = await world.recharged();
    const input = { taskQueue: world.name, workflowId: `by-hand/${eventId}`, args: [{ eventId }] };
    expect(await world.temporal.workflow.execute('rechargeWorkflow', input)).toMatchObject({ outcome: SUCCEEDED });
    await expectChargedOnce(world, organization);
  });

  test('says of a hold that its dispute was lost, whose end no event has told', async () => {
    const { organization, intentId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    await idle(world.reversalRunOf((await world.rechargeOf(organization)).id));
    await world.stripeKnob(`disputes/${id}`, { status: 'lost' });
    const holds = async () => (await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`)).data.data;
    await world.findingsOf(organization, { fix: false });
    expect(await holds()).toMatchObject([{ detail: expect.not.stringContaining('decided') }]);
    await world.findingsOf(organization);
    expect(await holds()).toMatchObject([{ detail: expect.stringContaining(`${id} is decided, and the money stays with the customer`) }]);
  });

  test('a recharge that a restored database has lost is entered again from its intent, and not granted twice', async () => {
    const { organization, eventId } = await world.recharged();
    await pastEveryGuard(
      ['delete from ledger_transfer where organization_id = $1', [organization.id]],
      ['delete from recharge where organization_id = $1', [organization.id]],
      ['delete from webhook_event where organization_id = $1', [organization.id]],
      [
        "update organization_balance_config set ledger_sequence = 0, ledger_hash = '', version = 0 where c_organization_id = $1",
        [organization.id],
      ],
    );
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'recharge_lost', settled: true }]);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('a captured intent whose recharge says that it was declined is held, and a person decides', async () => {
    const { organization } = await world.recharged();
    await pastEveryGuard(
      ['delete from ledger_transfer where organization_id = $1', [organization.id]],
      ["update recharge set status = 'declined' where organization_id = $1", [organization.id]],
      ["update organization_balance_config set ledger_sequence = 0, ledger_hash = '' where c_organization_id = $1", [organization.id]],
    );
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'captured_unknown' }]);
    expect((await world.rechargeOf(organization)).status).toBe('needs_attention');
    expect((await world.books(organization)).prepaid).toBe(2050);
  });

  test('a ledger that was changed past every guard is found', async () => {
    const { organization } = await world.recharged();
    await pastEveryGuard(['update ledger_transfer set amount_minor = 1 where organization_id = $1 and sequence = 1', [organization.id]]);
    expect(await world.findingsOf(organization)).toMatchObject([
      { kind: 'prepaid_not_zero' },
      { kind: 'ledger_changed', subject: 'transfer 1' },
    ]);
  });

  test('a budget that somebody has edited is shown and left alone', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 99);
    expect(await world.findingsOf(organization)).toMatchObject([
      { kind: 'budget_differs', seen: 'max_budget 99.00', settled: false, command: expect.stringContaining('"max_budget":30.5}') },
    ]);
    expect(await world.budgetOf(organization.teamId)).toBe(99);
  });

  test('a refund made elsewhere, whose event was lost, is found and its quota taken back', async () => {
    const { organization, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    const found = { kind: 'money_returned', subject: refund.id };
    expect(await world.findingsOf(organization, { fix: false })).toMatchObject([{ ...found, settled: false }]);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect(await world.findingsOf(organization)).toMatchObject([{ ...found, settled: true }]);
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    // Whoever was refunded by hand is not charged again before a person has looked.
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'hold_stands' }]);
  });
});

test('a refund of ours that fails later, whose event was lost, is found: the money is held, and a person decides', async () => {
  const organization = await world.organization();
  await world.refuseBudget(organization, { kind: 'respond', status: 400, body: { error: { message: 'no' } } });
  const eventId = await world.accepted(organization);
  expect(await world.closed(eventId)).toEqual(REFUNDED);
  const { refund_id } = await world.rechargeOf(organization);
  await world.stripeKnob(`refunds/${refund_id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
  await world.findingsOf(organization);
  await world.rechargeIs(eventId, 'needs_attention');
  expect((await world.books(organization)).prepaid).toBe(2050);
});

test('a dispute of a charge that is older than all that is compared is found by its own age', async () => {
  const { organization, intentId } = await world.recharged();
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.stripeFault({ method: 'GET', path: '/v1/payment_intents', action: { kind: 'respond', status: 200, body: NO_INTENTS } });
  await world.findingsOf(organization);
  expect(await world.strikes()).toBe(1);
  await world.reversalIs(dispute.id, 'taken_back');
  expect(await world.budgetOf(organization.teamId)).toBe(10);
});

describe('a person settles what needs attention', () => {
  async function parked(): Promise<{ organization: Organization; rechargeId: string; eventId: string }> {
    const organization = await world.organization();
    const { eventId, rechargeId, goOn } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 11);
    await goOn();
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    return { organization, rechargeId, eventId };
  }
  const resolve = (rechargeId: string, resolution: string) =>
    world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution, reason: 'looked at it', by: 'ada' });

  test('by granting: the quota is raised from what the budget is now', async () => {
    const { organization, rechargeId, eventId } = await parked();
    expect((await resolve(rechargeId, 'grant')).status).toBe(200);
    await world.rechargeIs(eventId, 'succeeded');
    expect(await world.budgetOf(organization.teamId)).toBe(31.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    const { data } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
    expect(data.timeline).toContainEqual(expect.objectContaining({ resolution: 'grant', by: 'ada', reason: 'looked at it' }));
  });

  test('by refunding: what is held goes back', async () => {
    const { organization, rechargeId, eventId } = await parked();
    await resolve(rechargeId, 'refund');
    await world.rechargeIs(eventId, 'refunded');
    expect(await world.budgetOf(organization.teamId)).toBe(11);
    await expectRefunded(world, organization);
  });

  test('by accepting: what is held counts as granted, and the budget stays', async () => {
    const { organization, rechargeId, eventId } = await parked();
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('succeeded');
    expect(await world.budgetOf(organization.teamId)).toBe(11);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('while Temporal is unavailable: the decision stands, and reconciliation starts the run that follows from it', async () => {
    const { organization, rechargeId, eventId } = await parked();
    await world.withAnotherApi({ TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}` }, async (url) => {
      const wish = { resolution: 'refund', reason: 'not ours' };
      const { status, data } = await world.admin.post(`${url}/api/v1/recharges/${rechargeId}/resolve`, wish);
      expect([status, data.status]).toEqual([200, 'refunding']);
    });
    await letAnHourPass(organization);
    await world.findingsOf(organization);
    await world.rechargeIs(eventId, 'refunded');
    await expectRefunded(world, organization);
  });

  test('once: what is settled cannot be settled again', async () => {
    const { rechargeId } = await parked();
    await resolve(rechargeId, 'accept');
    const { status, data } = await resolve(rechargeId, 'refund');
    expect([status, data.type]).toEqual([409, 'urn:bill-service:problem:conflict']);
  });

  test('once, also when two do it at the same moment: the books show one of the two', async () => {
    const { organization, rechargeId } = await parked();
    const answers = await Promise.all([resolve(rechargeId, 'accept'), resolve(rechargeId, 'refund')]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409]);
    const books = answers[0].status === 200 ? CHARGED_ONCE : CHARGED_AND_REFUNDED;
    await world.eventually(async () => (await world.books(organization)).prepaid === 0, 'prepaid is zero');
    expect(await world.books(organization)).toEqual(books);
  });
});

/**
 * An attempt that comes too late: a process that stood still, a run that was cancelled, a look that was given up.
 * What it decides on has changed meanwhile, and it neither charges, grants nor refunds on that.
 */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { takeBackBudget, writeBudget } from '../../activities/budget-write.ts';
import { chargeStripe } from '../../activities/recharge/charge-stripe.ts';
import { closeEvent } from '../../activities/recharge/close-event.ts';
import { obstacleTo } from '../../activities/recharge/last-look.ts';
import { refundCharge } from '../../activities/recharge/refund-charge.ts';
import { Database } from '../../src/database/database.ts';
import * as recharges from '../../src/database/recharges.ts';
import type { EventOutcome } from '../../src/domain/event-outcome.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { quotaFromDollars } from '../../src/domain/money.ts';
import { REFUSALS } from '../../src/domain/policy.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { createLogger } from '../../src/observability/log.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { PaymentsClient } from '../../src/payments/client.ts';
import type { WorkflowStarter } from '../../src/workflow-starter.ts';
import { BUDGET_AFTER, CANCELLED, CHARGED_ONCE, HELD, RECHARGED } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, CONFIRM, CREATE_INTENT, HOLD, READ_BUDGET, RESET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { failedAttempts } from '../support/runs.ts';
import { type Organization, type RechargeIds, World } from '../support/world.ts';

const forbidden = { kind: 'respond', status: 403, body: { error: { message: 'forbidden' } } } as const;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(async () => {
  await world.clearFaults();
  await world.revokeStripeKey(false);
  await world.releaseService();
});
afterAll(() => world.close());

describe('a process that stands still right before it writes a budget, while others change that, writes nothing', () => {
  const now = Date.now;
  afterEach(() => {
    jest.restoreAllMocks();
  });

  const [BEFORE, AFTER] = [quotaFromDollars(BUDGET_AFTER), quotaFromDollars(51)];

  /** What happens while the process stands still: Temporal has given its attempt up, and others go on. */
  async function standStill({ teamId }: Organization): Promise<void> {
    await world.kms.post('/team/update', { team_id: teamId, max_budget: 77 });
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 60_000);
  }

  /** The recharge as it is while it writes the budget. */
  async function writing<Status extends 'charged' | 'refunding'>({ rechargeId: id }: RechargeIds, status: Status) {
    await world.sql.query('update recharge set status = $2 where id = $1', [id, status]);
    return { id, status };
  }

  test('after the plan of a raise or a lowering', async () => {
    const { organization, ...paid } = await world.recharged();
    const writer = await writing(paid, 'charged');
    const database = await Database.open(world.config.databaseUrl);
    const write = () =>
      writeBudget(
        database.fork(),
        new KmsClient(world.config.kms),
        { organizationId: organization.id, teamId: organization.teamId, writer },
        async () => {
          await standStill(organization);
          return { before: BEFORE, after: AFTER };
        },
      );
    await expect(new MockActivityEnvironment().run(write)).rejects.toMatchObject({ type: FAILURE.lookTooOld, nonRetryable: false });
    expect(await world.budgetOf(organization.teamId)).toBe(77);
    await database.close();
  });

  test('while the answer to the look is on its way', async () => {
    const { organization, ...paid } = await world.recharged();
    const database = await Database.open(world.config.databaseUrl);
    const kms = new KmsClient(world.config.kms);
    const look = kms.teamBudget.bind(kms);
    jest.spyOn(kms, 'teamBudget').mockImplementationOnce(async (teamId) => {
      const found = await look(teamId);
      await standStill(organization);
      return found;
    });
    const target = { organizationId: organization.id, teamId: organization.teamId, writer: await writing(paid, 'charged') };
    const write = () => writeBudget(database.fork(), kms, target, async () => ({ before: BEFORE, after: AFTER }));
    await expect(new MockActivityEnvironment().run(write)).rejects.toMatchObject({ type: FAILURE.lookTooOld, nonRetryable: false });
    expect(await world.budgetOf(organization.teamId)).toBe(77);
    await database.close();
  });

  test('after the look before a refund', async () => {
    const { organization, ...paid } = await world.recharged();
    const writer = await writing(paid, 'refunding');
    const database = await Database.open(world.config.databaseUrl);
    const kms = new KmsClient(world.config.kms);
    const look = kms.teamBudget.bind(kms);
    jest.spyOn(kms, 'teamBudget').mockImplementationOnce(async (teamId) => {
      const found = await look(teamId);
      await standStill(organization);
      return found;
    });
    const { id: organizationId, teamId } = organization;
    const take = () =>
      takeBackBudget(database.fork(), kms, { organizationId, teamId, writer, before: quotaFromDollars(10), after: BEFORE });
    await expect(new MockActivityEnvironment().run(take)).rejects.toMatchObject({ type: FAILURE.lookTooOld, nonRetryable: false });
    expect(await world.budgetOf(teamId)).toBe(77);
    await database.close();
  });
});

test('a process that stands still between its last look and the confirm charges nothing on that look, and the next attempt looks again', async () => {
  const organization = await world.organization();
  const eventId = await world.reservedOnly(organization);
  const { rechargeId } = await world.rechargeIs(eventId, 'reserved');
  await world.sql.query("update recharge set created_at = now() - interval '1 minute' where id = $1", [rechargeId]);
  await world.stopWorker();
  await world.revokeStripeKey(false);
  const database = await Database.open(world.config.databaseUrl);
  const kms = new KmsClient(world.config.kms);
  const payments = new PaymentsClient(world.config.stripe);
  const look = kms.teamBudget.bind(kms);
  const now = Date.now;
  // One look before the intent is made, and one before it is confirmed.
  jest
    .spyOn(kms, 'teamBudget')
    .mockImplementationOnce(look)
    .mockImplementationOnce(async (teamId) => {
      const found = await look(teamId);
      jest.spyOn(Date, 'now').mockImplementation(() => now() + 60_000);
      return found;
    });
  const charge = () => chargeStripe({ database, kms, payments, workflows: {} as WorkflowStarter })({ rechargeId });
  const attempt = new MockActivityEnvironment().run(charge).finally(() => jest.restoreAllMocks());
  await expect(attempt).rejects.toMatchObject({ type: FAILURE.lookTooOld, nonRetryable: false });
  await expectUncharged(world, organization);
  await database.close();
  await world.startWorker();
  expect(await world.closed(eventId)).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
});

test('a process that stands still between its look at a recharge and the refund of it, while a person grants it, refunds nothing', async () => {
  const organization = await world.organization();
  await world.kmsFault({ ...WRITE_BUDGET, times: ALWAYS, action: forbidden });
  const LIST_REFUNDS = { method: 'GET', path: '/v1/refunds' } as const;
  await world.stripeFault({ ...LIST_REFUNDS, times: ALWAYS, action: UNAVAILABLE });
  const eventId = await world.accepted(organization);
  const { rechargeId } = await world.rechargeIs(eventId, 'refunding');
  await world.stopWorker();
  await world.clearFaults();
  await world.releaseService();
  const database = await Database.open(world.config.databaseUrl);
  const kms = new KmsClient(world.config.kms);
  const payments = new PaymentsClient(world.config.stripe);
  const list = payments.refundsOf.bind(payments);
  const now = Date.now;
  jest.spyOn(payments, 'refundsOf').mockImplementationOnce(async (intentId) => {
    const refunds = await list(intentId);
    // Another attempt has parked it, and a person has seen to the quota.
    await world.sql.query("update recharge set status = 'needs_attention' where id = $1", [rechargeId]);
    const accept = { resolution: 'accept', reason: 'the quota is given by hand' };
    expect((await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, accept)).status).toBe(200);
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 60_000);
    return refunds;
  });
  const refund = () => refundCharge({ database, kms, payments })({ rechargeId, reason: 'LiteLLM refuses' });
  const attempt = new MockActivityEnvironment().run(refund).finally(() => jest.restoreAllMocks());
  await expect(attempt).rejects.toMatchObject({ type: FAILURE.lookTooOld, nonRetryable: false });
  await database.close();
  await world.startWorker();
  expect(await world.closed(eventId)).toEqual(RECHARGED);
  await world.rechargeIs(eventId, 'succeeded');
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
});

describe('a run that is cancelled before the card is touched charges nothing, closes its event, and the next alert is handled', () => {
  test('while a look at the balance is under way that fails', async () => {
    const organization = await world.organization();
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: HOLD });
    const eventId = await world.accepted(organization);
    await look.struck();
    await loseLitellmDatabase(true);
    await cancel(eventId);
    await look.remove();
    const ending = await world.closed(eventId).finally(() => loseLitellmDatabase(false));
    expect(ending).toEqual(CANCELLED);
    expect(await world.rechargesOf(organization)).toEqual([]);
    await expectNextAlertHandled(organization);
  });

  test('between two looks at the balance that fail', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    await failedAttempts(await world.runOf(eventId));
    await cancel(eventId);
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await world.clearFaults();
    expect(await world.rechargesOf(organization)).toEqual([]);
    await expectNextAlertHandled(organization);
  });

  test('while a look at the balance is under way that reserves', async () => {
    const organization = await world.organization();
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, when: 'after', times: ALWAYS, action: HOLD });
    const eventId = await world.accepted(organization);
    // The second look: during the first, within the workflow task, a run hears of nothing.
    await look.struck(2);
    await cancel(eventId);
    await look.remove();
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await expectCalledOff(organization);
    await expectNextAlertHandled(organization);
  });

  test("while Stripe's key is revoked and the recharge only reserved", async () => {
    const organization = await world.organization();
    const eventId = await world.reservedOnly(organization);
    await cancel(eventId);
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await world.revokeStripeKey(false);
    await expectCalledOff(organization);
    await expectNextAlertHandled(organization);
  });

  test("while an attempt to charge is under way that fails, as Stripe's key is revoked", async () => {
    const organization = await world.organization();
    const attempt = await world.stripeFault({ method: 'GET', path: '/v1/customers/*', times: ALWAYS, action: HOLD });
    const eventId = await world.accepted(organization);
    await attempt.struck();
    await world.revokeStripeKey(true);
    await cancel(eventId);
    await attempt.remove();
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await world.revokeStripeKey(false);
    await expectCalledOff(organization);
    await expectNextAlertHandled(organization);
  });

  test("an organization that is suspended while Stripe's key is revoked is not charged when the key works again", async () => {
    const organization = await world.organization();
    const eventId = await world.reservedOnly(organization);
    await world.admin.post(`/api/v1/organizations/${organization.id}/suspend`, {});
    await world.revokeStripeKey(false);
    expect(await world.closed(eventId)).toEqual(HELD);
    await expectCalledOff(organization);
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await expectNextAlertHandled(organization);
  });

  async function expectCalledOff(organization: Organization): Promise<void> {
    expect(await world.rechargesOf(organization)).toMatchObject([{ status: 'cancelled', payment_intent_id: null }]);
    await expectUncharged(world, organization);
  }

  async function expectNextAlertHandled(organization: Organization): Promise<void> {
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  }
});

describe('a look that was given up, and reserves while its run is ending, is not charged for', () => {
  test('when the run was refused', async () => {
    const organization = await world.organization();
    const { eventId, look } = await lookGivenUp(organization);
    const ending = await whileOpen(eventId, async () => {
      await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 100 });
      await world.waitsForLock('update webhook_event set processed');
      await look.remove();
      await hasReservedOrWaits(organization);
    });
    expect(ending).toMatchObject({ outcome: 'above_minimum' });
    await expectNothingOpen(organization);
  });

  test('when the run was cancelled', async () => {
    const organization = await world.organization();
    const { eventId, look } = await lookGivenUp(organization);
    const ending = await whileOpen(eventId, async () => {
      const outage = await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action: UNAVAILABLE });
      await failedAttempts(await world.runOf(eventId));
      await cancel(eventId);
      await world.waitsForLock('update webhook_event set processed');
      await outage.remove();
      await look.remove();
      await hasReservedOrWaits(organization);
    });
    expect(ending).toEqual(CANCELLED);
    await expectNothingOpen(organization);
  });

  test('what it has reserved before that is called off, for what the run was refused for', async () => {
    const organization = await world.organization();
    const eventId = await world.reservedOnly(organization);
    await closedAs('team_not_found', eventId);
    await world.revokeStripeKey(false);
    const failure = { code: 'team_not_found', message: REFUSALS.team_not_found };
    expect(await world.rechargesOf(organization)).toMatchObject([{ status: 'cancelled', failure }]);
    await expectUncharged(world, organization);
  });

  test('but what is reserved when a run ends after its charge stays: a restored database may have forgotten the charge', async () => {
    const organization = await world.organization();
    const eventId = await world.reservedOnly(organization);
    await closedAs('needs_attention', eventId);
    expect(await world.rechargesOf(organization)).toMatchObject([{ status: 'reserved' }]);
    await world.revokeStripeKey(false);
    await world.rechargeIs(eventId, 'succeeded');
    await expectChargedOnce(world, organization);
  });

  /**
   * The first look, within the workflow task, has read an empty budget, and is without its answer. By a new worker:
   * one that has just had a slow step takes none within the workflow task.
   */
  async function lookGivenUp(organization: Organization) {
    await world.stopWorker();
    await world.startWorker();
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, when: 'after', action: HOLD });
    const eventId = await world.accepted(organization);
    await look.struck();
    return { eventId, look };
  }

  /** The end of a run, as its last step records it. */
  async function closedAs(outcome: EventOutcome, eventId: string): Promise<void> {
    const database = await Database.open(world.config.databaseUrl);
    const log = createLogger('silent');
    await closeEvent({ database, log, metrics: new Metrics('worker', log) })({ eventId, outcome });
    await database.close();
  }

  /** How an event ends that can be reserved for, and not be closed, until `work` is done. */
  async function whileOpen(eventId: string, work: () => Promise<void>) {
    const client = await world.sql.connect();
    try {
      await client.query('begin');
      await client.query('select from webhook_event where id = $1 for share', [eventId]);
      await work();
      await client.query('commit');
    } finally {
      client.release(true);
    }
    return world.closed(eventId);
  }

  async function hasReservedOrWaits({ id }: Organization): Promise<void> {
    const query = `select from recharge where organization_id = $1 union all select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query ~ 'organization_balance_config'`;
    await world.eventually(async () => (await world.sql.query(query, [id])).rowCount, 'the first look has reserved, or waits to');
  }

  async function expectNothingOpen(organization: Organization): Promise<void> {
    expect((await world.rechargesOf(organization)).filter(({ status }) => status !== 'cancelled')).toEqual([]);
    await expectUncharged(world, organization);
  }
});

test('a run that is cancelled while its card is being charged and the answer to that is lost goes on to its end', async () => {
  const organization = await world.organization();
  const creation = await world.stripeFault({ ...CREATE_INTENT, when: 'after', action: HOLD });
  // Twice, as stripe-node itself sends once more after a closed connection.
  const lost = await world.stripeFault({ ...CONFIRM, when: 'after', times: 2, action: RESET });
  const eventId = await world.accepted(organization);
  await creation.struck();
  await cancel(eventId);
  await creation.remove();
  expect(await world.closed(eventId)).toEqual(RECHARGED);
  expect(await lost.strikes()).toBe(2);
  await expectChargedOnce(world, organization);
});

test('a worker whose clock is behind believes what was seen at the reservation no longer than another one', async () => {
  const organization = await world.organization();
  const eventId = await world.reservedOnly(organization);
  const { rechargeId } = await world.rechargeIs(eventId, 'reserved');
  await world.sql.query("update recharge set created_at = now() - interval '1 minute' where id = $1", [rechargeId]);
  const database = await Database.open(world.config.databaseUrl);
  const em = database.fork();
  const recharge = await recharges.get(em, rechargeId);
  const kms = new KmsClient(world.config.kms);
  await world.editTeam(organization.teamId, { blocked: true });
  const card = { id: 'pm_clock', fingerprint: 'clock', expiry: '' };
  const now = Date.now();
  const clock = jest.spyOn(Date, 'now').mockReturnValue(now - 10 * 60_000);
  const obstacle = await obstacleTo({ em, kms, recharge }, card).finally(() => clock.mockRestore());
  expect(obstacle).toMatchObject({ refusal: 'team_blocked' });
  await database.close();
  await cancel(eventId);
  await world.closed(eventId);
});

async function cancel(eventId: string): Promise<void> {
  await (await world.runOf(eventId)).cancel();
}

async function loseLitellmDatabase(lost: boolean): Promise<void> {
  await world.kmsKnob('settings', { database_down: lost });
}

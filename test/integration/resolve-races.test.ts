/**
 * A person settles a recharge while an attempt at it is under way: safely against what that may still write or refund.
 * Money and quota never go both, and never stay both.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { updateKmsQuota } from '../../activities/recharge/update-kms-quota.ts';
import { Database } from '../../src/database/database.ts';
import type { KmsClient } from '../../src/kms/client.ts';
import { createLogger } from '../../src/observability/log.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { BUDGET_AFTER, BUDGET_BEFORE, CHARGED_AND_REFUNDED, CHARGED_ONCE, NEEDS_ATTENTION, RECHARGED, REFUNDED } from '../support/books.ts';
import { expectChargedOnce, expectRefunded } from '../support/expectations.ts';
import { ALWAYS, HOLD, READ_BUDGET, RESET, WRITE_BUDGET } from '../support/faults.ts';
import { expectNoQuotaAndMoneyBack, resolve, runIsOver, stuck } from '../support/resolutions.ts';
import { type Organization, type RechargeIds, World } from '../support/world.ts';

const MAKE_REFUND = { method: 'POST', path: '/v1/refunds' } as const;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

async function writesTo({ teamId }: Organization): Promise<unknown[]> {
  const { requests } = await world.kmsState();
  return requests
    .filter(({ path, body }) => path === WRITE_BUDGET.path && body.includes(teamId))
    .map(({ body }) => JSON.parse(body).max_budget);
}

test('a person accepts while an attempt is about to write, and that cannot read the budget: the next recharge is granted', async () => {
  const { organization, rechargeId } = await stuck(world);
  await world.stopWorker();
  const lock = await world.sql.connect();
  await lock.query('begin');
  await lock.query('select from organization_balance_config where c_organization_id = $1 for update', [organization.id]);
  const accepting = resolve(world, rechargeId, 'accept');
  await world.waitsForLock('organization_balance_config');
  const database = await Database.open(world.config.databaseUrl);
  const silent = createLogger('silent');
  const kms = { teamBudget: () => Promise.reject(new Error('no answer')) } as unknown as KmsClient;
  const activity = updateKmsQuota({ database, kms, log: silent, metrics: new Metrics('worker', silent) });
  const attempt = new MockActivityEnvironment().run(activity, { rechargeId });
  await world.waitsForLock('for no key update');
  await lock.query('commit');
  lock.release();
  expect((await accepting).data.status).toBe('succeeded');
  await expect(attempt).rejects.toThrow();
  await database.close();
  await world.clearFaults();
  await world.startWorker();
  expect(await world.alerted(organization)).toEqual(RECHARGED);
});

describe('a write of the budget is under way when a person refunds', () => {
  /** The write is at LiteLLM, which has not taken it yet. */
  async function writing(): Promise<RechargeIds & { organization: Organization; letGo: () => Promise<void> }> {
    const organization = await world.organization();
    const held = await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, action: HOLD });
    const eventId = await world.accepted(organization);
    await held.struck();
    return { organization, ...(await world.rechargeIs(eventId, 'charged')), letGo: () => held.remove() };
  }

  test('LiteLLM takes it after the decision: the quota is taken back, then the money goes back', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    expect((await resolve(world, rechargeId, 'refund')).data.status).toBe('refunding');
    await refusedToRefund(eventId);
    expect((await world.books(organization)).refunded).toBe(0);
    await letGo();
    await aMinutePasses(rechargeId);
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(world, organization);
    expect(await writesTo(organization)).toEqual([BUDGET_AFTER, BUDGET_BEFORE]);
  });

  test('LiteLLM takes it just before the decision, and the answer is lost: the quota is taken back', async () => {
    const organization = await world.organization();
    const lost = await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, when: 'after', action: RESET });
    const reads = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, skip: 2, times: ALWAYS, action: HOLD });
    const eventId = await world.accepted(organization);
    await lost.struck();
    const { rechargeId } = await world.rechargeIs(eventId, 'charged');
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await resolve(world, rechargeId, 'refund');
    await reads.remove();
    await aMinutePasses(rechargeId);
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(world, organization);
  });

  test('the refund is not asked for before it is over; once it is asked for, nobody can grant', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    const refunds = await world.stripeFault({ ...MAKE_REFUND, times: ALWAYS, action: HOLD });
    await resolve(world, rechargeId, 'refund');
    await refusedToRefund(eventId);
    expect(await refunds.strikes()).toBe(0);
    await letGo();
    await aMinutePasses(rechargeId);
    await refunds.struck();
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
    for (const resolution of ['grant', 'accept'])
      expect((await resolve(world, rechargeId, resolution)).status).toBe(resolution === 'grant' ? 409 : 200);
    await refunds.remove();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(world, organization);
  });

  test('accepting waits for it: 409, and the write is granted by its own run', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    const { status, data } = await resolve(world, rechargeId, 'accept');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('may still take effect')]);
    await letGo();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('granting joins it: one grant', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    expect((await resolve(world, rechargeId, 'grant')).status).toBe(200);
    await letGo();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('somebody edits the budget meanwhile: it stays, a person looks again, and the next refund goes through', async () => {
    const { organization, rechargeId, eventId } = await stuck(world);
    const reads = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: HOLD });
    await reads.struck();
    await resolve(world, rechargeId, 'refund');
    await world.setBudget(organization.teamId, 12);
    await reads.remove();
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    expect((await world.books(organization)).refunded).toBe(0);
    await resolve(world, rechargeId, 'refund');
    await world.rechargeIs(eventId, 'refunded');
    await expectRefunded(world, organization);
    expect(await world.budgetOf(organization.teamId)).toBe(12);
  });

  test('at any of many moments around the decision: money or quota, never both and never neither', async () => {
    await Promise.all(
      Array.from({ length: 12 }, async (_none, turn) => {
        const { organization, rechargeId, eventId, letGo } = await writing();
        const decide = () => resolve(world, rechargeId, turn % 3 === 2 ? 'grant' : 'refund');
        const pause = () => new Promise((done) => setTimeout(done, turn * 8));
        await Promise.all(turn % 2 ? [decide(), pause().then(letGo)] : [pause().then(decide), letGo()]);
        await aMinutePasses(rechargeId);
        const { outcome } = await world.closed(eventId);
        expect(await world.books(organization)).toEqual(outcome === 'refunded' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
        expect(await world.budgetOf(organization.teamId)).toBe(outcome === 'refunded' ? BUDGET_BEFORE : BUDGET_AFTER);
      }),
    );
  });

  /** Waits until the new run has tried the refund, and was told to wait. */
  async function refusedToRefund(eventId: string): Promise<void> {
    await world.eventually(async () => {
      const { raw } = await (await world.runOf(eventId)).describe();
      const refund = raw.pendingActivities?.find(({ activityType }) => activityType?.name === 'refundCharge');
      return refund?.lastFailure?.message?.includes('may still take effect');
    }, `the refund of ${eventId} waits`);
  }

  /** As far as the recharge can tell: no write of its budget can take effect any more. */
  async function aMinutePasses(rechargeId: string): Promise<void> {
    await world.sql.query('update recharge set write_until = now() where id = $1 and write_until > now()', [rechargeId]);
  }
});

describe('LiteLLM has refused the budget, and the run is about to refund when a person decides', () => {
  // A grant may come before the run's refund or after it: each of the two is whole.
  test.each(['accept', 'grant'])(
    '%s: no quota beside money that goes back, and the event ends as the recharge does',
    async (resolution) => {
      const organization = await world.organization();
      const { teamId } = organization;
      await world.refuseBudget(organization, { kind: 'respond', status: 400, body: { error: { message: 'above the cap' } } });
      // The limits, and before the write; the one that is held would show that the write changed nothing.
      const reads = await world.kmsFault({ ...READ_BUDGET, contains: teamId, skip: 2, times: ALWAYS, action: HOLD });
      const eventId = await world.accepted(organization);
      await reads.struck();
      const { rechargeId } = await world.rechargeIs(eventId, 'charged');

      const lock = await world.sql.connect();
      await lock.query('begin');
      await lock.query('select 1 from organization_balance_config where c_organization_id = $1 for update', [organization.id]);
      const decided = resolve(world, rechargeId, resolution);
      await world.waitsForLock('organization_balance_config');
      await reads.remove();
      await world.waitsForLock('for no key update');
      if (resolution === 'grant') await world.setBudget(teamId, BUDGET_AFTER);
      await world.clearFaults();
      await lock.query('commit');
      lock.release();

      expect((await decided).status).toBe(200);
      await runIsOver(world, eventId);
      const ending = await world.closed(eventId);
      expect(await (await world.runOf(eventId)).result()).toMatchObject({ outcome: ending.outcome });
      expect(resolution === 'accept' ? [RECHARGED] : [RECHARGED, REFUNDED]).toContainEqual(ending);
      const isRefunded = ending.outcome === REFUNDED.outcome;
      expect(await world.books(organization)).toEqual(isRefunded ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
      expect(await world.budgetOf(teamId)).toBe(isRefunded || resolution === 'accept' ? BUDGET_BEFORE : BUDGET_AFTER);
    },
  );
});

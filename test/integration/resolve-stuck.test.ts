/**
 * A person settles a recharge that its run tries again and again: at once, and safely against the attempt under
 * way. Money and quota never go both, and never stay both.
 */
import { Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { updateKmsQuota } from '../../activities/recharge/update-kms-quota.ts';
import type { FaultAction } from '../../sandbox/faults.ts';
import { freePort } from '../../sandbox/ports.ts';
import { Database } from '../../src/database/database.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as resolutions from '../../src/database/resolutions.ts';
import { minorUnits } from '../../src/domain/money.ts';
import type { KmsClient } from '../../src/kms/client.ts';
import { createLogger } from '../../src/observability/log.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { BUDGET_AFTER, CANCELLED, CHARGED_AND_REFUNDED, CHARGED_ONCE, NEEDS_ATTENTION, RECHARGED, REFUNDED } from '../support/books.ts';
import { expectChargedOnce, expectRefunded, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, CONFIRM, HOLD, READ_BUDGET, READ_INTENT, RESET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { startProxy } from '../support/proxy.ts';
import { type Organization, type RechargeIds, World } from '../support/world.ts';

const BUDGET_BEFORE = 10;
/** For an answer of the API: see src/cli/fetch.ts. */
const BILL_WAITS_MS = 15_000;
const SENTENCE = '1 validation error for the row';
/** LiteLLM repeats its key, and what it must not be repeated in is our log. */
const FAILS: FaultAction = {
  kind: 'respond',
  status: 500,
  body: { error: { message: `${SENTENCE} (Bearer sk-1234)`, type: 'internal_server_error', param: 'None', code: '500' } },
};
const CHANGES_NOTHING: FaultAction = { kind: 'respond', status: 200, body: { team_id: 't', data: {} } };
const MAKE_REFUND = { method: 'POST', path: '/v1/refunds' } as const;
const NO_SUCH_INTENT: FaultAction = {
  kind: 'respond',
  status: 404,
  body: { error: { type: 'invalid_request_error', code: 'resource_missing', message: 'No such payment_intent' } },
};

let world: World;
const log: string[] = [];
beforeAll(async () => {
  const destination = new Writable({
    write(line, _encoding, done) {
      log.push(String(line));
      done();
    },
  });
  world = await World.start({ LOG_LEVEL: 'info' }, destination);
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

async function resolve(
  rechargeId: string,
  resolution: string,
  url = '',
): Promise<{ status: number; data: { status: string; detail: string } }> {
  const body = { resolution, reason: 'cannot be raised', by: 'ada' };
  return world.admin.post(`${url}/api/v1/recharges/${rechargeId}/resolve`, body);
}

/** Charged, and its budget cannot be written: the run tries it again and again. */
async function stuck(action: FaultAction = FAILS): Promise<RechargeIds & { organization: Organization }> {
  const organization = await world.organization();
  const refusal = await world.refuseBudget(organization, action);
  const eventId = await world.accepted(organization);
  await refusal.struck(2);
  return { organization, ...(await world.rechargeIs(eventId, 'charged')) };
}

/** The recharges of these organizations began an hour ago, and took each of their steps 16 minutes earlier. */
async function longAgo(organizationIds: readonly string[]): Promise<void> {
  await world.sql.query(
    `update recharge set created_at = created_at - interval '1 hour',
       timeline = (select jsonb_agg(step || jsonb_build_object('at', ((step->>'at')::timestamptz - interval '16 minutes')::text)) from jsonb_array_elements(timeline) step)
     where organization_id = any($1)`,
    [organizationIds],
  );
}

async function runIsOver(eventId: string): Promise<void> {
  await world.eventually(
    async () => (await (await world.runOf(eventId)).describe()).status.name !== 'RUNNING',
    `the run of ${eventId} ends`,
  );
}

async function expectNoQuotaAndMoneyBack(organization: Organization): Promise<void> {
  await expectRefunded(world, organization);
  expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
}

async function writesTo({ teamId }: Organization): Promise<unknown[]> {
  const { requests } = await world.kmsState();
  return requests
    .filter(({ path, body }) => path === WRITE_BUDGET.path && body.includes(teamId))
    .map(({ body }) => JSON.parse(body).max_budget);
}

describe.each([
  ['LiteLLM answers 500 to every write', FAILS],
  ['LiteLLM answers 200 to every write and changes nothing', CHANGES_NOTHING],
])('case 72: %s', (_name, action) => {
  test('refund: the money goes back at once, the budget is the one from before, and the run ends', async () => {
    const { organization, rechargeId, eventId } = await stuck(action);
    const { status, data } = await resolve(rechargeId, 'refund');
    expect([status, data.status]).toEqual([200, 'refunding']);
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await runIsOver(eventId);
    await expectNoQuotaAndMoneyBack(organization);
    const { timeline } = await world.rechargeOf(organization);
    expect(timeline).toContainEqual(expect.objectContaining({ resolution: 'refund', by: 'ada', reason: 'cannot be raised' }));
  });

  test('grant, after the budget was raised by hand: granted once', async () => {
    const { organization, rechargeId, eventId } = await stuck(action);
    // Else the run may see the budget first, and grant it by itself.
    await world.stopWorker();
    await world.setBudget(organization.teamId, BUDGET_AFTER);
    expect((await resolve(rechargeId, 'grant')).status).toBe(200);
    await world.startWorker();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await runIsOver(eventId);
    await expectChargedOnce(world, organization);
  });

  test('accept: what is held counts as granted, the budget stays, and the run ends', async () => {
    const { organization, rechargeId, eventId } = await stuck(action);
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('succeeded');
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await runIsOver(eventId);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
  });

  test('every resolution at once, or one twice: the money is refunded, or counts as granted', async () => {
    const resolutions = [
      ['refund', 'refund'],
      ['grant', 'refund'],
      ['refund', 'grant'],
      ['accept', 'refund'],
      ['refund', 'accept', 'grant', 'refund'],
    ];
    await Promise.all(
      resolutions.map(async (each) => {
        const { organization, rechargeId, eventId } = await stuck(action);
        const answers = await Promise.all(each.map((resolution) => resolve(rechargeId, resolution)));
        expect(answers.map(({ status }) => status)).toContain(200);
        expect(answers.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
        const { outcome } = await world.closed(eventId);
        expect(await world.books(organization)).toEqual(outcome === 'refunded' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
        expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
      }),
    );
  });
});

test('a person accepts while an attempt is about to write, and that cannot read the budget: the next recharge is granted', async () => {
  const { organization, rechargeId } = await stuck();
  await world.stopWorker();
  const lock = await world.sql.connect();
  await lock.query('begin');
  await lock.query('select from organization_balance_config where c_organization_id = $1 for update', [organization.id]);
  const accepting = resolve(rechargeId, 'accept');
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
    expect((await resolve(rechargeId, 'refund')).data.status).toBe('refunding');
    await refusedToRefund(eventId);
    expect((await world.books(organization)).refunded).toBe(0);
    await letGo();
    await aMinutePasses(rechargeId);
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(organization);
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
    await resolve(rechargeId, 'refund');
    await reads.remove();
    await aMinutePasses(rechargeId);
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(organization);
  });

  test('the refund is not asked for before it is over; once it is asked for, nobody can grant', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    const refunds = await world.stripeFault({ ...MAKE_REFUND, times: ALWAYS, action: HOLD });
    await resolve(rechargeId, 'refund');
    await refusedToRefund(eventId);
    expect(await refunds.strikes()).toBe(0);
    await letGo();
    await aMinutePasses(rechargeId);
    await refunds.struck();
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
    for (const resolution of ['grant', 'accept'])
      expect((await resolve(rechargeId, resolution)).status).toBe(resolution === 'grant' ? 409 : 200);
    await refunds.remove();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(organization);
  });

  test('accepting waits for it: 409, and the write is granted by its own run', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    const { status, data } = await resolve(rechargeId, 'accept');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('may still take effect')]);
    await letGo();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('granting joins it: one grant', async () => {
    const { organization, rechargeId, eventId, letGo } = await writing();
    expect((await resolve(rechargeId, 'grant')).status).toBe(200);
    await letGo();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('somebody edits the budget meanwhile: it stays, a person looks again, and the next refund goes through', async () => {
    const { organization, rechargeId, eventId } = await stuck();
    const reads = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: HOLD });
    await reads.struck();
    await resolve(rechargeId, 'refund');
    await world.setBudget(organization.teamId, 12);
    await reads.remove();
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    expect((await world.books(organization)).refunded).toBe(0);
    await resolve(rechargeId, 'refund');
    await world.rechargeIs(eventId, 'refunded');
    await expectRefunded(world, organization);
    expect(await world.budgetOf(organization.teamId)).toBe(12);
  });

  test('at any of many moments around the decision: money or quota, never both and never neither', async () => {
    await Promise.all(
      Array.from({ length: 12 }, async (_none, turn) => {
        const { organization, rechargeId, eventId, letGo } = await writing();
        const decide = () => resolve(rechargeId, turn % 3 === 2 ? 'grant' : 'refund');
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

describe('Temporal cannot be told of the decision', () => {
  test.each([
    ['refund', REFUNDED, BUDGET_BEFORE],
    ['accept', RECHARGED, BUDGET_BEFORE],
    ['grant', RECHARGED, BUDGET_AFTER],
  ] as const)('%s: the run finds out by itself, and closes the event rightly', async (resolution, ending, budget) => {
    const { organization, rechargeId, eventId } = await stuck();
    // Else the run may see the budget first, and grant it by itself.
    await world.stopWorker();
    if (resolution === 'grant') await world.setBudget(organization.teamId, BUDGET_AFTER);
    await world.withAnotherApi({ TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}` }, async (url) => {
      expect((await resolve(rechargeId, resolution, url)).status).toBe(200);
    });
    await world.startWorker();
    await runIsOver(eventId);
    expect(await world.closed(eventId)).toEqual(ending);
    expect(await world.books(organization)).toEqual(resolution === 'refund' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
    expect(await world.budgetOf(organization.teamId)).toBe(budget);
  });

  test('because it hangs: a person hears in time that the decision is stored', async () => {
    const { organization, rechargeId, eventId } = await stuck();
    const proxy = await startProxy(world.env['TEMPORAL_ADDRESS'] ?? '');
    try {
      await world.withAnotherApi({ TEMPORAL_ADDRESS: proxy.address }, async (url) => {
        await world.eventually(async () => {
          const { data } = await world.admin.get(`${url}/ready`);
          return data.dependencies.temporal.status === 'ok';
        }, 'the API has reached Temporal');
        proxy.hold();
        const asked = performance.now();
        expect((await resolve(rechargeId, 'refund', url)).status).toBe(200);
        expect(performance.now() - asked).toBeLessThan(BILL_WAITS_MS);
        proxy.release();
      });
    } finally {
      proxy.cut();
    }
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    expect(await world.books(organization)).toEqual(CHARGED_AND_REFUNDED);
  }, 60_000);

  test.each(['refund', 'grant'])('%s, and the run is gone: the decision starts it again', async (resolution) => {
    const { organization, rechargeId, eventId } = await stuck();
    await (await world.runOf(eventId)).terminate();
    if (resolution === 'grant') await world.setBudget(organization.teamId, BUDGET_AFTER);
    await resolve(rechargeId, resolution);
    expect(await world.closed(eventId)).toEqual(resolution === 'refund' ? REFUNDED : RECHARGED);
    expect(await world.books(organization)).toEqual(resolution === 'refund' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
  });
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
      const decided = resolve(rechargeId, resolution);
      await world.waitsForLock('organization_balance_config');
      await reads.remove();
      await world.waitsForLock('for no key update');
      if (resolution === 'grant') await world.setBudget(teamId, BUDGET_AFTER);
      await world.clearFaults();
      await lock.query('commit');
      lock.release();

      expect((await decided).status).toBe(200);
      await runIsOver(eventId);
      const ending = await world.closed(eventId);
      expect(await (await world.runOf(eventId)).result()).toMatchObject({ outcome: ending.outcome });
      expect(resolution === 'accept' ? [RECHARGED] : [RECHARGED, REFUNDED]).toContainEqual(ending);
      const isRefunded = ending.outcome === REFUNDED.outcome;
      expect(await world.books(organization)).toEqual(isRefunded ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
      expect(await world.budgetOf(teamId)).toBe(isRefunded || resolution === 'accept' ? BUDGET_BEFORE : BUDGET_AFTER);
    },
  );
});

describe('a refund that does not end', () => {
  async function refunding(): Promise<RechargeIds & { organization: Organization }> {
    const charged = await stuck();
    await resolve(charged.rechargeId, 'refund');
    await world.rechargeIs(charged.eventId, 'refunding');
    return charged;
  }

  test('because it stays pending: it cannot be granted, and ends when Stripe says so', async () => {
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const { organization, rechargeId, eventId } = await refunding();
    const refundId = await world.refundOf(eventId);
    const { status, data } = await resolve(rechargeId, 'grant');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('only refund or accept is possible')]);
    for (const resolution of ['refund', 'accept']) expect((await resolve(rechargeId, resolution)).data.status).toBe('refunding');
    await world.stripeKnob('refunds/mode', { status: 'succeeded' });
    await world.stripeKnob(`refunds/${refundId}`, { status: 'succeeded' });
    await resolve(rechargeId, 'refund');
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(organization);
  });

  test('because nobody can read the budget: a person who has looked at it says that it is right', async () => {
    const { organization, rechargeId, eventId } = await stuck();
    await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
    await resolve(rechargeId, 'refund');
    await world.eventually(async () => {
      const { raw } = await (await world.runOf(eventId)).describe();
      return raw.pendingActivities?.some(({ activityType, lastFailure }) => activityType?.name === 'refundCharge' && lastFailure);
    }, 'the refund waits for LiteLLM');
    expect((await world.books(organization)).refunded).toBe(0);
    await resolve(rechargeId, 'accept');
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectRefunded(world, organization);
  });
});

describe('before anything is captured', () => {
  test('reserved, and Stripe does not answer: accepting cancels it, and nothing is charged', async () => {
    const organization = await world.organization();
    const outage = await world.stripeFault({ path: '/v1/customers/*', times: ALWAYS, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    await outage.struck();
    const { rechargeId } = await world.rechargeIs(eventId, 'reserved');
    for (const resolution of ['grant', 'refund']) expect((await resolve(rechargeId, resolution)).status).toBe(409);
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('cancelled');
    await outage.remove();
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await runIsOver(eventId);
    await expectUncharged(world, organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
  });

  test('parked without an intent: accepting cancels it', async () => {
    const organization = await world.organization();
    const outage = await world.stripeFault({ path: '/v1/customers/*', times: ALWAYS, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    await outage.struck();
    const { rechargeId } = await world.rechargeIs(eventId, 'reserved');
    await world.sql.query("update recharge set status = 'needs_attention' where id = $1", [rechargeId]);
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    expect((await resolve(rechargeId, 'refund')).status).toBe(409);
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('cancelled');
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await expectUncharged(world, organization);
  });

  test('charging, and the confirmation never arrives: accepting cancels the intent at Stripe', async () => {
    const { organization, rechargeId, eventId, intentId } = await charging(UNAVAILABLE);
    for (const resolution of ['grant', 'refund']) expect((await resolve(rechargeId, resolution)).status).toBe(409);
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('cancelled');
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await runIsOver(eventId);
    expect((await world.stripe.paymentIntents.retrieve(intentId)).status).toBe('canceled');
    await expectUncharged(world, organization);
  });

  test('charging, and Stripe does not know the intent: accepting cancels it', async () => {
    const { organization, rechargeId, eventId } = await charging(UNAVAILABLE);
    await world.stripeFault({ ...READ_INTENT, times: ALWAYS, action: NO_SUCH_INTENT });
    expect((await resolve(rechargeId, 'accept')).data.status).toBe('cancelled');
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await world.clearFaults();
    await runIsOver(eventId);
    await expectUncharged(world, organization);
  });

  test('charging, and Stripe cannot be asked: 503, and nothing is decided', async () => {
    const { rechargeId, eventId } = await charging(UNAVAILABLE);
    await world.stripeFault({ ...READ_INTENT, times: ALWAYS, action: UNAVAILABLE });
    expect((await resolve(rechargeId, 'accept')).status).toBe(503);
    await world.rechargeIs(eventId, 'charging');
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('charging, and the money was taken: it cannot be accepted, and its run grants it', async () => {
    const organization = await world.organization();
    const lost = await world.stripeFault({ ...CONFIRM, contains: organization.customerId, when: 'after', times: 2, action: RESET });
    const reads = await world.stripeFault({ ...READ_INTENT, contains: organization.customerId, action: HOLD });
    const eventId = await world.accepted(organization);
    await lost.struck();
    await reads.struck();
    const { rechargeId } = await world.rechargeIs(eventId, 'charging');
    const { status, data } = await resolve(rechargeId, 'accept');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('Stripe has captured')]);
    await reads.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('a decision on what the recharge was before is none on what it is now', async () => {
    const { organization, rechargeId } = await stuck();
    const database = await Database.open(world.config.databaseUrl);
    try {
      const em = database.fork();
      const before = { ...(await recharges.get(em, rechargeId)), status: 'charging' as const };
      const wish = { resolution: 'accept' as const, by: 'ada', reason: 'nothing was charged', captured: minorUnits(0) };
      await expect(resolutions.begin(em, before, wish)).rejects.toThrow('was charging and is charged now');
    } finally {
      await database.close();
    }
    expect((await world.books(organization)).prepaid).toBe(2050);
  });

  async function charging(action: FaultAction): Promise<RechargeIds & { organization: Organization }> {
    const organization = await world.organization();
    const fault = await world.stripeFault({ ...CONFIRM, contains: organization.customerId, times: ALWAYS, action });
    const eventId = await world.accepted(organization);
    await fault.struck();
    return { organization, ...(await world.rechargeIs(eventId, 'charging')) };
  }
});

describe('case 73: Stripe says that it has captured, and not how much', () => {
  async function parked(): Promise<RechargeIds & { organization: Organization }> {
    const organization = await world.organization();
    const body = { id: 'pi_of_this', object: 'payment_intent', status: 'succeeded', currency: 'usd', amount: 2050 };
    await world.stripeFault({ ...CONFIRM, when: 'after', times: ALWAYS, action: { kind: 'respond', status: 200, body } });
    const unreadable = await world.stripeFault({ ...READ_INTENT, times: ALWAYS, action: { kind: 'respond', status: 200, body } });
    const eventId = await world.accepted(organization);
    // It is read again for ten minutes first.
    await unreadable.struck();
    await world.rechargeIs(eventId, 'charging');
    await longAgo([organization.id]);
    const ids = await world.rechargeIs(eventId, 'needs_attention');
    await unreadable.remove();
    return { organization, ...ids };
  }

  test('nothing is granted on it, and a person refunds it', async () => {
    const { organization, rechargeId, eventId } = await parked();
    expect((await world.books(organization)).granted).toBe(0);
    const { status, data } = await resolve(rechargeId, 'accept');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('grant or refund it')]);
    await resolve(rechargeId, 'refund');
    await world.rechargeIs(eventId, 'refunded');
    await expectNoQuotaAndMoneyBack(organization);
  });

  test('or grants it', async () => {
    const { organization, rechargeId, eventId } = await parked();
    await resolve(rechargeId, 'grant');
    await world.rechargeIs(eventId, 'succeeded');
    await expectChargedOnce(world, organization);
  });
});

test('what is stuck is listed after 15 minutes, with what a person may do about it; what a bank processes is not', async () => {
  const held = await stuck();
  const bank = await world.organization({ card: 'pm_usBankAccount' });
  await world.rechargeIs(await world.accepted(bank), 'processing');
  const list = async () =>
    (await world.admin.get('/api/v1/recharges', { params: { stuck: true, limit: 200 } })).data.data as {
      id: string;
      organization_id: string;
    }[];
  expect((await list()).map(({ id }) => id)).not.toContain(held.rechargeId);
  await longAgo([held.organization.id, bank.id]);
  const stuckNow = await list();
  expect(stuckNow).toContainEqual(
    expect.objectContaining({ id: held.rechargeId, status: 'charged', resolutions: ['grant', 'refund', 'accept'] }),
  );
  expect(stuckNow.map(({ organization_id }) => organization_id)).not.toContain(bank.id);
});

test('the log says of each attempt which recharge it was for and what LiteLLM said, without its key', async () => {
  const { rechargeId } = await stuck();
  const lines = log
    .map((line) => JSON.parse(line))
    .filter((line) => line.rechargeId === rechargeId && line.activityType === 'updateKmsQuota');
  expect(lines).toContainEqual(
    expect.objectContaining({ msg: 'Activity failed', failure: 'KmsUnknownOutcome', reason: expect.stringContaining(`500: ${SENTENCE}`) }),
  );
  expect(log.join('')).not.toContain('sk-1234');
});

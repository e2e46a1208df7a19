/**
 * A person settles a recharge that its run tries again and again, or that waits before anything is captured. Money and
 * quota never go both, and never stay both.
 */
import { Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { FaultAction } from '../../sandbox/faults.ts';
import { freePort } from '../../sandbox/ports.ts';
import { Database } from '../../src/database/database.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as resolutions from '../../src/database/resolutions.ts';
import { minorUnits } from '../../src/domain/money.ts';
import {
  BUDGET_AFTER,
  BUDGET_BEFORE,
  CANCELLED,
  CHARGED_AND_REFUNDED,
  CHARGED_ONCE,
  NEEDS_ATTENTION,
  RECHARGED,
  REFUNDED,
} from '../support/books.ts';
import { expectChargedOnce, expectRefunded, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, CONFIRM, HOLD, READ_BUDGET, READ_INTENT, RESET, UNAVAILABLE } from '../support/faults.ts';
import { startProxy } from '../support/proxy.ts';
import { expectNoQuotaAndMoneyBack, resolve, runIsOver, SENTENCE, stuck, WRITE_FAILS } from '../support/resolutions.ts';
import { type Organization, type RechargeIds, World } from '../support/world.ts';

/** For an answer of the API: see src/cli/fetch.ts. */
const BILL_WAITS_MS = 15_000;
const CHANGES_NOTHING: FaultAction = { kind: 'respond', status: 200, body: { team_id: 't', data: {} } };
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

/** The recharges of these organizations began an hour ago, and took each of their steps 16 minutes earlier. */
async function longAgo(organizationIds: readonly string[]): Promise<void> {
  await world.sql.query(
    `update recharge set created_at = created_at - interval '1 hour',
       timeline = (select jsonb_agg(step || jsonb_build_object('at', ((step->>'at')::timestamptz - interval '16 minutes')::text)) from jsonb_array_elements(timeline) step)
     where organization_id = any($1)`,
    [organizationIds],
  );
}

describe.each([
  ['LiteLLM answers 500 to every write', WRITE_FAILS],
  ['LiteLLM answers 200 to every write and changes nothing', CHANGES_NOTHING],
])('case 72: %s', (_name, action) => {
  test('refund: the money goes back at once, the budget is the one from before, and the run ends', async () => {
    const { organization, rechargeId, eventId } = await stuck(world, action);
    const { status, data } = await resolve(world, rechargeId, 'refund');
    expect([status, data.status]).toEqual([200, 'refunding']);
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await runIsOver(world, eventId);
    await expectNoQuotaAndMoneyBack(world, organization);
    const { timeline } = await world.rechargeOf(organization);
    expect(timeline).toContainEqual(expect.objectContaining({ resolution: 'refund', by: 'ada', reason: 'cannot be raised' }));
  });

  test('grant, after the budget was raised by hand: granted once', async () => {
    const { organization, rechargeId, eventId } = await stuck(world, action);
    // Else the run may see the budget first, and grant it by itself.
    await world.stopWorker();
    await world.setBudget(organization.teamId, BUDGET_AFTER);
    expect((await resolve(world, rechargeId, 'grant')).status).toBe(200);
    await world.startWorker();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await runIsOver(world, eventId);
    await expectChargedOnce(world, organization);
  });

  test('accept: what is held counts as granted, the budget stays, and the run ends', async () => {
    const { organization, rechargeId, eventId } = await stuck(world, action);
    expect((await resolve(world, rechargeId, 'accept')).data.status).toBe('succeeded');
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await runIsOver(world, eventId);
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
        const { organization, rechargeId, eventId } = await stuck(world, action);
        const answers = await Promise.all(each.map((resolution) => resolve(world, rechargeId, resolution)));
        expect(answers.map(({ status }) => status)).toContain(200);
        expect(answers.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
        const { outcome } = await world.closed(eventId);
        expect(await world.books(organization)).toEqual(outcome === 'refunded' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
        expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
      }),
    );
  });
});

describe('Temporal cannot be told of the decision', () => {
  test.each([
    ['refund', REFUNDED, BUDGET_BEFORE],
    ['accept', RECHARGED, BUDGET_BEFORE],
    ['grant', RECHARGED, BUDGET_AFTER],
  ] as const)('%s: the run finds out by itself, and closes the event rightly', async (resolution, ending, budget) => {
    const { organization, rechargeId, eventId } = await stuck(world);
    // Else the run may see the budget first, and grant it by itself.
    await world.stopWorker();
    if (resolution === 'grant') await world.setBudget(organization.teamId, BUDGET_AFTER);
    await world.withAnotherApi({ TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}` }, async (url) => {
      expect((await resolve(world, rechargeId, resolution, url)).status).toBe(200);
    });
    await world.startWorker();
    await runIsOver(world, eventId);
    expect(await world.closed(eventId)).toEqual(ending);
    expect(await world.books(organization)).toEqual(resolution === 'refund' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
    expect(await world.budgetOf(organization.teamId)).toBe(budget);
  });

  test('because it hangs: a person hears in time that the decision is stored', async () => {
    const { organization, rechargeId, eventId } = await stuck(world);
    const proxy = await startProxy(world.env['TEMPORAL_ADDRESS'] ?? '');
    try {
      await world.withAnotherApi({ TEMPORAL_ADDRESS: proxy.address }, async (url) => {
        await world.eventually(async () => {
          const { data } = await world.admin.get(`${url}/ready`);
          return data.dependencies.temporal.status === 'ok';
        }, 'the API has reached Temporal');
        proxy.hold();
        const asked = performance.now();
        expect((await resolve(world, rechargeId, 'refund', url)).status).toBe(200);
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
    const { organization, rechargeId, eventId } = await stuck(world);
    await (await world.runOf(eventId)).terminate();
    if (resolution === 'grant') await world.setBudget(organization.teamId, BUDGET_AFTER);
    await resolve(world, rechargeId, resolution);
    expect(await world.closed(eventId)).toEqual(resolution === 'refund' ? REFUNDED : RECHARGED);
    expect(await world.books(organization)).toEqual(resolution === 'refund' ? CHARGED_AND_REFUNDED : CHARGED_ONCE);
  });
});

describe('a refund that does not end', () => {
  async function refunding(): Promise<RechargeIds & { organization: Organization }> {
    const charged = await stuck(world);
    await resolve(world, charged.rechargeId, 'refund');
    await world.rechargeIs(charged.eventId, 'refunding');
    return charged;
  }

  test('because it stays pending: it cannot be granted, and ends when Stripe says so', async () => {
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const { organization, rechargeId, eventId } = await refunding();
    const refundId = await world.refundOf(eventId);
    const { status, data } = await resolve(world, rechargeId, 'grant');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('only refund or accept is possible')]);
    for (const resolution of ['refund', 'accept']) expect((await resolve(world, rechargeId, resolution)).data.status).toBe('refunding');
    await world.stripeKnob('refunds/mode', { status: 'succeeded' });
    await world.stripeKnob(`refunds/${refundId}`, { status: 'succeeded' });
    await resolve(world, rechargeId, 'refund');
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    await expectNoQuotaAndMoneyBack(world, organization);
  });

  test('because nobody can read the budget: a person who has looked at it says that it is right', async () => {
    const { organization, rechargeId, eventId } = await stuck(world);
    await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
    await resolve(world, rechargeId, 'refund');
    await world.eventually(async () => {
      const { raw } = await (await world.runOf(eventId)).describe();
      return raw.pendingActivities?.some(({ activityType, lastFailure }) => activityType?.name === 'refundCharge' && lastFailure);
    }, 'the refund waits for LiteLLM');
    expect((await world.books(organization)).refunded).toBe(0);
    await resolve(world, rechargeId, 'accept');
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
    for (const resolution of ['grant', 'refund']) expect((await resolve(world, rechargeId, resolution)).status).toBe(409);
    expect((await resolve(world, rechargeId, 'accept')).data.status).toBe('cancelled');
    await outage.remove();
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await runIsOver(world, eventId);
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
    expect((await resolve(world, rechargeId, 'refund')).status).toBe(409);
    expect((await resolve(world, rechargeId, 'accept')).data.status).toBe('cancelled');
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await expectUncharged(world, organization);
  });

  test('charging, and the confirmation never arrives: accepting cancels the intent at Stripe', async () => {
    const { organization, rechargeId, eventId, intentId } = await charging(UNAVAILABLE);
    for (const resolution of ['grant', 'refund']) expect((await resolve(world, rechargeId, resolution)).status).toBe(409);
    expect((await resolve(world, rechargeId, 'accept')).data.status).toBe('cancelled');
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await runIsOver(world, eventId);
    expect((await world.stripe.paymentIntents.retrieve(intentId)).status).toBe('canceled');
    await expectUncharged(world, organization);
  });

  test('charging, and Stripe does not know the intent: accepting cancels it', async () => {
    const { organization, rechargeId, eventId } = await charging(UNAVAILABLE);
    await world.stripeFault({ ...READ_INTENT, times: ALWAYS, action: NO_SUCH_INTENT });
    expect((await resolve(world, rechargeId, 'accept')).data.status).toBe('cancelled');
    expect(await world.closed(eventId)).toEqual(CANCELLED);
    await world.clearFaults();
    await runIsOver(world, eventId);
    await expectUncharged(world, organization);
  });

  test('charging, and Stripe cannot be asked: 503, and nothing is decided', async () => {
    const { rechargeId, eventId } = await charging(UNAVAILABLE);
    await world.stripeFault({ ...READ_INTENT, times: ALWAYS, action: UNAVAILABLE });
    expect((await resolve(world, rechargeId, 'accept')).status).toBe(503);
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
    const { status, data } = await resolve(world, rechargeId, 'accept');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('Stripe has captured')]);
    await reads.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('a decision on what the recharge was before is none on what it is now', async () => {
    const { organization, rechargeId } = await stuck(world);
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
    const { status, data } = await resolve(world, rechargeId, 'accept');
    expect([status, data.detail]).toEqual([409, expect.stringContaining('grant or refund it')]);
    await resolve(world, rechargeId, 'refund');
    await world.rechargeIs(eventId, 'refunded');
    await expectNoQuotaAndMoneyBack(world, organization);
  });

  test('or grants it', async () => {
    const { organization, rechargeId, eventId } = await parked();
    await resolve(world, rechargeId, 'grant');
    await world.rechargeIs(eventId, 'succeeded');
    await expectChargedOnce(world, organization);
  });
});

test('what is stuck is listed after 15 minutes, with what a person may do about it; what a bank processes is not', async () => {
  const held = await stuck(world);
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
  const { rechargeId } = await stuck(world);
  const lines = log
    .map((line) => JSON.parse(line))
    .filter((line) => line.rechargeId === rechargeId && line.activityType === 'updateKmsQuota');
  expect(lines).toContainEqual(
    expect.objectContaining({ msg: 'Activity failed', failure: 'KmsUnknownOutcome', reason: expect.stringContaining(`500: ${SENTENCE}`) }),
  );
  expect(log.join('')).not.toContain('sk-1234');
});

/**
 * `bill doctor`: what it says of a service that is well, and that it names what is not, and what to change.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Client, Connection, type ScheduleUpdateOptions } from '@temporalio/client';
import axios from 'axios';
import { type Status, textOf } from '../../src/cli/commands/status.ts';
import { examine } from '../../src/cli/doctor/doctor.ts';
import type { Reading } from '../../src/cli/doctor/reading.ts';
import { migrate } from '../../src/cli/migrate.ts';
import { readConfig } from '../../src/config.ts';
import { isQuiet, ORGANIZATION_STATES, type OrganizationState, STATE_NAMES } from '../../src/domain/status.ts';
import { KMS_ROUTES } from '../../src/kms/routes.ts';
import { createLogger } from '../../src/observability/log.ts';
import { temporalFacts } from '../../src/temporal/facts.ts';
import { installTemporalLogger } from '../../src/temporal/worker.ts';
import { createDatabase } from '../support/databases.ts';
import { ALWAYS, HOLD, UNAVAILABLE } from '../support/faults.ts';
import { type Organization, type OrganizationWish, World } from '../support/world.ts';

const PATHS = KMS_ROUTES.map(({ path }) => path);

let world: World;
let temporal: Client;

beforeAll(async () => {
  // Schedules are of a namespace: in one of its own they start no runs of others.
  const namespace = `doctor-${Date.now()}`;
  const connection = await Connection.connect({ address: process.env['TEST_TEMPORAL_ADDRESS'] ?? '' });
  const retention = { seconds: 86_400 as never };
  await connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod: retention });
  temporal = new Client({ connection, namespace });
  world = await World.create({ TEMPORAL_NAMESPACE: namespace, STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events' });
  await world.eventually(async () => migrate(world.config, createLogger('silent')).then(() => true), 'the namespace is known');
  installTemporalLogger(createLogger('silent'));
  await world.startApi();
  await world.startWorker();
});
afterEach(() => world.clearFaults());
afterAll(async () => {
  await temporal.connection.close();
  await world.close();
});

async function readings(overrides: Record<string, string> = {}): Promise<Reading[]> {
  return examine(readConfig({ ...world.env, PUBLIC_URL: world.apiUrl, ...overrides }));
}

/** What has to be changed, as `area check: advice`. */
async function changes(overrides: Record<string, string> = {}): Promise<Record<string, string | null>> {
  const found = (await readings(overrides)).filter(({ verdict }) => verdict === 'change');
  return Object.fromEntries(found.map(({ area, check, advice }) => [`${area} ${check}`, advice]));
}

describe('a service that is well', () => {
  test('needs no change, and each thing says what was seen', async () => {
    await world.recharged();
    const seen = await readings();
    expect(seen.filter(({ verdict }) => verdict === 'change')).toEqual([]);
    const of = (area: string, check: string) => seen.find((reading) => reading.area === area && reading.check === check);
    expect(of('database', 'migrations')?.seen).toBe('all applied');
    for (const queue of [world.name, `${world.name}-charges`, `${world.name}-bulk`])
      expect(of('Temporal', `workers of ${queue}`)?.seen).toMatch(/^\d+, the last one asked \d+ (s|minutes?) ago$/);
    expect(of('organizations', 'states')).toMatchObject({ verdict: 'ok', seen: expect.stringMatching(/^all \d+ are ok$/) });
    expect(of('waiting', 'alerts')?.seen).toBe('nothing waits to be handed on');
    expect(of('Temporal', 'schedule reconcile')?.verdict).toMatch(/ok|note/);
    expect(of('Stripe', 'key')?.seen).toBe('a test key, may make every call');
    expect(seen.filter(({ area }) => area === 'clock')).toMatchObject([
      { check: 'and Stripe, LiteLLM, PostgreSQL', verdict: 'ok', seen: expect.stringMatching(/^at most \d s apart$/) },
    ]);
    expect(of('webhooks', 'LiteLLM')?.seen).toMatch(/^last alert \d+ s ago$/);
    expect(of('webhooks', 'API')?.seen).toBe(`answers at ${world.apiUrl}`);
    expect(of('teams', 'in LiteLLM')?.seen).toMatch(/^1 of 1 are as a recharge needs them there; bill status says what else/);
    expect(of('Stripe', 'has our customers')?.seen).toBe('all 1');
    expect(of('LiteLLM', 'key')?.seen).toBe(`may call all ${PATHS.length} routes of the service`);
  });

  test('is the same after as before: no look changes anything', async () => {
    const state = async () => (await axios.get(`${world.kmsUrl}/_sandbox/state`)).data;
    const before = await state();
    await readings();
    const after = await state();
    expect([after.teams, after.users, after.keys]).toEqual([before.teams, before.users, before.keys]);
    expect((await world.stripe.refunds.list()).data).toEqual([]);
  });
});

describe("LiteLLM's key", () => {
  const kms = () => axios.create({ baseURL: world.kmsUrl, headers: { Authorization: 'Bearer sk-1234' } });
  const keyOf = async (role: string | undefined, allowed_routes: string[]) => {
    const user_id = `bill-service-${Math.random()}`;
    if (role) await kms().post('/user/new', { user_id, user_role: role, auto_create_key: false });
    return (await kms().post('/key/generate', { ...(role && { user_id }), allowed_routes })).data.key;
  };

  test('of a proxy admin with exactly the routes of the service suffices', async () => {
    expect(await changes({ KMS_API_KEY: await keyOf('proxy_admin', PATHS) })).toEqual({});
  });

  test.each(KMS_ROUTES)('without $path is told what to add', async ({ method, path }) => {
    const key = await keyOf(
      'proxy_admin',
      PATHS.filter((other) => other !== path),
    );
    const found = await changes({ KMS_API_KEY: key });
    expect(found[`LiteLLM may call ${method} ${path}`]).toBe(`add "${path}" to the key's allowed_routes`);
    expect(Object.keys(found)).toHaveLength(1);
  });

  test('with the routes alone is told that its user has to be an admin', async () => {
    const found = await changes({ KMS_API_KEY: await keyOf(undefined, PATHS) });
    expect(found['LiteLLM may call GET /v2/team/list']).toMatch(/role proxy_admin/);
  });

  test('that is unknown is told so once', async () => {
    const found = await changes({ KMS_API_KEY: 'sk-unknown-to-this-litellm' });
    expect(Object.keys(found).filter((name) => name.startsWith('LiteLLM'))).toEqual(['LiteLLM key']);
  });
});

describe('what is not well is named', () => {
  test('a team that no recharge could help', async () => {
    // With enough left: a sweep at the same moment would start a recharge, whose refusal stays.
    const organization = await world.organization({ spend: 1 });
    await world.setBudget(organization.teamId, null);
    expect(await changes()).toEqual({ [`teams ${organization.id}`]: 'set one' });
    await world.setBudget(organization.teamId, 10);
  });

  test('a schedule that is paused, with the reason, and one that is missing', async () => {
    const [reconcile, sweep] = ['reconcile', 'balance-sweep'].map((id) => temporal.schedule.getHandle(id));
    await reconcile?.pause('while we look at something');
    await sweep?.delete();
    const found = (await readings()).filter(({ verdict }) => verdict === 'change');
    expect(found.map(({ check, seen }) => `${check} ${seen}`)).toEqual([
      'schedule reconcile is paused: while we look at something',
      'schedule balance-sweep is missing',
    ]);
    await reconcile?.unpause();
    await migrate(world.config, createLogger('silent'));
    // On a machine that is busy, Temporal may not answer a look in time.
    await world.eventually(async () => Object.keys(await changes()).length === 0, 'nothing has to be changed');
  });

  test('a task queue on which no worker polls, and schedules that start their runs elsewhere', async () => {
    expect(await changes({ TEMPORAL_TASK_QUEUE: 'nobodys' })).toEqual({
      'Temporal workers of nobodys': 'start one: bill worker',
      'Temporal workers of nobodys-charges': 'start one: bill worker',
      'Temporal workers of nobodys-bulk': 'start one: bill worker',
      'Temporal schedule reconcile': 'run: bill migrate',
      'Temporal schedule balance-sweep': 'run: bill migrate',
      'Temporal schedule team-sync': 'run: bill migrate',
      'Temporal schedule retention': 'run: bill migrate',
    });
  });

  test('a database that is not migrated, and then nothing that needs it', async () => {
    const found = await changes({ DATABASE_URL: await createDatabase(`${world.name}_empty`) });
    expect(found).toEqual({ 'database migrations': 'run: bill migrate' });
  });

  test('a namespace without what migrate makes', async () => {
    const found = await changes({ TEMPORAL_NAMESPACE: 'nobodys' });
    expect(Object.keys(found)).toEqual(['Temporal namespace']);
  });

  test('a Stripe key that was revoked, and one that may not refund', async () => {
    expect(Object.keys(await changes({ STRIPE_SECRET_KEY: 'sk_test_revoked' }))).toEqual(['Stripe key']);
    const refusal = { status: 403, body: { error: { type: 'invalid_request_error', message: 'The provided key does not have access' } } };
    await world.stripeFault({ method: 'POST', path: '/v1/refunds', action: { kind: 'respond', ...refusal } });
    const [reading] = (await readings()).filter(({ verdict }) => verdict === 'change');
    expect(reading?.seen).toBe('may not: refunds: write');
  });

  test.each([
    ['LiteLLM', 'kmsFault', '/health/liveliness', 3_600_000, /^3[56]\d\d s apart: this machine is behind$/],
    ['Stripe', 'stripeFault', '/v1/balance', -3_600_000, /^3[67]\d\d s apart: this machine is ahead$/],
  ] as const)('a clock that is an hour off that of %s', async (whose, fault, path, skewMs, seen) => {
    const headers = { date: new Date(Date.now() + skewMs).toUTCString() };
    await world[fault]({ path, times: 2, action: { kind: 'respond', status: 200, headers, body: {} } });
    const reading = (await readings()).find(({ area, check }) => area === 'clock' && check === `and ${whose}`);
    expect(reading?.verdict).toBe('change');
    expect(reading?.seen).toMatch(seen);
  });

  test('everything that is unavailable, each with what to set', async () => {
    const unreachable = 'http://127.0.0.1:9';
    const found = await changes({
      DATABASE_URL: 'postgres://postgres@127.0.0.1:9/bill',
      TEMPORAL_ADDRESS: '127.0.0.1:9',
      STRIPE_API_BASE: unreachable,
      KMS_BASE_URL: unreachable,
      PUBLIC_URL: unreachable,
    });
    expect(Object.keys(found).sort()).toEqual(
      ['LiteLLM answers', 'Stripe answers', 'Temporal namespace', 'database answers', 'webhooks API'].sort(),
    );
    expect(found['database answers']).toMatch(/DATABASE_URL/);
    expect(found['Temporal namespace']).toMatch(/TEMPORAL_ADDRESS/);
    expect(found['Stripe answers']).toBe(
      `the stand-in for Stripe at ${unreachable} (STRIPE_API_BASE) gives no usable answer: see that it runs`,
    );
  });
});

test('a Stripe that hangs is no key that is refused, and one fault is to be changed once', async () => {
  const fault = await world.stripeFault({ path: '/v1/**', times: ALWAYS, action: HOLD });
  const seen = await readings().finally(() => fault.remove());
  expect(seen.filter(({ verdict }) => verdict === 'change')).toMatchObject([
    {
      area: 'Stripe',
      check: 'answers',
      seen: expect.stringContaining('no answer within'),
      advice: expect.stringContaining('STRIPE_API_BASE'),
    },
  ]);
  expect(seen.map(({ area, check, seen, advice }) => `${area} ${check} ${seen} ${advice}`).join('\n')).not.toContain('STRIPE_SECRET_KEY');
  expect(seen.filter(({ area }) => area === 'clock').map(({ check, verdict }) => [check, verdict])).toEqual([
    ['and Stripe', 'note'],
    ['and LiteLLM, PostgreSQL', 'ok'],
  ]);
});

test('customers that Stripe does not show in time say nothing of the key', async () => {
  await world.organization({ spend: 0 });
  const fault = await world.stripeFault({ method: 'GET', path: '/v1/customers/*/payment_methods', times: ALWAYS, action: UNAVAILABLE });
  const customers = await world.stripeFault({ method: 'GET', path: '/v1/customers/cus_*', times: ALWAYS, action: UNAVAILABLE });
  const found = await changes().finally(() => Promise.all([fault.remove(), customers.remove()]));
  for (const advice of Object.values(found)) expect(advice).not.toContain('STRIPE_SECRET_KEY');
  expect(Object.keys(found).every((name) => name.startsWith('Stripe '))).toBe(true);
  expect(Object.keys(found)).not.toEqual([]);
});

test('a Stripe that fails is no key that is refused', async () => {
  const fault = await world.stripeFault({ path: '/v1/**', times: ALWAYS, action: UNAVAILABLE });
  const found = await changes().finally(() => fault.remove());
  expect(found).toEqual({ 'Stripe answers': expect.stringContaining('STRIPE_API_BASE') });
});

test('a clock of this machine that is off is one thing to change, whoever is compared with it', async () => {
  const headers = { date: new Date(Date.now() - 3_600_000).toUTCString() };
  const action = { kind: 'respond', status: 200, headers, body: {} } as const;
  await world.kmsFault({ path: '/health/liveliness', times: 2, action });
  await world.stripeFault({ path: '/v1/balance', times: 2, action });
  const clocks = (await readings()).filter(({ area, verdict }) => area === 'clock' && verdict === 'change');
  expect(clocks).toMatchObject([
    { check: 'and Stripe, LiteLLM', seen: expect.stringMatching(/^at most 3[67]\d\d s apart: this machine is ahead$/) },
  ]);
});

test('what the last run of a schedule has failed with is known until one has succeeded', async () => {
  const sweep = temporal.schedule.getHandle('balance-sweep');
  const lastFailure = async () => {
    const { schedules } = await temporalFacts(temporal, world.config.temporal);
    return schedules.find(({ id }) => id === 'balance-sweep')?.lastFailure ?? null;
  };
  const fault = await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
  await sweep.trigger();
  await world.eventually(
    async () => /^its run fails: .*LiteLLM answered 503/.test((await lastFailure()) ?? ''),
    'it fails and is tried again',
  );
  await world.eventually(async () => /^its last run has failed: .*LiteLLM answered 503/.test((await lastFailure()) ?? ''), 'it has failed');
  await fault.remove();
  await sweep.trigger();
  await world.eventually(async () => (await lastFailure()) === null, 'it has succeeded');
});

test('a run of a schedule that went on in another one has succeeded when that has', async () => {
  const sweep = temporal.schedule.getHandle('balance-sweep');
  const { action } = await sweep.describe();
  await sweep.pause('no other run');
  const withAction = (changed: object) =>
    sweep.update((previous) => ({ ...previous, action: { ...previous.action, ...changed } }) as ScheduleUpdateOptions);
  await withAction({ retry: { initialInterval: '100 milliseconds', maximumAttempts: 2 } });
  const fault = await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
  const since = new Date();
  await sweep.trigger();
  await world.eventually(async () => {
    const ran = (await sweep.describe()).info.recentActions.at(-1);
    if (!ran || ran.takenAt < since) return false;
    const { workflowId, firstExecutionRunId } = ran.action.workflow;
    return (await temporal.workflow.getHandle(workflowId).describe()).runId !== firstExecutionRunId;
  }, 'it goes on in another run');
  await fault.remove();
  await withAction({ retry: undefined, ...action });
  await world.eventually(async () => {
    const { schedules } = await temporalFacts(temporal, world.config.temporal);
    const facts = schedules.find(({ id }) => id === 'balance-sweep');
    return facts?.lastFailure === null && facts.lastSuccessAt !== null && facts.lastSuccessAt > since;
  }, 'it has succeeded');
  await sweep.unpause();
});

describe('what stops charges', () => {
  const STATES = { 'organizations states': 'bill status says which, why, and what to do' };

  test('of the service is to be looked at, and so is what the status calls held', async () => {
    const organization = await world.organization();
    const hold = (body: object) => world.admin.post('/api/v1/holds', body);
    await hold({ scope: 'organization', subject: organization.id, reason: 'unpaid' });
    expect((await readings()).find(({ area }) => area === 'holds')).toMatchObject({ verdict: 'note', seen: '1 open' });
    const { data: own } = await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`);
    const { data } = await hold({ scope: 'service', reason: 'maintenance' });
    expect(await changes()).toEqual({ 'holds of the service': expect.stringContaining(`bill release ${data.id} "reason"`), ...STATES });
    expect((await readings()).find(({ check }) => check === 'states')?.seen).toMatch(/^of \d+: 1 held$/);
    for (const id of [data.id, own.data[0].id]) await world.admin.post(`/api/v1/holds/${id}/release`, { reason: 'done' });
    // On a machine that is busy, Temporal may not answer a look in time.
    await world.eventually(async () => Object.keys(await changes()).length === 0, 'nothing has to be changed');
  });

  test('case 69: a key that knows none of our customers is found by looking for them', async () => {
    await world.organization();
    const body = { error: { type: 'invalid_request_error', code: 'resource_missing', message: 'No such customer' } };
    await world.stripeFault({ method: 'GET', path: '/v1/customers/*', times: 100, action: { kind: 'respond', status: 404, body } });
    expect(await changes()).toEqual({ 'Stripe has our customers': expect.stringContaining('STRIPE_SECRET_KEY') });
  });
});

test('a customer that was deleted at Stripe is to be changed, though the key is right', async () => {
  const { id, customerId } = await world.organization({ spend: 0 });
  await world.stripe.customers.del(customerId);
  const reading = (await readings()).find(({ check }) => check === 'has our customers');
  expect(reading).toMatchObject({ verdict: 'change', advice: `bill org set ${id} --customer cus_…` });
  expect(reading?.seen).toMatch(new RegExp(`^1 of \\d+ that were looked at are not there or deleted: ${customerId} \\(${id}\\)$`));
  await world.sql.query('delete from organization_balance_config where c_organization_id = $1', [id]);
});

/**
 * Each state of an organization and of the service is brought about, and every output is asked. The states that nobody
 * has to act on come first, because they stay.
 */
describe('nothing says fine while the status says otherwise', () => {
  const status = async (query: object = {}): Promise<Status> =>
    (await world.admin.get('/api/v1/status', { params: { limit: 200, ...query } })).data;
  const ready = async (): Promise<string> => (await axios.get(`${world.apiUrl}/ready`)).data.status;
  const suspend = ({ id }: Organization) => world.admin.post(`/api/v1/organizations/${id}/suspend`, { reason: 'unpaid' });

  const BROUGHT_ABOUT: Record<OrganizationState, () => Promise<Organization>> = {
    ok: () => world.organization({ budget: 100, spend: 0 }),
    off: () => world.organization({ settings: { auto_recharge_enabled: false } }),
    recharging: async () => {
      const organization = await world.organization();
      await world.chargedButNotGranted(organization);
      return organization;
    },
    limit_reached: async () => refusedWith({ settings: { max_daily_recharges: 0 } }),
    litellm_differs: async () => {
      const organization = await world.organization();
      await world.deleteTeam(organization.teamId);
      await world.alerted(organization);
      return organization;
    },
    card_declined: async () => refusedWith({ card: 'pm_card_chargeCustomerFail' }),
    held: async () => {
      const organization = await world.organization();
      await suspend(organization);
      return organization;
    },
    needs_person: async () => {
      const { id } = await world.stripe.customers.create({});
      return refusedWith({ settings: { stripe_customer_id: id } });
    },
  };
  async function refusedWith(wish: OrganizationWish): Promise<Organization> {
    const organization = await world.organization(wish);
    await world.alerted(organization);
    return organization;
  }

  test.each(ORGANIZATION_STATES.toReversed())('an organization: %s', async (state) => {
    const organization = await BROUGHT_ABOUT[state]();
    const said = await status();
    const of = (list: Status['organizations']['data']) => list.find(({ organization_id: id }) => id === organization.id)?.state;
    expect(of(said.organizations.data)).toBe(state === 'ok' ? undefined : state);
    expect(of((await status({ all: true })).organizations.data)).toBe(state);

    const { data: listed } = await world.admin.get('/api/v1/organizations', { params: { litellm_team_id: organization.teamId } });
    const { data: shown } = await world.admin.get(`/api/v1/organizations/${organization.id}`);
    expect([listed.data[0].state, shown.state]).toEqual([state, state]);

    // The two are asked one after the other, and a sweep may report one in between.
    await world.eventually(async () => {
      const now = await status();
      const needsSomebody = now.organizations.data.some((each) => !isQuiet(each.state));
      const counted = Map.groupBy(now.organizations.data, (each) => each.state);
      const reading = (await readings()).find(({ area, check }) => area === 'organizations' && check === 'states');
      const isCounted = [...counted].every(([each, { length }]) => reading?.seen.includes(`${length} ${STATE_NAMES[each]}`));
      const saysNobody = textOf(now).includes('Nobody has to act');
      return isCounted && (reading?.verdict === 'change') === needsSomebody && saysNobody === !needsSomebody;
    }, 'status, terminal and doctor agree');
    await world.clearFaults();
    const isMoving = async () => (await status()).organizations.data.some((each) => each.state === 'recharging');
    await world.eventually(async () => !(await isMoving()), 'nothing is under way');
  });

  test.each<[string, string, () => Promise<unknown>, () => Promise<unknown>]>([
    [
      'a hold on it',
      'service',
      () => world.admin.post('/api/v1/holds', { scope: 'service', reason: 'maintenance' }),
      () => world.releaseService(),
    ],
    [
      'a schedule that is paused',
      'schedule reconcile',
      () => temporal.schedule.getHandle('reconcile').pause('while we look'),
      () => temporal.schedule.getHandle('reconcile').unpause(),
    ],
    [
      'a schedule that is missing',
      'schedule retention',
      () => temporal.schedule.getHandle('retention').delete(),
      () => migrate(world.config, createLogger('silent')),
    ],
    [
      'an event that is not handed on',
      'events of Stripe',
      () =>
        world.sql.query(
          `insert into stripe_event (id, type, object_id, received_at, claimed_until)
           values ('evt_waits', 'refund.updated', 're_1', now() - interval '1 minute', now() + interval '1 hour')`,
        ),
      () => world.sql.query(`delete from stripe_event where id = 'evt_waits'`),
    ],
  ])('the service: %s', async (_fault, check, bringAbout, undo) => {
    const wrongOf = ({ service }: Status) => service.filter(({ state }) => state !== 'ok').map((line) => line.check);
    expect([wrongOf(await status()), await ready()]).toEqual([[], 'ready']);
    await bringAbout();
    expect(wrongOf(await status())).toEqual([check]);
    const found = (await readings()).filter(({ verdict, area }) => verdict === 'change' && area !== 'organizations' && area !== 'teams');
    expect(found).toHaveLength(1);
    await world.eventually(async () => (await ready()) === 'degraded', '/ready has looked again');
    await undo();
    await world.eventually(async () => (await ready()) === 'ready', '/ready has looked again');
  });
});

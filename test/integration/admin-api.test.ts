/**
 * What an operator and a monitor ask of the service: who may ask, lists, events, recharges, and whether it is
 * well.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import { freePort } from '../../sandbox/ports.ts';
import {
  created,
  draft,
  expectProblem,
  INVALID,
  MALFORMED,
  NOT_FOUND,
  ORGANIZATIONS,
  tableCounts,
  UNAUTHENTICATED,
} from '../support/admin.ts';
import { SUCCEEDED } from '../support/books.ts';
import { ADMIN_API_KEY, type Organization, World } from '../support/world.ts';

let world: World;
/** Two that have been recharged, for what only reads. */
let settled: Organization[];

beforeAll(async () => {
  world = await World.start();
  settled = [(await world.recharged()).organization, (await world.recharged()).organization];
});
afterAll(() => world.close());

describe('the admin key', () => {
  const ROUTES: [string, string, object | undefined][] = [
    ['get', ORGANIZATIONS, undefined],
    ['post', ORGANIZATIONS, draft({ c_organization_id: 'intruder' })],
    ['get', `${ORGANIZATIONS}/org-1`, undefined],
    ['patch', `${ORGANIZATIONS}/org-1`, { minimum_balance: '1.00' }],
    ['delete', `${ORGANIZATIONS}/org-1`, undefined],
    ['post', `${ORGANIZATIONS}/org-1/suspend`, {}],
    ['post', `${ORGANIZATIONS}/org-1/resume`, {}],
    ['get', `${ORGANIZATIONS}/org-1/balance`, undefined],
    ['post', `${ORGANIZATIONS}/org-1/teams`, { c_team_id: 'intruder' }],
    ['delete', `${ORGANIZATIONS}/org-1/teams/blue`, undefined],
    ['post', `${ORGANIZATIONS}/org-1/teams/blue/keys`, { name: 'intruder' }],
    ['get', '/api/v1/recharges', undefined],
    ['get', '/api/v1/recharges/rch_1', undefined],
    ['get', '/webhooks/events', undefined],
  ];
  const KEYS: [string, string | undefined][] = [
    ['no key', undefined],
    ['an empty key', 'Bearer '],
    ['a wrong key', 'Bearer wrong-key-of-somebody'],
    ['a key that begins like ours', `Bearer ${ADMIN_API_KEY}x`],
    ['our key as a password', `Basic ${Buffer.from(`admin:${ADMIN_API_KEY}`).toString('base64')}`],
    ['our key without its scheme', ADMIN_API_KEY],
  ];

  test.each(ROUTES)('is asked for by %s %s, and nothing happens without it', async (method, url, data) => {
    const before = await tableCounts(world);
    const { updated_at: updatedAt } = (await world.admin.get(`${ORGANIZATIONS}/org-1`)).data;
    for (const [, authorization] of KEYS) {
      const answer = await axios.request({
        baseURL: world.apiUrl,
        method,
        url,
        data,
        headers: authorization === undefined ? {} : { authorization },
        validateStatus: () => true,
      });
      expectProblem(answer, UNAUTHENTICATED);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
      expect(JSON.stringify(answer.data)).not.toContain(ADMIN_API_KEY);
    }
    expect(await tableCounts(world)).toEqual(before);
    expect((await world.admin.get(`${ORGANIZATIONS}/org-1`)).data.updated_at).toBe(updatedAt);
  });

  test('is not taken from the URL', async () => {
    const answer = await axios.get(`${world.apiUrl}${ORGANIZATIONS}?key=${ADMIN_API_KEY}&token=${ADMIN_API_KEY}`, {
      validateStatus: () => true,
    });
    expectProblem(answer, UNAUTHENTICATED);
  });

  test('comes before the body: a body that cannot be read is 401 without it', async () => {
    expectProblem(
      await axios.post(`${world.apiUrl}${ORGANIZATIONS}`, '{', {
        headers: { 'content-type': 'application/json' },
        validateStatus: () => true,
      }),
      UNAUTHENTICATED,
    );
  });

  test('may follow "bearer" in lower case, as RFC 9110 has it', async () => {
    const { status } = await axios.get(`${world.apiUrl}${ORGANIZATIONS}`, { headers: { authorization: `bearer ${ADMIN_API_KEY}` } });
    expect(status).toBe(200);
  });
});

describe('a list', () => {
  const walk = async (url: string, params: object = {}): Promise<string[][]> => {
    const pages: string[][] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const { data } = await world.admin.get(url, { params: { limit: 2, ...params, ...(cursor && { cursor }) } });
      pages.push(data.data.map((row: Record<string, string>) => row['id'] ?? row['c_organization_id']));
      cursor = data.next_cursor;
    }
    return pages;
  };

  test('of organizations comes in pages, newest first, each once, though one is added meanwhile', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await created(world));
    const first = await world.admin.get(ORGANIZATIONS, { params: { limit: 2 } });
    const latecomer = await created(world);
    const rest = await world.admin.get(ORGANIZATIONS, { params: { limit: 3, cursor: first.data.next_cursor } });
    const seen = [...first.data.data, ...rest.data.data].map(({ c_organization_id: id }) => id);
    expect(seen).toEqual(ids.reverse());
    expect((await walk(ORGANIZATIONS)).flat()[0]).toBe(latecomer);
  });

  test('of organizations ends, having shown all of them once', async () => {
    const { rows } = await world.sql.query('select c_organization_id as id from organization_balance_config');
    const pages = await walk(ORGANIZATIONS);
    expect(pages.flat().sort()).toEqual(rows.map(({ id }) => id).sort());
    expect(pages.slice(0, -1).every((page) => page.length === 2)).toBe(true);
  });

  test('of events and of recharges comes in pages, newest first, each once', async () => {
    const teamId = 'nobodys-team-of-lists';
    for (let i = 0; i < 5; i++) await world.alert(teamId, { body: { max_budget: i } });
    const { rows } = await world.sql.query('select id from webhook_event where team_id = $1 order by received_at desc', [teamId]);
    const pages = await walk('/webhooks/events', { team_id: teamId });
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
    expect(pages.flat()).toEqual(rows.map(({ id }) => id));

    const recharges = await world.sql.query('select id from recharge order by created_at desc');
    expect((await walk('/api/v1/recharges', { limit: 1 })).flat()).toEqual(recharges.rows.map(({ id }) => id));
  });

  test.each([ORGANIZATIONS, '/api/v1/recharges', '/webhooks/events'])('%s takes 1 to 200 rows a page, 50 by itself', async (url) => {
    for (const limit of ['0', '201', '-1', '1.5', 'many', ''])
      expectProblem(await world.admin.get(url, { params: { limit } }), INVALID, ['limit']);
    expectProblem(await world.admin.get(`${url}?limit=1&limit=2`), INVALID, ['limit']);
    expect((await world.admin.get(url, { params: { limit: 200 } })).data).toEqual({ data: expect.any(Array), next_cursor: null });
    expect((await world.admin.get(url)).data.data).toHaveLength(Math.min(50, (await walk(url, { limit: 200 })).flat().length));
  });

  test.each([ORGANIZATIONS, '/api/v1/recharges', '/api/v1/reversals', '/api/v1/sync', '/webhooks/events'])(
    '%s with a cursor that no page has given is 422',
    async (url) => {
      expectProblem(await world.admin.get(url, { params: { cursor: 'acme' } }), INVALID, ['cursor']);
    },
  );

  test.each<[string, string]>([
    [ORGANIZATIONS, 'colour'],
    ['/api/v1/recharges', 'status'],
    ['/api/v1/recharges', 'team'],
    ['/webhooks/events', 'processed'],
    ['/webhooks/events', 'success'],
    ['/webhooks/events', 'team'],
  ])('%s with a %s that is not known is 422', async (url, field) => {
    expectProblem(await world.admin.get(url, { params: { [field]: 'red' } }), INVALID, [field]);
  });

  test.each([
    `${ORGANIZATIONS}/%00`,
    `${ORGANIZATIONS}?cursor=%00`,
    '/webhooks/events?team_id=a%00',
    '/api/v1/recharges/%00',
    `${ORGANIZATIONS}/%ff`,
  ])('%s, which the database cannot be asked for, is 400', async (url) => {
    expectProblem(await world.admin.get(url), MALFORMED);
  });
});

describe('events', () => {
  test('are shown with what came, what became of it and when', async () => {
    const [organization] = settled as [Organization];
    const { data } = await world.admin.get('/webhooks/events', { params: { organization_id: organization.id } });
    expect(data.data).toEqual([
      {
        id: expect.stringMatching(/^evt_/),
        source: 'webhook',
        event_type: 'budget_crossed',
        team_id: organization.teamId,
        organization_id: organization.id,
        delivery_id: expect.stringMatching(/^msg_/),
        duplicate_of: null,
        copies: 0,
        last_copy_at: null,
        processed: true,
        success: true,
        outcome: SUCCEEDED,
        received_at: expect.any(String),
        dispatched_at: expect.any(String),
        processed_at: expect.any(String),
        payload: expect.objectContaining({ team_id: organization.teamId, spend: 10.500123, soft_budget: null }),
      },
    ]);
  });

  test('are found by each of the filters, and by all of them together', async () => {
    const [organization] = settled as [Organization];
    const { data: ignored } = await world.alert(organization.teamId, { body: { event: 'spend_tracked' } });
    const { data: unknown } = await world.alert('nobodys-team-of-filters');
    const find = async (params: object) =>
      (await world.admin.get('/webhooks/events', { params: { limit: 200, ...params } })).data.data.map(({ id }: { id: string }) => id);
    const ofTeam = await find({ team_id: organization.teamId });
    expect(ofTeam).toHaveLength(2);
    expect(await find({ organization_id: organization.id })).toEqual(ofTeam);
    expect(await find({ event_type: 'spend_tracked' })).toEqual([ignored.event_id]);
    expect(await find({ outcome: 'unknown_team', team_id: 'nobodys-team-of-filters' })).toEqual([unknown.event_id]);
    expect(await find({ success: 'false', team_id: 'nobodys-team-of-filters' })).toEqual([unknown.event_id]);
    expect(await find({ success: 'true', team_id: 'nobodys-team-of-filters' })).toEqual([]);
    expect(await find({ processed: 'false' })).toEqual([]);
    expect(
      await find({ team_id: organization.teamId, event_type: 'budget_crossed', processed: 'true', success: 'true', outcome: SUCCEEDED }),
    ).toHaveLength(1);
  });
});

describe('recharges', () => {
  test('are listed by organization and status', async () => {
    const [organization] = settled as [Organization];
    const list = async (params: object) => (await world.admin.get('/api/v1/recharges', { params })).data.data;
    const [recharge, ...more] = await list({ organization_id: organization.id });
    expect(more).toEqual([]);
    expect(recharge).toMatchObject({
      organization_id: organization.id,
      litellm_team_id: organization.teamId,
      source: 'webhook',
      status: 'succeeded',
      amount: '20.50',
      currency: 'usd',
      quota: '20.50',
      balance_seen: '-0.50',
      quota_before: '10.00',
      quota_after: '30.50',
      refund_id: null,
      failure: null,
    });
    expect(await list({ organization_id: organization.id, status: 'succeeded' })).toEqual([recharge]);
    expect(await list({ organization_id: organization.id, status: 'declined' })).toEqual([]);
  });

  test('that bring no quota show none as written, and say why', async () => {
    const refused = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    await world.alerted(refused);
    expect(await world.rechargeOf(refused)).toMatchObject({
      status: 'declined',
      quota_before: '10.00',
      quota_after: null,
      failure: { code: 'card_declined', message: expect.any(String) },
    });
    const gone = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(gone);
    await world.deleteTeam(gone.teamId);
    await goOn();
    await world.closed(eventId);
    expect(await world.rechargeOf(gone)).toMatchObject({
      status: 'refunded',
      quota_after: null,
      failure: { code: null, message: expect.stringMatching(/LiteLLM|team/) },
    });
  });

  test('one by one tell their story, their ledger transfers, and where Temporal shows the run', async () => {
    const [organization] = settled as [Organization];
    const [{ id, payment_intent_id: intentId, event_id: eventId }] = (
      await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } })
    ).data.data;
    const { status, data } = await world.admin.get(`/api/v1/recharges/${id}`);
    expect([status, data.id]).toEqual([200, id]);
    expect(data.timeline.map(({ status: step }: { status: string }) => step)).toEqual(['reserved', 'charging', 'charged', 'succeeded']);
    const transfers = [
      { kind: 'charge', debit_account: 'stripe', credit_account: 'prepaid', amount: '20.50', currency: 'usd', quota: '20.50' },
      { kind: 'grant', debit_account: 'prepaid', credit_account: 'granted', amount: '20.50', currency: 'usd', quota: '20.50' },
    ];
    expect(data.ledger_transfers).toMatchObject(transfers);
    expect(data.temporal_ui_url).toBe(
      `http://127.0.0.1:8233/namespaces/default/workflows/${encodeURIComponent(`recharge/${organization.id}/${eventId}`)}`,
    );
    expect(await world.stripe.paymentIntents.retrieve(intentId)).toMatchObject({ status: 'succeeded', customer: organization.customerId });
  });

  test('that do not exist are 404', async () => {
    expectProblem(await world.admin.get('/api/v1/recharges/rch_nothing'), NOT_FOUND);
  });
});

describe('health', () => {
  const open = (url: string) => axios.get(url, { validateStatus: () => true });

  test('/health answers without a key', async () => {
    expect(await open(`${world.apiUrl}/health`)).toMatchObject({ status: 200, data: { status: 'ok' } });
  });

  test('/ready tells of every dependency, with its latency', async () => {
    const { status, data } = await open(`${world.apiUrl}/ready`);
    const looked_at = expect.stringMatching(/Z$/);
    const well = { status: 'ok', latency_ms: expect.any(Number), looked_at };
    const reason = expect.stringMatching(/^wrong: schedule .*; bill status says more$/);
    const unscheduled = { status: 'failing', reason, since: looked_at, looked_at };
    expect([status, data]).toEqual([
      200,
      { status: 'degraded', dependencies: { database: well, temporal: well, service: unscheduled, kms: well, stripe: well } },
    ]);
  });

  test('/ready is 503 without PostgreSQL, where /health is still 200', async () => {
    await world.withAnotherApi({ DATABASE_URL: `postgres://bill:a-password@127.0.0.1:${await freePort()}/bill` }, async (url) => {
      const { status, data } = await open(`${url}/ready`);
      expect(status).toBe(503);
      expect(data).toMatchObject({
        status: 'not_ready',
        dependencies: {
          database: {
            status: 'failing',
            reason: expect.stringMatching(/^PostgreSQL cannot be reached \(nothing listens at .*correct DATABASE_URL/),
          },
          stripe: { status: 'ok' },
        },
      });
      expect(data.dependencies).not.toHaveProperty('service');
      expect(JSON.stringify(data)).not.toContain('a-password');
      expect((await open(`${url}/health`)).status).toBe(200);
    });
  });

  test('/ready is 200 without the others: what comes in is kept until they are available again', async () => {
    const nowhere = `127.0.0.1:${await freePort()}`;
    const unreachable = { TEMPORAL_ADDRESS: nowhere, STRIPE_API_BASE: `http://${nowhere}`, KMS_BASE_URL: `http://${nowhere}` };
    await world.withAnotherApi(unreachable, async (url) => {
      const { status, data } = await open(`${url}/ready`);
      const failing = { status: 'failing', reason: expect.not.stringMatching(/ECONNREFUSED|UNAVAILABLE/) };
      expect(status).toBe(200);
      expect(data.dependencies).toMatchObject({ database: { status: 'ok' }, temporal: failing, kms: failing, stripe: failing });
      expect(data.dependencies).not.toHaveProperty('service');
      for (const secret of [world.config.stripe.secretKey, world.config.kms.apiKey]) expect(JSON.stringify(data)).not.toContain(secret);
    });
  });
});

test('what is not there is a 404, and the admin API without PostgreSQL a 503 that says when to come again', async () => {
  expectProblem(await world.admin.get('/api/v2/organizations'), NOT_FOUND);
  expectProblem(await world.admin.get('/'), NOT_FOUND);
  await world.withAnotherApi({ DATABASE_URL: `postgres://bill:pw@127.0.0.1:${await freePort()}/bill` }, async (url) => {
    const answer = await world.admin.get(`${url}${ORGANIZATIONS}`);
    expectProblem(answer, [503, 'unavailable']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });
});

describe('every answer', () => {
  /** The keys of objects anywhere in it, but in what LiteLLM has sent. */
  function keysIn(value: unknown): string[] {
    if (Array.isArray(value)) return value.flatMap(keysIn);
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([key, child]) => [key, ...(key === 'payload' ? [] : keysIn(child))]);
  }

  test('has its keys in snake case', async () => {
    const [organization] = settled as [Organization];
    await world.admin.post('/api/v1/sync', { organization_ids: [organization.id], dry_run: true });
    await world.admin.post('/api/v1/holds', { scope: 'organization', subject: organization.id, reason: 'to be listed' });
    const { id: rechargeId, event_id: eventId } = await world.rechargeOf(organization);
    const lists = ['organizations', 'recharges', 'reversals', 'holds', 'sync', 'outbound-events', 'outbound-endpoints'];
    const paths = [
      ...lists.map((list) => `/api/v1/${list}`),
      ...['', '/balance', '/teams'].map((path) => `${ORGANIZATIONS}/${organization.id}${path}`),
      `/api/v1/recharges/${rechargeId}`,
      '/webhooks/events',
      `/webhooks/events/${eventId}`,
      '/health',
      '/ready',
    ];
    const answers = await Promise.all(paths.map(async (path) => [path, (await world.admin.get(path)).data] as const));
    for (const [path, data] of answers) {
      expect([path, keysIn(data).length > 0]).toEqual([path, true]);
      expect([path, keysIn(data).filter((key) => !/^[a-z][a-z\d]*(_[a-z\d]+)*$/.test(key))]).toEqual([path, []]);
    }
  });
});

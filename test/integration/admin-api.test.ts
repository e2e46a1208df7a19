/** What an operator and a monitor ask of the service: organizations, recharges, events, and whether it is well. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import axios, { type AxiosResponse } from 'axios';
import { freePort } from '../support/ports.ts';
import { ADMIN_API_KEY, type Organization, World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const UNTOUCHED = { charges: 0, captured: 0, refunded: 0, granted: 0, prepaid: 0 };
const ORGANIZATIONS = '/api/v1/organizations';

let world: World;
/** Two that have been recharged, for what only reads. */
let settled: Organization[];

beforeAll(async () => {
  world = await World.start();
  settled = [await world.organization(), await world.organization()];
  for (const { teamId } of settled) await world.closed((await world.alert(teamId)).data.event_id);
}, 60_000);
afterAll(() => world.close());

/** The answer is a problem of this kind; what is wrong with which field is told where fields are expected. */
function expectProblem({ status, headers, data }: AxiosResponse, [wanted, kind]: readonly [number, string], fields?: string[]): void {
  expect({ status, data }).toMatchObject({
    status: wanted,
    data: { type: `urn:bill-service:problem:${kind}`, title: expect.any(String), status: wanted, detail: expect.any(String) },
  });
  expect(headers['content-type']).toMatch(/^application\/problem\+json/);
  if (fields) expect(data.errors.map(({ field }: { field: string }) => field).sort()).toEqual([...fields].sort());
}
const MALFORMED = [400, 'malformed'] as const;
const UNAUTHENTICATED = [401, 'unauthenticated'] as const;
const NOT_FOUND = [404, 'not-found'] as const;
const CONFLICT = [409, 'conflict'] as const;
const TOO_LARGE = [413, 'too-large'] as const;
const INVALID = [422, 'invalid'] as const;

let serial = 0;
/** A body that creates an organization, until something is wrong with it. */
function draft(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const id = `draft-${++serial}`;
  return {
    c_organization_id: id,
    stripe_customer_id: 'cus_Draft123',
    litellm_team_id: `team-of-${id}`,
    minimum_balance: '2.00',
    target_balance: '20.00',
    ...changes,
  };
}

async function created(changes: Record<string, unknown> = {}): Promise<string> {
  const { status, data } = await world.admin.post(ORGANIZATIONS, draft(changes));
  expect(status).toBe(201);
  return data.c_organization_id;
}

async function tableCounts(): Promise<object> {
  const { rows } = await world.sql.query(
    'select (select count(*) from organization_balance_config) as organizations, (select count(*) from recharge) as recharges',
  );
  return rows[0];
}

/** One alert for the organization's team, and how it ends. */
async function outcomeOfAlert({ teamId }: Organization, body: Record<string, unknown> = {}): Promise<string> {
  const { data } = await world.alert(teamId, { body });
  expect(data.status).toBe('accepted');
  return (await world.closed(data.event_id)).outcome;
}

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
    const before = await tableCounts();
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
    expect(await tableCounts()).toEqual(before);
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

describe('a new organization', () => {
  test('is answered 201 with itself, its defaults and its address', async () => {
    const body = draft();
    const { status, headers, data } = await world.admin.post(ORGANIZATIONS, body);
    expect(status).toBe(201);
    expect(data).toEqual({
      ...body,
      name: body['c_organization_id'],
      currency: 'usd',
      quota_per_unit: '1.00',
      auto_recharge_enabled: true,
      max_daily_recharges: 10,
      max_monthly_amount: null,
      time_zone: 'UTC',
      blocked: false,
      litellm_seen_at: null,
      suspended_at: null,
      suspended_reason: null,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      updated_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
    expect((await world.admin.get(headers['location'])).data).toEqual(data);
  });

  test('has every setting that it was given, money exact to a millionth', async () => {
    const body = draft({
      name: 'Acme “Ünïcode” & Söhne',
      currency: 'EUR',
      minimum_balance: '0.000001',
      target_balance: '9007.199255',
      quota_per_unit: '1.085',
      auto_recharge_enabled: false,
      max_daily_recharges: 0,
      time_zone: 'Asia/Kolkata',
    });
    await world.admin.post(ORGANIZATIONS, body);
    const { data } = await world.admin.get(`${ORGANIZATIONS}/${body['c_organization_id']}`);
    expect(data).toMatchObject({ ...body, currency: 'eur' });
  });

  test('with the id of another is 409, and so is one with the LiteLLM team of another', async () => {
    const body = draft();
    expect((await world.admin.post(ORGANIZATIONS, body)).status).toBe(201);
    expectProblem(await world.admin.post(ORGANIZATIONS, { ...body, litellm_team_id: 'some-other-team' }), CONFLICT);
    expectProblem(await world.admin.post(ORGANIZATIONS, { ...body, c_organization_id: 'some-other-id' }), CONFLICT);
    expectProblem(await world.admin.get(`${ORGANIZATIONS}/some-other-id`), NOT_FOUND);
  });

  test('asked for ten times at once is there once', async () => {
    const body = draft();
    const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await world.admin.post(ORGANIZATIONS, body)).status));
    expect(statuses.sort()).toEqual([201, ...Array(9).fill(409)]);
  });

  test.each<[string, unknown]>([
    ['c_organization_id', ''],
    ['c_organization_id', 'with space'],
    ['c_organization_id', 'a/b'],
    ['c_organization_id', 'x'.repeat(129)],
    ['c_organization_id', 7],
    ['name', ''],
    ['name', 'a\0b'],
    ['stripe_customer_id', 'acct_1'],
    ['litellm_team_id', ''],
    ['litellm_team_id', 'a\0b'],
    ['currency', 'dollars'],
    ['currency', 'ugx'],
    ['minimum_balance', '-1.00'],
    ['minimum_balance', 2],
    ['minimum_balance', '1e3'],
    ['minimum_balance', '0.0000001'],
    ['minimum_balance', null],
    ['target_balance', '2.00'],
    ['target_balance', 'NaN'],
    ['target_balance', '99999999999.00'],
    ['quota_per_unit', '0'],
    ['auto_recharge_enabled', 'yes'],
    ['max_daily_recharges', -1],
    ['max_daily_recharges', 1.5],
    ['max_daily_recharges', '3'],
    ['max_daily_recharges', 1001],
    ['max_monthly_amount', 500],
    ['max_monthly_amount', '-1.00'],
    ['max_monthly_amount', '5.001'],
    ['time_zone', 'Mars/Olympus'],
    ['time_zone', 'a\0b'],
    ['a_setting_of_tomorrow', 1],
  ])('whose %s is %j is 422 and names it', async (field, value) => {
    const before = await tableCounts();
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ [field]: value })), INVALID, [field]);
    expect(await tableCounts()).toEqual(before);
  });

  test('with many things wrong is told all of them at once', async () => {
    const body = draft({ stripe_customer_id: undefined, minimum_balance: 2, currency: 'x', max_daily_recharges: 'many', colour: 'red' });
    const fields = ['stripe_customer_id', 'minimum_balance', 'currency', 'max_daily_recharges', 'colour'];
    expectProblem(await world.admin.post(ORGANIZATIONS, body), INVALID, fields);
  });

  test('that is no JSON is 400, no object 422, and too large 413', async () => {
    const post = (body: string) => world.admin.post(ORGANIZATIONS, body, { headers: { 'content-type': 'application/json' } });
    expectProblem(await post('{"c_organization_id":'), MALFORMED);
    expectProblem(await post('[]'), INVALID);
    expectProblem(await world.admin.post(ORGANIZATIONS), INVALID);
    expectProblem(await post(JSON.stringify(draft({ name: 'x'.repeat(70_000) }))), TOO_LARGE);
  });
});

describe('a change of an organization', () => {
  test('touches what it names and nothing else', async () => {
    const id = await created({ name: 'Before', time_zone: 'Europe/Berlin' });
    const before = (await world.admin.get(`${ORGANIZATIONS}/${id}`)).data;
    const { status, data } = await world.admin.patch(`${ORGANIZATIONS}/${id}`, { name: 'After', target_balance: '50' });
    expect(status).toBe(200);
    expect(data).toEqual({ ...before, name: 'After', target_balance: '50.00', updated_at: expect.any(String) });
    expect(Date.parse(data.updated_at)).toBeGreaterThan(Date.parse(before.updated_at));
    expect((await world.admin.get(`${ORGANIZATIONS}/${id}`)).data).toEqual(data);
  });

  test('keeps the target above the minimum, whichever of the two it names', async () => {
    const id = await created({ minimum_balance: '2.00', target_balance: '20.00' });
    const patch = (body: object) => world.admin.patch(`${ORGANIZATIONS}/${id}`, body);
    expectProblem(await patch({ minimum_balance: '20.00' }), INVALID, ['target_balance']);
    expectProblem(await patch({ target_balance: '1.99' }), INVALID, ['target_balance']);
    expect((await patch({ minimum_balance: '20.00', target_balance: '20.01' })).status).toBe(200);
  });

  test.each<[string, unknown]>([
    ['c_organization_id', 'renamed'],
    ['suspended_at', null],
    ['created_at', '2020-01-01T00:00:00Z'],
    ['version', 7],
    ['minimum_balance', '-0.01'],
    ['max_daily_recharges', null],
    ['time_zone', 'Nowhere'],
    ['litellm_team_id', ''],
  ])('of %s to %j is 422 and changes nothing', async (field, value) => {
    const id = await created();
    const before = (await world.admin.get(`${ORGANIZATIONS}/${id}`)).data;
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${id}`, { name: 'changed', [field]: value }), INVALID, [field]);
    expect((await world.admin.get(`${ORGANIZATIONS}/${id}`)).data).toEqual(before);
  });

  test("to another's LiteLLM team is 409, and of one that is not there 404", async () => {
    const [one, other] = [await created(), await created()];
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${one}`, { litellm_team_id: `team-of-${other}` }), CONFLICT);
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/nobody`, { name: 'x' }), NOT_FOUND);
  });
});

describe('the removal of an organization', () => {
  test('is 204, and 404 from then on', async () => {
    const id = await created();
    expect((await world.admin.delete(`${ORGANIZATIONS}/${id}`)).status).toBe(204);
    expectProblem(await world.admin.delete(`${ORGANIZATIONS}/${id}`), NOT_FOUND);
    expectProblem(await world.admin.get(`${ORGANIZATIONS}/${id}`), NOT_FOUND);
  });

  test('is 409 when it has recharges, which stay', async () => {
    const [organization] = settled as [Organization];
    expectProblem(await world.admin.delete(`${ORGANIZATIONS}/${organization.id}`), CONFLICT);
    expect((await world.admin.get(`${ORGANIZATIONS}/${organization.id}`)).status).toBe(200);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  });

  test('is 409 while an alert of it is being handled, which would be left without an end', async () => {
    const organization = await world.organization();
    await world.kmsFault({ method: 'GET', path: '/team/info', times: 1000, action: { kind: 'respond', status: 503, body: {} } });
    const { data } = await world.alert(organization.teamId);
    expectProblem(await world.admin.delete(`${ORGANIZATIONS}/${organization.id}`), CONFLICT);
    await world.clearFaults();
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
  }, 60_000);
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
    for (let i = 0; i < 5; i++) ids.push(await created());
    const first = await world.admin.get(ORGANIZATIONS, { params: { limit: 2 } });
    const latecomer = await created();
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
    expect((await world.admin.get(url)).data.data.length).toBeLessThanOrEqual(50);
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
        processed: true,
        success: true,
        outcome: 'recharged',
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
      await find({ team_id: organization.teamId, event_type: 'budget_crossed', processed: 'true', success: 'true', outcome: 'recharged' }),
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
    expect(await list({ organization_id: 'nobody' })).toEqual([]);
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
    expect(data.temporal_ui_url).toBe(`http://127.0.0.1:8233/namespaces/default/workflows/${encodeURIComponent(`recharge/${eventId}`)}`);
    expect(await world.stripe.paymentIntents.retrieve(intentId)).toMatchObject({ status: 'succeeded', customer: organization.customerId });
  });

  test('that do not exist are 404', async () => {
    expectProblem(await world.admin.get('/api/v1/recharges/rch_nothing'), NOT_FOUND);
  });
});

describe('what an operator switches', () => {
  test('suspend stops recharges, with its reason kept, and resume lets them again', async () => {
    const organization = await world.organization();
    const { data: suspended } = await world.admin.post(`${ORGANIZATIONS}/${organization.id}/suspend`, { reason: 'unpaid invoices' });
    expect(suspended).toMatchObject({ suspended_at: expect.any(String), suspended_reason: 'unpaid invoices' });
    expect(await outcomeOfAlert(organization)).toBe('suspended');
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    expect(await world.budgetOf(organization.teamId)).toBe(10);

    const { data: resumed } = await world.admin.post(`${ORGANIZATIONS}/${organization.id}/resume`);
    expect(resumed).toMatchObject({ suspended_at: null, suspended_reason: null });
    expect(await outcomeOfAlert(organization)).toBe('recharged');
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('suspend needs no reason, refuses what is none, and is 404 for nobody', async () => {
    const id = await created();
    expect((await world.admin.post(`${ORGANIZATIONS}/${id}/suspend`)).data.suspended_reason).toEqual(expect.any(String));
    for (const body of [{ reason: '' }, { reason: 7 }, { reason: 'a\0b' }]) {
      expectProblem(await world.admin.post(`${ORGANIZATIONS}/${id}/suspend`, body), INVALID, ['reason']);
    }
    expectProblem(await world.admin.post(`${ORGANIZATIONS}/nobody/suspend`), NOT_FOUND);
    expectProblem(await world.admin.post(`${ORGANIZATIONS}/nobody/resume`), NOT_FOUND);
  });

  test('auto_recharge_enabled false stops recharges, and true lets them again', async () => {
    const organization = await world.organization({ settings: { auto_recharge_enabled: false } });
    expect(await outcomeOfAlert(organization)).toBe('auto_recharge_disabled');
    expect(await world.books(organization)).toEqual(UNTOUCHED);
    await world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, { auto_recharge_enabled: true });
    expect(await outcomeOfAlert(organization)).toBe('recharged');
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('max_daily_recharges 0 charges nothing', async () => {
    const organization = await world.organization({ settings: { max_daily_recharges: 0 } });
    expect(await outcomeOfAlert(organization)).toBe('daily_limit_reached');
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  }, 60_000);

  test('max_daily_recharges 1 charges the first crossing of a day and not the second', async () => {
    const organization = await world.organization({ settings: { max_daily_recharges: 1, time_zone: 'Asia/Kolkata' } });
    expect(await outcomeOfAlert(organization)).toBe('recharged');
    await world.spend(organization.teamId, 20);
    expect(await outcomeOfAlert(organization, { max_budget: 30.5 })).toBe('daily_limit_reached');
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  }, 60_000);

  test('a declined attempt counts, or a dead card would be tried all day', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail', settings: { max_daily_recharges: 1 } });
    expect(await outcomeOfAlert(organization)).toBe('declined');
    expect(await outcomeOfAlert(organization)).toBe('daily_limit_reached');
    expect((await world.stripe.charges.list({ customer: organization.customerId })).data).toHaveLength(1);
  }, 60_000);

  test('max_monthly_amount lets a charge through that just fits, and refuses the next', async () => {
    const organization = await world.organization({ settings: { max_monthly_amount: '20.50' } });
    expect(await outcomeOfAlert(organization)).toBe('recharged');
    await world.spend(organization.teamId, 20);
    expect(await outcomeOfAlert(organization, { max_budget: 30.5 })).toBe('monthly_limit_reached');
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    const path = `/api/v1/organizations/${organization.id}`;
    expect((await world.admin.patch(path, { currency: 'jpy' })).data.errors[0].field).toBe('max_monthly_amount');
    expect((await world.admin.patch(path, { max_monthly_amount: '500.00' })).data.max_monthly_amount).toBe('500.00');
    expect(await outcomeOfAlert(organization, { max_budget: 30.5 })).toBe('recharged');
  }, 60_000);

  test('what was declined or refunded costs nothing of max_monthly_amount', async () => {
    const organization = await world.organization({ settings: { max_monthly_amount: '20.50' } });
    expect(await outcomeOfAlert(organization)).toBe('recharged');
    await world.spend(organization.teamId, 20);
    for (const status of ['declined', 'refunded']) {
      await world.sql.query('update recharge set status = $2 where organization_id = $1', [organization.id, status]);
      expect(await outcomeOfAlert(organization, { max_budget: status === 'declined' ? 30.5 : 50 })).toBe('recharged');
      await world.spend(organization.teamId, 20);
    }
  }, 60_000);

  // Half past six in the evening, UTC, is midnight in Kolkata: by UTC's day one of the two would end the other way.
  test.each([
    ['the last minute of yesterday', '-1 minute', 'recharged', 2],
    ['the first minute of today', '1 second', 'daily_limit_reached', 1],
  ])(
    "case 53: the day is the organization's: a recharge in %s in Kolkata",
    async (_when, distance, outcome, charges) => {
      const organization = await world.organization({ settings: { max_daily_recharges: 1, time_zone: 'Asia/Kolkata' } });
      expect(await outcomeOfAlert(organization)).toBe('recharged');
      await world.sql.query(
        `update recharge set created_at = (date_trunc('day', now() at time zone 'Asia/Kolkata') at time zone 'Asia/Kolkata') + $2::interval
       where organization_id = $1`,
        [organization.id, distance],
      );
      await world.spend(organization.teamId, 20);
      expect(await outcomeOfAlert(organization, { max_budget: 30.5 })).toBe(outcome);
      expect((await world.books(organization)).charges).toBe(charges);
    },
    60_000,
  );

  test.each([
    ['the last minute of last month', '-1 minute', 'recharged'],
    ['the first minute of this month', '1 minute', 'monthly_limit_reached'],
  ])(
    "case 53: the month is the organization's: a recharge in %s in Kolkata",
    async (_when, distance, outcome) => {
      const organization = await world.organization({ settings: { max_monthly_amount: '30.00', time_zone: 'Asia/Kolkata' } });
      expect(await outcomeOfAlert(organization)).toBe('recharged');
      await world.sql.query(
        `update recharge set created_at = (date_trunc('month', now() at time zone 'Asia/Kolkata') at time zone 'Asia/Kolkata') + $2::interval
         where organization_id = $1`,
        [organization.id, distance],
      );
      await world.spend(organization.teamId, 20);
      expect(await outcomeOfAlert(organization, { max_budget: 30.5 })).toBe(outcome);
    },
    60_000,
  );
});

describe('health', () => {
  const open = (url: string) => axios.get(url, { validateStatus: () => true });

  test('/health answers without a key', async () => {
    expect(await open(`${world.apiUrl}/health`)).toMatchObject({ status: 200, data: { status: 'ok' } });
  });

  test('/ready tells of every dependency, with its latency', async () => {
    const { status, data } = await open(`${world.apiUrl}/ready`);
    const well = { status: 'ok', latency_ms: expect.any(Number) };
    expect([status, data]).toEqual([200, { status: 'ready', dependencies: { database: well, temporal: well, kms: well, stripe: well } }]);
  });

  test('/ready is 503 without PostgreSQL, where /health is still 200', async () => {
    await world.withAnotherApi({ DATABASE_URL: `postgres://bill:a-password@127.0.0.1:${await freePort()}/bill` }, async (url) => {
      const { status, data } = await open(`${url}/ready`);
      expect(status).toBe(503);
      expect(data).toMatchObject({ status: 'not_ready', dependencies: { database: { status: 'failing' }, stripe: { status: 'ok' } } });
      expect(JSON.stringify(data)).not.toContain('a-password');
      expect((await open(`${url}/health`)).status).toBe(200);
    });
  });

  test('/ready is 200 without the others: what comes in is kept until they are back', async () => {
    const nowhere = `127.0.0.1:${await freePort()}`;
    const away = { TEMPORAL_ADDRESS: nowhere, STRIPE_API_BASE: `http://${nowhere}`, KMS_BASE_URL: `http://${nowhere}` };
    await world.withAnotherApi(away, async (url) => {
      const { status, data } = await open(`${url}/ready`);
      const failing = { status: 'failing', reason: expect.any(String) };
      expect(status).toBe(200);
      expect(data.dependencies).toMatchObject({ database: { status: 'ok' }, temporal: failing, kms: failing, stripe: failing });
      for (const secret of [world.config.stripe.secretKey, world.config.kms.apiKey]) expect(JSON.stringify(data)).not.toContain(secret);
    });
  }, 30_000);
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

/** What LiteLLM posts, and what somebody posts who is not LiteLLM: who is believed, what is kept, and that nothing is charged twice. */
import { createHmac, randomBytes } from 'node:crypto';
import { Agent, type IncomingMessage, request as openRequest } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { namespaceOf, openClient } from '../../src/temporal/connection.ts';
import { freePort } from '../support/ports.ts';
import { ADMIN_API_KEY, alertBody, HMAC_SECRET, type Organization, standardWebhookHeaders, URL_TOKEN, World } from '../support/world.ts';

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };
const UNTOUCHED = { charges: 0, captured: 0, refunded: 0, granted: 0, prepaid: 0 };

const PATH = '/webhooks/litellm/limit-exceeded';
const WITH_TOKEN = `${PATH}?token=${URL_TOKEN}`;
const JSON_TYPE = { 'content-type': 'application/json' };
const TOLERANCE_S = 300;
/** Temporal deletes a run ten to twenty seconds after it is told to. */
const FORGET_TIMEOUT_MS = 60_000;

/** The second of the accepted secrets, written as Standard Webhooks has it. */
const NEW_KEY = randomBytes(24);
const NEW_SECRET = `whsec_${NEW_KEY.toString('base64')}`;
const WRONG_TOKEN = 'wrong-guess-of-a-token';

const logLines: string[] = [];
let world: World;
let temporal: Client;
/** Out of budget all the time, so that anything that gets through for it is charged. */
let victim: Organization;
/** What takes ten seconds and more is begun first, and looked at when its turn comes. */
let slowSenders: Promise<Heard[]>;
let forgotten: Promise<Forgotten>;

beforeAll(async () => {
  world = await World.start(
    { LOG_LEVEL: 'trace', WEBHOOK_HMAC_SECRETS: `${HMAC_SECRET},${NEW_SECRET}` },
    { write: (line: string) => void logLines.push(line) },
  );
  temporal = openClient(world.config.temporal);
  victim = await world.organization();
  slowSenders = Promise.all([
    talk(`POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\n`),
    talk(`POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"event":`),
  ]);
  forgotten = rechargeThatTemporalForgets();
  forgotten.catch(() => {}); // the test that awaits it says so
}, 60_000);
afterAll(async () => {
  await Promise.allSettled([slowSenders, forgotten]); // when only some of the tests were run
  await temporal.connection.close();
  await world.close();
}, 90_000);

type Headers = Record<string, string | string[]>;
type Answer = { status: number; headers: IncomingMessage['headers']; body: Record<string, unknown> };

/** Posts bytes as they are, with headers as they are: repeated, empty or missing ones too. */
function post(
  body: string | Buffer,
  headers: Headers,
  { path = PATH, url = world.apiUrl, agent = false as Agent | false } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = openRequest(`${url}${path}`, { method: 'POST', headers, agent }, async (response) => {
      const chunks: Buffer[] = await response.toArray();
      const text = Buffer.concat(chunks).toString();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text ? JSON.parse(text) : {} });
    });
    request.once('error', reject);
    request.end(body);
  });
}

const messageId = () => `msg_${randomBytes(8).toString('hex')}`;
const bodyFor = (teamId: string, changes: Record<string, unknown> = {}) => JSON.stringify({ ...alertBody(teamId), ...changes });
const seconds = () => Math.floor(Date.now() / 1000);

function standardHeaders(body: string, wish: { id?: string; secret?: string; at?: number } = {}): Headers {
  return { ...JSON_TYPE, ...standardWebhookHeaders(body, wish.id ?? messageId(), wish) };
}

/** Standard Webhooks around a timestamp that is any text. */
function standardHeadersAt(body: string, timestamp: string): Headers {
  const signature = createHmac('sha256', HMAC_SECRET).update(`msg_1.${timestamp}.${body}`).digest('base64');
  return { ...JSON_TYPE, 'webhook-id': 'msg_1', 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}

const hexSignature = (signed: string) => createHmac('sha256', HMAC_SECRET).update(signed).digest('hex');

function litellmHeaders(body: string, timestamp?: string): Headers {
  if (timestamp === undefined) return { ...JSON_TYPE, 'x-litellm-signature': `sha256=${hexSignature(body)}` };
  return { ...JSON_TYPE, 'x-litellm-timestamp': timestamp, 'x-litellm-signature': `sha256=${hexSignature(`${timestamp}.${body}`)}` };
}

function problem(status: number, kind: string): object {
  return { status, body: { type: `urn:bill-service:problem:${kind}`, title: expect.any(String), status, detail: expect.any(String) } };
}

type EventRow = { id: string; team_id: string | null; payload: Record<string, unknown>; processed: boolean; outcome: string | null };

async function eventsOf(teamId: string): Promise<EventRow[]> {
  return (await world.sql.query('select * from webhook_event where team_id = $1 order by id', [teamId])).rows;
}

async function rowCount(): Promise<number> {
  return Number((await world.sql.query('select count(*) from webhook_event')).rows[0].count);
}

/** The workflows that Temporal has ever started for an organization. */
async function workflowsOf(organization: Organization): Promise<string[]> {
  const query = `TaskQueue = '${world.name}' and OrganizationId = '${organization.id}'`;
  const ids: string[] = [];
  for await (const { workflowId } of temporal.workflow.list({ query })) ids.push(workflowId);
  return ids;
}

/** Neither Stripe nor the database has anything of this organization. */
async function expectUntouched(organization: Organization): Promise<void> {
  expect(await world.books(organization)).toEqual(UNTOUCHED);
  expect((await world.stripe.paymentIntents.list({ customer: organization.customerId })).data).toEqual([]);
  const { rows } = await world.sql.query('select * from recharge where organization_id = $1', [organization.id]);
  expect(rows).toEqual([]);
}

/** Sends what must not be believed or cannot be read: answered as said, not stored, not charged. */
async function expectRefused(sent: Answer | Promise<Answer>, status: number, kind: string): Promise<void> {
  expect(await sent).toMatchObject(problem(status, kind));
  expect(await eventsOf(victim.teamId)).toEqual([]);
  await expectUntouched(victim);
}

describe('an authentic alert', () => {
  test('case 1: a valid alert is answered 200 when its row is there, starts one workflow, and is charged once', async () => {
    const organization = await world.organization();
    const body = bodyFor(organization.teamId, { a_field_of_tomorrow: { kept: [1, 'two', null] } });
    const { status, body: answer } = await post(body, standardHeaders(body));
    const rows = await eventsOf(organization.teamId);
    expect([status, answer]).toEqual([200, { event_id: rows[0]?.id, status: 'accepted' }]);
    expect(rows.map(({ payload }) => payload)).toEqual([JSON.parse(body)]);

    expect(await world.closed(String(answer['event_id']))).toEqual({ outcome: 'recharged', success: true });
    expect(await workflowsOf(organization)).toEqual([`recharge/${answer['event_id']}`]);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 1: while the row cannot be written, there is no answer', async () => {
    const body = bodyFor('nobodys-team-waiting');
    const locker = await world.sql.connect();
    await locker.query('begin');
    await locker.query('lock table webhook_event in exclusive mode');
    let isAnswered = false;
    const answer = post(body, standardHeaders(body)).finally(() => {
      isAnswered = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const wasAnswered = isAnswered;
    await locker.query('rollback');
    locker.release();
    expect(wasAnswered).toBe(false);
    expect((await answer).status).toBe(200);
    expect(await eventsOf('nobodys-team-waiting')).toHaveLength(1);
  });

  test('is answered in a few milliseconds', async () => {
    const organization = await world.organization({ budget: 1000, spend: 1 });
    const agent = new Agent({ keepAlive: true });
    const took: number[] = [];
    const accepted: string[] = [];
    for (let i = 0; i < 21; i++) {
      const body = bodyFor(organization.teamId, { max_budget: i, spend: 0 });
      const headers = standardHeaders(body);
      const started = performance.now();
      const { body: answer } = await post(body, headers, { agent });
      took.push(performance.now() - started);
      if (answer['status'] === 'accepted') accepted.push(String(answer['event_id']));
    }
    agent.destroy();
    expect(accepted).toHaveLength(21);
    // About 5 ms on an idle machine; the bound is for a busy one.
    expect(took.sort((a, b) => a - b)[10]).toBeLessThan(400);
    await Promise.all(accepted.map((id) => world.closed(id)));
  }, 60_000);

  test('raises the quota about a second later', async () => {
    const organization = await world.organization();
    await world.alert(organization.teamId);
    const answered = performance.now();
    await world.eventually(async () => (await world.budgetOf(organization.teamId)) === 30.5, 'the quota is raised');
    // 0.6 s on an idle machine.
    expect(performance.now() - answered).toBeLessThan(5_000);
  }, 60_000);

  test.each<[string, (body: string) => [Headers, string]]>([
    ['as a Standard Webhook', (body) => [standardHeaders(body), PATH]],
    ["in LiteLLM's header", (body) => [litellmHeaders(body), PATH]],
    ["in LiteLLM's header, with a timestamp", (body) => [litellmHeaders(body, String(seconds())), PATH]],
    ['by the token in the URL', () => [JSON_TYPE, WITH_TOKEN]],
    ['by the second of two tokens of the list', () => [JSON_TYPE, `${PATH}?other=1&token=${encodeURIComponent(URL_TOKEN)}`]],
    ['by the token although its signature is wrong', (body) => [{ ...standardHeaders(body), 'webhook-id': 'other' }, WITH_TOKEN]],
  ])('may be authenticated %s', async (_way, authenticated) => {
    const body = bodyFor(`nobody-${randomBytes(4).toString('hex')}`);
    const [headers, path] = authenticated(body);
    expect(await post(body, headers, { path })).toMatchObject({ status: 200, body: { status: 'accepted' } });
  });
});

describe('an alert that is not authentic is answered 401, stored nowhere, and charges nothing', () => {
  const refused = (body: string | Buffer, headers: Headers, path = PATH) =>
    expectRefused(post(body, headers, { path }), 401, 'unauthenticated');

  test('case 2: a flipped bit anywhere in the body', async () => {
    const body = bodyFor(victim.teamId);
    for (const at of [0, 5, Math.floor(body.length / 2), body.length - 1]) {
      const flipped = Buffer.from(body);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      for (const headers of [standardHeaders(body), litellmHeaders(body)]) await refused(flipped, headers);
    }
  });

  test('case 2: the same JSON written another way', async () => {
    const body = bodyFor(victim.teamId);
    for (const rewritten of [JSON.stringify(JSON.parse(body), null, 1), `${body}\n`, ` ${body}`, body.replace('"u1"', '"\\u00751"')]) {
      for (const headers of [standardHeaders(body), litellmHeaders(body)]) await refused(rewritten, headers);
    }
  });

  test.each<[string, (headers: Headers) => Headers]>([
    ['none at all', () => JSON_TYPE],
    ['no id', ({ 'webhook-id': _, ...rest }) => rest],
    ['no timestamp', ({ 'webhook-timestamp': _, ...rest }) => rest],
    ['no signature', ({ 'webhook-signature': _, ...rest }) => rest],
    ['an empty signature', (headers) => ({ ...headers, 'webhook-signature': '' })],
    ['only the version', (headers) => ({ ...headers, 'webhook-signature': 'v1,' })],
    [
      'the version alone is another',
      (headers) => ({ ...headers, 'webhook-signature': String(headers['webhook-signature']).replace('v1', 'v2') }),
    ],
    ['the right one twice', (headers) => ({ ...headers, 'webhook-signature': Array(2).fill(headers['webhook-signature']) })],
    [
      'a wrong one before the right one, each in its header',
      (headers) => ({ ...headers, 'webhook-signature': ['v1,AAAA', String(headers['webhook-signature'])] }),
    ],
    ['joined to a wrong one by a comma', (headers) => ({ ...headers, 'webhook-signature': `v1,AAAA,${headers['webhook-signature']}` })],
    ['followed by commas', (headers) => ({ ...headers, 'webhook-signature': `${headers['webhook-signature']},,,` })],
    ['the id twice', (headers) => ({ ...headers, 'webhook-id': Array(2).fill(headers['webhook-id']) })],
    ['another id', (headers) => ({ ...headers, 'webhook-id': 'msg_another' })],
  ])('case 3: Standard Webhooks with a signature that is missing, empty, repeated or stuffed: %s', async (_what, changed) => {
    const body = bodyFor(victim.teamId);
    await refused(body, changed(standardHeaders(body)));
  });

  test.each<[string, (right: string) => string | string[]]>([
    ['empty', () => ''],
    ['without its scheme', (right) => right],
    ['of another scheme', (right) => `sha512=${right}`],
    ['twice', (right) => [`sha256=${right}`, `sha256=${right}`]],
    ['stuffed with a comma', (right) => `sha256=${right},sha256=${right}`],
  ])("case 3: LiteLLM's signature %s", async (_what, signature) => {
    const body = bodyFor(victim.teamId);
    await refused(body, { ...JSON_TYPE, 'x-litellm-signature': signature(hexSignature(body)) });
  });

  test.each<[string, (right: string) => string]>([
    ['a digit short', (right) => right.slice(0, -1)],
    ['a digit long', (right) => `${right}0`],
    ['with a letter that is not hex', (right) => `${right.slice(0, -1)}g`],
    ['all zeros', () => '0'.repeat(64)],
  ])('case 4: a signature %s', async (_what, changed) => {
    const body = bodyFor(victim.teamId);
    await refused(body, { ...JSON_TYPE, 'x-litellm-signature': `sha256=${changed(hexSignature(body))}` });
  });

  test('case 4: but hex in upper case is the same signature', async () => {
    const body = bodyFor('nobody-upper-case');
    const headers = { ...JSON_TYPE, 'x-litellm-signature': `sha256=${hexSignature(body).toUpperCase()}` };
    expect((await post(body, headers)).status).toBe(200);
  });

  test('case 5: a timestamp that is older than five minutes, though one that is nearly as old is taken', async () => {
    const old = seconds() - TOLERANCE_S - 10;
    const body = bodyFor(victim.teamId);
    await refused(body, standardHeaders(body, { at: old }));
    await refused(body, litellmHeaders(body, String(old)));
    const fresh = bodyFor('nobody-nearly-old');
    expect((await post(fresh, standardHeaders(fresh, { at: seconds() - TOLERANCE_S + 20 }))).status).toBe(200);
    expect((await post(fresh, litellmHeaders(fresh, String(seconds() - TOLERANCE_S + 20)))).status).toBe(200);
  });

  test.each<[string, () => string]>([
    ['far in the future', () => String(seconds() + TOLERANCE_S + 10)],
    ['that is NaN', () => 'NaN'],
    ['below zero', () => String(-seconds())],
    ['in milliseconds', () => String(Date.now())],
    ['with a fraction', () => `${seconds()}.5`],
    ['in exponents', () => '1e300'],
    ['that is a date', () => new Date().toISOString()],
    ['that is empty', () => ''],
  ])('case 6: a timestamp %s', async (_what, timestamp) => {
    const body = bodyFor(victim.teamId);
    await refused(body, standardHeadersAt(body, timestamp()));
    await refused(body, litellmHeaders(body, timestamp()));
  });

  test('case 12: a secret that was never one of ours', async () => {
    const body = bodyFor(victim.teamId);
    await refused(body, standardHeaders(body, { secret: 'somebody-elses-secret' }));
  });

  test.each(['', 'short', WRONG_TOKEN, `${URL_TOKEN}x`, URL_TOKEN.toUpperCase(), `${URL_TOKEN}&token=${URL_TOKEN}`])(
    'a URL token that is %j',
    async (token) => {
      await refused(bodyFor(victim.teamId), JSON_TYPE, `${PATH}?token=${token}`);
    },
  );

  test('the admin key, which is for operators only', async () => {
    await refused(bodyFor(victim.teamId), { ...JSON_TYPE, authorization: `Bearer ${ADMIN_API_KEY}` });
  });
});

describe('the same alert again', () => {
  /** Keeps the next recharge open until every copy has arrived. */
  const slowCharge = () =>
    world.stripeFault({ path: '/v1/payment_intents/*/confirm', when: 'before', action: { kind: 'delay', ms: 1_000 } });

  test('case 7: the same id 100 times at once is one workflow, and every answer is 200', async () => {
    const organization = await world.organization();
    await slowCharge();
    const body = bodyFor(organization.teamId);
    const headers = standardHeaders(body);
    const answers = await Promise.all(Array.from({ length: 100 }, () => post(body, headers)));
    expect(answers.map(({ status }) => status)).toEqual(Array(100).fill(200));
    const [event, ...more] = await eventsOf(organization.teamId);
    expect(more).toEqual([]);
    expect(new Set(answers.map(({ body: answer }) => answer['event_id']))).toEqual(new Set([event?.id]));
    expect(answers.filter(({ body: answer }) => answer['status'] === 'accepted')).toHaveLength(1);

    expect(await world.closed(String(event?.id))).toEqual({ outcome: 'recharged', success: true });
    expect(await workflowsOf(organization)).toHaveLength(1);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('100 times at once without an id is one charge, 100 times 200, and 99 duplicates that start nothing', async () => {
    const organization = await world.organization();
    await slowCharge();
    const body = bodyFor(organization.teamId);
    const answers = await Promise.all(Array.from({ length: 100 }, () => post(body, JSON_TYPE, { path: WITH_TOKEN })));
    expect(answers.map(({ status }) => status)).toEqual(Array(100).fill(200));
    const [accepted, ...more] = answers.filter(({ body: answer }) => answer['status'] === 'accepted');
    expect(more).toEqual([]);
    const eventId = String(accepted?.body['event_id']);
    const { rows } = await world.sql.query(
      `select count(*)::int from webhook_event
       where team_id = $1 and duplicate_of = $2 and processed and outcome = 'duplicate' and dispatched_at is null`,
      [organization.teamId, eventId],
    );
    expect(rows).toEqual([{ count: 99 }]);

    expect(await world.closed(eventId)).toEqual({ outcome: 'recharged', success: true });
    expect(await workflowsOf(organization)).toEqual([`recharge/${eventId}`]);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('ten times with another spend each, as ten refused requests send it, is one charge', async () => {
    const organization = await world.organization();
    await slowCharge();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => world.alert(organization.teamId, { body: { spend: 10.5 + i / 1000 } })),
    );
    expect(answers.map(({ data }) => data.status).sort()).toEqual(['accepted', ...Array(9).fill('duplicate')]);
    const eventId = answers.find(({ data }) => data.status === 'accepted')?.data.event_id;
    expect(await world.closed(eventId)).toEqual({ outcome: 'recharged', success: true });
    expect(await workflowsOf(organization)).toHaveLength(1);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 8: the same id with another body is 409, and no charge', async () => {
    const id = messageId();
    const first = bodyFor('nobody-case-8');
    expect((await post(first, standardHeaders(first, { id }))).status).toBe(200);
    const other = bodyFor(victim.teamId);
    await expectRefused(post(other, standardHeaders(other, { id })), 409, 'conflict');
    expect((await post(first, standardHeaders(first, { id }))).body).toMatchObject({ status: 'duplicate' });
  });

  test('case 10: two proxies that report one crossing with different spend are one recharge', async () => {
    const organization = await world.organization();
    await slowCharge();
    const [one, other] = [bodyFor(organization.teamId, { spend: 10.500123 }), bodyFor(organization.teamId, { spend: 10.7 })];
    const answers = await Promise.all([post(one, standardHeaders(one)), post(other, JSON_TYPE, { path: WITH_TOKEN })]);
    expect(answers.map(({ body: answer }) => answer['status']).sort()).toEqual(['accepted', 'duplicate']);
    const accepted = answers.find(({ body: answer }) => answer['status'] === 'accepted');
    expect(await world.closed(String(accepted?.body['event_id']))).toEqual({ outcome: 'recharged', success: true });
    expect(await workflowsOf(organization)).toHaveLength(1);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 11: it comes late, when the budget has been raised: no charge', async () => {
    const organization = await world.organization();
    const first = await world.alert(organization.teamId);
    await world.closed(first.data.event_id);
    const late = await world.alert(organization.teamId, { body: { spend: 10.4 } });
    expect(late.data.status).toBe('accepted');
    expect(await world.closed(late.data.event_id)).toEqual({ outcome: 'above_minimum', success: true });
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  test('case 11: somebody has raised the budget by hand before it came: no charge', async () => {
    const organization = await world.organization();
    await world.setBudget(organization.teamId, 100);
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'above_minimum', success: true });
    await expectUntouched(organization);
  }, 60_000);
});

describe('case 12: rotation of the secret', () => {
  const signedWithNewKey = (body: string): Headers => {
    const [id, at] = [messageId(), seconds()];
    const signature = `v1,${createHmac('sha256', NEW_KEY).update(`${id}.${at}.${body}`).digest('base64')}`;
    return { ...JSON_TYPE, 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': signature };
  };

  test('the old and the new one are accepted side by side, and so is a message that is signed with both', async () => {
    const body = bodyFor('nobody-rotating');
    const renewed = signedWithNewKey(body);
    expect((await post(body, standardHeaders(body))).status).toBe(200);
    expect((await post(body, renewed)).status).toBe(200);
    const both = { ...renewed, 'webhook-signature': `v1,AAAA ${renewed['webhook-signature']}` };
    expect((await post(body, both)).status).toBe(200);
  });

  test('the old one, once removed, is accepted no more', async () => {
    const body = bodyFor('nobody-rotated');
    await world.withAnotherApi({ WEBHOOK_HMAC_SECRETS: NEW_SECRET }, async (url) => {
      expect((await post(body, standardHeaders(body), { url })).status).toBe(401);
      expect((await post(body, signedWithNewKey(body), { url })).status).toBe(200);
    });
  });
});

describe('the body', () => {
  const refused = (body: string | Buffer, headers: Headers, status: number, kind: string) =>
    expectRefused(post(body, headers, { path: WITH_TOKEN }), status, kind);

  test.each([
    undefined,
    '',
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json; charset=iso-8859-1',
    'application/jsonp',
  ])('case 13: with Content-Type %j is 415', async (type) => {
    await refused(bodyFor(victim.teamId), type === undefined ? {} : { 'content-type': type }, 415, 'unsupported-media-type');
  });

  test.each(['application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'Application/JSON'])(
    'case 13: with Content-Type %j is read',
    async (type) => {
      const answer = await post(bodyFor('nobody-case-13'), { 'content-type': type }, { path: WITH_TOKEN });
      expect(answer.status).toBe(200);
    },
  );

  test('case 14: over 64 KiB is 413, and 64 KiB is read', async () => {
    const padded = (teamId: string, bytes: number) => {
      const body = bodyFor(teamId, { padding: '' });
      return body.replace('"padding":""', `"padding":"${'x'.repeat(bytes - body.length)}"`);
    };
    await refused(padded(victim.teamId, 64 * 1024 + 1), JSON_TYPE, 413, 'too-large');
    expect((await post(padded('nobody-64-kib', 64 * 1024), JSON_TYPE, { path: WITH_TOKEN })).status).toBe(200);
  });

  test('case 14: in chunks over 64 KiB is 413 like any other', async () => {
    const chunked = { ...JSON_TYPE, 'transfer-encoding': 'chunked' };
    await refused(bodyFor(victim.teamId, { padding: 'x'.repeat(70_000) }), chunked, 413, 'too-large');
  });

  test('case 14: compressed is 415, whatever it would unpack to', async () => {
    const bomb = gzipSync(bodyFor(victim.teamId, { padding: 'x'.repeat(20_000_000) }));
    for (const encoding of ['gzip', 'GZIP', 'deflate', 'br', 'gzip, gzip']) {
      await refused(bomb, { ...JSON_TYPE, 'content-encoding': encoding }, 415, 'unsupported-media-type');
    }
  });

  test('case 14: that never ends is answered 413 as soon as it is too long, and cut off', async () => {
    const chunk = `1000\r\n${'a'.repeat(4096)}\r\n`;
    const heard = await talk(
      `POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
      chunk,
    );
    expect(heard.text).toMatch(/^HTTP\/1\.1 413 /);
    // The deadline for a request is 10 s, and this is well before it.
    expect(heard.closedAfterMs).toBeLessThan(6_000);
    await expectUntouched(victim);
  }, 30_000);

  test('case 14: that announces more than 64 KiB is answered 413 without being waited for', async () => {
    const heard = await talk(
      `POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n{`,
    );
    expect(heard.text).toMatch(/^HTTP\/1\.1 413 /);
    expect(heard.closedAfterMs).toBeLessThan(6_000);
  }, 30_000);

  test('case 14: of a sender that is too slow, with its headers or with its body, is 408', async () => {
    for (const { text, closedAfterMs } of await slowSenders) {
      expect(text).toMatch(/^HTTP\/1\.1 408 /);
      expect(closedAfterMs).toBeGreaterThan(5_000);
    }
  }, 30_000);

  test('that ends early leaves nothing behind, and the service goes on', async () => {
    const stored = await rowCount();
    const socket = connect(Number(new URL(world.apiUrl).port), '127.0.0.1');
    const body = bodyFor(victim.teamId);
    socket.write(
      `POST ${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, -1)}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await rowCount()).toBe(stored);
    await expectUntouched(victim);
  });

  test.each<[string, string | Buffer]>([
    ['nothing', ''],
    ['cut JSON', '{"event":"budget_crossed",'],
    ['a form', 'event=budget_crossed'],
    ['a list', '[{"event":"budget_crossed"}]'],
    ['no event', '{"event_group":"team","team_id":"t1"}'],
    ['an event that is a number', '{"event":7,"event_group":"team"}'],
    ['a NUL, which the database cannot hold', '{"event":"budget_crossed","team_id":"a\\u0000b"}'],
    ['half a surrogate pair', '{"event":"budget_crossed","team_id":"\\ud800"}'],
  ])('that holds %s is 400', async (_what, body) => {
    await refused(body, JSON_TYPE, 400, 'malformed');
  });

  test('case 15: invalid UTF-8 is 400', async () => {
    const body = Buffer.from(bodyFor(victim.teamId));
    body[body.indexOf('acme')] = 0xff;
    await refused(body, JSON_TYPE, 400, 'malformed');
  });

  test('case 15: nested as deep as 64 KiB go is 400', async () => {
    const depth = 32_000;
    await refused(
      `{"event":"budget_crossed","team_id":"${victim.teamId}","a":${'['.repeat(depth)}${']'.repeat(depth)}}`,
      JSON_TYPE,
      400,
      'malformed',
    );
  });

  test('case 15: with __proto__ changes no object, lends no field, and is stored as it came', async () => {
    const lending = `{"__proto__":{"event":"budget_crossed","event_group":"team","team_id":"${victim.teamId}"},"constructor":{"prototype":{"a":1}}}`;
    await refused(lending, JSON_TYPE, 400, 'malformed');
    const body = bodyFor('nobody-proto').replace('{', '{"__proto__":{"team_id":"polluted"},');
    expect((await post(body, JSON_TYPE, { path: WITH_TOKEN })).status).toBe(200);
    expect(({} as Record<string, unknown>)['team_id']).toBeUndefined();
    const { rows } = await world.sql.query(`select payload->'__proto__' as proto from webhook_event where team_id = 'nobody-proto'`);
    expect(rows).toEqual([{ proto: { team_id: 'polluted' } }]);
  });

  test('case 15: with a field twice is about the last of the two', async () => {
    const body = bodyFor('nobody-last').replace('{', `{"team_id":"${victim.teamId}",`);
    expect(await post(body, JSON_TYPE, { path: WITH_TOKEN })).toMatchObject({ status: 200, body: { status: 'accepted' } });
    expect(await eventsOf('nobody-last')).toMatchObject([{ outcome: 'unknown_team' }]);
    await expectUntouched(victim);
  });

  test('with a webhook-id that no index can hold is 400', async () => {
    const body = bodyFor(victim.teamId);
    await expectRefused(post(body, standardHeaders(body, { id: randomBytes(4000).toString('hex') })), 400, 'malformed');
  });
});

describe('case 16: the budget that an alert claims is not what is decided on', () => {
  const CLAIMS = ['null', '0', '-5', '1e308', '1e999', '"ten"', '{}'];

  test.each(CLAIMS)(
    'it claims %s and the team has enough: no charge',
    async (budget) => {
      const organization = await world.organization({ budget: 100, spend: 1 });
      const body = bodyFor(organization.teamId).replace('"max_budget":10', `"max_budget":${budget}`);
      const { body: answer } = await post(body, standardHeaders(body));
      expect(await world.closed(String(answer['event_id']))).toEqual({ outcome: 'above_minimum', success: true });
      await expectUntouched(organization);
    },
    60_000,
  );

  test('it claims all of these at once and the team has run out: one charge', async () => {
    const organization = await world.organization();
    const answers = await Promise.all(
      CLAIMS.map((budget) => {
        const body = bodyFor(organization.teamId).replace('"max_budget":10', `"max_budget":${budget}`);
        return post(body, standardHeaders(body));
      }),
    );
    expect(answers.map(({ status }) => status)).toEqual(CLAIMS.map(() => 200));
    await Promise.all(answers.flatMap(({ body: { status, event_id: id } }) => (status === 'accepted' ? world.closed(String(id)) : [])));
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  }, 60_000);

  test.each<[string, number | null, string, object]>([
    ['null, unlimited', null, 'unlimited_budget', UNTOUCHED],
    ['0', 0, 'recharged', { ...CHARGED_ONCE, captured: 3050, granted: 3050 }],
    ['1e308', 1e308, 'unlimited_budget', UNTOUCHED],
  ])(
    "LiteLLM's own max_budget is: %s",
    async (_what, budget, outcome, books) => {
      const organization = await world.organization();
      await world.setBudget(organization.teamId, budget);
      const { data } = await world.alert(organization.teamId);
      expect((await world.closed(data.event_id)).outcome).toBe(outcome);
      expect(await world.books(organization)).toEqual(books);
    },
    60_000,
  );
});

describe('case 17: an alert that is not about the budget of one of our teams', () => {
  test('of a team that no organization has is stored, answered 200, and ends as unknown_team', async () => {
    const { status, data } = await world.alert('nobodys-team');
    expect([status, data.status]).toEqual([200, 'accepted']);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'unknown_team', success: false });
  });

  test('of a team that was deleted in LiteLLM charges nothing', async () => {
    const organization = await world.organization();
    await world.deleteTeam(organization.teamId);
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'team_not_found', success: false });
    await expectUntouched(organization);
  }, 60_000);

  test.each<[string, Record<string, unknown>]>([
    ['spend_tracked', { event: 'spend_tracked' }],
    ['key_created', { event: 'key_created', event_group: 'key' }],
    ['an event of tomorrow', { event: 'budget_almost_crossed' }],
    ['the test event', { event: 'budget_crossed', event_group: 'key', team_id: null }],
    ...['key', 'user', 'end_user', 'team_member', 'organization', 'project', 'proxy', 'group_of_tomorrow'].map(
      (group): [string, Record<string, unknown>] => [`budget_crossed of the group ${group}`, { event_group: group }],
    ),
    ['no group', { event_group: null }],
    ['no team', { team_id: null }],
    ['a team that is a number', { team_id: 7 }],
    ['an empty team', { team_id: '' }],
  ])('is kept and ignored: %s', async (_what, changes) => {
    const { status, data } = await world.alert(victim.teamId, { body: changes });
    expect([status, data.status]).toEqual([200, 'ignored']);
    const { rows } = await world.sql.query('select processed, success, outcome, dispatched_at from webhook_event where id = $1', [
      data.event_id,
    ]);
    expect(rows).toEqual([{ processed: true, success: true, outcome: 'ignored', dispatched_at: null }]);
    await expectUntouched(victim);
  });
});

describe('case 18: a team id is only text', () => {
  const STRANGE_IDS: [string, string][] = [
    ['SQL', "'; drop table webhook_event; --"],
    ['SQL behind a backslash', "\\'; delete from organization_balance_config where ''='"],
    ['placeholders', '$1 ? ?? :name %s {{7*7}} $(id) `id`'],
    ['new lines and a terminal code', 'two\r\nlines\tand\u001b[31m a colour'],
    ['Unicode', '🦄 ťěäm \u202e\u0301 ﷽'],
    ['a path', '../../../etc/passwd'],
    ['a blank', ' '],
    ['60 KB of one letter', 'x'.repeat(60_000)],
    ['50 KB that cannot be compressed', randomBytes(25_000).toString('hex')],
  ];

  test.each(STRANGE_IDS)('%s: stored as it is, and does nothing', async (_what, teamId) => {
    const tables = await tableCounts();
    const { status, data } = await world.alert(teamId);
    expect([status, data.status]).toEqual([200, 'accepted']);
    expect(await eventsOf(teamId)).toMatchObject([
      { id: data.event_id, team_id: teamId, outcome: 'unknown_team', payload: alertBody(teamId) },
    ]);
    expect(await tableCounts()).toEqual({ ...tables, webhook_event: (tables['webhook_event'] as number) + 1 });
  });

  test('a team that is really called so is recharged like any other', async () => {
    const organization = await world.organization({ teamId: 'T\'eam 🦄\n"; drop table recharge; -- $1 ?' });
    const { data } = await world.alert(organization.teamId);
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  }, 60_000);

  async function tableCounts(): Promise<Record<string, number>> {
    const { rows } = await world.sql.query(
      `select (select count(*)::int from organization_balance_config) as organization_balance_config,
         (select count(*)::int from webhook_event) as webhook_event, (select count(*)::int from recharge) as recharge`,
    );
    return rows[0];
  }
});

test('without PostgreSQL an alert is 503 with Retry-After, and the same alert sent again is charged once', async () => {
  const organization = await world.organization();
  const body = bodyFor(organization.teamId);
  const id = messageId();
  await world.withAnotherApi({ DATABASE_URL: `postgres://bill:pw@127.0.0.1:${await freePort()}/bill` }, async (url) => {
    const answer = await post(body, standardHeaders(body, { id }), { url });
    expect(answer).toMatchObject(problem(503, 'unavailable'));
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect((await post(body, JSON_TYPE, { url })).status).toBe(401);
    expect((await post('{', JSON_TYPE, { url, path: WITH_TOKEN })).status).toBe(400);
  });
  expect(await eventsOf(organization.teamId)).toEqual([]);
  const { body: answer } = await post(body, standardHeaders(body, { id }));
  expect(answer['status']).toBe('accepted');
  expect(await world.closed(String(answer['event_id']))).toEqual({ outcome: 'recharged', success: true });
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 60_000);

test('a URL that is none, in the request line, is no mistake of the service', async () => {
  const heard = await talk(
    `POST http://bill:99999999${WITH_TOKEN} HTTP/1.1\r\nHost: bill\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
  );
  expect(heard.text).toMatch(/^HTTP\/1\.1 400 /);
});

test('case 9: an alert replayed after the tolerance it is 401; signed anew when Temporal has forgotten it, a duplicate; never charged again', async () => {
  const { organization, id, body, eventId } = await forgotten;
  expect((await post(body, standardHeaders(body, { id, at: seconds() - TOLERANCE_S - 10 }))).status).toBe(401);
  const replayed = await post(body, standardHeaders(body, { id }));
  expect(replayed).toMatchObject({ status: 200, body: { event_id: eventId, status: 'duplicate' } });
  expect(await eventsOf(organization.teamId)).toHaveLength(1);
  // The team has run out again, and the next crossing is charged: whatever the replay had started would be in its way.
  const next = await world.alert(organization.teamId, { body: { max_budget: 30.5, spend: 35.5 } });
  expect(await world.closed(next.data.event_id)).toEqual({ outcome: 'recharged', success: true });
  expect(await workflowsOf(organization)).toEqual([`recharge/${next.data.event_id}`]);
  expect((await world.books(organization)).charges).toBe(2);
}, 60_000);

describe('the log of all that', () => {
  test('tells of requests and mistakes, and never of a secret', async () => {
    await world.sql.query('alter table webhook_event rename to webhook_event_away');
    const body = bodyFor('nobody-unlucky', { user_email: 'somebody@example.com' });
    const answer = await post(body, standardHeaders(body), { path: WITH_TOKEN }).finally(() =>
      world.sql.query('alter table webhook_event_away rename to webhook_event'),
    );
    expect(answer).toMatchObject(problem(500, 'internal'));
    expect(JSON.stringify(answer.body)).not.toMatch(/webhook_event|insert|select/);

    const log = logLines.join('');
    expect(log).toContain('"path":"/webhooks/litellm/limit-exceeded","status":401');
    expect(log).toContain('a request failed unexpectedly');
    const { stripe, kms } = world.config;
    for (const secret of [
      URL_TOKEN,
      WRONG_TOKEN,
      'token=',
      HMAC_SECRET,
      NEW_SECRET,
      ADMIN_API_KEY,
      stripe.secretKey,
      `"${kms.apiKey}"`,
      `Bearer ${kms.apiKey}`,
    ]) {
      expect(logLines.filter((line) => line.includes(secret))).toEqual([]);
    }
  });
});

type Heard = { text: string; closedAfterMs: number };

/** Says `opening` on a socket of its own, then `refrain` again and again, until the service closes the connection. */
function talk(opening: string, refrain?: string): Promise<Heard> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(world.apiUrl).port), '127.0.0.1');
    const started = performance.now();
    let text = '';
    const sing = () => {
      if (socket.destroyed || refrain === undefined) return;
      if (socket.write(refrain)) setImmediate(sing);
      else socket.once('drain', sing);
    };
    socket.on('data', (data) => {
      text += data;
    });
    // A reset is one way to be cut off.
    socket.on('error', () => {});
    socket.on('close', () => resolve({ text, closedAfterMs: performance.now() - started }));
    socket.write(opening);
    sing();
  });
}

type Forgotten = { organization: Organization; id: string; body: string; eventId: string };

/** A team was recharged, has run out again, and Temporal has deleted the run as it does when the retention is over. */
async function rechargeThatTemporalForgets(): Promise<Forgotten> {
  const organization = await world.organization();
  const [id, body] = [messageId(), bodyFor(organization.teamId)];
  const eventId = String((await post(body, standardHeaders(body, { id }))).body['event_id']);
  await world.closed(eventId);
  await world.spend(organization.teamId, 25);

  const run = temporal.workflow.getHandle(`recharge/${eventId}`);
  await run.result();
  const namespace = namespaceOf(world.config.temporal);
  await temporal.workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId: run.workflowId } });
  const isGone = () =>
    run.describe().then(
      () => false,
      (error) => error instanceof WorkflowNotFoundError,
    );
  await world.eventually(isGone, 'the run is forgotten', FORGET_TIMEOUT_MS);
  return { organization, id, body, eventId };
}

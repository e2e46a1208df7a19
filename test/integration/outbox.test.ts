/**
 * The outbound events of the whole service: those of a recharge, over a restart between the move and its delivery,
 * and what an operator asks about them by API and command.
 */
import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import { z } from 'zod';
import type { OutboundType } from '../../src/domain/outbound-event.ts';
import { OUTBOUND_SCHEMAS } from '../../src/outbox/schemas.ts';
import { CONFLICT, expectProblem, INVALID, NOT_FOUND } from '../support/admin.ts';
import { ADMIN_API_KEY, World } from '../support/world.ts';

const SECRET = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const ENDPOINTS = '/api/v1/outbound-endpoints';
const EVENTS = '/api/v1/outbound-events';

type Told = { id: string; type: OutboundType; timestamp: string; data: Record<string, unknown> };

let world: World;
let receiver: Server;
let status = 200;
const told: Told[] = [];

beforeAll(async () => {
  receiver = createServer(async (request, response) => {
    const body = await text(request);
    if (status === 200) {
      const event = new Webhook(SECRET).verify(body, request.headers as Record<string, string>) as Omit<Told, 'id'>;
      told.push({ id: String(request.headers['webhook-id']), ...event });
    }
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  world = await World.start({
    NOTIFY_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
    NOTIFY_WEBHOOK_SECRET: SECRET,
  });
});
afterAll(async () => {
  await world.close();
  receiver.closeAllConnections();
  receiver.close();
});
beforeEach(() => {
  status = 200;
});

/** What a command prints. @throws unless it ends with 0. */
async function bill(...args: string[]): Promise<string> {
  const env = { PATH: process.env['PATH'], PUBLIC_URL: world.apiUrl, ADMIN_API_KEY };
  return (await promisify(execFile)(process.execPath, [MAIN, ...args], { env, cwd: tmpdir(), timeout: 120_000 })).stdout;
}

/** Waits until the receiver was told so of an organization. */
function isTold(organizationId: string, type: OutboundType): Promise<Told> {
  const find = async () => told.find((event) => event.type === type && event.data['organization_id'] === organizationId);
  return world.eventually(find, `${type} of ${organizationId}`);
}

function typesOf(organizationId: string): string[] {
  return told.filter(({ data }) => data['organization_id'] === organizationId).map(({ type }) => type);
}

describe('the receiver is told', () => {
  test('that a balance was low, and that it was recharged', async () => {
    const { organization, rechargeId } = await world.recharged();
    const succeeded = await isTold(organization.id, 'recharge.succeeded');
    expect(succeeded.data).toMatchObject({ recharge_id: rechargeId, amount: '20.50', currency: 'usd', quota_before: '10.00' });
    expect(typesOf(organization.id).sort()).toEqual(['balance.low', 'recharge.succeeded']);
  });

  test('that a card was declined, and what to do', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    await world.alerted(organization);
    const { data } = await isTold(organization.id, 'recharge.declined');
    expect(data).toMatchObject({ failure_code: 'card_declined', action: expect.stringContaining('the next sweep charges it') });
  });

  test('that a person has to decide, then how that person has decided', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 99);
    await goOn();
    await world.closed(eventId);
    const { data } = await isTold(organization.id, 'recharge.needs_attention');
    expect(data['action']).toContain(`\nbill resolve ${data['recharge_id']} --grant "reason"`);
    await world.admin.post(`/api/v1/recharges/${data['recharge_id']}/resolve`, {
      resolution: 'accept',
      reason: 'raised by hand',
      by: 'ada',
    });
    expect((await isTold(organization.id, 'recharge.succeeded')).data['detail']).toBe('ada settled it (accept): raised by hand');
  });

  test('that nothing was charged, once for its reason', async () => {
    const organization = await world.organization({ settings: { auto_recharge_enabled: false } });
    for (let alert = 0; alert < 3; alert++) await world.alerted(organization, { max_budget: 10 + alert });
    const { data } = await isTold(organization.id, 'refusal.new');
    expect(data).toMatchObject({ reason: 'auto_recharge_disabled', action: expect.stringContaining(`bill org set ${organization.id}`) });
    expect(typesOf(organization.id).sort()).toEqual(['balance.low', 'refusal.new']);
  });

  test('that money has gone back, and that the quota has followed it', async () => {
    const { organization, intentId, rechargeId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.temporal.workflow.start('reversalWorkflow', {
      workflowId: `reversal/${rechargeId}`,
      taskQueue: world.name,
      args: [{ rechargeId }],
    });
    expect((await isTold(organization.id, 'reversal.opened')).data).toMatchObject({ reversal_id: refund.id, recharge_id: rechargeId });
    expect((await isTold(organization.id, 'reversal.closed')).data).toMatchObject({ outcome: 'taken_back' });
  });

  test('in time, when money is held: by a sweep that cannot read LiteLLM', async () => {
    const organization = await world.organization();
    const { rechargeId, goOn } = await world.chargedButNotGranted(organization);
    await world.sql.query(
      `update recharge set timeline = (select jsonb_agg(s || jsonb_build_object('at', '2026-01-01T00:00:00.000Z')) from jsonb_array_elements(timeline) s) where id = $1`,
      [rechargeId],
    );
    await world.kmsFault({ path: '/v2/team/list', times: 100, action: { kind: 'respond', status: 503 } });
    const sweep = await world.temporal.workflow.start('balanceSweepWorkflow', {
      workflowId: `sweep-of-outbox`,
      taskQueue: world.name,
      args: [],
    });
    const { data } = await isTold(organization.id, 'recharge.overdue');
    expect(data).toMatchObject({ recharge_id: rechargeId, status: 'charged', overdue_after: '6h' });
    await sweep.terminate();
    await world.clearFaults();
    await goOn();
    await isTold(organization.id, 'recharge.succeeded');
  });
});

test('every event that was told is one of the documented', async () => {
  expect(told.length).toBeGreaterThan(0);
  for (const { id: _, ...event } of told) {
    const schema = OUTBOUND_SCHEMAS.get(event.type) ?? z.never();
    expect([event, schema.safeParse(event).error?.issues]).toEqual([event, undefined]);
  }
});

test('what was moved while nobody delivered is delivered by the next process', async () => {
  const organization = await world.organization();
  const { eventId, goOn } = await world.chargedButNotGranted(organization);
  await world.stopApi();
  await goOn();
  await world.rechargeIs(eventId, 'succeeded');
  expect(typesOf(organization.id)).not.toContain('recharge.succeeded');
  await world.startApi();
  await isTold(organization.id, 'recharge.succeeded');
});

describe('an operator', () => {
  test('makes an endpoint, sees its secret once, and deletes it', async () => {
    const url = 'https://hooks.example.com/bill?key=1';
    const made = await world.admin.post(ENDPOINTS, { url, types: ['hold.opened'] });
    expect([made.status, made.data]).toEqual([201, expect.objectContaining({ url, types: ['hold.opened'], enabled: true })]);
    expect(made.data.secret).toMatch(/^whsec_.{44}$/);
    const { data } = (await world.admin.get(ENDPOINTS)).data;
    expect(data.map(({ id }: { id: string }) => id).sort()).toEqual(['configured', made.data.id].sort());
    expect(JSON.stringify(data)).not.toContain('whsec_');
    expect((await world.admin.delete(`${ENDPOINTS}/${made.data.id}`)).status).toBe(204);
    expectProblem(await world.admin.delete(`${ENDPOINTS}/${made.data.id}`), NOT_FOUND);
  });

  test.each([
    ['http://127.0.0.1:1/', 'private'],
    ['http://[::1]/', 'private'],
    ['ftp://example.com/', 'http'],
    ['https://user:pass@example.com/', 'password'],
    ['https://example.com/\0', 'NUL'],
  ])('is told what is wrong with %j', async (url, why) => {
    const refused = await world.admin.post(ENDPOINTS, { url });
    expectProblem(refused, INVALID);
    expect(refused.data.detail).toContain(why);
  });

  test('cannot delete the endpoint of the environment, nor make any number', async () => {
    expect((await world.admin.delete(`${ENDPOINTS}/configured`)).status).toBe(409);
    const made: string[] = [];
    let last = 201;
    while (last === 201 && made.length < 20) {
      const { status: answer, data } = await world.admin.post(ENDPOINTS, { url: 'https://example.com', types: ['hold.opened'] });
      last = answer;
      if (data.id) made.push(data.id);
    }
    expect([last, made.length]).toEqual([409, 10]);
    for (const id of made) await world.admin.delete(`${ENDPOINTS}/${id}`);
  });

  test('cannot enable the endpoint of the environment where it names none', async () => {
    await world.stopApi();
    await world.withAnotherApi({ NOTIFY_WEBHOOK_URL: '' }, async (url) => {
      const disabled = () => world.admin.get(`${url}${ENDPOINTS}`).then(({ data }) => data.data[0].disabled_reason);
      await world.eventually(disabled, 'the process has disabled it');
      const refused = await world.admin.post(`${url}${ENDPOINTS}/configured/enable`);
      expectProblem(refused, CONFLICT);
      expect(refused.data.detail).toContain('NOTIFY_WEBHOOK_URL');
    });
    await world.startApi();
  });

  test('sees what an endpoint has not taken, why, and sends it again', async () => {
    status = 500;
    const { organization } = await world.recharged();
    const failed = await world.eventually(async () => {
      const { data } = (await world.admin.get(EVENTS, { params: { failed: 'true', organization_id: organization.id } })).data;
      return data.length === 2 && data;
    }, 'two events have failed');
    const [event] = failed;
    expect(event).toMatchObject({
      type: 'recharge.succeeded',
      deliveries: [{ endpoint_id: 'configured', status: 'pending', last_status: 500, last_error: 'answered 500' }],
    });
    const whole = (await world.admin.get(`${EVENTS}/${event.id}`)).data;
    expect(whole.deliveries[0].log[0]).toMatchObject({ status: 500, error: 'answered 500', took_ms: expect.any(Number) });
    status = 200;
    expect((await world.admin.post(`${EVENTS}/${event.id}/resend`)).status).toBe(200);
    await isTold(organization.id, 'recharge.succeeded');
    const delivered = await world.eventually(async () => {
      const { data } = await world.admin.get(`${EVENTS}/${event.id}`);
      return data.deliveries[0].status === 'delivered' && data.deliveries[0];
    }, 'it is delivered');
    expect(delivered.log).toHaveLength(delivered.attempts + 1);
  });

  test('does the same by command', async () => {
    const { organization } = await world.recharged();
    const { id } = await isTold(organization.id, 'recharge.succeeded');
    await world.eventually(
      async () => (await world.admin.get(`${EVENTS}/${id}`)).data.deliveries[0]?.status === 'delivered',
      'it is delivered',
    );
    const listed = await bill('outbound', '--org', organization.id, '--type', 'recharge.succeeded');
    expect(listed).toMatch(new RegExp(`recharge\\.succeeded +${organization.id} +configured delivered +${id}`));
    expect(await bill('outbound', '--org', organization.id, '--failed')).not.toContain(id);
    expect(await bill('resend', id)).toBe(`${id} is sent again to configured\n`);
    await world.eventually(async () => told.filter((event) => event.id === id).length === 2, 'it has come twice');
  });

  test('asks by type, and for one that is not there', async () => {
    const { data } = (await world.admin.get(EVENTS, { params: { type: 'recharge.declined' } })).data;
    expect(new Set(data.map(({ type }: { type: string }) => type))).toEqual(new Set(['recharge.declined']));
    expectProblem(await world.admin.get(`${EVENTS}/obe_1`), NOT_FOUND);
    expectProblem(await world.admin.post(`${EVENTS}/obe_1/resend`), NOT_FOUND);
    expectProblem(await world.admin.get(EVENTS, { params: { type: 'recharge.unknown' } }), INVALID);
  });
});

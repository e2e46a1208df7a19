/** Outbound events are delivered, by any dispatcher, however their receivers behave. */
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { Webhook } from 'standardwebhooks';
import { Database } from '../../src/database/database.ts';
import { FiguresReader } from '../../src/database/figures.ts';
import * as deliveries from '../../src/database/outbound-deliveries.ts';
import * as endpoints from '../../src/database/outbound-endpoints.ts';
import { tell } from '../../src/database/outbound-events.ts';
import type { OutboundType } from '../../src/domain/outbound-event.ts';
import { Dispatcher } from '../../src/inbox/dispatcher.ts';
import { createLogger } from '../../src/observability/log.ts';
import { Metrics } from '../../src/observability/metrics.ts';
import { outboxSource } from '../../src/outbox/source.ts';
import { migratedDatabase } from '../support/databases.ts';
import { withoutMaterialPlans } from '../support/plans.ts';
import { eventually } from '../support/time.ts';

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

let url: string;
let database: Database;
let sql: pg.Pool;
const logged: string[] = [];
beforeAll(async () => {
  url = await migratedDatabase();
  database = await Database.open(url);
  sql = new pg.Pool({ connectionString: url, max: 4 });
}, 60_000);
afterAll(async () => {
  await sql.end();
  await database.close();
});
beforeEach(async () => {
  await sql.query('delete from outbound_endpoint');
  await sql.query('delete from outbound_event');
  logged.length = 0;
});

const dispatchers: Dispatcher<deliveries.DueDelivery>[] = [];
const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers) server.closeAllConnections();
  await Promise.all(dispatchers.splice(0).map((dispatcher) => dispatcher.stop()));
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

/** A process that delivers. */
function startDispatcher({ notify, allowPrivate = true }: { notify?: { url: string; secret: string }; allowPrivate?: boolean } = {}) {
  const log = createLogger('warn', { write: (line: string) => logged.push(line) });
  const dispatcher = new Dispatcher(outboxSource({ database, log, metrics: new Metrics('serve', log), notify, allowPrivate }), log);
  dispatchers.push(dispatcher);
  dispatcher.run();
  return dispatcher;
}

type Received = { headers: IncomingHttpHeaders; body: { type: string; data: { subject?: string } } };
type Receiver = { url: string; received: Received[]; stop: () => Promise<void> };

/** @param answer what it answers; 200 unless said. */
async function startReceiver(answer: RequestListener = (_, response) => response.end()): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    received.push({ headers: request.headers, body: JSON.parse(await text(request)) });
    answer(request, response);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, received, stop };
}

const status =
  (code: number): RequestListener =>
  (_, response) =>
    response.writeHead(code).end();

async function endpoint(url: string, types: OutboundType[] | null = null): Promise<string> {
  return (await endpoints.create(database.fork(), { url, secret: SECRET, types })).id;
}

function drift(subject: string) {
  const data = { kind: 'ledger_changed', subject, seen: 'a gap', expected: 'an unbroken chain', action: 'bill ledger verify' };
  return { type: 'drift.detected' as const, organizationId: 'acme', key: `finding/${subject}`, data };
}

async function tellDrift(subject: string): Promise<string> {
  await tell(database.fork(), drift(subject));
  return (await sql.query('select id from outbound_event where key = $1', [`finding/${subject}`])).rows[0].id;
}

async function deliveryOf(eventId: string) {
  return (await sql.query('select * from outbound_delivery where event_id = $1', [eventId])).rows[0];
}

/** Waits until a delivery has had so many attempts. */
function attempted(eventId: string, attempts = 1) {
  return eventually(async () => {
    const delivery = await deliveryOf(eventId);
    return delivery?.attempts >= attempts && delivery;
  }, `${attempts} attempts of ${eventId}`);
}

function receives(receiver: Receiver, count: number): Promise<boolean> {
  return eventually(async () => receiver.received.length >= count, `${count} events are received`);
}

describe('an event is delivered', () => {
  test('to each endpoint that takes its type, signed with its secret, and to no other', async () => {
    const [every, ofDrift, ofHolds] = [await startReceiver(), await startReceiver(), await startReceiver()];
    await endpoint(every.url);
    await endpoint(ofDrift.url, ['drift.detected', 'balance.low']);
    await endpoint(ofHolds.url, ['hold.opened']);
    const id = await tellDrift('a');
    startDispatcher();
    await Promise.all([receives(every, 1), receives(ofDrift, 1)]);
    const [event] = every.received;
    expect(event?.headers['webhook-id']).toBe(id);
    const verified = new Webhook(SECRET).verify(JSON.stringify(event?.body), event?.headers as Record<string, string>);
    expect(verified).toMatchObject({ type: 'drift.detected' });
    await eventually(async () => (await deliveryOf(id)).delivered_at, 'it is recorded');
    expect(ofHolds.received).toEqual([]);
  });

  test('when it was told before there was an endpoint or a dispatcher', async () => {
    const id = await tellDrift('early');
    const receiver = await startReceiver();
    startDispatcher({ notify: { url: receiver.url, secret: SECRET } });
    await receives(receiver, 1);
    expect(receiver.received[0]?.headers['webhook-id']).toBe(id);
  });

  test('once by many dispatchers', async () => {
    const receiver = await startReceiver();
    await endpoint(receiver.url);
    for (let each = 0; each < 30; each++) await tellDrift(`many-${each}`);
    for (let each = 0; each < 3; each++) startDispatcher();
    await receives(receiver, 30);
    await eventually(
      async () => (await sql.query('select 1 from outbound_delivery where delivered_at is null')).rowCount === 0,
      'all recorded',
    );
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(30);
    expect(receiver.received).toHaveLength(30);
  });

  test('by another dispatcher when the one that has claimed it has died', async () => {
    const receiver = await startReceiver();
    await endpoint(receiver.url);
    await tellDrift('claimed');
    await deliveries.route(database.fork(), 10);
    expect(await deliveries.claim(database.fork(), 10, 1)).toHaveLength(1);
    startDispatcher();
    await receives(receiver, 1);
  });

  test('again, when a person asks for it: also where it was delivered', async () => {
    const receiver = await startReceiver();
    await endpoint(receiver.url);
    const id = await tellDrift('again');
    startDispatcher();
    await eventually(async () => (await deliveryOf(id))?.delivered_at, 'it is delivered');
    expect(await deliveries.resend(database.fork(), id)).toBe(1);
    await receives(receiver, 2);
    expect(receiver.received.map(({ headers }) => headers['webhook-id'])).toEqual([id, id]);
    await eventually(async () => (await deliveryOf(id)).log.length === 2, 'both attempts are recorded');
  });
});

describe('a receiver that does not take an event', () => {
  test('gets it again later, and each attempt is recorded', async () => {
    let isUp = false;
    const receiver = await startReceiver((request, response) => status(isUp ? 200 : 503)(request, response));
    const id = await endpoint(receiver.url);
    const event = await tellDrift('later');
    startDispatcher();
    const failed = await attempted(event);
    expect(failed).toMatchObject({ last_status: 503, last_error: 'answered 503', delivered_at: null, given_up_at: null });
    expect((await endpoints.find(database.fork(), id))?.failingSince).toBeInstanceOf(Date);
    isUp = true;
    await sql.query('update outbound_delivery set due_at = now()');
    await eventually(async () => (await deliveryOf(event)).delivered_at, 'it is delivered');
    expect(await deliveryOf(event)).toMatchObject({
      attempts: 2,
      last_error: null,
      log: [
        { status: 503, error: 'answered 503' },
        { status: 200, error: null },
      ],
    });
    expect((await endpoints.find(database.fork(), id))?.failingSince).toBeNull();
  });

  test('has longer pauses each time, and after three days a last attempt', async () => {
    const id = await endpoint('http://127.0.0.1:9/');
    const event = await tellDrift('pauses');
    await deliveries.route(database.fork(), 10);
    const [claimed] = await deliveries.claim(database.fork(), 10, 1000);
    const fail = (attempts: number) =>
      deliveries.recordFailed(database.fork(), {
        id: claimed?.id ?? '',
        endpointId: id,
        attempts,
        attempt: { at: new Date().toISOString(), status: 500, error: 'answered 500', took_ms: 1 },
      });
    const pauseMs = async () =>
      (await sql.query('select extract(epoch from due_at - now())::float * 1000 as ms from outbound_delivery where event_id = $1', [event]))
        .rows[0].ms;
    await fail(0);
    expect(await pauseMs()).toBeGreaterThan(3_000);
    await fail(9);
    expect(await pauseMs()).toBeGreaterThan(2_000_000);
    await sql.query("update outbound_delivery set retry_until = now() + interval '1 minute'");
    await fail(20);
    expect([await pauseMs(), (await deliveryOf(event)).given_up_at]).toEqual([expect.any(Number), null]);
    expect(await pauseMs()).toBeLessThan(61_000);
    await sql.query('update outbound_delivery set retry_until = now()');
    await fail(21);
    expect((await deliveryOf(event)).given_up_at).toBeInstanceOf(Date);
  });

  test('is disabled when it answers 410, which is logged as an error, and gets nothing until it is enabled', async () => {
    let answer = 410;
    const receiver = await startReceiver((request, response) => status(answer)(request, response));
    const id = await endpoint(receiver.url);
    await tellDrift('gone');
    startDispatcher();
    const disabled = () => sql.query('select disabled_reason from outbound_endpoint where disabled_at is not null');
    await eventually(async () => (await disabled()).rowCount, 'it is disabled');
    expect((await disabled()).rows).toEqual([{ disabled_reason: 'it answered 410 Gone' }]);
    await eventually(
      async () => logged.some((line) => line.includes('is disabled') && JSON.parse(line).level === 50),
      'an error is logged',
    );
    const second = await tellDrift('unheard');
    await eventually(
      async () => (await sql.query('select routed_at from outbound_event where id = $1', [second])).rows[0].routed_at,
      'it is routed',
    );
    expect(await deliveryOf(second)).toBeUndefined();
    answer = 200;
    await endpoints.enable(database.fork(), id);
    await receives(receiver, 2);
  });

  test('is disabled when nothing was delivered to it for three days', async () => {
    const receiver = await startReceiver(status(500));
    const id = await endpoint(receiver.url);
    await sql.query("update outbound_endpoint set failing_since = now() - interval '71 hours'");
    const first = await tellDrift('dead-1');
    startDispatcher();
    await attempted(first);
    expect((await endpoints.find(database.fork(), id))?.disabledAt).toBeNull();
    await sql.query("update outbound_endpoint set failing_since = now() - interval '73 hours'");
    await tellDrift('dead-2');
    await eventually(async () => (await endpoints.find(database.fork(), id))?.disabledAt, 'it is disabled');
  });

  test('is disabled with the last attempt of the only event that there was for it', async () => {
    const receiver = await startReceiver(status(500));
    const id = await endpoint(receiver.url);
    const only = await tellDrift('only');
    const dispatcher = startDispatcher();
    await attempted(only);
    // Three days later.
    await sql.query("update outbound_endpoint set failing_since = now() - interval '3 days' + interval '10 seconds'");
    await sql.query('update outbound_delivery set retry_until = now(), due_at = now()');
    dispatcher.poke();
    await eventually(async () => (await endpoints.find(database.fork(), id))?.disabledAt, 'it is disabled');
  });

  test('is not disabled by one failure for what it never took long ago', async () => {
    const answers = [500, 500];
    const receiver = await startReceiver((request, response) => status(answers.shift() ?? 200)(request, response));
    const id = await endpoint(receiver.url);
    const never = await tellDrift('never-taken');
    const dispatcher = startDispatcher();
    await attempted(never);
    // Its days are over, and since then there was nothing to deliver.
    await sql.query("update outbound_endpoint set failing_since = now() - interval '8 days'");
    await sql.query("update outbound_delivery set given_up_at = now() - interval '8 days'");
    const next = await tellDrift('next');
    dispatcher.poke();
    await attempted(next);
    expect(await endpoints.find(database.fork(), id)).toMatchObject({ disabledAt: null, failingSince: expect.any(Date) });
    await attempted(next, 2);
    expect((await deliveryOf(next)).delivered_at).toBeInstanceOf(Date);
  });

  test('has no more under way than it may, whatever the plan', async () => {
    const receiver = await startReceiver();
    await endpoint(receiver.url);
    for (let each = 0; each < 20; each++) await tellDrift(`planned-${each}`);
    const planned = await Database.open(withoutMaterialPlans(url));
    await deliveries.route(planned.fork(), 200);
    expect(await deliveries.claim(planned.fork(), 32, 60_000)).toHaveLength(deliveries.MAX_UNDER_WAY_EACH);
    await planned.close();
  });

  test('holds up no other, though it never answers and has much to get', async () => {
    const dripping = await startReceiver(() => {});
    const healthy = await startReceiver();
    await endpoint(dripping.url);
    for (let each = 0; each < 20; each++) await tellDrift(`slow-${each}`);
    await endpoint(healthy.url);
    startDispatcher();
    await receives(healthy, 20);
    // All of the others were delivered while its first ones were still open.
    expect((await sql.query('select max(attempts) as attempts from outbound_delivery where delivered_at is null')).rows).toEqual([
      { attempts: 0 },
    ]);
    expect(dripping.received.length).toBeLessThanOrEqual(deliveries.MAX_UNDER_WAY_EACH);
  });

  test('in the private network is not reached by an endpoint that was made by API', async () => {
    const receiver = await startReceiver();
    await endpoint(receiver.url.replace('127.0.0.1', 'localhost'));
    const id = await tellDrift('inward');
    startDispatcher({ allowPrivate: false });
    expect((await attempted(id)).last_error).toContain('private address');
    expect(receiver.received).toEqual([]);
  });
});

describe('the endpoint that the environment names', () => {
  test('may have a private address, and its secret is not in the database', async () => {
    const receiver = await startReceiver();
    await tellDrift('configured');
    startDispatcher({ notify: { url: receiver.url, secret: SECRET }, allowPrivate: false });
    await receives(receiver, 1);
    expect((await sql.query('select id, secret from outbound_endpoint')).rows).toEqual([{ id: 'configured', secret: null }]);
  });

  test('stays disabled by its failures over a restart, and is enabled by another address', async () => {
    const disabled = async () => (await endpoints.find(database.fork(), 'configured'))?.disabledReason ?? null;
    await endpoints.registerConfigured(database.fork(), 'http://one/');
    await sql.query("update outbound_endpoint set disabled_at = now(), disabled_reason = 'it answered 410 Gone'");
    await endpoints.registerConfigured(database.fork(), 'http://one/');
    expect(await disabled()).toBe('it answered 410 Gone');
    await endpoints.registerConfigured(database.fork(), 'http://two/');
    expect(await disabled()).toBeNull();
    await endpoints.registerConfigured(database.fork(), undefined);
    expect(await disabled()).toBe('NOTIFY_WEBHOOK_URL is not set');
    await endpoints.registerConfigured(database.fork(), 'http://two/');
    expect(await disabled()).toBeNull();
  });

  test('counts as disabled by its failures, and not where the environment names none any more', async () => {
    const counted = async () => (await new FiguresReader(database).read()).outbound.endpoints;
    await endpoints.registerConfigured(database.fork(), 'http://one/');
    await sql.query("update outbound_endpoint set disabled_at = now(), disabled_reason = 'it answered 410 Gone'");
    expect(await counted()).toEqual({ ok: 0, failing: 0, disabled: 1 });
    await endpoints.registerConfigured(database.fork(), undefined);
    expect(await counted()).toEqual({ ok: 0, failing: 0, disabled: 0 });
  });

  test('cannot be enabled where the environment names none: no process would deliver to it', async () => {
    await endpoints.registerConfigured(database.fork(), 'http://one/');
    await endpoints.registerConfigured(database.fork(), undefined);
    await expect(endpoints.enable(database.fork(), 'configured')).rejects.toThrow('NOTIFY_WEBHOOK_URL is not set');
    expect((await endpoints.find(database.fork(), 'configured'))?.disabledAt).toBeInstanceOf(Date);
  });
});

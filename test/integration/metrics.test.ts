/** What API and worker show of themselves, on a listener of their own. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import { freePort } from '../../sandbox/ports.ts';
import { Database } from '../../src/database/database.ts';
import { FiguresReader } from '../../src/database/figures.ts';
import { createLogger } from '../../src/observability/log.ts';
import { installTemporalLogger } from '../../src/temporal/worker.ts';
import { parsePage, type Sample, totalOf } from '../support/prometheus.ts';
import { World } from '../support/world.ts';

let world: World;
let ports: { serve: number; worker: number };

beforeAll(async () => {
  installTemporalLogger(createLogger('silent'));
  ports = { serve: await freePort(), worker: await freePort() };
  world = await World.create({ METRICS_PORT: String(ports.serve) });
  await Promise.all([world.startApi(), world.startWorker({ METRICS_PORT: String(ports.worker) })]);
});
afterAll(() => world?.close());

async function scrape(kind: 'serve' | 'worker'): Promise<Sample[]> {
  return parsePage((await axios.get(`http://127.0.0.1:${ports[kind]}/metrics`)).data);
}

/** Figures are kept for some seconds. */
function eventuallyShows(name: string, labels: Record<string, string>, value: number): Promise<unknown> {
  return world.eventually(async () => totalOf(await scrape('serve'), name, labels) === value, `${name} ${JSON.stringify(labels)} ${value}`);
}

test('a recharge is on the pages of API and worker, to the cent and to the event', async () => {
  const organization = await world.organization();
  const [before, beforeAtWorker] = [await scrape('serve'), await scrape('worker')];
  await world.recharge(organization);
  expect((await world.alert(organization.teamId, { headers: {} })).status).toBe(401);
  const gained = (now: Sample[], then: Sample[], name: string, labels: Record<string, string> = {}) =>
    totalOf(now, name, labels) - totalOf(then, name, labels);

  const [now, atWorker] = [await scrape('serve'), await scrape('worker')];
  expect(gained(now, before, 'bill_ingest_events_total', { source: 'litellm', outcome: 'accepted' })).toBe(1);
  expect(gained(now, before, 'bill_ingest_events_total', { source: 'litellm', outcome: 'unauthenticated' })).toBe(1);
  expect(gained(now, before, 'bill_ingest_duration_seconds_count')).toBe(2);
  expect(gained(now, before, 'bill_dispatch_lag_seconds_count', { inbox: 'alerts' })).toBe(1);
  const closed = { outcome: 'succeeded', source: 'webhook' };
  expect(gained(atWorker, beforeAtWorker, 'bill_recharges_total', closed)).toBe(1);
  expect(gained(atWorker, beforeAtWorker, 'bill_alert_to_quota_seconds_count')).toBe(1);
  expect(gained(atWorker, beforeAtWorker, 'bill_charges_total', { outcome: 'captured' })).toBe(1);
  const confirmed = { dependency: 'stripe', route: 'paymentIntents.confirm', outcome: 'ok' };
  expect(gained(atWorker, beforeAtWorker, 'bill_dependency_call_duration_seconds_count', confirmed)).toBe(1);

  for (const kind of ['charge', 'grant'])
    await eventuallyShows('bill_ledger_transferred_minor_units_total', { kind, currency: 'usd' }, 2050);
  await eventuallyShows('bill_ledger_unaccounted_minor_units', { currency: 'usd' }, 0);
});

test('no label holds an id of a customer', async () => {
  const { organization, rechargeId, eventId, intentId } = await world.recharged();
  const ids = [organization.id, organization.teamId, organization.customerId, rechargeId, eventId, intentId];
  await world.admin.get(`/api/v1/organizations/${organization.id}/balance`);
  await world.admin.get(`/api/v1/organizations/${organization.id}/teams`);
  await world.admin.get(`/api/v1/recharges/${rechargeId}`);
  await world.admin.get(`/${organization.id}`);
  for (const kind of ['serve', 'worker'] as const) {
    const text = JSON.stringify(await scrape(kind));
    expect(ids.filter((id) => text.includes(id))).toEqual([]);
  }
  const routes = new Set((await scrape('serve')).flatMap(({ labels: { route = [] } }) => route));
  expect([...routes]).toEqual(expect.arrayContaining(['/api/v1/recharges/:id', 'none']));
});

test('what a person has to settle, and a hold, is shown until it is settled', async () => {
  const { teamId, id } = await world.organization();
  const { data: hold } = await world.admin.post('/api/v1/holds', { scope: 'organization', subject: id, reason: 'a look at it' });
  await eventuallyShows('bill_holds_open', { scope: 'organization', reason: 'operator' }, 1);
  await world.alerted({ teamId });
  expect(totalOf(await scrape('worker'), 'bill_recharges_total', { outcome: 'refused', reason: 'held' })).toBe(1);
  await world.admin.post(`/api/v1/holds/${hold.id}/release`, { reason: 'looked at' });
  await eventuallyShows('bill_holds_open', { scope: 'organization', reason: 'operator' }, 0);
});

test('transfers that are long settled are added up once, and to the same sums, also by readings that overlap', async () => {
  const { organization, rechargeId } = await world.recharged();
  const hourAgo = `ltr_${(Date.now() - 3_600_000).toString(16).padStart(12, '0')}7abc80000000`;
  for (let n = 0; n < 5; n++)
    await world.sql.query(
      `insert into ledger_transfer (id, organization_id, recharge_id, kind, reference, debit_account, credit_account, amount_minor, currency, quota_micros)
       values ($1, $2, $3, 'recovery', $1, 'stripe', 'prepaid', 7, 'usd', 1)`,
      [`${hourAgo}${String(n).padStart(8, '0')}`, organization.id, rechargeId],
    );
  const database = await Database.open(world.config.databaseUrl);
  try {
    const reader = new FiguresReader(database);
    await Promise.all([reader.read(), reader.read()]);
    for (let reading = 0; reading < 3; reading++) {
      const sums = 'select kind, currency, sum(amount_minor)::float as amount from ledger_transfer group by kind, currency order by kind';
      const { rows } = await world.sql.query(sums);
      const { transferred } = await reader.read();
      expect(transferred.toSorted((one, other) => (one.kind < other.kind ? -1 : 1))).toEqual(rows);
      await world.recharged();
    }
    // What is held for no open recharge is seen.
    await eventuallyShows('bill_ledger_unaccounted_minor_units', { currency: 'usd' }, 35);
  } finally {
    await database.close();
  }
});

describe('the listener', () => {
  const get = (kind: 'serve' | 'worker', path: string) =>
    axios.get(`http://127.0.0.1:${ports[kind]}${path}`, { validateStatus: () => true });

  test.each([
    ['serve', 'degraded'], // Schedules are of a namespace, and this world makes none in the one that all share.
    ['worker', 'ready'],
  ] as const)('says of the %s that it lives and is %s', async (kind, state) => {
    expect((await get(kind, '/health')).data).toEqual({ status: 'ok' });
    const ready = await world.eventually(async () => {
      const answer = await get(kind, '/ready');
      return answer.data.status === state && answer;
    }, `${kind} is ${state}`);
    expect(ready.status).toBe(200);
  });

  test('shows the process and not the database while there is no database', async () => {
    await world.sql.query('alter table webhook_event rename to webhook_event_gone');
    try {
      await eventuallyShows('bill_database_up', {}, 0);
      const page = await scrape('serve');
      expect(page.filter(({ name }) => name.startsWith('bill_ledger') || name === 'bill_events_open')).toEqual([]);
      expect(totalOf(page, 'bill_ingest_events_total', {})).toBeGreaterThan(0);
      expect(totalOf(page, 'bill_temporal_up', {})).toBe(1);
    } finally {
      await world.sql.query('alter table webhook_event_gone rename to webhook_event');
    }
    await eventuallyShows('bill_database_up', {}, 1);
  });
});

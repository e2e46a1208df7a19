/** The service as real processes, killed and restarted at the worst moments: each recharge ends by itself, charged once. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { Database } from '../../src/database/database.ts';
import { freePort } from '../support/ports.ts';
import { type BillProcess, startBill } from '../support/processes.ts';
import { World } from '../support/world.ts';

/** A dead worker is noticed within seconds; a busy machine takes its time all the same. */
const RECOVERY_TIMEOUT_MS = 60_000;

const CHARGED_ONCE = { charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 };

let world: World;
const processes: BillProcess[] = [];

async function start(command: 'serve' | 'worker', overrides: Record<string, string> = {}): Promise<BillProcess> {
  const started = await startBill(command, { ...world.env, ...overrides });
  processes.push(started);
  if (started.ready.port) world.apiUrl = `http://127.0.0.1:${started.ready.port}`;
  return started;
}

afterEach(async () => {
  await Promise.all(processes.splice(0).map((started) => started.kill()));
});

beforeAll(async () => {
  world = await World.create();
}, 60_000);
afterAll(() => world.close());

test('kill -9 of the worker while it waits for the charge: one charge, and the quota is raised', async () => {
  const [, worker] = await Promise.all([start('serve'), start('worker')]);
  const organization = await world.organization();
  // The charge happens and its answer does not come before the worker is gone.
  await world.stripeFault({ path: '/v1/payment_intents/*/confirm', when: 'after', action: { kind: 'hang' } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the card is charged');
  await worker.kill();

  await start('worker');
  expect(await world.closed(data.event_id, RECOVERY_TIMEOUT_MS)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 120_000);

test('kill -9 of the worker after the charge and before the quota: one charge, and the quota is raised', async () => {
  const [, worker] = await Promise.all([start('serve'), start('worker')]);
  const organization = await world.organization();
  await world.kmsFault({ method: 'POST', path: '/team/update', action: { kind: 'hang' } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
  await worker.kill();
  expect(await world.budgetOf(organization.teamId)).toBe(10);

  await start('worker');
  expect(await world.closed(data.event_id, RECOVERY_TIMEOUT_MS)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 120_000);

test('kill -9 of the worker after the quota was written and before that is known: raised once', async () => {
  const [, worker] = await Promise.all([start('serve'), start('worker')]);
  const organization = await world.organization();
  await world.kmsFault({ method: 'POST', path: '/team/update', when: 'after', action: { kind: 'hang' } });
  const { data } = await world.alert(organization.teamId);
  await world.eventually(async () => (await world.budgetOf(organization.teamId)) === 30.5, 'the budget is written');
  await worker.kill();

  await start('worker');
  expect(await world.closed(data.event_id, RECOVERY_TIMEOUT_MS)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 120_000);

test('kill -9 of the API after the commit and before the dispatch: another API starts the workflow', async () => {
  const nowhere = `127.0.0.1:${await freePort()}`;
  const [api] = await Promise.all([start('serve', { TEMPORAL_ADDRESS: nowhere }), start('worker')]);
  const organization = await world.organization();
  const { status, data } = await world.alert(organization.teamId);
  expect([status, data.status]).toEqual([200, 'accepted']);
  await api.kill();
  expect((await world.sql.query('select dispatched_at from webhook_event where id = $1', [data.event_id])).rows).toEqual([
    { dispatched_at: null },
  ]);

  await start('serve');
  expect(await world.closed(data.event_id, RECOVERY_TIMEOUT_MS)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}, 120_000);

test('SIGTERM under load: every alert that was answered 200 is handled, and both processes end with 0', async () => {
  const [api, worker] = await Promise.all([start('serve'), start('worker')]);
  const organizations = await Promise.all(Array.from({ length: 8 }, () => world.organization()));
  const alerts = Promise.all(organizations.map(({ teamId }) => world.alert(teamId).catch(() => undefined)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(await Promise.all([api.terminate(), worker.terminate()])).toEqual([0, 0]);
  const answered = (await alerts).flatMap((answer) => (answer?.status === 200 ? [answer.data.event_id as string] : []));

  await Promise.all([start('serve'), start('worker')]);
  for (const eventId of answered) expect(await world.closed(eventId, RECOVERY_TIMEOUT_MS)).toEqual({ outcome: 'recharged', success: true });
  for (const organization of organizations) {
    const { charges, prepaid } = await world.books(organization);
    expect(charges).toBeLessThanOrEqual(1);
    expect(prepaid).toBe(0);
  }
}, 120_000);

test('PostgreSQL and Temporal restarted under it: one charge, and the quota is raised', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bill-restart-'));
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const startPostgres = () => launch('postgres', { data: join(folder, 'postgres'), port: postgresPort });
  const startTemporal = () => launch('temporal', { db: join(folder, 'temporal.db'), port: temporalPort, 'ui-port': 0 });
  let servers: LaunchedServer[] = await Promise.all([startPostgres(), startTemporal()]);
  const elsewhere = await World.create({ DATABASE_URL: servers[0]?.ready['url'] ?? '', TEMPORAL_ADDRESS: `127.0.0.1:${temporalPort}` });
  const shared = world;
  world = elsewhere;
  try {
    const database = await Database.open(elsewhere.config.databaseUrl);
    await database.migrate();
    await database.close();
    await Promise.all([start('serve'), start('worker')]);
    const organization = await world.organization();
    // LiteLLM is slow to take the budget, so both go away while money is held.
    await world.kmsFault({
      method: 'POST',
      path: '/team/update',
      times: 2,
      action: { kind: 'respond', status: 500, body: { error: { message: 'slow day' } } },
    });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
    await Promise.all(servers.map((server) => server.stop()));
    servers = await Promise.all([startPostgres(), startTemporal()]);

    expect(await world.closed(data.event_id, RECOVERY_TIMEOUT_MS)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  } finally {
    await Promise.all(processes.splice(0).map((started) => started.kill()));
    await elsewhere.close();
    world = shared;
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
}, 180_000);

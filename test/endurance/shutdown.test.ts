/** SIGTERM under load: who was answered is in the database, who probes is told, and the process ends by itself. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import axios, { type AxiosResponse } from 'axios';
import { freePort } from '../../sandbox/ports.ts';
import { ALWAYS, CONFIRM, READ_BUDGET } from '../support/faults.ts';
import { Processes } from '../support/processes.ts';
import { SOME_CUSTOMER, World } from '../support/world.ts';

/** After this a worker ends though something still runs. */
const FORCED_MS = 45_000;

let world: World;
const processes = new Processes();

beforeAll(async () => {
  world = await World.create();
});
afterAll(async () => {
  await processes.killAll();
  await world?.close();
});

/** What `/ready` of a process answers; undefined once it is gone. */
async function readiness(port: number): Promise<number | undefined> {
  const answer = await axios.get(`http://127.0.0.1:${port}/ready`, { validateStatus: () => true }).catch(() => undefined);
  return answer?.status;
}

test('an API that gets SIGTERM while alerts are sent loses none that it has acknowledged', async () => {
  const ROUNDS = 3;
  for (let round = 0; round < ROUNDS; round++) {
    const metrics = await freePort();
    const api = await processes.start('serve', world, { METRICS_PORT: String(metrics) });
    expect(await readiness(metrics)).toBe(200);
    const acknowledged: string[] = [];
    let isOver = false;
    const send = async (sender: number) => {
      for (let n = 0; !isOver; n++) {
        const answer: AxiosResponse | undefined = await world.alert(`team-${round}-${sender}-${n}`).catch(() => undefined);
        if (answer?.status === 200) acknowledged.push(answer.data.event_id);
        // Refused: it listens no longer.
        if (!answer) return;
      }
    };
    const sending = Array.from({ length: 20 }, (_, sender) => send(sender));
    await world.eventually(async () => acknowledged.length > 100, 'a hundred alerts are acknowledged');
    const ended = api.terminate();
    const seen = new Set<number | undefined>();
    const probing = (async () => {
      for (;;) {
        const status = await readiness(metrics);
        seen.add(status);
        if (status === undefined) return;
      }
    })();
    expect(await ended).toBe(0);
    isOver = true;
    await Promise.all([...sending, probing]);
    const { rows } = await world.sql.query('select id from webhook_event where id = any ($1)', [acknowledged]);
    expect(rows.length).toBe(acknowledged.length);
    // 200 where a probe came before the signal; once it is not ready it stays so.
    expect([...seen].filter((status) => status !== 200 && status !== undefined)).toEqual(seen.has(503) ? [503] : []);
  }
});

test('an API that is given time to drain says at once that it is not ready, and takes what comes until the time is over', async () => {
  const metrics = await freePort();
  const api = await processes.start('serve', world, { METRICS_PORT: String(metrics), DRAIN_SECONDS: '5' });
  const team = 'team-of-the-drain';
  const before = await world.alert(`${team}-before`);
  const since = performance.now();
  const ended = api.terminate();
  await world.eventually(async () => (await readiness(metrics)) === 503, 'it is not ready, on the port of its metrics');
  const { status } = await axios.get(`${world.apiUrl}/ready`, { validateStatus: () => true });
  const during = await world.alert(`${team}-during`);
  const drainedFor = performance.now() - since;
  expect({ before: before.status, ready: status, during: during.status }).toEqual({ before: 200, ready: 503, during: 200 });
  // It was seen within the time, so that it is known what took it.
  expect(drainedFor).toBeLessThan(5_000);
  expect(await ended).toBe(0);
  expect(performance.now() - since).toBeGreaterThan(5_000);
  await expect(world.alert(`${team}-after`)).rejects.toThrow(/ECONNREFUSED/);
  const { rows } = await world.sql.query('select id from webhook_event where id = any ($1)', [
    [before.data.event_id, during.data.event_id],
  ]);
  expect(rows.length).toBe(2);
});

test('a worker that gets SIGTERM while a card is charged says so, ends the charge and then itself', async () => {
  const metrics = await freePort();
  const [, worker] = await Promise.all([
    processes.start('serve', world),
    processes.start('worker', world, { METRICS_PORT: String(metrics) }),
  ]);
  await world.recharged();
  await world.eventually(async () => (await readiness(metrics)) === 200, 'the worker is ready');
  const organization = await world.organization();
  const slow = await world.stripeFault({ ...CONFIRM, contains: organization.customerId, action: { kind: 'delay', ms: 5_000 } });
  const eventId = await world.accepted(organization);
  await slow.struck();
  const ended = worker.terminate();
  expect(await world.eventually(async () => (await readiness(metrics)) === 503, 'the worker is not ready')).toBe(true);
  expect(await ended).toBe(0);
  expect((await world.books(organization)).charges).toBe(1);
  const { rows } = await world.sql.query('select status from recharge where event_id = $1', [eventId]);
  // Its step has ended; the next one is another worker's.
  expect(['charging', 'charged']).toContain(rows[0]?.status);
  await processes.start('worker', world);
  expect(await world.closed(eventId)).toEqual({ outcome: 'succeeded', success: true });
});

test('a worker that gets SIGTERM in the middle of bulk work leaves the rest to another one, and ends without a fault', async () => {
  // Twelve groups of five, each with a look of five seconds: more than a worker has to end.
  await world.sql.query(
    `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
       target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone)
     select 'slow-' || n, 'slow', $1, 'slow-' || n, 'usd', 1, 2, 1, false, 1, 'UTC' from generate_series(1, 60) n`,
    [SOME_CUSTOMER],
  );
  const [, worker] = await Promise.all([processes.start('serve', world), processes.start('worker', world)]);
  const slow = await world.kmsFault({ ...READ_BUDGET, contains: 'slow-', times: ALWAYS, action: { kind: 'delay', ms: 5_000 } });
  const { data: run } = await world.admin.post('/api/v1/sync');
  await slow.struck();
  const asked = performance.now();
  expect(await worker.terminate()).toBe(0);
  expect(performance.now() - asked).toBeLessThan(FORCED_MS);
  expect(worker.lines.filter((line) => line.includes('"level":60'))).toEqual([]);
  await slow.remove();
  await processes.start('worker', world);
  const status = async () => (await world.admin.get(`/api/v1/sync/${run.id}`)).data.status;
  await world.eventually(async () => (await status()) === 'succeeded', 'another worker has done the rest');
});

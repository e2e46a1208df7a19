/** Every query of the dashboards, asked of a real Prometheus that scrapes the running service. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '../../sandbox/ports.ts';
import { DASHBOARDS, queriesOf } from '../support/dashboards.ts';
import { Processes, runBill } from '../support/processes.ts';
import { Prometheus } from '../support/prometheus.ts';
import { World } from '../support/world.ts';

/** What is shown only once something has gone wrong, or has happened for longer than this test runs. */
const EMPTY_WHERE_ALL_IS_WELL = new Set([
  'How events end',
  'Calls that end otherwise than well',
  'Failed attempts of activities',
  'Refused',
  'Holds',
  'Differences in LiteLLM',
  'Workflow tasks that fail',
  'Attempts that fail',
  'Requests that fail',
  'Ended runs',
  'Outbound events',
]);

let world: World;
let prometheus: Prometheus;
const processes = new Processes();

beforeAll(async () => {
  world = await World.create();
  const ports = { serve: await freePort(), worker: await freePort() };
  await runBill(['migrate'], world.env);
  await Promise.all([
    processes.start('serve', world, { METRICS_PORT: String(ports.serve) }),
    processes.start('worker', world, { METRICS_PORT: String(ports.worker) }),
  ]);
  prometheus = await Prometheus.start({ 'bill-serve': [ports.serve], 'bill-worker': [ports.worker] });
  await world.recharged();
  // A rate takes two samples, with something between them.
  for (let n = 0; n < 4; n++) {
    const before = await looks();
    await world.eventually(async () => (await looks()) > before + 2, 'Prometheus has looked again');
    await world.recharged();
  }
});
/** How often Prometheus has looked at the targets. */
async function looks(): Promise<number> {
  return Number((await prometheus.query('sum(count_over_time(up[1h]))'))[0]?.value[1] ?? 0);
}
afterAll(async () => {
  await prometheus?.stop();
  await processes.killAll();
  await world?.close();
});

test.each(DASHBOARDS)('Prometheus understands each query of the dashboard %s, and most have an answer', async (name) => {
  let empty: string[] = [];
  await world
    .eventually(async () => {
      empty = [];
      for (const { panel, expr } of queriesOf(name)) {
        const result = await prometheus.query(expr);
        if (result.length === 0 && !EMPTY_WHERE_ALL_IS_WELL.has(panel)) empty.push(`${panel}: ${expr}`);
      }
      return empty.length === 0;
    }, 'each has an answer')
    .catch(() => {});
  expect(empty).toEqual([]);
});

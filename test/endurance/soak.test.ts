/**
 * No alert fires while customers run out and are recharged and nothing is wrong: the rules as they are, the schedules as
 * they are. Two minutes by itself, or for as long as is said:
 *
 *   SOAK_MINUTES=60 npm run jest -- --selectProjects=endurance --testPathPatterns endurance/soak
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '../../sandbox/ports.ts';
import { createWorldOfItsOwn, type WorldOfItsOwn } from '../support/own-servers.ts';
import { Processes, runBill } from '../support/processes.ts';
import { Prometheus } from '../support/prometheus.ts';

const SOAK_MS = Number(process.env['SOAK_MINUTES'] ?? 2) * 60_000;
/** Between two customers who run out. */
const EVERY_MS = 1_000;

let own: WorldOfItsOwn;
let prometheus: Prometheus;
const processes = new Processes();

beforeAll(async () => {
  own = await createWorldOfItsOwn();
  const { world } = own;
  const migrated = await runBill(['migrate'], world.env);
  if (migrated.code !== 0) throw new Error(migrated.err);
  const ports = { serve: [await freePort(), await freePort()], worker: [await freePort(), await freePort()] };
  await Promise.all([
    ...ports.serve.map((port) => processes.start('serve', world, { METRICS_PORT: String(port) })),
    ...ports.worker.map((port) => processes.start('worker', world, { METRICS_PORT: String(port) })),
  ]);
  prometheus = await Prometheus.start({ 'bill-serve': ports.serve, 'bill-worker': ports.worker });
});
afterAll(async () => {
  await prometheus?.stop();
  await processes.killAll();
  await own?.close();
});

test(
  `nothing fires in ${SOAK_MS / 60_000} minutes in which nothing is wrong`,
  async () => {
    const { world } = own;
    const until = Date.now() + SOAK_MS;
    const fired = new Set<string>();
    let recharged = 0;
    while (Date.now() < until) {
      const organization = await world.organization();
      await world.alert(organization.teamId);
      for (const name of await prometheus.firing()) fired.add(name);
      recharged++;
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
    expect([...fired]).toEqual([]);
    const answered = await prometheus.query('sum(bill_ingest_events_total{source="litellm",outcome=~"accepted|duplicate"})');
    expect(Number(answered[0]?.value[1])).toBeGreaterThan(recharged / 2);
    expect(await prometheus.query('sum(increase(bill_alert_to_quota_seconds_count[1h])) > 0')).toHaveLength(1);
  },
  SOAK_MS + 120_000,
);

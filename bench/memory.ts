/**
 * What API and worker hold in memory: idle, and after some time of alerts at a steady rate; beside bare express and a
 * bare worker of Temporal.
 */
import { readFileSync } from 'node:fs';
import type { Organization, World } from '../test/support/world.ts';
import { startFloor } from './acknowledge.ts';
import { allClosed, inWorld } from './recharge.ts';
import { type Row, rowOf } from './rounds.ts';

/** Long enough for what a start leaves behind to be collected. */
const IDLE_MS = 10_000;
const ALERTS_A_SECOND = 15;
const ORGANIZATIONS = 50;
/** So many of the alerts come with a balance that asks for a recharge; the others find it above the minimum. */
const RECHARGED_OF_ALERTS = 15;

export type MemorySizes = { loadSeconds: number };

export async function measureMemory({ loadSeconds }: MemorySizes, say: (line: string) => void): Promise<Row[]> {
  return inWorld({ say }, async ({ world, processes }) => {
    const express = await startFloor({ DATABASE_URL: world.env['DATABASE_URL'] ?? '', SECRET: 'of-no-importance' });
    try {
      const pairs = [
        ['API', processes.api.process.pid, express.child.pid],
        ['worker', processes.worker.process.pid, processes.floor.pid],
      ] as const;
      const rows = (when: string) =>
        pairs.map(([what, service, floor]) =>
          rowOf(`memory of the ${what}, ${when}`, 'MiB', { service: [residentMiB(service)], floor: [residentMiB(floor)] }),
        );
      await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
      const idle = rows('idle');
      say(`idle: ${idle.map(({ service }) => Math.round(service)).join(' and ')} MiB`);
      await sendAlerts(world, loadSeconds, (seconds) =>
        say(`  after ${seconds} s of alerts: ${pairs.map(([what, pid]) => `${what} ${Math.round(residentMiB(pid))} MiB`).join(', ')}`),
      );
      return [...idle, ...rows(`after ${loadSeconds} s of ${ALERTS_A_SECOND} alerts a second`)];
    } finally {
      express.child.kill();
    }
  });
}

/** @param look is called every half minute. */
async function sendAlerts(world: World, seconds: number, look: (seconds: number) => void): Promise<void> {
  const organizations: Organization[] = [];
  for (let n = 0; n < ORGANIZATIONS; n++) organizations.push(await world.organization());
  const sent: Promise<unknown>[] = [];
  const started = performance.now();
  for (let n = 0; n < seconds * ALERTS_A_SECOND; n++) {
    const wait = started + (n / ALERTS_A_SECOND) * 1_000 - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const { teamId } = organizations[n % ORGANIZATIONS] as Organization;
    if (n % RECHARGED_OF_ALERTS === 0) await world.spend(teamId, 20);
    // Another budget is another crossing.
    sent.push(world.alert(teamId, { body: { max_budget: 10 + n / 1_000 } }));
    if (n > 0 && n % (30 * ALERTS_A_SECOND) === 0) look(n / ALERTS_A_SECOND);
  }
  await Promise.all(sent);
  await allClosed(world);
}

/** What the process holds, as Linux counts it: shared libraries too. */
function residentMiB(pid: number | undefined): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

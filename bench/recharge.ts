/**
 * How fast recharges are, from the alert to the raised quota, with the API, a worker, PostgreSQL with fsync, Temporal
 * and the stand-ins for Stripe and LiteLLM: beside a workflow of four activities that do nothing, on the same Temporal.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { launch } from '../sandbox/launch.ts';
import { Database } from '../src/database/database.ts';
import { BUDGET_AFTER, CHARGED_ONCE } from '../test/support/books.ts';
import { createDatabase, TEMPLATE_DATABASE } from '../test/support/databases.ts';
import { type BillProcess, Processes } from '../test/support/processes.ts';
import { type Organization, World } from '../test/support/world.ts';
import { cpuOf } from './cpu.ts';
import { inTurns, median, quantile, type Row, rowOf } from './rounds.ts';

/** Between two looks at whether one is done, and whether all are: what looks takes the cores from what works. */
const LOOK_MS = 2;
const LOOK_AT_ALL_MS = 50;

export type RechargeSizes = { rounds: number; recharges: number; oneByOne: number; profile: string | undefined };

/** What uses processor time while recharges, or runs of the floor, are under way. */
const PARTS = ['worker', 'API', 'stand-ins', 'PostgreSQL', 'Temporal', 'the bench itself'] as const;
type Used = Record<(typeof PARTS)[number], number>;

type Bench = {
  world: World;
  /** The processes of the service, and the floor's worker. */
  processes: { api: BillProcess; worker: BillProcess; floor: ChildProcess };

  /** Microseconds of processor so far. */
  used: (which: 'service' | 'floor') => Used;
  /** kill -9 of API and worker at once; both are started again. */
  killAndStart: () => Promise<void>;
};

export async function measureRecharges({ rounds, recharges, profile }: RechargeSizes, say: (line: string) => void): Promise<Row[]> {
  return inWorld({ profile, say }, async ({ world, used }) => {
    const eventIds: string[] = [];
    const { service, floor } = await inTurns(rounds, async (which, round) => {
      const organizations = which === 'service' ? await organizationsOf(world, recharges) : [];
      const before = used(which);
      const started = performance.now();
      if (which === 'service') eventIds.push(...(await rechargeAll(world, organizations)));
      else await Promise.all(Array.from({ length: recharges }, () => fourSteps(world)));
      const rate = recharges / ((performance.now() - started) / 1000);
      const after = used(which);
      for (const organization of organizations) await check(world, organization);
      const ms = PARTS.map((part) => [part, (after[part] - before[part]) / recharges / 1000] as const);
      say(`  round ${round}, ${which}: ${rate.toFixed(1)} a second; ms of processor each: ${shown(ms)}`);
      return { rate, ...(Object.fromEntries(ms) as Used) };
    });
    const of = (figure: 'rate' | (typeof PARTS)[number]) => ({
      service: service.map((each) => each[figure]),
      floor: floor.map((each) => each[figure]),
    });
    return [
      rowOf('recharges, from alert to raised quota', 'a second', of('rate')),
      ...PARTS.map((part) => rowOf(`· processor time of one: ${part}`, 'ms', of(part))),
      ...(await countsOf(world, eventIds.slice(-recharges))),
    ];
  });
}

function shown(ms: readonly (readonly [part: string, ms: number])[]): string {
  return ms.map(([part, each]) => `${part} ${each.toFixed(1)}`).join(', ');
}

export async function measureLatency({ rounds, oneByOne, profile }: RechargeSizes, say: (line: string) => void): Promise<Row[]> {
  return inWorld({ profile, say }, async ({ world }) => {
    const took = await inTurns(rounds, async (which, round) => {
      const times: number[] = [];
      for (let each = 0; each < oneByOne; each++) {
        const [organization] = which === 'service' ? await organizationsOf(world, 1) : [];
        const started = performance.now();
        await (organization ? rechargeOnce(world, organization) : fourSteps(world));
        times.push(performance.now() - started);
        if (organization) await check(world, organization);
      }
      say(`  round ${round}, ${which}: p50 ${median(times).toFixed(0)} ms`);
      return times;
    });
    return [0.5, 0.99].map((share) => {
      const of = (each: number[][]) => each.map((times) => quantile(times, share));
      return rowOf(`alert to quota, one at a time, p${share * 100}`, 'ms', { service: of(took.service), floor: of(took.floor) });
    });
  });
}

export async function organizationsOf(world: World, count: number): Promise<Organization[]> {
  const made: Organization[] = [];
  for (let each = 0; each < count; each++) made.push(await world.organization());
  return made;
}

/** Sends the alert; returns its event once that is closed. */
async function rechargeOnce(world: World, organization: Organization): Promise<string> {
  const eventId = await world.accepted(organization);
  await closed(world, [eventId], LOOK_MS);
  return eventId;
}

/** The same of all of them at once. */
async function rechargeAll(world: World, organizations: readonly Organization[]): Promise<string[]> {
  const eventIds = await Promise.all(organizations.map((organization) => world.accepted(organization)));
  await closed(world, eventIds, LOOK_AT_ALL_MS);
  return eventIds;
}

async function closed(world: World, eventIds: readonly string[], lookMs: number): Promise<void> {
  const open = 'select from webhook_event where id = any($1) and not processed limit 1';
  while ((await world.sql.query(open, [eventIds])).rowCount !== 0) await new Promise((resolve) => setTimeout(resolve, lookMs));
}

/** Waits until every event that was acknowledged has ended. */
export async function allClosed(world: World): Promise<void> {
  const open = 'select from webhook_event where not processed limit 1';
  while ((await world.sql.query(open)).rowCount !== 0) await new Promise((resolve) => setTimeout(resolve, LOOK_AT_ALL_MS));
}

/** Returns the id of the run, which has ended. */
async function fourSteps(world: World): Promise<string> {
  const workflowId = `floor/${randomUUID()}`;
  await world.temporal.workflow.execute('fourSteps', { workflowId, taskQueue: 'floor', args: [] });
  return workflowId;
}

/** Charge, quota and ledger agree. @throws when they do not. */
export async function check(world: World, organization: Organization): Promise<void> {
  const [books, budget] = [await world.books(organization), await world.budgetOf(organization.teamId)];
  if (isDeepStrictEqual(books, CHARGED_ONCE) && budget === BUDGET_AFTER) return;
  throw new Error(`the books of ${organization.id} are wrong: ${JSON.stringify({ books, budget })}`);
}

/** The events of the histories, on average: short steps that were left to an activity cost some. */
async function countsOf(world: World, eventIds: readonly string[]): Promise<Row[]> {
  const sizes: number[] = [];
  for (const eventId of eventIds) sizes.push((await (await world.runOf(eventId)).fetchHistory()).events?.length ?? 0);
  const { events } = await world.temporal.workflow.getHandle(await fourSteps(world)).fetchHistory();
  const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
  return [rowOf('history events of one', '', { service: [mean], floor: [events?.length ?? 0] })];
}

type Start = {
  /** Where worker, API and stand-ins write a profile of their processor time. */
  profile?: string | undefined;
  /** In which the world's environment differs. */
  env?: Record<string, string>;
  say: (line: string) => void;
};

export async function inWorld<Result>({ profile, env = {}, say }: Start, work: (bench: Bench) => Promise<Result>): Promise<Result> {
  say('starting PostgreSQL, Temporal, the stand-ins, the API, a worker and the floor');
  const folder = mkdtempSync(join(tmpdir(), 'bill-bench-'));
  const [postgres, temporal] = await Promise.all([
    launch('postgres', { data: join(folder, 'postgres'), port: 0 }),
    launch('temporal', { port: 0, 'ui-port': 0 }),
  ]);
  // Where a world looks for them.
  process.env['TEST_POSTGRES_URL'] = postgres.ready['url'];
  process.env['TEST_TEMPORAL_ADDRESS'] = temporal.ready['address'];
  const database = await Database.open(await createDatabase(TEMPLATE_DATABASE));
  await database.migrate();
  await database.close();
  const profiled = profile === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` };
  // The stand-ins have our environment.
  Object.assign(process.env, profiled);
  const world = await World.create(env);
  const processes = new Processes();
  let floor: ChildProcess | undefined;
  try {
    const startBoth = () => Promise.all([processes.start('serve', world, profiled), processes.start('worker', world, profiled)]);
    const [api, worker] = await startBoth();
    floor = await startFloor(world.env['TEMPORAL_ADDRESS'] ?? '');
    const usedBy = (...children: (ChildProcess | undefined)[]) => children.reduce((sum, child) => sum + cpuOf(child?.pid ?? 0), 0);
    const used = (which: 'service' | 'floor'): Used => {
      const { user, system } = process.cpuUsage();
      return {
        worker: usedBy(which === 'service' ? worker.process : floor),
        API: which === 'service' ? usedBy(api.process) : 0,
        'stand-ins': which === 'service' ? usedBy(...world.servers.map((server) => server.process)) : 0,
        PostgreSQL: which === 'service' ? usedBy(postgres.process) : 0,
        Temporal: usedBy(temporal.process),
        'the bench itself': user + system,
      };
    };
    const killAndStart = async () => {
      await processes.killAll();
      await startBoth();
    };
    const result = await work({ world, processes: { api, worker, floor }, used, killAndStart });
    if (profile !== undefined) await Promise.all([api.terminate(), worker.terminate()]);
    return result;
  } finally {
    floor?.kill('SIGKILL');
    await processes.killAll();
    await world.close();
    await Promise.all([postgres.stop(), temporal.stop()]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The floor's worker. */
export async function startFloor(address: string): Promise<ChildProcess> {
  const main = fileURLToPath(new URL('./floors/recharge.ts', import.meta.url));
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env['PATH'], TEMPORAL_ADDRESS: address },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  process.once('exit', () => child.kill('SIGKILL'));
  for await (const _line of createInterface({ input: child.stdout })) return child;
  throw new Error('the floor has ended before it polled');
}

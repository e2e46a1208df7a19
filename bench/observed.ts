/**
 * What it costs to be watched: acknowledgements and recharges with metrics that are scraped every five seconds, and with
 * traces of everything and of a tenth, each beside the same service without. Four services run on one PostgreSQL and one
 * Temporal, each with an API, a worker and stand-ins of its own, and are measured in turns.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch } from '../sandbox/launch.ts';
import { freePort } from '../sandbox/ports.ts';
import { Database } from '../src/database/database.ts';
import { createDatabase, TEMPLATE_DATABASE } from '../test/support/databases.ts';
import { type BillProcess, Processes } from '../test/support/processes.ts';
import { HMAC_SECRET, World } from '../test/support/world.ts';
import { cpuOf } from './cpu.ts';
import { type Row, rowOf } from './rounds.ts';
import { type Sender, startSender } from './sender.ts';

const SCRAPE_MS = 5_000;
const CONNECTIONS = 64;
/** Between two looks at whether all are done. */
const LOOK_MS = 50;
/**
 * Rounds for each that is asked for: many short ones, in turns, show a difference of some hundredths on a machine that
 * also does other work, where a few long ones do not.
 */
const TURNS = 4;

/** `sampled`: one trace of ten. */
const VARIANTS = ['unwatched', 'metrics', 'traces', 'sampled'] as const;
type Variant = (typeof VARIANTS)[number];

export type ObservedSizes = { rounds: number; alerts: number; recharges: number };

type Watched = { world: World; processes: Processes; api: BillProcess; worker: BillProcess };
type Bench = { watched: Record<Variant, Watched>; sender: Sender; postgres: number; stop: () => Promise<void> };
type Figures = { rate: number; cpu: number };

export async function measureObserved({ rounds, alerts, recharges }: ObservedSizes, say: (line: string) => void): Promise<Row[]> {
  const bench = await startServices(say);
  try {
    return [
      ...(await compared('acknowledgements', { rounds, say }, (variant, round) => acknowledge(bench, { variant, round, count: alerts }))),
      ...(await compared('recharges', { rounds, say }, (variant) => recharge(bench, variant, Math.ceil(recharges / TURNS)))),
    ];
  } finally {
    await bench.stop();
  }
}

type Turns = { rounds: number; say: (line: string) => void };

/** In turns, so that each comes before and after each other one. The first round is a warm-up and is not counted. */
async function compared(
  what: string,
  { rounds: asked, say }: Turns,
  each: (variant: Variant, round: number) => Promise<Figures>,
): Promise<Row[]> {
  const figures: Record<Variant, Figures[]> = { unwatched: [], metrics: [], traces: [], sampled: [] };
  const rounds = asked * TURNS;
  for (let round = 0; round <= rounds; round++) {
    const order = VARIANTS.map((_, turn) => VARIANTS[(round + turn) % VARIANTS.length] as Variant);
    for (const variant of round % 2 === 0 ? order : order.toReversed()) {
      const { rate, cpu } = await each(variant, round);
      say(`  round ${round}, ${what}, ${variant}: ${rate.toFixed(1)} a second, ${Math.round(cpu)} µs each`);
      if (round > 0) figures[variant].push({ rate, cpu });
    }
  }
  const of = (variant: Variant, figure: keyof Figures) => figures[variant].map((all) => all[figure]);
  return (['metrics', 'traces', 'sampled'] as const).flatMap((variant) => [
    rowOf(`${what} with ${variant}; floor: without`, 'a second', { service: of(variant, 'rate'), floor: of('unwatched', 'rate') }),
    rowOf('· processor time of one', 'µs', { service: of(variant, 'cpu'), floor: of('unwatched', 'cpu') }),
  ]);
}

/** Of teams that nobody has: each is stored and closed by the acknowledgement itself. */
async function acknowledge(
  { watched, sender, postgres }: Bench,
  { variant, round, count }: { variant: Variant; round: number; count: number },
): Promise<Figures> {
  const { api } = watched[variant];
  const used = () => cpuOf(api.process.pid ?? 0) + cpuOf(postgres);
  const before = used();
  const kind = { team: 'nobody-', teams: count, event: 'budget_crossed', connections: CONNECTIONS };
  const port = api.ready.port ?? 0;
  const { seconds, answers } = await sender.send({
    ...kind,
    port,
    secret: HMAC_SECRET,
    mark: `${variant}-${round}`,
    count,
    budget: 10 + round / 64,
  });
  if (answers['accepted'] !== count) throw new Error(`${variant}: ${JSON.stringify(answers)}`);
  return { rate: count / seconds, cpu: (used() - before) / count };
}

/** From the alerts to the closed events, all at once. */
async function recharge({ watched, postgres }: Bench, variant: Variant, count: number): Promise<Figures> {
  const { world, api, worker } = watched[variant];
  const organizations = [];
  for (let each = 0; each < count; each++) organizations.push(await world.organization());
  const used = () => cpuOf(api.process.pid ?? 0) + cpuOf(worker.process.pid ?? 0) + cpuOf(postgres);
  const [before, started] = [used(), performance.now()];
  const eventIds = await Promise.all(organizations.map((organization) => world.accepted(organization)));
  const open = 'select from webhook_event where id = any($1) and not processed limit 1';
  while ((await world.sql.query(open, [eventIds])).rowCount !== 0) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  const seconds = (performance.now() - started) / 1000;
  const { rows } = await world.sql.query('select from recharge where status = $1 and event_id = any($2)', ['succeeded', eventIds]);
  if (rows.length !== count) throw new Error(`${variant}: ${rows.length} of ${count} recharges have succeeded`);
  return { rate: count / seconds, cpu: (used() - before) / count };
}

async function startServices(say: (line: string) => void): Promise<Bench> {
  say('starting PostgreSQL, Temporal, and four services with their stand-ins');
  const folder = mkdtempSync(join(tmpdir(), 'bill-bench-'));
  const data = join(folder, 'postgres');
  const servers = await Promise.all([launch('postgres', { data, port: 0 }), launch('temporal', { port: 0, 'ui-port': 0 })]);
  // Where a world looks for them.
  process.env['TEST_POSTGRES_URL'] = servers[0].ready['url'];
  process.env['TEST_TEMPORAL_ADDRESS'] = servers[1].ready['address'];
  const database = await Database.open(await createDatabase(TEMPLATE_DATABASE));
  await database.migrate();
  await database.close();
  const collector = createServer((request, response) => request.resume().once('end', () => response.end()));
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as AddressInfo;
  const ports = [await freePort(), await freePort()] as const;
  const traced = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
  const sampled = { ...traced, OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.1' };
  const watched = {
    unwatched: await startWatched([{}, {}]),
    metrics: await startWatched([{ METRICS_PORT: String(ports[0]) }, { METRICS_PORT: String(ports[1]) }]),
    traces: await startWatched([traced, traced]),
    sampled: await startWatched([sampled, sampled]),
  };
  const scrape = async (at: number) => (await fetch(`http://127.0.0.1:${at}/metrics`)).text();
  const scraping = setInterval(() => void Promise.allSettled(ports.map(scrape)), SCRAPE_MS);
  const sender = startSender();
  return {
    watched,
    sender,
    postgres: servers[0].process.pid ?? 0,
    stop: async () => {
      clearInterval(scraping);
      sender.stop();
      for (const { processes, world } of Object.values(watched)) {
        await processes.killAll();
        await world.close();
      }
      collector.close();
      collector.closeAllConnections();
      await Promise.all(servers.map((server) => server.stop()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function startWatched([ofApi, ofWorker]: Record<string, string>[]): Promise<Watched> {
  const world = await World.create();
  const processes = new Processes();
  const api = await processes.start('serve', world, ofApi);
  const worker = await processes.start('worker', world, ofWorker);
  return { world, processes, api, worker };
}

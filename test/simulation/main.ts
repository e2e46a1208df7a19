/** `npm run simulate`: many seeded runs against real PostgreSQL, real Temporal and real processes that are killed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type LaunchedServer, launch, type ServerName } from '../../sandbox/launch.ts';
import { Database } from '../../src/database/database.ts';
import { freePort } from '../support/ports.ts';
import { Environment, type Servers } from './environment.ts';
import { describeViolation, Totals } from './report.ts';
import { DISTURBANCES, drawSchedule, type Schedule, type Step } from './schedule.ts';
import { shrink } from './shrink.ts';
import { Simulation, type Verdict } from './simulate.ts';

const PROGRESS_MS = 5_000;
/** About one run in so many disturbs all. */
const DISTURB_EVERY = 20;
/** Failed runs that are told in full, and whose shortest schedule is looked for, until one is found. */
const MAX_TOLD = 3;
/** sysexits.h EX_USAGE. */
const EX_USAGE = 64;

const HELP = `npm run simulate -- [options]
  --runs N          how many (200)
  --seed S          draws all schedules (1)
  --run K           only this run of the seed, in several copies side by side, for timing is real
  --also WHAT@MS,…  with these disturbances so long after its start, which come first in its schedule
  --steps 1,4,7     only these steps of its schedule
  --no-shrink       does not look for the shortest schedule that fails
  --side-by-side N  runs under way at a time (32)
  --disturb-every N about one run in so many kills a process or restarts a server, 0 for none (${DISTURB_EVERY})`;

const options = read();
const folder = mkdtempSync(join(tmpdir(), 'bill-simulation-'));
const launched = new Map<ServerName, LaunchedServer>();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.error(`ended by ${signal}`);
    process.exit(130); // what is tethered to us ends with us
  });
}

const environment = await Environment.open(await startServers());
const simulation = new Simulation(environment);
const totals = new Totals();
const failed: Verdict[] = [];
const started = performance.now();
const seconds = () => (performance.now() - started) / 1000;
const progress = setInterval(() => {
  const { kills, restarts } = environment.counts;
  const rate = (totals.runs / seconds()).toFixed(1);
  console.log(
    `${seconds().toFixed(0).padStart(5)} s  ${totals.runs} runs, ${rate} a second, ${totals.faults} faults, ${kills} kills, ${restarts} restarts, ${totals.violations} violations`,
  );
}, PROGRESS_MS);

const judged = (verdict: Verdict) => {
  totals.add(verdict);
  if (verdict.violations.length === 0) return;
  failed.push(verdict);
  console.log(`run ${verdict.run} is wrong: ${verdict.violations.join('; ')}`);
};
if (options.run === undefined) await simulation.runAll(options, judged);
else for (const verdict of await simulation.playCopies('repeated', scheduleOf(options.run))) judged({ run: options.run, ...verdict });
clearInterval(progress);
const took = seconds();

for (const verdict of options.run === undefined ? failed.slice(0, MAX_TOLD) : failed.slice(0, 1)) {
  const command = commandFor(verdict.run, verdict.played.asLived());
  console.log(`\n── run ${verdict.run}\n${await describeViolation(environment, verdict, command)}`);
}
for (const { run, played } of options.shrink ? failed.slice(0, MAX_TOLD) : []) {
  console.log(`\n── looking for the shortest schedule that fails like run ${run} …`);
  const lived = played.asLived();
  const shrunk = await shrink(simulation, 'shrunk', lived);
  if (shrunk) {
    const command = commandFor(run, lived, shrunk.steps);
    console.log(`${await describeViolation(environment, shrunk.verdict, command)}\n(${shrunk.tried} schedules tried)`);
    break;
  }
  console.log('it did not fail again: it takes what was going on at that moment');
}
for (const crash of environment.crashes) console.log(`\n── ${crash}`);
console.log(`\n${totals.describe(environment, took, commandFor(options.run))}`);

await environment.close();
await Promise.all([...launched.values()].map((server) => server.stop()));
rmSync(folder, { recursive: true, force: true });
process.exit(failed.length + environment.crashes.length > 0 ? 1 : 0);

function read() {
  const number = (name: string, text: string) => {
    if (!/^\d+$/.test(text)) usage(`--${name} takes a whole number, not ${text}`);
    return Number(text);
  };
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '200' },
      seed: { type: 'string', default: '1' },
      run: { type: 'string' },
      also: { type: 'string', default: '' },
      steps: { type: 'string' },
      'side-by-side': { type: 'string', default: '32' },
      'disturb-every': { type: 'string', default: String(DISTURB_EVERY) },
      'no-shrink': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  return {
    seed: number('seed', values.seed),
    runs: number('runs', values.runs),
    run: values.run === undefined ? undefined : number('run', values.run),
    sideBySide: number('side-by-side', values['side-by-side']),
    roughness: { disturbEvery: number('disturb-every', values['disturb-every']), restarts: true },
    shrink: !values['no-shrink'],
    also: values.also.split(',').filter(Boolean).map(disturbance),
    steps: values.steps?.split(',').map((step) => number('steps', step)),
  };
}

function usage(problem: string): never {
  console.error(`${problem}\n\n${HELP}`);
  process.exit(EX_USAGE);
}

/** The schedule of a run that is repeated, with what others did to it and without what is not needed. */
function scheduleOf(run: number): Schedule {
  const { seed, roughness, also, steps } = options;
  const schedule = drawSchedule(seed, run, roughness);
  schedule.steps.unshift(...also);
  if (steps) schedule.steps = schedule.steps.filter((_, position) => steps.includes(position + 1));
  return schedule;
}

function disturbance(text: string): Step {
  const [, name = '', ms] = /^(.+)@(\d+)$/.exec(text) ?? [];
  const what = DISTURBANCES.find((known) => known.endsWith(` ${name}`) || known === `kill the ${name}`);
  return what ? { kind: 'disturb', what, afterMs: Number(ms) } : usage(`--also takes worker@250 or Temporal@1000, not ${text}`);
}

/**
 * What repeats the whole, or one run.
 *
 * @param lived its schedule together with what others did to it.
 * @param steps those of `lived` that are enough.
 */
function commandFor(run?: number, lived?: Schedule, steps?: number[]): string {
  const { seed, roughness, also } = options;
  const drawn = run === undefined ? 0 : drawSchedule(seed, run, roughness).steps.length;
  const others = lived && !options.steps ? lived.steps.slice(0, lived.steps.length - drawn) : also;
  const enough = options.steps && steps ? steps.map((step) => options.steps?.[step - 1]) : (steps ?? options.steps);
  return [
    'npm run simulate --',
    `--seed ${seed}`,
    run === undefined ? `--runs ${options.runs}` : `--run ${run}`,
    roughness.disturbEvery !== DISTURB_EVERY && `--disturb-every ${roughness.disturbEvery}`,
    others.length > 0 && `--also ${others.map(nameOf).join()}`,
    run !== undefined && enough && `--steps ${enough.join()}`,
  ]
    .filter(Boolean)
    .join(' ');
}

function nameOf(step: Step): string {
  return step.kind === 'disturb' ? `${step.what.split(' ').at(-1)}@${step.afterMs}` : '';
}

/** PostgreSQL and Temporal of our own, on ports that stay the same through a restart. */
async function startServers(): Promise<Servers> {
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const startPostgres = async () => {
    const server = await launch('postgres', { data: join(folder, 'postgres'), port: postgresPort });
    launched.set('postgres', server);
    return server.ready['url'] ?? '';
  };
  const startTemporal = async () => {
    const server = await launch('temporal', { db: join(folder, 'temporal.db'), port: temporalPort, 'ui-port': 0 });
    launched.set('temporal', server);
    return server.ready['address'] ?? '';
  };
  const [databaseUrl, temporalAddress] = await Promise.all([startPostgres(), startTemporal()]);
  const database = await Database.open(databaseUrl);
  await database.migrate();
  await database.close();
  return {
    databaseUrl,
    temporalAddress,
    restart: {
      PostgreSQL: async () => {
        await launched.get('postgres')?.stop();
        await startPostgres();
      },
      Temporal: async () => {
        await launched.get('temporal')?.stop();
        await startTemporal();
      },
    },
  };
}

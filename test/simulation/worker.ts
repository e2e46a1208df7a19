/**
 * One worker of the simulation: a process of its own that plays, in an environment of its own, the runs that
 * the process that started it hands out. It reports to that one, and ends with it.
 */
import { Environment } from './environment.ts';
import type { Order, Report, Share } from './messages.ts';
import { commandForRun, type Options, scheduleOf } from './options.ts';
import type { Room } from './plan.ts';
import { describeViolation, summaryOf } from './report.ts';
import { startServers } from './servers.ts';
import { shrink } from './shrink.ts';
import { Simulation, type Verdict } from './simulate.ts';

const { options }: Share = JSON.parse(process.argv[2] ?? '');
// Ctrl-C reaches every process of the terminal; who started us decides what it means.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
process.once('disconnect', () => process.exit(1)); // what is tethered to us ends with us

const servers = await startServers();
const environment = await Environment.open(servers);
const simulation = new Simulation(environment);
const failed = new Map<number, Verdict>();
/** The runs that were asked for, by the number of the wish. */
const wishes = new Map<number, (run: number | undefined) => void>();
let wished = 0;

process.on('message', (order: Order) => void obey(order));
await play(options);
report({ kind: 'played' });

async function play({ run, ...plan }: Options): Promise<void> {
  if (run === undefined) return simulation.runAll({ ...plan, next }, judged);
  for (const verdict of await simulation.playCopies('repeated', scheduleOf(options, run))) judged({ run, ...verdict });
}

function next(room: Room): Promise<number | undefined> {
  return new Promise((resolve) => {
    wishes.set(++wished, resolve);
    report({ kind: 'wants', wish: wished, room });
  });
}

function judged(verdict: Verdict): void {
  if (verdict.violations.length > 0 && !failed.has(verdict.run)) failed.set(verdict.run, verdict);
  report({ kind: 'judged', summary: summaryOf(verdict), counts: environment.counts });
}

async function obey(order: Order): Promise<void> {
  switch (order.kind) {
    case 'play':
      wishes.get(order.wish)?.(order.run);
      wishes.delete(order.wish);
      return;
    case 'stop':
      return simulation.stop();
    case 'describe':
      return report({ kind: 'described', text: await describeRun(order.run) });
    case 'shrink':
      return report({ kind: 'shrunk', text: await shrinkRun(order.run) });
    case 'close':
      await environment.close();
      await servers.stop();
      report({ kind: 'closed', counts: environment.counts, crashes: environment.crashes });
      process.disconnect();
  }
}

async function describeRun(run: number): Promise<string> {
  const verdict = verdictOf(run);
  return describeViolation(environment, verdict, commandForRun(options, { run, lived: verdict.played.asLived() }));
}

/** The shortest schedule that fails like a run; undefined when it does not fail again. */
async function shrinkRun(run: number): Promise<string | undefined> {
  const lived = verdictOf(run).played.asLived();
  const shrunk = await shrink(simulation, 'shrunk', lived);
  if (!shrunk) return undefined;
  const command = commandForRun(options, { run, lived, steps: shrunk.steps });
  return `${await describeViolation(environment, shrunk.verdict, command)}\n(${shrunk.tried} schedules tried)`;
}

function verdictOf(run: number): Verdict {
  const verdict = failed.get(run);
  if (!verdict) throw new Error(`run ${run} has not failed here`);
  return verdict;
}

function report(message: Report): void {
  process.send?.(message);
}

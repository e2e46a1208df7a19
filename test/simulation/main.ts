/**
 * `npm run simulate`: many seeded runs against real PostgreSQL, real Temporal and real processes that are
 * killed.
 */
import { fileURLToPath } from 'node:url';
import { codeState } from './code-state.ts';
import type { Counts } from './environment.ts';
import { commandFor, readOptions, usage } from './options.ts';
import { Plan } from './plan.ts';
import { RecordError, RunRecord } from './record.ts';
import { type Summary, Totals } from './report.ts';
import { WorkerProcess } from './worker-process.ts';

const PROGRESS_MS = 5_000;
/** Failed runs that are told in full, and whose shortest schedule is looked for, until one is found. */
const MAX_TOLD = 3;

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const options = readOptions();
const record = options.record === undefined ? undefined : openRecord(options.record);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.error(`ended by ${signal}`);
    process.exit(130); // the workers end with us
  });
}

const recorded = record?.finished ?? [];
const plan = new Plan(options, new Set(recorded.map(({ run }) => run)));
const totals = new Totals();
for (const summary of recorded) totals.add(summary);
if (recorded.length > 0) console.log(`the record has ${recorded.length} runs, of ${options.runs} in all`);
/** Each run that went wrong once, with the worker that knows of it. */
const failed = new Map<number, WorkerProcess>();
const workers = Array.from({ length: options.workers }, (_, index) => {
  const worker: WorkerProcess = new WorkerProcess({ options, index }, plan, (summary) => judged(summary, worker));
  return worker;
});
/** With what the record has. */
const counts = (): Counts => addUp([...recorded.map((each) => each.counts), ...workers.map((worker) => worker.counts)]);

const started = performance.now();
const seconds = () => (performance.now() - started) / 1000;
/** Until when, and up to which counts of the workers, the record has what has passed. */
const noted = { seconds: 0, counts: addUp([]) };
const progress = setInterval(() => {
  const now = { played: totals.runs - recorded.length, seconds: seconds() };
  console.log(`${seconds().toFixed(0).padStart(5)} s  ${totals.progress(counts(), options.runs, now)}`);
}, PROGRESS_MS);
await Promise.all(workers.map(({ played }) => played));
clearInterval(progress);
const took = seconds() + recorded.reduce((sum, { ms }) => sum + ms, 0) / 1000;

const told = [...failed].slice(0, MAX_TOLD);
for (const [run, worker] of told) console.log(`\n── run ${run}\n${await worker.describe(run)}`);
for (const [run, worker] of options.shrink ? told : []) {
  console.log(`\n── looking for the shortest schedule that fails like run ${run} …`);
  const shrunk = await worker.shrink(run);
  console.log(shrunk ?? 'it did not fail again: it takes what was going on at that moment');
  if (shrunk) break;
}
const crashes = (await Promise.all(workers.map((worker) => worker.close()))).flat();
for (const crash of crashes) console.log(`\n── ${crash}`);
console.log(`\n${totals.describe({ ...counts(), crashes: crashes.length }, took, commandFor(options))}`);
const wrongBefore = recorded.filter(({ violations }) => violations.length > 0).map(({ run }) => run);
if (wrongBefore.length > 0) console.log(`the record has wrong runs: ${wrongBefore.join(', ')}`);
process.exit(failed.size + crashes.length + wrongBefore.length > 0 ? 1 : 0);

function judged(summary: Summary, worker: WorkerProcess): void {
  totals.add(summary);
  note(summary);
  if (summary.violations.length === 0) return;
  console.log(`run ${summary.run} is wrong: ${summary.violations.join('; ')}`);
  if (!failed.has(summary.run)) failed.set(summary.run, worker);
  for (const each of workers) each.stop();
}

function openRecord(path: string): RunRecord {
  const { seed, roughness } = options;
  try {
    return RunRecord.open(path, { seed, disturbEvery: roughness.disturbEvery, code: codeState(ROOT) });
  } catch (error) {
    if (error instanceof RecordError) return usage(error.message);
    throw error;
  }
}

function note(summary: Summary): void {
  const [now, passed] = [addUp(workers.map((worker) => worker.counts)), seconds()];
  record?.add(summary, { counts: subtract(now, noted.counts), ms: Math.round((passed - noted.seconds) * 1000) });
  Object.assign(noted, { counts: now, seconds: passed });
}

function addUp(all: readonly Counts[]): Counts {
  const sum = (name: keyof Counts) => all.reduce((total, counts) => total + counts[name], 0);
  return {
    kills: sum('kills'),
    restarts: sum('restarts'),
    sweeps: sum('sweeps'),
    reconciliations: sum('reconciliations'),
    synchronisations: sum('synchronisations'),
  };
}

function subtract(from: Counts, what: Counts): Counts {
  return Object.fromEntries(Object.entries(from).map(([name, count]) => [name, count - what[name as keyof Counts]])) as Counts;
}

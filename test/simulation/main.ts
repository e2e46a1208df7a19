/**
 * `npm run simulate`: many seeded runs against real PostgreSQL, real Temporal and real processes that are
 * killed.
 */
import { commandFor, readOptions } from './options.ts';
import { Plan } from './plan.ts';
import { type Summary, Totals } from './report.ts';
import { WorkerProcess } from './worker-process.ts';

const PROGRESS_MS = 5_000;
/** Failed runs that are told in full, and whose shortest schedule is looked for, until one is found. */
const MAX_TOLD = 3;

const options = readOptions();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.error(`ended by ${signal}`);
    process.exit(130); // the workers end with us
  });
}

const plan = new Plan(options);
const totals = new Totals();
/** Each run that went wrong once, with the worker that knows of it. */
const failed = new Map<number, WorkerProcess>();
const workers = Array.from({ length: options.workers }, (_, index) => {
  const worker: WorkerProcess = new WorkerProcess({ options, index }, plan, (summary) => judged(summary, worker));
  return worker;
});
const counts = () => ({
  kills: sum(({ counts }) => counts.kills),
  restarts: sum(({ counts }) => counts.restarts),
  sweeps: sum(({ counts }) => counts.sweeps),
});

const started = performance.now();
const seconds = () => (performance.now() - started) / 1000;
const progress = setInterval(
  () => console.log(`${seconds().toFixed(0).padStart(5)} s  ${totals.progress(counts(), seconds())}`),
  PROGRESS_MS,
);
await Promise.all(workers.map(({ played }) => played));
clearInterval(progress);
const took = seconds();

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
process.exit(failed.size + crashes.length > 0 ? 1 : 0);

function judged(summary: Summary, worker: WorkerProcess): void {
  totals.add(summary);
  if (summary.violations.length === 0) return;
  console.log(`run ${summary.run} is wrong: ${summary.violations.join('; ')}`);
  if (!failed.has(summary.run)) failed.set(summary.run, worker);
  for (const each of workers) each.stop();
}

function sum(value: (worker: WorkerProcess) => number): number {
  return workers.reduce((total, worker) => total + value(worker), 0);
}

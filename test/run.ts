/**
 * `npm test`: type check, lint and the callback's tests side by side, every other test, then the simulation, which
 * wants the machine to itself. Ends at the first that fails.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { COMPILE_CACHE } from '../setup/our-node.mjs';

const JEST = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];

/** With a file, a name or an option of Jest's, only the tests are run, and of them what it selects. */
const selection = process.argv.slice(2);

/**
 * A failed run says how to repeat it and to look for the shortest schedule that fails. The first runs of this seed
 * hold neither a series of months, nor a wait for spend that never comes, nor a call that hangs, minutes or half
 * minutes each: those are played by `npm run test:endurance`. They hold restores, synchronisations and money that
 * goes back.
 */
const SIMULATION = ['test/simulation/main.ts', '--runs', '12', '--seed', '2352', '--workers', '2', '--no-shrink'];

/** Tests start hundreds of processes of ours: compiled once, each takes half the time to start. */
process.env['NODE_COMPILE_CACHE'] ??= COMPILE_CACHE;

/** Where a step says nothing by itself, its seconds are counted so often. */
const SILENT_STEP_MS = 5_000;
/** Jest shows what runs in a terminal; a log gets a line when a file has passed, which may take a minute. */
const JEST_IN_A_LOG_MS = 10_000;

type Step = { title: string; command: string; args: string[]; countMs?: number | undefined };

const CALLBACK: Step = { title: 'callback for LiteLLM', command: process.execPath, args: ['test/callback.ts'] };

/** One after the other; what is in a list runs side by side. */
const STEPS: Step[][] = [
  [
    { title: 'type check', command: 'node_modules/.bin/tsc', args: [], countMs: SILENT_STEP_MS },
    { title: 'lint and format', command: 'node_modules/.bin/biome', args: ['check', '.'], countMs: SILENT_STEP_MS },
    ...(selection.length === 0 ? [CALLBACK] : []),
  ],
  [
    {
      title: 'tests',
      command: process.execPath,
      args: [...JEST, '--selectProjects', 'unit', 'integration', ...selection],
      countMs: process.stdout.isTTY ? undefined : JEST_IN_A_LOG_MS,
    },
  ],
  selection.length === 0 ? [{ title: 'simulation', command: process.execPath, args: SIMULATION }] : [],
];

for (const steps of STEPS) {
  const codes = await Promise.all(steps.map(run));
  const failed = codes.find((code) => code !== 0);
  if (failed !== undefined) process.exit(failed);
}

/** Shows what a step says, and how it has ended. Returns its exit code. */
async function run(step: Step): Promise<number> {
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  console.log(`\n— ${step.title} …`);
  const counting = step.countMs && setInterval(() => console.log(`— ${step.title}: ${seconds().toFixed(0)} s`), step.countMs);
  const { code, problem } = await ended(spawn(step.command, step.args, { stdio: 'inherit' }));
  if (counting) clearInterval(counting);
  if (code !== 0) console.error(`\n— ${step.title} failed${problem}`);
  else console.log(`— ${step.title}: fine (${seconds().toFixed(1)} s)`);
  return code;
}

/** How a step has ended: its exit code, 1 when it has none, and what else there is to say. */
function ended(child: ChildProcess): Promise<{ code: number; problem: string }> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: 1, problem: `: ${error.message}` }));
    child.once('exit', (code, signal) => resolve({ code: code ?? 1, problem: signal ? `: ${signal}` : '' }));
  });
}

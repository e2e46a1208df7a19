/** `npm test`: type check, lint, the callback's tests, every other, then the simulation, which wants the machine to itself. Ends at the first that fails. */
import { spawnSync } from 'node:child_process';

const JEST = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];

/** With a file, a name or an option of Jest's, only the tests are run, and of them what it selects. */
const selection = process.argv.slice(2);

/** A failed run says how to repeat it and to look for the shortest schedule that fails. */
const SIMULATION = ['test/simulation/main.ts', '--runs', '200', '--seed', '2026', '--no-shrink'];

const CALLBACK = { title: 'callback for LiteLLM', command: process.execPath, args: ['test/callback.ts'] };

const STEPS: { title: string; command: string; args: string[] }[] = [
  { title: 'type check', command: 'node_modules/.bin/tsc', args: [] },
  { title: 'lint and format', command: 'node_modules/.bin/biome', args: ['check', '.'] },
  ...(selection.length === 0 ? [CALLBACK] : []),
  { title: 'tests', command: process.execPath, args: [...JEST, '--selectProjects', 'unit', 'integration', ...selection] },
  ...(selection.length === 0 ? [{ title: 'simulation', command: process.execPath, args: SIMULATION }] : []),
];

for (const { title, command, args } of STEPS) {
  const started = performance.now();
  console.log(`\n— ${title} …`);
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) {
    console.error(`\n— ${title} failed${error ? `: ${error.message}` : ''}`);
    process.exit(status ?? 1);
  }
  console.log(`— ${title}: fine (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

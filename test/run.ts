/** `npm test`: type check, lint, then every test, each shown as it runs. Ends at the first that fails. */
import { spawnSync } from 'node:child_process';

const JEST = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];

const STEPS: { title: string; command: string; args: string[] }[] = [
  { title: 'type check', command: 'node_modules/.bin/tsc', args: [] },
  { title: 'lint and format', command: 'node_modules/.bin/biome', args: ['check', '.'] },
  { title: 'tests', command: process.execPath, args: [...JEST, '--selectProjects', 'unit', 'integration', ...process.argv.slice(2)] },
];

for (const { title, command, args } of STEPS) {
  const started = performance.now();
  console.log(`\n— ${title} …`);
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) {
    console.error(`\n— ${title} failed${error ? `: ${error.message}` : ''}`);
    process.exit(status ?? 1);
  }
  // The last line is Jest's own summary.
  if (title !== 'tests') console.log(`— ${title}: fine (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

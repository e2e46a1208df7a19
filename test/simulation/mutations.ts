/**
 * `npm run simulate:mutations`: takes one safeguard at a time out of a copy of the service and simulates
 * that, to show that the simulation would notice. Prints the table of docs/guarantees.md; ends with 1 when
 * one goes unnoticed. With words behind it, only the safeguards that hold them.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MUTATIONS, type Mutation } from './safeguards.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const COPIED = ['package.json', 'tsconfig.json', 'activities', 'workflows', 'src', 'sandbox', 'setup', 'test'];

const RUNS = 200;
const SEED = 1;
/** Restarts take everybody's time, and no safeguard here is about them. */
const DISTURB_EVERY = 60;

let unnoticed = 0;
console.log(`| without this safeguard | first wrong run of ${RUNS} | what was wrong |\n|---|---|---|`);
for (const { safeguard, edits } of MUTATIONS.filter(({ safeguard }) => safeguard.includes(process.argv.slice(2).join(' ')))) {
  const found = await firstWrongRun(edits);
  if (!found) unnoticed++;
  console.log(`| ${safeguard} | ${found?.run ?? '**none**'} | ${found?.what ?? ''} |`);
}
process.exit(unnoticed > 0 ? 1 : 0);

/**
 * Simulates a copy that is changed so, until a run is wrong; undefined when none is. @throws when an edit
 * does not fit the source.
 */
async function firstWrongRun(edits: Mutation['edits']): Promise<{ run: string; what: string } | undefined> {
  const copy = mkdtempSync(join(tmpdir(), 'bill-mutation-'));
  try {
    for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
    for (const name of ['node_modules', '.data']) symlinkSync(join(ROOT, name), join(copy, name));
    for (const [file, from, to] of edits) {
      const source = readFileSync(join(copy, file), 'utf8');
      if (!source.includes(from)) throw new Error(`${file} does not have the text that the mutation replaces:\n${from}`);
      writeFileSync(
        join(copy, file),
        source.replace(from, () => to),
      );
    }
    return await simulate(copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** Shows the simulation's own progress, and ends it at the first wrong run. */
async function simulate(folder: string): Promise<{ run: string; what: string } | undefined> {
  const options = ['--runs', String(RUNS), '--seed', String(SEED), '--disturb-every', String(DISTURB_EVERY), '--no-shrink'];
  const child = spawn(process.execPath, ['test/simulation/main.ts', ...options], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  let found: { run: string; what: string } | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const wrong = /^run (\d+) is wrong: (.+)/.exec(line);
    if (!wrong) {
      if (line.includes('a second')) console.error(line);
      continue;
    }
    const [, run = '', violations = ''] = wrong;
    // That something was never settled is listed first, and says least.
    const all = violations.split('; ');
    const what = all.find((violation) => !violation.startsWith('not settled')) ?? violations;
    found = { run, what: what.replace(/\b(evt|rch|pi|ch|re|hld)_\w+/g, '$1_…') };
    child.kill('SIGTERM');
    break;
  }
  const code = await ended;
  if (!found && code !== 0) throw new Error(`the simulation has ended with ${code} before it was done`);
  return found;
}

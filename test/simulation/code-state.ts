/** Which state of the code a simulation is of. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The service, what stands in for others, and what is drawn and judged. */
const FOLDERS = ['src', 'workflows', 'activities', 'sandbox', 'test/simulation', 'test/support'];
/** What people type: a run uses `bill serve` and `bill worker`, which are none of these. */
const COMMANDS = ['src/cli/commands/', 'src/cli/doctor/', 'src/cli/dev/'];
const FILES = ['package-lock.json'];

/** `hash`: of every file that a run depends on. `name`: the commit for people, and whether something is changed since. */
export type CodeState = { hash: string; name: string };

export function codeState(root: string): CodeState {
  const hash = createHash('sha256');
  for (const file of [...FOLDERS.flatMap((folder) => filesIn(root, folder)), ...FILES]) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  }
  return { hash: hash.digest('hex'), name: commitOf(root) };
}

function filesIn(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .filter((file) => !COMMANDS.some((folder) => file.startsWith(folder)))
    .sort();
}

function commitOf(root: string): string {
  const git = (...given: string[]) => spawnSync('git', ['-C', root, ...given], { encoding: 'utf8' });
  const commit = git('rev-parse', '--short', 'HEAD');
  if (commit.status !== 0) return 'no commit';
  const changed = git('status', '--porcelain', '--', ...FOLDERS, ...FILES).stdout !== '';
  return `commit ${commit.stdout.trim()}${changed ? ' with changes' : ''}`;
}

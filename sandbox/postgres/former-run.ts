/** What a former run left behind on the same data: nothing, a stale lock file, or a server whose starter was killed. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** An orphan gets this long to close its connections, then as long again to end at once. */
const PATIENCE_MS = 10_000;

/** Goes on the server's command line as its cluster_name, so that a later run can tell who started it. */
export const starterMark = (pid: number) => `started_by_${pid}`;

/**
 * Ends a server that runs on this data and whose starter is gone, and removes a lock file that nothing holds.
 *
 * @throws when the starter lives: two servers cannot share one folder.
 */
export async function endFormerRun(data: string): Promise<void> {
  const lock = join(data, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number.parseInt(readFileSync(lock, 'utf8'), 10);
  const runs = () => commandLine(pid).includes(` -D ${data} `);
  if (!runs()) {
    // After a reboot the number may belong to another process of ours, and PostgreSQL would take that for its rival.
    rmSync(lock, { force: true });
    return;
  }
  const starter = Number(commandLine(pid).match(/started_by_(\d+)/)?.[1]);
  if (commandLine(starter) !== '') {
    throw new Error(`${data} is in use by PostgreSQL process ${pid}, started by process ${starter}: stop that one, or use another folder`);
  }
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    process.kill(pid, signal);
    for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; ) {
      if (!runs()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`PostgreSQL process ${pid} of a former run on ${data} does not end: end it with kill -9 ${pid}`);
}

/** A process's command line, its words joined by spaces; empty for one that does not run. */
function commandLine(pid: number): string {
  if (!(pid > 0)) return '';
  if (process.platform !== 'linux')
    return spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim();
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

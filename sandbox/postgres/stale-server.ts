/**
 * What an earlier run may have left on the same data: a stale lock file, or a server whose starter was
 * killed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** How long each of two signals may take: first to close its connections, then to end at once. */
const PATIENCE_MS = 10_000;

/** The server's cluster_name, which is on its command line: a later run sees who started it. */
export const starterMark = (pid: number) => `started_by_${pid}`;

/**
 * Ends a server that runs on this data and whose starter has ended, and removes a lock file that no process
 * holds.
 *
 * @throws when the starter still runs: two servers cannot share one folder.
 */
export async function endStaleServer(data: string): Promise<void> {
  const lock = join(data, 'postmaster.pid');
  if (!existsSync(lock)) return;
  const pid = Number.parseInt(readFileSync(lock, 'utf8'), 10);
  const runs = () => commandLine(pid).includes(` -D ${data} `);
  if (!runs()) {
    // After a reboot the number may belong to another process of ours, and PostgreSQL would take that for a
    // running server.
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
  throw new Error(`PostgreSQL process ${pid} of an earlier run on ${data} does not end: end it with kill -9 ${pid}`);
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

/** Starts sandbox servers as processes of their own, for the embedded default and for the tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export type ServerName = 'stripe' | 'litellm' | 'postgres' | 'temporal';

export type LaunchedServer = {
  ready: Record<string, string>;
  process: ChildProcess;
  /** Ends it, and waits until it has ended. */
  stop: () => Promise<void>;
};

/** A first start of PostgreSQL creates its files, and takes the longest. */
const READY_TIMEOUT_MS = 60_000;

/**
 * Starts one server and waits until it is ready.
 *
 * @param args its command-line options, see `--help` of each.
 * @throws when it ends or does not become ready, with the last lines that it printed.
 */
export async function launch(name: ServerName, args: Record<string, string | number | undefined> = {}): Promise<LaunchedServer> {
  const flags = Object.entries(args).flatMap(([key, value]) => (value === undefined ? [] : [`--${key}`, String(value)]));
  const main = fileURLToPath(new URL(`./${name}/main.ts`, import.meta.url));
  // Detached: a Ctrl-C in the terminal reaches only the process that started us, which then stops its servers
  // in order.
  const child = spawn(process.execPath, [main, '--tethered', ...flags], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const said: string[] = [];
  const remember = (line: string) => {
    said.push(line);
    if (said.length > 20) said.shift();
  };
  createInterface({ input: child.stderr }).on('line', remember);

  const ready = await new Promise<Record<string, string>>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`the ${name} server ${why}${said.length ? `:\n${said.join('\n')}` : ''}`));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`was not ready after ${READY_TIMEOUT_MS / 1000} s`);
    }, READY_TIMEOUT_MS);
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.startsWith('{"ready":')) return remember(line);
      clearTimeout(timer);
      resolve(JSON.parse(line).ready);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      fail(`ended with ${signal ?? `code ${code}`}`);
    });
  });

  return {
    ready,
    process: child,
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once('exit', () => resolve());
        child.stdin?.end();
      }),
  };
}

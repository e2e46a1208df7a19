/** The service as processes of its own, to be killed. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { COMPILE_CACHE, NODE_FLAGS } from '../../setup/our-node.mjs';
import type { World } from './world.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Start-up takes two or three seconds, many times that on a machine that is busy with other tests. */
const READY_TIMEOUT_MS = 180_000;

export type BillProcess = {
  /** What the ready line of its log holds. */
  ready: { port?: number };
  process: ChildProcess;
  /** Every line it has logged so far. */
  lines: string[];
  /** kill -9; resolves when it is gone. */
  kill: () => Promise<void>;
  /** SIGTERM; resolves with its exit code. */
  terminate: () => Promise<number | null>;
};

/**
 * Starts `bill serve` or `bill worker` and waits until it works. @throws with its last lines when it ends
 * instead.
 */
export async function startBill(command: 'serve' | 'worker', env: Record<string, string>): Promise<BillProcess> {
  const readyMessage = command === 'serve' ? 'the API listens' : 'the worker polls';
  const child = spawn(process.execPath, [...NODE_FLAGS, MAIN, command], {
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: COMPILE_CACHE, ...env, LOG_LEVEL: 'info' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const gone = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  // It is not tethered to us: however we end, it ends too.
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  void gone.then(() => process.off('exit', end));
  const lines: string[] = [];
  const ready = await new Promise<{ port?: number }>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`bill ${command} was not ready: ${lines.slice(-10).join('\n')}`));
    }, READY_TIMEOUT_MS);
    const read = (line: string) => {
      lines.push(line);
      if (!line.includes(readyMessage)) return;
      clearTimeout(timer);
      resolve(JSON.parse(line));
    };
    createInterface({ input: child.stdout }).on('line', read);
    createInterface({ input: child.stderr }).on('line', read);
    void gone.then((code) => {
      clearTimeout(timer);
      reject(new Error(`bill ${command} ended with ${code}: ${lines.slice(-10).join('\n')}`));
    });
  });
  const signal = (name: NodeJS.Signals) => {
    child.kill(name);
    return gone;
  };
  return {
    ready,
    process: child,
    lines,
    kill: async () => {
      await signal('SIGKILL');
    },
    terminate: () => signal('SIGTERM'),
  };
}

/**
 * One takes a second, many times that on a busy machine; one that outlives this hangs, and ends with no exit
 * code.
 */
const COMMAND_TIMEOUT_MS = 120_000;

export type Ended = { code: number | null; out: string; err: string };

/** Runs a command to its end, with nothing of the service in its environment but what is said here. */
export function runBill(args: string[], env: Record<string, string>, nodeFlags: string[] = []): Promise<Ended> {
  return startBillCommand(args, env, nodeFlags).ended;
}

/** The tests are of no `bill dev` that runs in this clone. */
const NO_DEV = '/dev/null';

/** Starts a command that may go on until it is ended. */
export function startBillCommand(
  args: string[],
  env: Record<string, string>,
  nodeFlags: string[] = [],
): { child: ChildProcess; ended: Promise<Ended> } {
  const options = {
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: COMPILE_CACHE, BILL_DEV_FILE: NO_DEV, ...env },
    cwd: tmpdir(),
    timeout: COMMAND_TIMEOUT_MS,
  };
  const { promise: ended, resolve } = Promise.withResolvers<Ended>();
  const child = execFile(process.execPath, [...nodeFlags, MAIN, ...args], options, (_error, out, err) =>
    resolve({ code: child.exitCode, out, err }),
  );
  return { child, ended };
}

/** The processes that a test has started for its world, to be ended with it. */
export class Processes {
  private readonly started: Promise<BillProcess>[] = [];

  /** Starts one more for `world`; an API becomes the one that the world's alerts go to. */
  async start(command: 'serve' | 'worker', world: World, overrides: Record<string, string> = {}): Promise<BillProcess> {
    const starting = startBill(command, { ...world.env, ...overrides });
    this.started.push(starting);
    const started = await starting;
    if (started.ready.port) world.apiUrl = `http://127.0.0.1:${started.ready.port}`;
    return started;
  }

  /** kill -9 of all of them, those too that are not ready yet. */
  async killAll(): Promise<void> {
    const all = await Promise.allSettled(this.started.splice(0));
    await Promise.all(all.map((outcome) => outcome.status === 'fulfilled' && outcome.value.kill()));
  }
}

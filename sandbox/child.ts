/**
 * The programs behind the PostgreSQL and Temporal servers: started so that they do not outlive this process,
 * ended in steps, and reported when they end by themselves.
 *
 * util-linux's `setpriv` has the kernel signal the program when this process dies, even by SIGKILL. Without
 * it (macOS, BusyBox) a SIGKILL leaves the program running, and the next start has to end it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, fchownSync, openSync, readFileSync } from 'node:fs';
import { freePort, isFree } from './ports.ts';

/** Another user to run as, for programs that refuse root. */
export type RunAs = {
  uid: number;
  gid: number;
  /** Where its files are. */
  folder: string;
  /** What to keep of root's rights when that user cannot reach the files: passing every file permission. */
  capability?: 'dac_override';
};

/** How a program is started: through setpriv, or where that is missing by Node alone. */
type Launcher = { prefix: string[]; identity: { uid?: number; gid?: number } };

/**
 * The first launcher that works here and reaches the program. @throws with what to do when none reaches it as
 * the other user.
 */
function launcherFor(command: string, signal: NodeJS.Signals, as: RunAs | undefined): Launcher {
  const flags = ['--pdeathsig', signal];
  if (as) flags.push('--reuid', String(as.uid), '--regid', String(as.gid), '--clear-groups');
  if (as?.capability) {
    // The secure bit keeps access(2), with which PostgreSQL looks for its files, from leaving the capability
    // aside.
    flags.push('--securebits', '+no_setuid_fixup', '--inh-caps', `+${as.capability}`, '--ambient-caps', `+${as.capability}`);
  }
  const reaches = ({ prefix, identity }: Launcher) => {
    const [file = '', ...args] = [...prefix, 'test', '-x', command, ...(as ? ['-a', '-x', as.folder] : [])];
    return spawnSync(file, args, { ...identity, cwd: '/' }).status === 0;
  };
  const setpriv = { prefix: ['setpriv', ...flags], identity: {} };
  if (reaches(setpriv)) return setpriv;
  if (!as) return { prefix: [], identity: {} };
  const plain = { prefix: [], identity: { uid: as.uid, gid: as.gid } };
  if (reaches(plain)) return plain;
  throw new Error(
    `${command} does not run as root, and user ${as.uid} may not enter its folder or ${as.folder}: ` +
      'move them to where every user may go, or install setpriv (util-linux), which lets that user pass',
  );
}

/** Runs a program to its end, for at most a minute. @throws with what it printed unless it exits with 0. */
export function run(command: string, args: string[], as?: RunAs): void {
  const { prefix, identity } = launcherFor(command, 'SIGTERM', as);
  const [file = '', ...argv] = [...prefix, command, ...args];
  const { status, signal, error, stderr } = spawnSync(file, argv, { ...identity, cwd: '/', encoding: 'utf8', timeout: 60_000 });
  if (status === 0) return;
  throw new Error(`${command} ${error ? error.message : `ended with ${signal ?? `code ${status}`}`}\n${stderr ?? ''}`.trim());
}

/** A started program whose output goes to a file. */
export type Child = {
  pid: number;
  /** The file. */
  log: string;
  /** Rejects when the program ends by itself, with the last lines of its output; never resolves. */
  lost: Promise<never>;
  /** Sends each signal in turn until the program has ended, waiting `patienceMs` after each. */
  end: (signals: readonly NodeJS.Signals[], patienceMs: number) => Promise<void>;
};

/**
 * Starts a program in a process group of its own: Ctrl-C reaches only this process, which then ends the
 * program in order.
 *
 * @param log file for its output, emptied at every start so that it stays small.
 * @param deathSignal sent to it when this process dies.
 */
export function start(command: string, args: string[], log: string, deathSignal: NodeJS.Signals, as?: RunAs): Child {
  const { prefix, identity } = launcherFor(command, deathSignal, as);
  const [file = '', ...argv] = [...prefix, command, ...args];
  const output = openSync(log, 'w');
  if (as) fchownSync(output, as.uid, as.gid); // so that this user can also start it without us
  const child = spawn(file, argv, { ...identity, cwd: '/', stdio: ['ignore', output, output], detached: true });
  closeSync(output);

  let ending = false;
  const gone = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(`ended with ${signal ?? `code ${code}`}`));
  });
  const lost = new Promise<never>((_, reject) => {
    gone.then((why) => ending || reject(new Error(`${command} ${why}\n${lastLines(log)}`))).catch(reject);
  });

  return { pid: child.pid ?? 0, log, lost, end };

  async function end(signals: readonly NodeJS.Signals[], patienceMs: number): Promise<void> {
    ending = true;
    for (const signal of signals) {
      if (hasEnded(child)) return;
      child.kill(signal);
      await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, patienceMs))]);
    }
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/** The last lines of a log, enough to see why a program ended. */
function lastLines(path: string): string {
  return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-15).join('\n');
}

/**
 * Ends this process with code 1 and the reason when the program ends by itself. Call it once the program
 * serves.
 */
export function endWith(name: string, child: Child): void {
  child.lost.catch((error: Error) => {
    console.error(`${name}: ${error.message}`);
    process.exit(1);
  });
}

/**
 * An option that is a port of 127.0.0.1, as a number; for 0 it is a free one.
 *
 * @throws unless it is between 0 and 65535 and nothing listens there.
 */
export async function portOption(name: string, value: string): Promise<number> {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port > 65_535) throw new Error(`--${name} must be a port number, or 0 for a free one, and is ${value}`);
  if (port !== 0) {
    if (await isFree(port)) return port;
    throw new Error(`port ${port} of 127.0.0.1 is taken: end what listens there, or give another --${name} (0 for a free one)`);
  }
  return freePort();
}

/**
 * Waits until `check` returns true, asking every 20 ms. @throws after `limitMs`, or when the program ends.
 */
export async function serving(child: Child, check: () => Promise<boolean> | boolean, limitMs: number): Promise<void> {
  const deadline = Date.now() + limitMs;
  const asking = async () => {
    while (!(await check())) {
      if (Date.now() > deadline) throw new Error(`does not serve after ${limitMs / 1000} s\n${lastLines(child.log)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  await Promise.race([asking(), child.lost]);
}

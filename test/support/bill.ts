/** The `bill` command as a process of its own, as an operator runs it. */
import { type ChildProcess, execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/**
 * One takes a second, many times that on a busy machine; one that outlives this hangs, and ends with no exit
 * code.
 */
const COMMAND_TIMEOUT_MS = 120_000;
/** Node keeps what it has compiled here: most of a command's second goes into that. */
const COMPILE_CACHE = join(tmpdir(), 'bill-test-compile-cache');

export type Ended = { code: number | null; out: string; err: string };

/** Runs a command to its end, with nothing of the service in its environment but what is said here. */
export function runBill(args: string[], env: Record<string, string>): Promise<Ended> {
  return startBillCommand(args, env).ended;
}

/** Starts a command that goes on until it is ended. */
export function startBillCommand(args: string[], env: Record<string, string>): { child: ChildProcess; ended: Promise<Ended> } {
  const options = {
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: COMPILE_CACHE, ...env },
    cwd: tmpdir(),
    timeout: COMMAND_TIMEOUT_MS,
  };
  let end: (ended: Ended) => void;
  const ended = new Promise<Ended>((resolve) => {
    end = resolve;
  });
  const child = execFile(process.execPath, [MAIN, ...args], options, (_error, out, err) => end({ code: child.exitCode, out, err }));
  return { child, ended };
}

/** Runs other programs without showing what they print, unless they fail. */
import { spawn } from 'node:child_process';

const windows = process.platform === 'win32';

/** What is kept of a program's output: a failure explains itself at the end. */
const KEPT_CHARACTERS = 20_000;

/**
 * Runs a program to its end and answers what it printed. Should this process exit first, the program is ended.
 *
 * @param limitS after so many seconds it is ended and counts as failed.
 * @throws an Error whose `output` is what it printed last, and whose message says how it ended.
 */
export function run(command, args, { limitS, ...options }) {
  return new Promise((resolve, reject) => {
    // In a process group of its own, so that it can be ended with all it has started.
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: !windows, ...options });
    let output = '';
    const keep = (text) => {
      output = (output + text).slice(-KEPT_CHARACTERS);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    const kill = () => (windows ? child.kill() : process.kill(-child.pid, 'SIGKILL'));
    process.once('exit', kill);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, limitS * 1000);
    const over = () => {
      clearTimeout(timer);
      process.off('exit', kill);
    };
    const fail = (how) => reject(Object.assign(new Error(`${command} ${how}`), { output }));
    child.on('error', (error) => {
      over();
      fail(`could not be run: ${error.message}`);
    });
    child.on('close', (code, signal) => {
      over();
      if (code === 0) resolve(output);
      else fail(late ? `did not end within ${limitS} s` : `ended with ${signal ?? `code ${code}`}`);
    });
  });
}

/** The last lines of an output, without credentials that an address may carry. */
export function lastLines(output, count) {
  return output
    .trimEnd()
    .split('\n')
    .slice(-count)
    .join('\n')
    .replace(/\/\/[^/@\s]+@/g, '//***@');
}

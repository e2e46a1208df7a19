/** Runs other programs. Their output is shown only when they fail. */
import { spawn } from 'node:child_process';

const windows = process.platform === 'win32';

/** How much of a program's output is kept. The end of it explains a failure. */
const KEPT_CHARACTERS = 20_000;

/**
 * Runs a program until it ends, and returns what it printed. When this process exits first, the program is
 * ended.
 *
 * @param limitS seconds after which the program is ended and counts as failed.
 * @throws an Error whose `output` is the end of the output, and whose message says how the program ended.
 */
export function run(command, args, { limitS, ...options }) {
  return new Promise((resolve, reject) => {
    // In its own process group, so that it can be ended with every process that it has started.
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

/** Returns the last lines of an output, without the credentials that an address can contain. */
export function lastLines(output, count) {
  return output
    .trimEnd()
    .split('\n')
    .slice(-count)
    .join('\n')
    .replace(/\/\/[^/@\s]+@/g, '//***@');
}

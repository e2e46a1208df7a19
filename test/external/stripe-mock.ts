/**
 * Stripe's own stand-in, https://github.com/stripe/stripe-mock, as a process that the test starts and ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';

const START_TIMEOUT_MS = 20_000;

/** @throws saying how to install it. */
function locate(): string {
  const named = process.env['STRIPE_MOCK'];
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(homedir(), 'go', 'bin')];
  const found = (named ? [named] : folders.map((folder) => join(folder, 'stripe-mock'))).find((path) => existsSync(path));
  if (found) return found;
  throw new Error(
    `stripe-mock is not there (${named ? `STRIPE_MOCK names ${named}` : 'neither in PATH nor in ~/go/bin'}): ` +
      'run `go install github.com/stripe/stripe-mock@latest`, or set STRIPE_MOCK to the binary',
  );
}

/** Starts it on a free port of loopback. @throws when it is not installed or ends instead. */
export async function startStripeMock(): Promise<{ url: string; stop: () => Promise<void> }> {
  // Unless told another address it also serves HTTPS, on a fixed port of every interface.
  const child = spawn(locate(), ['-http-addr', '127.0.0.1:', '-https-addr', '127.0.0.1:'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    url: await addressOf(child),
    stop: async () => {
      child.kill();
      await gone;
    },
  };
}

function addressOf(child: ChildProcess & { stdout: NodeJS.ReadableStream }): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill();
      reject(new Error(`stripe-mock was not ready after ${START_TIMEOUT_MS / 1000} s`));
    }, START_TIMEOUT_MS);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`stripe-mock ended with ${code}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const address = /Listening for HTTP at address: (\S+)/.exec(line)?.[1];
      if (!address) return;
      clearTimeout(timer);
      resolve(`http://${address}`);
    });
  });
}

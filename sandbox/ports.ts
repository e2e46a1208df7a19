/** Free ports of 127.0.0.1. */
import { createServer } from 'node:net';

const FIRST = 20_000;
const COUNT = 10_000;
/** Processes that are started one after the other begin so far apart: none draws what another has not bound yet. */
const APART = 97;
const ATTEMPTS = 100;

/** How many of this process's ports are given out. */
let given = 0;

/**
 * A port that nothing listens on, from below the ranges that systems give to outgoing connections and to servers
 * without a port of their own (Linux 32768, macOS 49152): none of those takes it before the caller does. No port is
 * given out twice, until all have been.
 *
 * @throws when a hundred of them are taken.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const candidate = FIRST + ((process.pid * APART + given++) % COUNT);
    if (await isFree(candidate)) return candidate;
  }
  throw new Error(`no free port between ${FIRST} and ${FIRST + COUNT - 1} on 127.0.0.1`);
}

/** Whether nothing listens there. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

import { connect } from 'node:net';

/** Far longer than what a stand-in does takes. */
const LIMIT_MS = 60_000;
const LOOK_MS = 10;

/** Waits until `look` returns true. @throws after a minute, naming `what`. */
export async function until(look: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + LIMIT_MS; !(await look()); ) {
    if (Date.now() > deadline) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Waits until nothing listens at `host:port`: a server that is only slow still takes connections. */
export function untilGone(address: string): Promise<void> {
  const { hostname, port } = new URL(`tcp://${address}`);
  const isRefused = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(Number(port), hostname);
      socket.once('connect', () => {
        socket.destroy();
        resolve(false);
      });
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
    });
  return until(isRefused, `nothing listens at ${address}`);
}

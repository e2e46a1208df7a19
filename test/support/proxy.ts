/**
 * A way to a server that can be held or cut, so that a process behind it waits, or lives on and is heard of
 * no more.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export type ServerProxy = {
  /** Host and port to reach the server by. */
  address: string;
  /** Passes nothing on, in either direction, until `release`. */
  hold: () => void;
  release: () => void;
  /** Whether the process behind it has sent something that is held. */
  hasHeld: () => boolean;
  /** Drops every connection and takes no other. */
  cut: () => void;
};

/** @param target host and port of the server. */
export async function startProxy(target: string): Promise<ServerProxy> {
  const { hostname, port } = new URL(`tcp://${target}`);
  /** Both ends of every connection. */
  const connections = new Set<{ near: Socket; far: Socket }>();
  let isHeld = false;
  const server = createServer((near) => {
    const connection = { near, far: connect(Number(port), hostname) };
    connections.add(connection);
    for (const [socket, other] of [
      [near, connection.far],
      [connection.far, near],
    ] as const) {
      socket.on('error', () => {}); // a reset is one way to end
      socket.on('close', () => {
        connections.delete(connection);
        other.destroy();
      });
    }
    if (!isHeld) join(connection);
  });
  const join = ({ near, far }: { near: Socket; far: Socket }) => {
    near.pipe(far);
    far.pipe(near);
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold: () => {
      isHeld = true;
      for (const { near, far } of connections) {
        near.unpipe(far);
        far.unpipe(near);
        // Without a reader a stream still takes in a buffer's worth, which shows that something came.
        near.pause();
        far.pause();
        near.read(0);
      }
    },
    release: () => {
      isHeld = false;
      for (const connection of connections) join(connection);
    },
    hasHeld: () => isHeld && [...connections].some(({ near }) => near.readableLength > 0),
    cut: () => {
      server.close();
      for (const { near, far } of connections) {
        near.destroy();
        far.destroy();
      }
    },
  };
}

/** The client's connection while Temporal is down. */
import { createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { freePort } from '../../../sandbox/ports.ts';
import { openClient } from '../../../src/temporal/connection.ts';

/** Long enough for gRPC's own pause to grow beyond ours: 1 s, 1.6 s, 2.6 s, 4.1 s. */
const OUTAGE_MS = 9_000;
/** 2 s, a fifth more by chance, and a busy machine. */
const LONGEST_PAUSE_MS = 3_500;

test('it is tried again every two seconds, however long the outage lasts', async () => {
  const attempts = [Date.now()];
  const port = await freePort();
  const away = createServer((socket) => {
    attempts.push(Date.now());
    socket.destroy();
  });
  await new Promise<void>((resolve) => away.listen(port, '127.0.0.1', resolve));
  const client = openClient({ connect: { connectionOptions: { address: `127.0.0.1:${port}` } }, taskQueue: 'q', uiUrl: undefined });
  const until = Date.now() + OUTAGE_MS;
  try {
    while (Date.now() < until) {
      await client.workflowService.getSystemInfo({}).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  } finally {
    await client.connection.close();
    away.close();
  }
  const pauses = [...attempts, until].flatMap((at, n, all) => (n === 0 ? [] : at - (all[n - 1] ?? at)));
  expect(Math.max(...pauses)).toBeLessThan(LONGEST_PAUSE_MS);
}, 30_000);

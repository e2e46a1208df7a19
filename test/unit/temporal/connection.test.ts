/** The client's connection while Temporal is down. */
import { createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { freePort } from '../../../sandbox/ports.ts';
import { openClient } from '../../../src/temporal/connection.ts';

/** Of gRPC's own pauses the fourth and the fifth are 4.1 and 6.6 s, a fifth less by chance; of ours none is above 2.4. */
const ATTEMPTS = 6;
const BETWEEN_THEM_MS = 3_000;

test('it is tried again every two seconds, however long the outage lasts', async () => {
  const attempts: number[] = [];
  const port = await freePort();
  const away = createServer((socket) => {
    attempts.push(Date.now());
    socket.destroy();
  });
  await new Promise<void>((resolve) => away.listen(port, '127.0.0.1', resolve));
  const client = openClient({ connect: { connectionOptions: { address: `127.0.0.1:${port}` } }, taskQueue: 'q', uiUrl: undefined });
  try {
    // gRPC tries again when somebody asks, no sooner than its pause allows.
    while (attempts.length < ATTEMPTS) {
      await client.workflowService.getSystemInfo({}).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await client.connection.close();
    away.close();
  }
  const pauses = attempts.slice(1).map((at, n) => at - (attempts[n] ?? at));
  // The shorter of the last two: a busy machine makes any of them longer, none shorter.
  expect(Math.min(...pauses.slice(-2))).toBeLessThan(BETWEEN_THEM_MS);
}, 60_000);

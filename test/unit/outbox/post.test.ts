/** One post to one receiver, whatever the receiver does. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import { post } from '../../../src/outbox/post.ts';

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const MESSAGE = { id: 'obe_1', type: 'balance.low', createdAt: new Date(0), data: { organization_id: 'acme' } };
/** Of the tests that wait for it. */
const SHORT_MS = 300;

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** A receiver on loopback; returns its port. */
async function receiver(answer: RequestListener): Promise<number> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const target = (port: number, host = '127.0.0.1') => ({ url: `http://${host}:${port}/hook`, secret: SECRET, allowPrivate: true });

test('the receiver verifies the signature, and finds type, time and facts', async () => {
  let verified: unknown;
  const port = await receiver(async (request, response) => {
    verified = new Webhook(SECRET).verify(await text(request), request.headers as Record<string, string>);
    response.end('thanks');
  });
  expect(await post(target(port), MESSAGE)).toEqual({ status: 200, error: null });
  expect(verified).toEqual({ type: 'balance.low', timestamp: '1970-01-01T00:00:00.000Z', data: { organization_id: 'acme' } });
});

test.each([201, 204])('%d is an event that was taken', async (status) => {
  const port = await receiver((_, response) => response.writeHead(status).end());
  expect(await post(target(port), MESSAGE)).toEqual({ status, error: null });
});

test.each([400, 410, 500, 503])('%d is a failure', async (status) => {
  const port = await receiver((_, response) => response.writeHead(status).end('no'));
  expect(await post(target(port), MESSAGE)).toEqual({ status, error: `answered ${status}` });
});

test.each([301, 302, 307, 308])('a redirect is a failure that is not followed: %d', async (status) => {
  let inside = 0;
  const internal = await receiver((_, response) => {
    inside++;
    response.end();
  });
  const port = await receiver((_, response) => response.writeHead(status, { location: `http://127.0.0.1:${internal}/` }).end());
  expect(await post(target(port), MESSAGE)).toEqual({ status, error: `answered ${status}` });
  expect(inside).toBe(0);
});

describe('a receiver that does not end', () => {
  const drip = (write: () => void) => {
    const timer = setInterval(write, SHORT_MS / 10);
    timer.unref();
    return timer;
  };

  test('with no answer has failed', async () => {
    const port = await receiver(() => {});
    expect(await post(target(port), MESSAGE, SHORT_MS)).toEqual({ status: null, error: 'no complete answer within 0.3 s' });
  });

  test('with an answer that drips has failed, however often something comes', async () => {
    const port = await receiver((_, response) => {
      const timer = drip(() => response.write('.'));
      response.on('close', () => clearInterval(timer));
    });
    expect(await post(target(port), MESSAGE, SHORT_MS)).toEqual({ status: null, error: 'no complete answer within 0.3 s' });
  });

  test('with an answer without end has its status taken, and little of the answer', async () => {
    let sent = 0;
    const port = await receiver((_, response) => {
      const chunk = Buffer.alloc(64 * 1024);
      const more = () => {
        while (!response.destroyed && sent < 1e9 && response.write(chunk)) sent += chunk.length;
      };
      response.on('drain', more);
      more();
    });
    expect(await post(target(port), MESSAGE)).toEqual({ status: 200, error: null });
    // What the sockets hold between them comes on top.
    expect(sent).toBeLessThan(50e6);
  });
});

test('nobody there is a failure with its cause, and not with the signature', async () => {
  const port = await receiver(() => {});
  await new Promise((resolve) => servers.pop()?.close(resolve));
  const { status, error } = await post(target(port), MESSAGE);
  expect([status, error]).toEqual([null, expect.stringContaining('ECONNREFUSED')]);
  expect(error).not.toMatch(/v1,|whsec_/);
});

describe('an endpoint that may not have a private address', () => {
  test.each(['127.0.0.1', '0x7f.1', 'localhost'])('is not reached under %s', async (host) => {
    let reached = 0;
    const port = await receiver((_, response) => {
      reached++;
      response.end();
    });
    const { status, error } = await post({ ...target(port, host), allowPrivate: false }, MESSAGE);
    expect([status, error]).toEqual([null, expect.stringContaining('private address')]);
    expect(reached).toBe(0);
  });
});

/** How the server treats connections, over a real one. */
import { Agent, get, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { createApp, endRequests, listen } from '../../../src/http/app.ts';
import type { HttpDependencies } from '../../../src/http/dependencies.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';

let server: Server | undefined;
const agent = new Agent({ keepAlive: true });
afterEach(() => {
  agent.destroy();
  server?.close();
});

/** Asks, and returns the port of our end of the connection, and how long the server says it keeps it. */
function ask(port: number): Promise<{ connection: number | undefined; kept: string }> {
  return new Promise((resolve, reject) => {
    const request = get({ port, host: '127.0.0.1', agent }, (response) => {
      const { localPort } = response.socket;
      response.resume().on('end', () => resolve({ connection: localPort, kept: String(response.headers['keep-alive']) }));
    });
    request.on('error', reject);
  });
}

const GRACE_MS = 10_000;
/** Balancers keep an idle connection for a minute, mostly. */
const BALANCER_S = 60;

test('an idle connection outlives that of a balancer', async () => {
  const app = express().get('/', (_request, response) => void response.end());
  server = await listen(app, '127.0.0.1', 0);
  const { kept } = await ask((server.address() as AddressInfo).port);
  expect(Number(/^timeout=(\d+)$/.exec(kept)?.[1])).toBeGreaterThan(BALANCER_S);
});

test('from SIGTERM on each answer ends its connection, so the sender opens the next one elsewhere', async () => {
  let stopping = false;
  const log = createLogger('silent');
  // What /health asks for.
  const needs = { adminApiKey: 'a-key', log, metrics: new Metrics('serve', log), probes: {}, isStopping: () => stopping };
  server = await listen(createApp(needs as unknown as HttpDependencies), '127.0.0.1', 0);
  const { port } = server.address() as AddressInfo;
  const connection = async () => (await ask(port)).connection;
  const first = await connection();
  expect(await connection()).toBe(first);
  stopping = true;
  expect(await connection()).toBe(first);
  expect(await connection()).not.toBe(first);
});

test('the end waits for the request under way, and not for another one on its connection', async () => {
  let answer: () => void = () => {};
  const asked = new Promise<void>((resolve) => {
    const app = express().get('/', (_request, response) => {
      answer = () => void response.end();
      resolve();
    });
    void listen(app, '127.0.0.1', 0).then((listening) => {
      server = listening;
      void ask((listening.address() as AddressInfo).port);
    });
  });
  await asked;
  const begun = performance.now();
  let hasEnded = false;
  const ended = endRequests(server as Server, GRACE_MS).then(() => {
    hasEnded = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect([server?.listening, hasEnded]).toEqual([false, false]);
  answer();
  await ended;
  expect(performance.now() - begun).toBeLessThan(GRACE_MS / 2);
});

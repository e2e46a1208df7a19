/** How the server treats connections, over a real one. */
import { Agent, get, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
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

/** Asks, and returns the port of our end of the connection. */
function ask(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const request = get({ port, host: '127.0.0.1', agent }, (response) => {
      const { localPort } = response.socket;
      response.resume().on('end', () => resolve(localPort));
    });
    request.on('error', reject);
  });
}

/** Longer than Node keeps an idle connection by itself, and than a request may take. */
const IDLE_MS = 12_000;
const UNDER_WAY_MS = 500;
const GRACE_MS = 10_000;

test('a connection that a balancer keeps is not closed before the balancer lets go of it', async () => {
  const app = express().get('/', (_request, response) => void response.end());
  server = await listen(app, '127.0.0.1', 0);
  const { port } = server.address() as AddressInfo;
  const first = await ask(port);
  await sleep(IDLE_MS);
  expect(await ask(port)).toBe(first);
});

test('from SIGTERM on each answer ends its connection, so the sender opens the next one elsewhere', async () => {
  let stopping = false;
  const log = createLogger('silent');
  // What /health asks for.
  const needs = { adminApiKey: 'a-key', log, metrics: new Metrics('serve', log), probes: {}, isStopping: () => stopping };
  server = await listen(createApp(needs as unknown as HttpDependencies), '127.0.0.1', 0);
  const { port } = server.address() as AddressInfo;
  const first = await ask(port);
  expect(await ask(port)).toBe(first);
  stopping = true;
  expect(await ask(port)).toBe(first);
  expect(await ask(port)).not.toBe(first);
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
  const ended = endRequests(server as Server, GRACE_MS);
  await sleep(UNDER_WAY_MS);
  answer();
  await ended;
  const took = performance.now() - begun;
  expect(took).toBeGreaterThanOrEqual(UNDER_WAY_MS);
  expect(took).toBeLessThan(GRACE_MS / 2);
});

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import express from 'express';
import { countIngest, noteOutcome, requestLog } from '../../../src/http/request-log.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { parsePage, totalOf } from '../../support/prometheus.ts';

let server: Server | undefined;
afterEach(() => {
  server?.close();
});

/** An application with the access log, and what it has logged and counted. */
async function served() {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger('debug', { write: (line: string) => void lines.push(JSON.parse(line)) });
  const metrics = new Metrics('serve', log);
  const app = express();
  app.use(requestLog(log, metrics));
  const webhook = express.Router();
  webhook.post('/limit-exceeded', (request, response) => {
    if (request.query['as']) noteOutcome(response, String(request.query['as']));
    response.sendStatus(Number(request.query['status'] ?? 200));
  });
  app.use('/webhooks/litellm', countIngest(metrics, 'litellm'), webhook);
  const organizations = express.Router({ mergeParams: true });
  organizations.get('/:team_id', (_request, response) => void response.sendStatus(200));
  app.use('/api/v1/organizations/:organization_id/teams', organizations);
  server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server?.once('listening', resolve));
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { http: axios.create({ baseURL, validateStatus: () => true }), lines, samples: async () => parsePage(await metrics.page()) };
}

describe('the access log', () => {
  test('names method, path, status and the id that the answer has, and never the query', async () => {
    const { http, lines } = await served();
    const { headers } = await http.get('/api/v1/organizations/acme/teams/t-1?token=sk-secret');
    expect(lines).toEqual([
      expect.objectContaining({
        method: 'GET',
        path: '/api/v1/organizations/acme/teams/t-1',
        status: 200,
        request_id: headers['x-request-id'],
      }),
    ]);
    expect(JSON.stringify(lines)).not.toContain('sk-secret');
  });

  test("takes over a proxy's id, and makes one in place of what is none", async () => {
    const { http } = await served();
    const idFor = async (given: string) => (await http.get('/x', { headers: { 'x-request-id': given } })).headers['x-request-id'];
    expect(await idFor('req-1.a:b')).toBe('req-1.a:b');
    expect(await idFor('two words')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await idFor('x'.repeat(129))).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('has a webhook that is answered well at debug, and one that is not at info', async () => {
    const { http, lines } = await served();
    await http.post('/webhooks/litellm/limit-exceeded');
    await http.post('/webhooks/litellm/limit-exceeded?status=503');
    expect(lines.map(({ level, status }) => [level, status])).toEqual([
      [20, 200],
      [30, 503],
    ]);
  });

  test('has its metric by the template of the route, whatever ids the path holds', async () => {
    const { http, samples } = await served();
    await http.get('/api/v1/organizations/acme/teams/t-1');
    await http.get('/nowhere/acme');
    const routes = (await samples()).flatMap(({ name, labels }) =>
      name === 'bill_http_request_duration_seconds_count' ? [labels['route']] : [],
    );
    expect(routes).toEqual(['/api/v1/organizations/:organization_id/teams/:team_id', 'none']);
  });
});

describe('what is posted to a webhook', () => {
  test.each([
    ['as=accepted', 'accepted'],
    ['as=duplicate', 'duplicate'],
    ['status=401', 'unauthenticated'],
    ['status=413', 'too_large'],
    ['status=503', 'unavailable'],
    ['status=500', 'failed'],
  ])('with %s is counted as %s, once', async (query, outcome) => {
    const { http, samples } = await served();
    await http.post(`/webhooks/litellm/limit-exceeded?${query}`);
    const page = await samples();
    expect(totalOf(page, 'bill_ingest_events_total', { source: 'litellm', outcome })).toBe(1);
    expect(totalOf(page, 'bill_ingest_events_total', {})).toBe(1);
    expect(totalOf(page, 'bill_ingest_duration_seconds_count', {})).toBe(1);
  });

  test('is not what asks for something else there', async () => {
    const { http, samples } = await served();
    await http.get('/webhooks/litellm/nothing');
    expect(totalOf(await samples(), 'bill_ingest_events_total', {})).toBe(0);
  });
});

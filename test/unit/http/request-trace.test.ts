/** What a request is in a trace: where it came from and went to, and nothing that it was sent with. */
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import express from 'express';
import { listen } from '../../../src/http/app.ts';
import { requestLog } from '../../../src/http/request-log.ts';
import { spanOfRequest, traceRequest } from '../../../src/http/request-trace.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { type CollectedSpan, collected } from '../../support/collector.ts';

const SENDER = { traceId: '1'.repeat(32), spanId: '2'.repeat(16) };

/** Settles when the one is over whose sender has left. */
const givenUp = Promise.withResolvers<void>();

/** The spans of requests to an application that answers with the trace that it hands on. */
function spansOf(requests: (url: string) => Promise<unknown>): Promise<CollectedSpan[]> {
  return collected(async () => {
    const log = createLogger('silent');
    const app = express();
    app.use(traceRequest, requestLog(log, new Metrics('serve', log)));
    app.get(['/health', '/metrics'], (_request, response) => void response.end());
    app.get('/things/:id', (_request, response) => void response.json(spanOfRequest(response)?.traceparent));
    app.get('/broken', (_request, response) => void response.status(503).end());
    app.get('/endless', (_request, response) => {
      response.once('close', () => givenUp.resolve());
      response.write('…');
    });
    const server = await listen(app, '127.0.0.1', 0);
    await requests(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });
}

test('has the template of its route and its status, and neither its path, its query nor its headers', async () => {
  const spans = await spansOf((url) =>
    fetch(`${url}/things/of-a-customer?token=secret-of-the-sender`, { headers: { authorization: 'Bearer key' } }),
  );
  expect(spans).toMatchObject([
    {
      name: 'GET /things/:id',
      parentSpanId: '',
      isFailed: false,
      attributes: { 'http.route': '/things/:id', 'http.response.status_code': 200, 'bill.request_id': expect.any(String) },
    },
  ]);
  expect(JSON.stringify(spans)).not.toMatch(/of-a-customer|secret-of-the-sender|Bearer/);
});

test('goes on in the trace of its sender, and hands that on', async () => {
  let handedOn = '';
  const [span] = await spansOf(async (url) => {
    const headers = { traceparent: `00-${SENDER.traceId}-${SENDER.spanId}-01` };
    handedOn = (await (await fetch(`${url}/things/1`, { headers })).json()) as string;
  });
  expect(span).toMatchObject({ traceId: SENDER.traceId, parentSpanId: SENDER.spanId });
  expect(handedOn).toBe(`00-${SENDER.traceId}-${span?.spanId}-01`);
});

test('begins a trace of its own where the sender names none that can be read', async () => {
  const [span] = await spansOf((url) => fetch(`${url}/things/1`, { headers: { traceparent: 'none' } }));
  expect(span).toMatchObject({ parentSpanId: '', traceId: expect.not.stringContaining(SENDER.traceId) });
});

test('fails where the answer is a fault of ours, or was not taken', async () => {
  const spans = await spansOf(async (url) => {
    await fetch(`${url}/broken`);
    const left = new AbortController();
    await fetch(`${url}/endless`, { signal: left.signal });
    left.abort();
    await givenUp.promise;
  });
  expect(spans.map(({ name, isFailed, attributes }) => [name, isFailed, attributes['error.type']])).toEqual([
    ['GET /broken', true, '503'],
    ['GET /endless', true, 'aborted'],
  ]);
});

test('is none where it is a probe or a scrape', async () => {
  expect(await spansOf((url) => Promise.all([fetch(`${url}/health`), fetch(`${url}/metrics`)]))).toEqual([]);
});

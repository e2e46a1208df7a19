/** The access log, the ids of requests, and what is counted of them. */
import { randomUUID } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { activeTrace } from '../observability/tracing.ts';

/** An id that a proxy has given it goes on. Any other text would go into the log. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** Asked every few seconds, or thousands of times a second: a line of each would be the log. Failures are logged all the same. */
const FREQUENT = /^\/(health|ready|metrics|webhooks\/(litellm|stripe))(\/|$)/;

/**
 * Logs the method, the path, the status and the time of each request, and gives it an id, which the answer names. Never
 * the query, a header or the body: they may hold a token.
 */
export function requestLog(log: Logger, metrics: Metrics): RequestHandler {
  return (request, response, next) => {
    const started = performance.now();
    // The answer may end outside of the work that it began in.
    const trace = activeTrace();
    const given = request.headers['x-request-id'];
    const id = typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
    response.set('X-Request-Id', id);
    response.on('finish', () => {
      const seconds = (performance.now() - started) / 1000;
      const { method, originalUrl } = request;
      const path = originalUrl.split('?')[0] ?? '';
      const status = response.statusCode;
      const level = FREQUENT.test(path) && status < 500 ? 'debug' : 'info';
      log[level]({ request_id: id, method, path, status, ms: Math.round(seconds * 1000), ...trace }, 'request');
      metrics.observe('bill_http_request_duration_seconds', { method, route: routeOf(request), status: String(status) }, seconds);
    });
    next();
  };
}

/** The template of the route that has answered, such as `/api/v1/recharges/:id`; paths hold ids. */
export function routeOf({ baseUrl, route, params }: Request): string {
  if (!route) return 'none';
  // What a router is mounted at may hold a parameter too.
  const mounted = Object.entries(params ?? {}).reduce((path, [name, value]) => path.replace(`/${String(value)}`, `/:${name}`), baseUrl);
  return `${mounted}${route.path === '/' ? '' : String(route.path)}`;
}

/** What a sender was told, by the status of the answer, where the route has not said it. */
const OUTCOMES: Readonly<Record<number, string>> = {
  400: 'malformed',
  401: 'unauthenticated',
  409: 'conflict',
  413: 'too_large',
  415: 'unsupported_media_type',
  500: 'failed',
  503: 'unavailable',
};

/** Says of an event that was taken in what became of it: for `countIngest`. */
export function noteOutcome(response: Response, outcome: string): void {
  response.locals['outcome'] = outcome;
}

/** Counts what is posted to a webhook: one event each, whatever is answered. */
export function countIngest(metrics: Metrics, source: 'litellm' | 'stripe'): RequestHandler {
  const outcomes = ['accepted', 'duplicate', 'ignored', 'aborted', ...Object.values(OUTCOMES)];
  metrics.begin(
    'bill_ingest_events_total',
    outcomes.map((outcome) => ({ source, outcome })),
  );
  return (_request, response, next) => {
    const started = performance.now();
    response.once('close', () => {
      const { statusCode, writableFinished } = response;
      const outcome = writableFinished ? ((response.locals['outcome'] as string | undefined) ?? OUTCOMES[statusCode]) : 'aborted';
      // Something else than the webhook was asked for.
      if (outcome === undefined) return;
      metrics.count('bill_ingest_events_total', { source, outcome });
      metrics.observe('bill_ingest_duration_seconds', { source }, (performance.now() - started) / 1000);
    });
    next();
  };
}

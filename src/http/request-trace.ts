/** Each request as a span, in the trace of its sender where that has one. */
import type { RequestHandler, Response } from 'express';
import type { Span } from '../observability/span.ts';
import { beginSpan, within } from '../observability/tracing.ts';
import { routeOf } from './request-log.ts';

/** Asked every few seconds, and part of nothing. */
const UNTRACED = /^\/(health|ready|metrics)(\/|$)/;

const spans = new WeakMap<Response, Span>();

/** Never the path, the query, a header or the body: they may hold ids and tokens that a trace does not. */
export const traceRequest: RequestHandler = (request, response, next) => {
  if (UNTRACED.test(request.path)) return next();
  const span = beginSpan({
    name: request.method,
    kind: 'server',
    // Several of them are one text with a comma, which is none.
    parent: request.headers['traceparent'] as string | undefined,
    attributes: { 'http.request.method': request.method },
  });
  if (!span) return next();
  spans.set(response, span);
  response.once('close', () => {
    if (!span.isRecorded) return;
    const route = routeOf(request);
    span.rename(`${request.method} ${route}`);
    span.note({
      'http.route': route,
      'http.response.status_code': response.statusCode,
      'bill.request_id': String(response.get('X-Request-Id')),
    });
    if (response.statusCode >= 500) span.fail(String(response.statusCode));
    if (!response.writableFinished) span.fail('aborted');
    span.end();
  });
  within(span, next);
};

/** Of a request: its body may arrive outside of the work that it began in. */
export function spanOfRequest(response: Response): Span | undefined {
  return spans.get(response);
}

/** The express application: every route of the service, and what they share. */
import { createServer, type Server } from 'node:http';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import { isTracing } from '../observability/tracing.ts';
import { requireAdminKey } from './admin-key.ts';
import type { HttpDependencies } from './dependencies.ts';
import { healthRoutes } from './health.ts';
import { holdRoutes } from './holds.ts';
import { organizationRoutes } from './organizations.ts';
import { outboundEndpointRoutes, outboundEventRoutes } from './outbound.ts';
import { errorHandler, notFoundHandler, Problem } from './problem.ts';
import { cutOffAfterAnswer } from './raw-body.ts';
import { rechargeRoutes } from './recharges.ts';
import { countIngest, requestLog } from './request-log.ts';
import { traceRequest } from './request-trace.ts';
import { reversalRoutes } from './reversals.ts';
import { statusRoutes } from './status.ts';
import { syncRoutes } from './sync.ts';
import { teamRoutes } from './teams.ts';
import { eventRoutes, litellmWebhook, stripeWebhook } from './webhooks.ts';

const MAX_ADMIN_BODY_BYTES = 64 * 1024;
/** A request whose headers and body take longer to arrive is answered 408. */
const REQUEST_DEADLINE_MS = 10_000;
/**
 * An idle connection is kept longer than a balancer keeps it, mostly a minute: one that is closed here while the balancer
 * sends a request on it is a 502 to the sender, and LiteLLM does not send an alert again.
 */
const IDLE_CONNECTION_MS = 75_000;

export function createApp(dependencies: HttpDependencies): Express {
  const { adminApiKey, log, metrics, isStopping } = dependencies;
  const app = express();
  app.disable('x-powered-by');
  app.set('query parser', 'simple');
  if (isTracing()) app.use(traceRequest);
  app.use(requestLog(log, metrics), cutOffAfterAnswer, endConnectionsWhile(isStopping));

  // Before everything that an alert does not need. What helmet sets is for browsers.
  app.post('/webhooks/litellm/limit-exceeded', countIngest(metrics, 'litellm'), litellmWebhook(dependencies));
  app.post('/webhooks/stripe', countIngest(metrics, 'stripe'), stripeWebhook(dependencies));

  app.use(helmet());
  app.use(healthRoutes(dependencies));

  const admin = [requireAdminKey(adminApiKey), refuseNul, refuseOtherThanJson, express.json({ limit: MAX_ADMIN_BODY_BYTES })];
  app.use('/webhooks/events', admin, eventRoutes(dependencies));
  app.use('/api/v1/organizations/:organization_id/teams', admin, teamRoutes(dependencies));
  app.use('/api/v1/organizations', admin, organizationRoutes(dependencies));
  app.use('/api/v1/recharges', admin, rechargeRoutes(dependencies));
  app.use('/api/v1/reversals', admin, reversalRoutes(dependencies));
  app.use('/api/v1/holds', admin, holdRoutes(dependencies));
  app.use('/api/v1/outbound-endpoints', admin, outboundEndpointRoutes(dependencies));
  app.use('/api/v1/outbound-events', admin, outboundEventRoutes(dependencies));
  app.use('/api/v1/status', admin, statusRoutes(dependencies));
  app.use('/api/v1/sync', admin, syncRoutes(dependencies));

  app.use(notFoundHandler);
  app.use(errorHandler(log));
  return app;
}

/** Listens. @param port 0 takes a free one. @throws the listen error, EADDRINUSE for a busy port. */
export async function listen(app: Express, host: string, port: number): Promise<Server> {
  const server = createServer(
    {
      requestTimeout: REQUEST_DEADLINE_MS,
      headersTimeout: REQUEST_DEADLINE_MS,
      keepAliveTimeout: IDLE_CONNECTION_MS,
      connectionsCheckingInterval: 1_000,
    },
    app,
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return server;
}

/** Takes no other connection and waits for the requests under way, `graceMs` at most; then it closes what is left. */
export async function endRequests(server: Server, graceMs: number): Promise<void> {
  // Nor is a connection kept whose request began before the process was told to stop. 0 would keep it for ever.
  server.keepAliveTimeout = 1;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const deadline = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(deadline);
}

/** Tells the sender to open its next connection elsewhere: the end of the process would cut off what it sends on this one. */
function endConnectionsWhile(isStopping: () => boolean): RequestHandler {
  return (_request, response, next) => {
    if (isStopping()) response.set('Connection', 'close');
    next();
  };
}

/** No id and no filter holds a NUL, and in PostgreSQL a statement with one fails like a broken connection. */
const refuseNul: RequestHandler = (request, _response, next) => {
  if (/%00/.test(request.originalUrl)) throw new Problem('malformed', 'the URL holds a NUL');
  next();
};

/** Express would leave such a body out, and the request would be read as one without. */
const refuseOtherThanJson: RequestHandler = (request, _response, next) => {
  const isEmpty = request.headers['content-length'] === '0';
  if (!isEmpty && request.is('application/json') === false) {
    const given = request.headers['content-type'] ?? 'none';
    throw new Problem('unsupported-media-type', `send the body with Content-Type: application/json (given: ${given})`);
  }
  next();
};

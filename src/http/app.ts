/** The express application: every route of the service, and what all of them have in common. */
import { createServer, type Server } from 'node:http';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { Database } from '../database/database.ts';
import type { Recharge, Reversal } from '../database/entities.ts';
import type { DispatchableEvent } from '../database/webhook-events.ts';
import type { Secrets } from '../inbox/signatures.ts';
import type { KmsClient } from '../kms/client.ts';
import type { Logger } from '../observability/log.ts';
import { requireAdminKey } from './admin-key.ts';
import { healthRoutes, type Probes } from './health.ts';
import { organizationRoutes } from './organizations.ts';
import { errorHandler, notFoundHandler, Problem } from './problem.ts';
import { cutOffAfterAnswer } from './raw-body.ts';
import { rechargeRoutes } from './recharges.ts';
import { reversalRoutes } from './reversals.ts';
import { type SyncStarter, syncRoutes } from './sync.ts';
import { teamRoutes } from './teams.ts';
import { eventRoutes, litellmWebhook, stripeWebhook } from './webhooks.ts';

export type HttpDependencies = {
  database: Database;
  kms: KmsClient;
  secrets: Secrets;
  adminApiKey: string;
  probes: Probes;
  stripeSigningSecrets: readonly string[];
  /** Called when an alert, or one of Stripe's events, has become durable. */
  alertAccepted: () => void;
  stripeEventAccepted: () => void;
  /** Where the Temporal Web UI shows the run of an event; null when there is no UI. */
  linkTo: (eventId: string) => string | null;
  /** Starts the run of an event again. */
  resume: (event: DispatchableEvent) => Promise<void>;
  /** Whether the customer has a reversal's money now, as Stripe says. */
  isMoneyGone: (reversal: Reversal, recharge: Recharge) => Promise<boolean>;
  /** Starts the run that looks whether Stripe has more to say about a recharge's money. */
  lookForReversals: (recharge: Recharge) => Promise<void>;
  /** Starts runs of the synchronisation with LiteLLM. */
  sync: SyncStarter;
  log: Logger;
};

/** Bodies of the admin API. */
const MAX_ADMIN_BODY_BYTES = 64 * 1024;
/** A request whose head and body take longer to arrive is answered 408. */
const REQUEST_DEADLINE_MS = 10_000;

export function createApp({
  database,
  kms,
  secrets,
  stripeSigningSecrets,
  adminApiKey,
  probes,
  alertAccepted,
  stripeEventAccepted,
  linkTo,
  resume,
  lookForReversals,
  isMoneyGone,
  sync,
  log,
}: HttpDependencies): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('query parser', 'simple');
  app.use(helmet());
  app.use(requestLog(log), cutOffAfterAnswer);

  app.use(healthRoutes(probes));
  app.use('/webhooks/litellm', litellmWebhook(database, secrets, alertAccepted));
  app.use('/webhooks/stripe', stripeWebhook(database, stripeSigningSecrets, stripeEventAccepted));

  const admin = [requireAdminKey(adminApiKey), refuseNul, express.json({ limit: MAX_ADMIN_BODY_BYTES })];
  app.use('/webhooks/events', admin, eventRoutes(database));
  app.use('/api/v1/organizations/:organization_id/teams', admin, teamRoutes(database, kms, log));
  app.use('/api/v1/organizations', admin, organizationRoutes(database, kms));
  app.use('/api/v1/recharges', admin, rechargeRoutes(database, linkTo, resume, lookForReversals));
  app.use('/api/v1/reversals', admin, reversalRoutes(database, isMoneyGone, lookForReversals));
  app.use('/api/v1/sync', admin, syncRoutes(database, sync));

  app.use(notFoundHandler);
  app.use(errorHandler(log));
  return app;
}

/** Listens. @param port 0 takes a free one. @throws the listen error, EADDRINUSE for a busy port. */
export async function listen(app: Express, host: string, port: number): Promise<Server> {
  const server = createServer(
    { requestTimeout: REQUEST_DEADLINE_MS, headersTimeout: REQUEST_DEADLINE_MS, connectionsCheckingInterval: 1_000 },
    app,
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return server;
}

/** No id and no filter holds a NUL, and PostgreSQL takes a statement with one for a broken connection. */
const refuseNul: RequestHandler = (request, _response, next) => {
  if (/%00/.test(request.originalUrl)) throw new Problem('malformed', 'the URL holds a NUL');
  next();
};

/** Method, path and outcome. Never the query: it may hold a token. */
function requestLog(log: Logger): RequestHandler {
  return (request, response, next) => {
    const started = performance.now();
    response.on('finish', () => {
      const { method, originalUrl } = request;
      const path = originalUrl.split('?')[0];
      log.debug({ method, path, status: response.statusCode, ms: Math.round(performance.now() - started) }, 'request');
    });
    next();
  };
}

/** The API of the service, put together from a configuration. */
import type { AddressInfo } from 'node:net';
import type { Config } from './config.ts';
import { Database } from './database/database.ts';
import { describeDatabaseError, isDatabaseError, isDatabaseOutage } from './database/errors.ts';
import { batchReceiver } from './database/receiving.ts';
import { serviceFacts } from './database/status.ts';
import { withDeadline } from './deadline.ts';
import { serviceLines } from './domain/status.ts';
import { createApp, listen } from './http/app.ts';
import { Dispatcher } from './inbox/dispatcher.ts';
import { GroupCommit, LANES } from './inbox/group-commit.ts';
import { alertSource, stripeSource } from './inbox/sources.ts';
import { KmsClient } from './kms/client.ts';
import type { Logger } from './observability/log.ts';
import { outboxSource } from './outbox/source.ts';
import { PaymentsClient } from './payments/client.ts';
import type { Running } from './running.ts';
import { openClient } from './temporal/connection.ts';
import { temporalErrorOf } from './temporal/errors.ts';
import { temporalFacts } from './temporal/facts.ts';
import { TemporalLinks } from './temporal/links.ts';
import { TemporalStarter } from './temporal/starter.ts';

/** What Temporal says of workers and schedules takes some ten calls. */
const TEMPORAL_DEADLINE_MS = 5_000;
/** After SIGTERM, requests under way may take this long; then their connections are closed. */
const HTTP_GRACE_MS = 10_000;

/**
 * The API with its dispatchers: stores what comes in, starts the workflows and delivers outbound events. It
 * also starts while PostgreSQL or Temporal is unavailable.
 */
export async function startApi(config: Config, log: Logger): Promise<Running & { port: number }> {
  const database = await Database.open(config.databaseUrl);
  const client = openClient(config.temporal);
  const kms = new KmsClient(config.kms);
  const payments = new PaymentsClient(config.stripe);
  const told = (error: unknown) =>
    (isDatabaseError(error) ? new Error(describeDatabaseError(error)) : temporalErrorOf(error, config.temporal)) as Error;
  const inWords = (error: unknown): never => {
    throw told(error);
  };
  const workflows = new TemporalStarter(client, config.temporal);
  const inbox = new GroupCommit({ store: batchReceiver(database, LANES), isOutage: isDatabaseOutage });
  const alerts = new Dispatcher(alertSource(database, workflows), log);
  const stripeEvents = new Dispatcher(stripeSource({ database, payments, workflows }), log);
  const outbox = new Dispatcher(outboxSource({ database, log, ...config.outbound }), log);
  const temporalFactsOrFailure = () =>
    withDeadline(temporalFacts(client, config.temporal), TEMPORAL_DEADLINE_MS).catch((error) => ({
      failure: told(error).message.split('\n')[0] ?? 'unknown',
    }));
  /** @throws what `bill status` calls wrong, without its details: `/ready` answers everybody. */
  const requireFine = async () => {
    const facts = { ...(await serviceFacts(database.fork())), temporal: await temporalFactsOrFailure() };
    const wrong = serviceLines(facts, new Date()).filter(({ isFine }) => !isFine);
    if (wrong.length > 0) throw new Error(`wrong: ${wrong.map(({ check }) => check).join(', ')}; bill status says more`);
  };
  const app = createApp({
    database,
    kms,
    payments,
    workflows,
    links: new TemporalLinks(config.temporal),
    probes: {
      database: () => database.ping().catch(inWords),
      temporal: () => timed(() => client.workflowService.getSystemInfo({})).catch(inWords),
      service: () => timed(requireFine).catch(inWords),
      kms: () => kms.ping(),
      stripe: () => payments.ping(),
    },
    temporalFacts: temporalFactsOrFailure,
    alertSecrets: config.webhook,
    stripeSigningSecrets: config.stripe.webhookSecrets,
    adminApiKey: config.http.adminApiKey,
    storeAlert: (alert, bytes) => inbox.add(alert, bytes),
    alertAccepted: () => alerts.poke(),
    stripeEventAccepted: () => stripeEvents.poke(),
    outboundEventResent: () => outbox.poke(),
    allowPrivateEndpoints: config.outbound.allowPrivate,
    log,
  });
  const server = await listen(app, config.http.host, config.http.port);
  alerts.run();
  stripeEvents.run();
  outbox.run();
  const { port } = server.address() as AddressInfo;
  log.info({ host: config.http.host, port }, 'the API listens');
  return {
    port,
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const deadline = setTimeout(() => server.closeAllConnections(), HTTP_GRACE_MS);
      await closed;
      clearTimeout(deadline);
      await inbox.drained();
      await Promise.all([alerts.stop(), stripeEvents.stop(), outbox.stop()]);
      await client.connection.close();
      await database.close();
    },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

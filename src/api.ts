/** The API of the service, put together from a configuration. */
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, METRICS_PORTS } from './config.ts';
import { Database } from './database/database.ts';
import { describeDatabaseError, isDatabaseError, isDatabaseOutage } from './database/errors.ts';
import { FiguresReader } from './database/figures.ts';
import { batchReceiver, type IncomingEvent } from './database/receiving.ts';
import { serviceFacts } from './database/status.ts';
import { withDeadline } from './deadline.ts';
import { serviceLines } from './domain/service-status.ts';
import { createApp, endRequests, listen } from './http/app.ts';
import { listenForMetrics } from './http/metrics-listener.ts';
import { Dispatcher, type DispatchWatcher } from './inbox/dispatcher.ts';
import { GroupCommit, LANES } from './inbox/group-commit.ts';
import { alertSource, stripeSource } from './inbox/sources.ts';
import { KmsClient } from './kms/client.ts';
import { showBooks } from './observability/book-metrics.ts';
import type { Logger } from './observability/log.ts';
import { Metrics } from './observability/metrics.ts';
import { callWatcher, showProcess } from './observability/process-metrics.ts';
import { outboxSource } from './outbox/source.ts';
import { PaymentsClient } from './payments/client.ts';
import type { Running } from './running.ts';
import { openClient } from './temporal/connection.ts';
import { temporalErrorOf } from './temporal/errors.ts';
import { temporalFacts } from './temporal/facts.ts';
import { TemporalLinks } from './temporal/links.ts';
import { TemporalStarter } from './temporal/starter.ts';
import { VERSION } from './version.ts';

/** What Temporal says of workers and schedules takes some ten calls. */
const TEMPORAL_DEADLINE_MS = 5_000;
/** A figure that takes longer is left out of a page: Prometheus waits for 10 s. */
const FIGURES_TIMEOUT_MS = 3_000;
const FIGURES_POOL_MAX = 1;
/**
 * For a call to LiteLLM or Stripe that a request waits for: `bill` waits 15 s for its answer, which then says which of
 * them has hung. Two fit in, for a balance is asked for in two ways.
 */
const BEHIND_DEADLINE_MS = 6_000;
/** After SIGTERM, requests under way may take this long; then their connections are closed. */
const HTTP_GRACE_MS = 10_000;

/**
 * The API with its dispatchers: stores what comes in, starts the workflows and delivers outbound events. It
 * also starts while PostgreSQL or Temporal is unavailable.
 */
export async function startApi(config: Config, log: Logger): Promise<Running & { port: number }> {
  const database = await Database.open(config.databaseUrl);
  const client = openClient(config.temporal);
  const metrics = new Metrics('serve', log);
  const kms = new KmsClient({ ...config.kms, deadlineMs: BEHIND_DEADLINE_MS, watch: callWatcher(metrics, 'litellm') });
  const payments = new PaymentsClient({ ...config.stripe, deadlineMs: BEHIND_DEADLINE_MS, watch: callWatcher(metrics, 'stripe') });
  const told = (error: unknown) =>
    (isDatabaseError(error) ? new Error(describeDatabaseError(error)) : temporalErrorOf(error, config.temporal)) as Error;
  const inWords = (error: unknown): never => {
    throw told(error);
  };
  const workflows = new TemporalStarter(client, config.temporal);
  const receive = batchReceiver(database, LANES);
  const inbox = new GroupCommit({
    store: (batch: readonly IncomingEvent[]) => {
      metrics.observe('bill_ingest_batch_size', {}, batch.length);
      return receive(batch);
    },
    isOutage: isDatabaseOutage,
  });
  const alerts = new Dispatcher(alertSource(database, workflows), log, dispatchWatcher(metrics, 'alerts'));
  const stripeEvents = new Dispatcher(stripeSource({ database, payments, workflows }), log, dispatchWatcher(metrics, 'stripe_events'));
  const outbox = new Dispatcher(
    outboxSource({ database, log, metrics, ...config.outbound }),
    log,
    dispatchWatcher(metrics, 'outbound_events'),
  );
  let stopping = false;
  const isStopping = () => stopping;
  const facts = () =>
    withDeadline(temporalFacts(client, config.temporal), TEMPORAL_DEADLINE_MS).catch((error) => ({
      failure: told(error).message.split('\n')[0] ?? 'unknown',
    }));
  /** @throws what `bill status` calls wrong, without its details: `/ready` answers everybody. */
  const requireFine = async () => {
    const wrong = serviceLines({ ...(await serviceFacts(database.fork())), temporal: await facts() }, new Date()).filter(
      ({ isFine }) => !isFine,
    );
    if (wrong.length > 0) throw new Error(`wrong: ${wrong.map(({ check }) => check).join(', ')}; bill status says more`);
  };
  const probes = {
    database: () => database.ping().catch(inWords),
    temporal: () => timed(() => client.workflowService.getSystemInfo({})).catch(inWords),
    service: () => timed(requireFine).catch(inWords),
    kms: () => kms.ping(),
    stripe: () => payments.ping(),
  };
  const app = createApp({
    database,
    kms,
    payments,
    workflows,
    links: new TemporalLinks(config.temporal),
    probes,
    stripeApiBase: config.stripe.apiBase,
    isStopping,
    metrics,
    temporalFacts: facts,
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
  // Connections of their own: a scrape waits for no request, and no request for a scrape.
  const books = await Database.open(config.databaseUrl, { statementTimeoutMs: FIGURES_TIMEOUT_MS, poolMax: FIGURES_POOL_MAX });
  const reader = new FiguresReader(books);
  showBooks(metrics, { figures: () => reader.read(), temporalFacts: facts });
  const gates = [
    { dependency: 'litellm', lane: 'money', client: kms } as const,
    { dependency: 'stripe', lane: 'money', client: payments } as const,
  ];
  showProcess(metrics, { version: VERSION, gates, pools: { main: database } });
  const { host, port: metricsPort = METRICS_PORTS.serve } = config.metrics;
  const shown = await listenForMetrics({ metrics, health: { probes, isStopping }, host, port: metricsPort, log });
  alerts.run();
  stripeEvents.run();
  outbox.run();
  const { port } = server.address() as AddressInfo;
  log.info({ host: config.http.host, port }, 'the API listens');
  return {
    port,
    // New requests end first, then what hands them on; who probes and scrapes is answered to the end.
    stop: async () => {
      stopping = true;
      // Who sends requests here, such as a balancer, sees at `/ready` that it is to look elsewhere, and has the time to.
      await sleep(config.http.drainMs);
      await endRequests(server, HTTP_GRACE_MS);
      await inbox.drained();
      await Promise.all([alerts.stop(), stripeEvents.stop(), outbox.stop()]);
      await client.connection.close();
      await shown?.close();
      await Promise.all([database.close(), books.close()]);
    },
  };
}

function dispatchWatcher(metrics: Metrics, inbox: 'alerts' | 'stripe_events' | 'outbound_events'): DispatchWatcher {
  metrics.begin('bill_dispatch_failures_total', [{ inbox }]);
  return {
    dispatched: (seconds) => metrics.observe('bill_dispatch_lag_seconds', { inbox }, seconds),
    failed: () => metrics.count('bill_dispatch_failures_total', { inbox }),
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/**
 * The two halves of the service put together from a configuration: the API with its dispatcher, and the
 * worker.
 */
import type { AddressInfo } from 'node:net';
import { Client } from '@temporalio/client';
import type { WorkflowBundle } from '@temporalio/worker';
import type { ActivityDependencies } from '../activities/dependencies.ts';
import type { Config } from './config.ts';
import { Database } from './database/database.ts';
import type { Lane } from './gate.ts';
import { createApp, listen } from './http/app.ts';
import { Dispatcher } from './inbox/dispatcher.ts';
import { alertSource, stripeSource } from './inbox/sources.ts';
import { KmsClient } from './kms/client.ts';
import type { Logger } from './observability/log.ts';
import { outboxSource } from './outbox/source.ts';
import { PaymentsClient } from './payments/client.ts';
import { connectWorker, namespaceOf, openClient } from './temporal/connection.ts';
import { TemporalLinks } from './temporal/links.ts';
import { TemporalStarter } from './temporal/starter.ts';
import { bundleWorkflows, createWorkers } from './temporal/worker.ts';

export type Running = { stop: () => Promise<void> };

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
  const workflows = new TemporalStarter(client, config.temporal.taskQueue);
  const alerts = new Dispatcher(alertSource(database, workflows), log);
  const stripeEvents = new Dispatcher(stripeSource({ database, payments, workflows }), log);
  const outbox = new Dispatcher(outboxSource({ database, log, ...config.outbound }), log);
  const app = createApp({
    database,
    kms,
    payments,
    workflows,
    links: new TemporalLinks(config.temporal),
    probes: {
      database: () => database.ping(),
      temporal: () => timed(() => client.workflowService.getSystemInfo({})),
      kms: () => kms.ping(),
      stripe: () => payments.ping(),
    },
    alertSecrets: config.webhook,
    stripeSigningSecrets: config.stripe.webhookSecrets,
    adminApiKey: config.http.adminApiKey,
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
      await Promise.all([alerts.stop(), stripeEvents.stop(), outbox.stop()]);
      await client.connection.close();
      await database.close();
    },
  };
}

type WorkerOptions = {
  /** Called when the worker ends without `stop`. */
  failed: (error: Error) => void;
  /** Other workflow code than the service's own. */
  workflowBundle?: WorkflowBundle | undefined;
};

/**
 * Connections to PostgreSQL of a worker's process, 20 in all. Bulk work has a pool of its own, so that a charge never
 * waits for it: one for each of the items that an activity works on side by side.
 */
const CONNECTIONS: Readonly<Record<Lane, number>> = { money: 15, bulk: 5 };

/** The workers of workflows and activities. They wait for Temporal while Temporal is unavailable. */
export async function startWorker(config: Config, log: Logger, { failed, workflowBundle }: WorkerOptions): Promise<Running> {
  const stopping = new AbortController();
  const databases: Record<Lane, Database> = {
    money: await Database.open(config.databaseUrl, { poolMax: CONNECTIONS.money }),
    bulk: await Database.open(config.databaseUrl, { poolMax: CONNECTIONS.bulk }),
  };
  const bundle = workflowBundle ?? (await bundleWorkflows());
  const starting = (async () => {
    const connection = await connectWorker(config.temporal, log, stopping.signal);
    const namespace = namespaceOf(config.temporal);
    const client = new Client({ connection, namespace });
    const { taskQueue } = config.temporal;
    const workflows = new TemporalStarter(client, taskQueue);
    const dependenciesOf = (lane: Lane): ActivityDependencies => ({
      database: databases[lane],
      kms: new KmsClient(config.kms, lane),
      payments: new PaymentsClient(config.stripe, lane),
      workflows,
      log,
    });
    const dependencies = { money: dependenciesOf('money'), bulk: dependenciesOf('bulk') };
    const workers = await createWorkers({ connection, namespace, taskQueue, workflowBundle: bundle, dependencies });
    const runs = workers.map((worker) => worker.run());
    Promise.all(runs).catch(failed);
    log.info({ task_queues: workers.map(({ options }) => options.taskQueue) }, 'the worker polls');
    return { workers, runs, connection };
  })();
  starting.catch((error) => {
    if (!stopping.signal.aborted) failed(error);
  });
  return {
    stop: async () => {
      stopping.abort();
      const started = await starting.catch(() => undefined);
      if (started) {
        // Both at once: each waits for its own activities, and the connection for both.
        for (const worker of started.workers) if (worker.getState() === 'RUNNING') worker.shutdown();
        await Promise.allSettled(started.runs);
        await started.connection.close();
      }
      await Promise.all([databases.money.close(), databases.bulk.close()]);
    },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/**
 * The two halves of the service put together from a configuration: the API with its dispatcher, and the
 * worker.
 */
import type { AddressInfo } from 'node:net';
import { Client } from '@temporalio/client';
import type { WorkflowBundle } from '@temporalio/worker';
import type { Config } from './config.ts';
import { Database } from './database/database.ts';
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
import { createWorker } from './temporal/worker.ts';
import { loadWorkflowBundle } from './temporal/workflow-bundle.ts';

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

/** A worker of workflows and activities. It waits for Temporal while Temporal is unavailable. */
export async function startWorker(config: Config, log: Logger, { failed, workflowBundle }: WorkerOptions): Promise<Running> {
  const stopping = new AbortController();
  const database = await Database.open(config.databaseUrl);
  const bundle = workflowBundle ?? (await loadWorkflowBundle());
  const starting = (async () => {
    const connection = await connectWorker(config.temporal, log, stopping.signal);
    const namespace = namespaceOf(config.temporal);
    const client = new Client({ connection, namespace });
    const worker = await createWorker({
      connection,
      namespace,
      taskQueue: config.temporal.taskQueue,
      workflowBundle: bundle,
      dependencies: {
        database,
        workflows: new TemporalStarter(client, config.temporal.taskQueue),
        kms: new KmsClient(config.kms),
        payments: new PaymentsClient(config.stripe),
        log,
      },
    });
    const running = worker.run();
    running.catch(failed);
    log.info({ task_queue: config.temporal.taskQueue }, 'the worker polls');
    return { worker, running, connection };
  })();
  starting.catch((error) => {
    if (!stopping.signal.aborted) failed(error);
  });
  return {
    stop: async () => {
      stopping.abort();
      const started = await starting.catch(() => undefined);
      if (started) {
        if (started.worker.getState() === 'RUNNING') started.worker.shutdown();
        await started.running.catch(() => {});
        await started.connection.close();
      }
      await database.close();
    },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

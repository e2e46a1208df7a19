/** The two halves of the service put together from a configuration: the API with its dispatcher, and the worker. */
import type { AddressInfo } from 'node:net';
import { Client } from '@temporalio/client';
import type { WorkflowBundle } from '@temporalio/worker';
import type { Config } from './config.ts';
import { Database } from './database/database.ts';
import { createApp, listen } from './http/app.ts';
import { Dispatcher } from './inbox/dispatcher.ts';
import { alertSource, stripeSource } from './inbox/sources.ts';
import { KmsClient } from './kms/client.ts';
import { Notifier } from './notifications/notifier.ts';
import type { Logger } from './observability/log.ts';
import { PaymentsClient } from './payments/client.ts';
import { connectWorker, namespaceOf, openClient, workflowLink } from './temporal/connection.ts';
import { rechargeWorkflowId, syncWorkflowId, TemporalStarter } from './temporal/starter.ts';
import { bundleWorkflows, createWorker } from './temporal/worker.ts';

export type Running = { stop: () => Promise<void> };

/** After SIGTERM, how long answers under way may take before their connections are cut. */
const HTTP_GRACE_MS = 10_000;

/** Listens, and hands on what comes in. Needs the database at the latest when the first alert arrives; Temporal may be away. */
export async function startApi(config: Config, log: Logger): Promise<Running & { port: number }> {
  const database = await Database.open(config.databaseUrl);
  const client = openClient(config.temporal);
  const kms = new KmsClient(config.kms);
  const payments = new PaymentsClient(config.stripe);
  const workflows = new TemporalStarter(client, config.temporal.taskQueue);
  const alerts = new Dispatcher(alertSource(database, workflows), log);
  const stripeEvents = new Dispatcher(stripeSource(database, workflows), log);
  // What a person has decided is in the database; the run that follows from it is started later where Temporal is away now.
  const orLater = (start: Promise<void>) =>
    start.catch((error: Error) => log.warn({ reason: error.message }, 'no run could be started; reconciliation will start it'));
  const app = createApp({
    database,
    kms,
    secrets: config.webhook,
    adminApiKey: config.http.adminApiKey,
    probes: {
      database: () => database.ping(),
      temporal: () => timed(() => client.workflowService.getSystemInfo({})),
      kms: () => kms.ping(),
      stripe: () => payments.ping(),
    },
    stripeSigningSecrets: config.stripe.webhookSecrets,
    resume: (event) => orLater(workflows.restartRecharge(event)),
    isMoneyGone: async ({ id }, { paymentIntentId }) =>
      (await payments.returnedMoneyOf(paymentIntentId ?? '')).find((money) => money.id === id)?.isGone ?? true,
    lookForReversals: (recharge) => orLater(workflows.followReversals(recharge)),
    sync: {
      start: (run) => workflows.startSync(run),
      linkTo: (run) => workflowLink(config.temporal.uiUrl, namespaceOf(config.temporal), syncWorkflowId(run)),
    },
    alertAccepted: () => alerts.poke(),
    stripeEventAccepted: () => stripeEvents.poke(),
    linkTo: (eventId) => workflowLink(config.temporal.uiUrl, namespaceOf(config.temporal), rechargeWorkflowId(eventId)),
    log,
  });
  const server = await listen(app, config.http.host, config.http.port);
  alerts.run();
  stripeEvents.run();
  const { port } = server.address() as AddressInfo;
  log.info({ host: config.http.host, port }, 'the API listens');
  return {
    port,
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), HTTP_GRACE_MS);
      await closed;
      clearTimeout(cut);
      await Promise.all([alerts.stop(), stripeEvents.stop()]);
      await client.connection.close();
      await database.close();
    },
  };
}

/**
 * Runs workflows and activities, waiting for a Temporal that is away.
 *
 * @param failed called when the worker ends though nobody stopped it.
 * @param workflowBundle other workflow code than the service's own.
 */
export async function startWorker(
  config: Config,
  log: Logger,
  failed: (error: Error) => void,
  workflowBundle?: WorkflowBundle,
): Promise<Running> {
  const abandoned = new AbortController();
  const database = await Database.open(config.databaseUrl);
  const bundle = workflowBundle ?? (await bundleWorkflows());
  const starting = (async () => {
    const connection = await connectWorker(config.temporal, log, abandoned.signal);
    const namespace = namespaceOf(config.temporal);
    const client = new Client({ connection, namespace });
    const worker = await createWorker(connection, namespace, config.temporal.taskQueue, bundle, {
      database,
      workflows: new TemporalStarter(client, config.temporal.taskQueue),
      kms: new KmsClient(config.kms),
      payments: new PaymentsClient(config.stripe),
      notifier: new Notifier(config.notify),
      log,
    });
    const running = worker.run();
    running.catch(failed);
    log.info({ task_queue: config.temporal.taskQueue }, 'the worker polls');
    return { worker, running, connection };
  })();
  starting.catch((error) => {
    if (!abandoned.signal.aborted) failed(error);
  });
  return {
    stop: async () => {
      abandoned.abort();
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

/** The workers of the service, put together from a configuration. */
import { Client } from '@temporalio/client';
import type { NativeConnection, Worker, WorkflowBundle } from '@temporalio/worker';
import type { ActivityDependencies } from '../activities/dependencies.ts';
import { type Config, METRICS_PORTS, type Part } from './config.ts';
import { Database } from './database/database.ts';
import type { Lane } from './gate.ts';
import { listenForMetrics } from './http/metrics-listener.ts';
import { KmsClient } from './kms/client.ts';
import type { Logger } from './observability/log.ts';
import { Metrics } from './observability/metrics.ts';
import { callWatcher, showDatabase, showProcess } from './observability/process-metrics.ts';
import { showSdkMetrics } from './observability/sdk-metrics.ts';
import { PaymentsClient } from './payments/client.ts';
import type { Running } from './running.ts';
import { namespaceOf } from './temporal/connection.ts';
import { TemporalStarter } from './temporal/starter.ts';
import { startInTrace } from './temporal/tracing.ts';
import { connectWorker, createWorkers } from './temporal/worker.ts';
import { loadWorkflowBundle } from './temporal/workflow-bundle.ts';
import { VERSION } from './version.ts';
import { keepThreadsSmall } from './young-generation.ts';

type WorkerOptions = {
  /** Called when the worker ends without `stop`. */
  failed: (error: Error) => void;
  /** Other workflow code than the service's own. */
  workflowBundle?: WorkflowBundle | undefined;
  /** Where the Temporal SDK of this process shows its own metrics, such as `127.0.0.1:39421`. */
  sdkMetrics?: string | undefined;
};

/**
 * Connections to PostgreSQL of a worker's process, 20 in all. Bulk work has a pool of its own, so that a charge never
 * waits for it: one for each of the items that an activity works on side by side.
 */
export const CONNECTIONS: Readonly<Record<Lane, number>> = { money: 15, bulk: 5 };

const LANES = ['money', 'bulk'] as const satisfies Lane[];

/** What a worker is put together from. */
export const WORKER_PARTS = ['databaseUrl', 'temporal', 'stripe', 'kms', 'logLevel', 'metrics', 'tracing'] as const satisfies Part[];
export type WorkerConfig = Pick<Config, (typeof WORKER_PARTS)[number]>;

/** The workers of workflows and activities. They wait for Temporal while Temporal is unavailable. */
export async function startWorker(
  config: WorkerConfig,
  log: Logger,
  { failed, workflowBundle, sdkMetrics }: WorkerOptions,
): Promise<Running> {
  const metrics = new Metrics('worker', log);
  const stopping = new AbortController();
  const databases: Record<Lane, Database> = {
    money: await Database.open(config.databaseUrl, { poolMax: CONNECTIONS.money }),
    bulk: await Database.open(config.databaseUrl, { poolMax: CONNECTIONS.bulk }),
  };
  const bundle = workflowBundle ?? (await loadWorkflowBundle());
  const clientsOf = (lane: Lane) => ({
    kms: new KmsClient({ ...config.kms, watch: callWatcher(metrics, 'litellm') }, lane),
    payments: new PaymentsClient({ ...config.stripe, watch: callWatcher(metrics, 'stripe') }, lane),
  });
  const clients = { money: clientsOf('money'), bulk: clientsOf('bulk') };
  const starting = (async () => {
    const connection = await connectWorker(config.temporal, log, stopping.signal);
    const namespace = namespaceOf(config.temporal);
    const client = new Client({ connection, namespace, interceptors: { workflow: [startInTrace] } });
    const { taskQueue } = config.temporal;
    const workflows = new TemporalStarter(client, config.temporal);
    const dependenciesOf = (lane: Lane): ActivityDependencies => ({
      database: databases[lane],
      ...clients[lane],
      workflows,
      log,
      metrics,
    });
    const dependencies = { money: dependenciesOf('money'), bulk: dependenciesOf('bulk') };
    const { chargesPerSecond } = config.stripe;
    keepThreadsSmall();
    const workers = await createWorkers({ connection, namespace, taskQueue, chargesPerSecond, workflowBundle: bundle, dependencies });
    const runs = workers.map((worker) => worker.run());
    Promise.all(runs).catch((error) => {
      // Stopping, it is what has not ended in time: Temporal gives that to another worker.
      if (!stopping.signal.aborted) failed(error);
    });
    log.info({ task_queues: workers.map(({ options }) => options.taskQueue) }, 'the worker polls');
    return { workers, runs, connection };
  })();
  starting.catch((error) => {
    if (!stopping.signal.aborted) failed(error);
  });
  const gates = LANES.flatMap((lane) => [
    { dependency: 'litellm' as const, lane, client: clients[lane].kms },
    { dependency: 'stripe' as const, lane, client: clients[lane].payments },
  ]);
  showProcess(metrics, { version: VERSION, gates, pools: databases });
  showDatabase(metrics, () => databases.money.ping());
  showSdkMetrics(metrics, sdkMetrics);
  const health = {
    probes: {
      database: () => databases.money.ping(),
      temporal: () => pollingTime(starting),
      kms: () => clients.money.kms.ping(),
      stripe: () => clients.money.payments.ping(),
    },
    needed: ['database', 'temporal'],
    isStopping: () => stopping.signal.aborted,
  };
  const { host, port = METRICS_PORTS.worker } = config.metrics;
  const shown = await listenForMetrics({ metrics, health, host, port, log });
  return {
    // No new work first, then what is under way; who probes and scrapes is answered to the end.
    stop: async () => {
      stopping.abort();
      const started = await starting.catch(() => undefined);
      if (started) {
        // All at once: each waits for its own activities, and the connection for all.
        for (const worker of started.workers) if (worker.getState() === 'RUNNING') worker.shutdown();
        await Promise.allSettled(started.runs);
        await started.connection.close();
      }
      await shown?.close();
      await Promise.all([databases.money.close(), databases.bulk.close()]);
    },
  };
}

type Started = { workers: Worker[]; connection: NativeConnection };

/** Round trip to Temporal in milliseconds. @throws while there is no connection, or a worker does not poll. */
async function pollingTime(starting: Promise<Started>): Promise<number> {
  const started = performance.now();
  const { workers, connection } = await starting;
  const ended = workers.find((worker) => worker.getState() !== 'RUNNING');
  if (ended) throw new Error(`the worker of ${ended.options.taskQueue} is ${ended.getState()}`);
  await connection.workflowService.getSystemInfo({});
  return performance.now() - started;
}

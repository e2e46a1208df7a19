/** The workers of the service, put together from a configuration. */
import { Client } from '@temporalio/client';
import type { WorkflowBundle } from '@temporalio/worker';
import type { ActivityDependencies } from '../activities/dependencies.ts';
import type { Config, Part } from './config.ts';
import { Database } from './database/database.ts';
import type { Lane } from './gate.ts';
import { KmsClient } from './kms/client.ts';
import type { Logger } from './observability/log.ts';
import { PaymentsClient } from './payments/client.ts';
import type { Running } from './running.ts';
import { namespaceOf } from './temporal/connection.ts';
import { TemporalStarter } from './temporal/starter.ts';
import { connectWorker, createWorkers } from './temporal/worker.ts';
import { loadWorkflowBundle } from './temporal/workflow-bundle.ts';

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
export const CONNECTIONS: Readonly<Record<Lane, number>> = { money: 15, bulk: 5 };

/** What a worker is put together from. */
export const WORKER_PARTS = ['databaseUrl', 'temporal', 'stripe', 'kms', 'logLevel'] as const satisfies Part[];
export type WorkerConfig = Pick<Config, (typeof WORKER_PARTS)[number]>;

/** The workers of workflows and activities. They wait for Temporal while Temporal is unavailable. */
export async function startWorker(config: WorkerConfig, log: Logger, { failed, workflowBundle }: WorkerOptions): Promise<Running> {
  const stopping = new AbortController();
  const databases: Record<Lane, Database> = {
    money: await Database.open(config.databaseUrl, { poolMax: CONNECTIONS.money }),
    bulk: await Database.open(config.databaseUrl, { poolMax: CONNECTIONS.bulk }),
  };
  const bundle = workflowBundle ?? (await loadWorkflowBundle());
  const starting = (async () => {
    const connection = await connectWorker(config.temporal, log, stopping.signal);
    const namespace = namespaceOf(config.temporal);
    const client = new Client({ connection, namespace });
    const { taskQueue } = config.temporal;
    const workflows = new TemporalStarter(client, config.temporal);
    const dependenciesOf = (lane: Lane): ActivityDependencies => ({
      database: databases[lane],
      kms: new KmsClient(config.kms, lane),
      payments: new PaymentsClient(config.stripe, lane),
      workflows,
      log,
    });
    const dependencies = { money: dependenciesOf('money'), bulk: dependenciesOf('bulk') };
    const { chargesPerSecond } = config.stripe;
    const workers = await createWorkers({ connection, namespace, taskQueue, chargesPerSecond, workflowBundle: bundle, dependencies });
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
        // All at once: each waits for its own activities, and the connection for all.
        for (const worker of started.workers) if (worker.getState() === 'RUNNING') worker.shutdown();
        await Promise.allSettled(started.runs);
        await started.connection.close();
      }
      await Promise.all([databases.money.close(), databases.bulk.close()]);
    },
  };
}

/** A workflow that an operator starts by hand: its progress while it runs, then its result. */
import { type Workflow, WorkflowFailedError, type WorkflowResultType } from '@temporalio/client';
import type { QueryDefinition } from '@temporalio/common';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { openClient } from '../temporal/connection.ts';
import { ServiceError, serviceEnvironment } from './service-client.ts';

/** Between two looks at a run under way. */
const PROGRESS_MS = 1_000;

/** A workflow to start by hand, and the query that its runs answer while they work. */
export type RunByHand<W extends Workflow> = {
  type: string;
  /** Of its runs by hand, as its schedule calls its own. */
  name: string;
  args: Parameters<W>;
  query: QueryDefinition<Awaited<WorkflowResultType<W>>>;
};

/**
 * Starts a workflow on the running service's task queue and waits until it ends.
 *
 * @param progress gets what the run answers to its query, each second.
 * @throws ServiceError with the reason when the run fails.
 */
export async function runByHand<W extends Workflow>(
  { type, name, args, query }: RunByHand<W>,
  progress: (seen: Awaited<WorkflowResultType<W>>) => void,
): Promise<WorkflowResultType<W>> {
  const env = serviceEnvironment();
  const taskQueue = env['TEMPORAL_TASK_QUEUE'] ?? 'bill-service';
  const client = openClient({ connect: loadClientConnectConfig({ overrideEnvVars: env }), taskQueue, uiUrl: undefined });
  try {
    const run = await client.workflow.start(type, { workflowId: `${name}/by-hand-${Date.now()}`, taskQueue, args: args as unknown[] });
    const looking = setInterval(async () => {
      const seen = await run.query(query).catch(() => undefined);
      if (seen) progress(seen);
    }, PROGRESS_MS);
    return await run.result().finally(() => clearInterval(looking));
  } catch (error) {
    if (!(error instanceof WorkflowFailedError)) throw error;
    throw new ServiceError(`${name} has failed: ${reasonOf(error)}`);
  } finally {
    await client.connection.close();
  }
}

/** A run's failure holds the activity's, and that holds what happened. */
function reasonOf({ cause, message }: Error): string {
  return cause instanceof Error ? reasonOf(cause) : message;
}

/** Runs a workflow by hand: shows its progress while it runs, returns its result. */
import { type Client, type Workflow, WorkflowFailedError, type WorkflowResultType } from '@temporalio/client';
import type { QueryDefinition } from '@temporalio/common';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { TemporalConfig } from '../config.ts';
import { withDeadline } from '../deadline.ts';
import { workerLines } from '../domain/status.ts';
import { openClient } from '../temporal/connection.ts';
import { temporalErrorOf } from '../temporal/errors.ts';
import { pollersOf } from '../temporal/facts.ts';
import { ServiceError, serviceEnvironment } from './service-client.ts';

/** Between two queries of a run under way. */
const PROGRESS_MS = 1_000;
/** Longer takes no query that a worker answers. */
const QUERY_MS = 3_000;

/** A workflow, and the query that its run answers meanwhile. */
export type RunByHand<W extends Workflow> = {
  type: string;
  /** Begins the workflow id; the same as its schedule's id. */
  name: string;
  args: Parameters<W>;
  query: QueryDefinition<Awaited<WorkflowResultType<W>>>;
};

/**
 * Starts a workflow on the running service's task queue and waits until it ends.
 *
 * @param progress called each second with the run's answer to the query.
 * @throws ServiceError with the reason when the run fails.
 */
export async function runByHand<W extends Workflow>(
  { type, name, args, query }: RunByHand<W>,
  progress: (seen: Awaited<WorkflowResultType<W>>) => void,
): Promise<WorkflowResultType<W>> {
  const env = serviceEnvironment();
  const taskQueue = env['TEMPORAL_TASK_QUEUE'] ?? 'bill-service';
  const temporal: TemporalConfig = { connect: loadClientConnectConfig({ overrideEnvVars: env }), taskQueue, uiUrl: undefined };
  const client = openClient(temporal);
  try {
    const run = await client.workflow.start(type, { workflowId: `${name}/by-hand-${Date.now()}`, taskQueue, args: args as unknown[] });
    let isOver = false;
    const look = async () => {
      const seen = await withDeadline(run.query(query), QUERY_MS).catch(() => undefined);
      if (isOver) return;
      if (seen) progress(seen);
      else await tellGoneWorkers(client, temporal);
      looking = setTimeout(look, PROGRESS_MS);
    };
    let looking = setTimeout(look, PROGRESS_MS);
    return await run.result().finally(() => {
      isOver = true;
      clearTimeout(looking);
    });
  } catch (error) {
    if (!(error instanceof WorkflowFailedError)) throw temporalErrorOf(error, temporal);
    throw new ServiceError(`${name} has failed: ${reasonOf(error)}`);
  } finally {
    await client.connection.close();
  }
}

/** A run that nobody works on waits for ever, so that is said while it waits. */
async function tellGoneWorkers(client: Client, temporal: TemporalConfig): Promise<void> {
  const pollers = await pollersOf(client, temporal).catch(() => []);
  for (const { check, isFine, seen, next } of workerLines(pollers, new Date())) if (!isFine) console.error(`${check}: ${seen}. ${next}`);
}

/** The innermost cause: a run's failure wraps the activity's, which wraps what happened. */
function reasonOf({ cause, message }: Error): string {
  return cause instanceof Error ? reasonOf(cause) : message;
}

/** Runs a workflow by hand: shows its progress while it runs, returns its result. */
import {
  type Client,
  type Workflow,
  type WorkflowExecutionDescription,
  WorkflowFailedError,
  type WorkflowResultType,
} from '@temporalio/client';
import type { QueryDefinition } from '@temporalio/common';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { TemporalConfig } from '../config.ts';
import { DeadlineError, withDeadline } from '../deadline.ts';
import { workerLines } from '../domain/service-status.ts';
import { longStepText, troubleText } from '../domain/status.ts';
import { addressOf, namespaceOf, openClient } from '../temporal/connection.ts';
import { temporalErrorOf } from '../temporal/errors.ts';
import { pollersOf } from '../temporal/facts.ts';
import { innermostReason, stepIn, troubleIn } from '../temporal/trouble.ts';
import { CommandError } from './exit.ts';
import { elsewhereText, placeOf, placeText } from './places.ts';
import { ServiceError } from './service-client.ts';
import { serviceEnvironment } from './service-settings.ts';
import { workerWait } from './worker-wait.ts';

/** Between two queries of a run under way. */
const PROGRESS_MS = 1_000;
/** Temporal answers a start in milliseconds. */
const START_MS = 5_000;
/** Longer takes no query that a worker answers. */
const QUERY_MS = 3_000;

/** A workflow, and the query that its run answers meanwhile. */
export type RunByHand<W extends Workflow> = {
  type: string;
  /** Begins the workflow id; the same as its schedule's id. */
  name: string;
  args: Parameters<W>;
  query: QueryDefinition<Awaited<WorkflowResultType<W>>>;
  /** Says where the run is, and that it needs nobody who waits. */
  say: (line: string) => void;
};

/**
 * Starts a workflow on the running service's task queue and waits until it ends.
 *
 * @param seen called each second with the run's answer to the query, and with what it fails with or waits for
 *   meanwhile.
 * @throws ServiceError with the reason when the run fails; CommandError when no worker takes it.
 */
export async function runByHand<W extends Workflow>(
  { type, name, args, query, say }: RunByHand<W>,
  seen: (progress: Awaited<WorkflowResultType<W>>, hindrance: string | undefined) => void,
): Promise<WorkflowResultType<W>> {
  const env = serviceEnvironment();
  const taskQueue = env['TEMPORAL_TASK_QUEUE'] ?? 'bill-service';
  const temporal: TemporalConfig = { connect: loadClientConnectConfig({ overrideEnvVars: env }), taskQueue, uiUrl: undefined };
  const client = openClient(temporal);
  try {
    const start = client.workflow.start(type, { workflowId: `${name}/by-hand-${Date.now()}`, taskQueue, args: args as unknown[] });
    const run = await withDeadline(start, START_MS, 'Temporal (TEMPORAL_ADDRESS) has not answered');
    for (const line of whereItRuns(run.workflowId, temporal)) say(line);
    let isOver = false;
    const workers = workerWait(`run ${run.workflowId}`, say);
    const { promise: givenUp, reject: giveUp } = Promise.withResolvers<never>();
    const look = async () => {
      const progress = await withDeadline(run.query(query), QUERY_MS).catch(() => undefined);
      const described = await withDeadline(run.describe(), QUERY_MS).catch(() => undefined);
      if (isOver) return;
      if (progress) seen(progress, described && hindranceIn(described));
      try {
        workers(progress ? [] : await goneWorkers(client, temporal));
      } catch (error) {
        return giveUp(error);
      }
      looking = setTimeout(look, PROGRESS_MS);
    };
    let looking = setTimeout(look, PROGRESS_MS);
    return await Promise.race([run.result(), givenUp]).finally(() => {
      isOver = true;
      clearTimeout(looking);
    });
  } catch (error) {
    if (error instanceof CommandError) throw error;
    if (error instanceof DeadlineError) throw new ServiceError(`${error.message}: nothing may have been started; bill doctor checks it`);
    if (!(error instanceof WorkflowFailedError)) throw temporalErrorOf(error, temporal);
    throw new ServiceError(`${name} has failed: ${innermostReason(error)}; bill doctor says what cannot be reached`);
  } finally {
    await client.connection.close();
  }
}

/** What a run fails with, or waits for and may fail with. */
function hindranceIn(run: WorkflowExecutionDescription): string | undefined {
  const [trouble, step] = [troubleIn(run), stepIn(run)];
  if (trouble) return troubleText(trouble);
  return (step && longStepText(step, new Date())) ?? undefined;
}

function whereItRuns(workflowId: string, temporal: TemporalConfig): string[] {
  const place = placeOf('TEMPORAL_ADDRESS', addressOf(temporal), (address) => address);
  const elsewhere = elsewhereText(place);
  const look = `temporal workflow result --workflow-id ${workflowId} --address ${place.at} --namespace ${namespaceOf(temporal)}`;
  return [
    `${workflowId} runs at Temporal ${placeText(place)}`,
    ...(elsewhere === null ? [] : [`warning: ${elsewhere}.`]),
    `Ctrl-C ends this command alone, and the run goes on; later: ${look}`,
  ];
}

/** What is said of the queues that no worker serves; empty where Temporal cannot say. */
async function goneWorkers(client: Client, temporal: TemporalConfig): Promise<string[]> {
  const pollers = await pollersOf(client, temporal).catch(() => []);
  return workerLines(pollers, new Date()).flatMap(({ check, isFine, seen, next }) => (isFine ? [] : `${check}: ${seen}. ${next}`));
}

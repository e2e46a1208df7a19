/** Temporal: whether it can be reached, has what `bill migrate` makes, and runs its schedules. */
import { type Client, type ScheduleDescription, ScheduleNotFoundError, WorkflowNotFoundError } from '@temporalio/client';
import { bulkQueueOf } from '../../../workflows/contract.ts';
import type { TemporalConfig } from '../../config.ts';
import { namespaceOf } from '../../temporal/connection.ts';
import { scheduleIds } from '../../temporal/schedules.ts';
import { lackingSearchAttributes } from '../../temporal/search-attribute-setup.ts';
import { ago, change, note, type Observation, type Reading, runCheck } from './reading.ts';

const AREA = 'Temporal';
// temporal.api.enums.v1.TaskQueueType
const WORKFLOW_TASKS = 1;
const ACTIVITY_TASKS = 2;
/** A schedule whose last success is more than this many intervals ago has stopped working. */
const MISSED_INTERVALS = 3;
/** At least this long, so that a worker that has just started is not reported. */
const LEAST_GRACE_MS = 5 * 60 * 1000;

export async function examineTemporal(client: Client, temporal: TemporalConfig): Promise<Reading[]> {
  const namespace = namespaceOf(temporal);
  const reached = await runCheck(
    { area: AREA, check: 'namespace', advice: 'set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE (TEMPORAL_API_KEY for Temporal Cloud)' },
    async () => {
      await client.workflowService.describeNamespace({ namespace });
      return `${namespace} is there`;
    },
  );
  if (reached.verdict !== 'ok') return [reached];
  return [
    reached,
    ...(await Promise.all([
      runCheck({ area: AREA, check: 'search attributes', advice: 'run: bill migrate' }, () => examineSearchAttributes(client, namespace)),
      runCheck({ area: AREA, check: 'workers', advice: 'start one: bill worker' }, () =>
        examinePollers(client, { namespace, taskQueue: temporal.taskQueue, taskQueueType: WORKFLOW_TASKS }),
      ),
      // A worker of a version before it polls only the other one.
      runCheck({ area: AREA, check: 'workers of bulk work', advice: 'start one of this version: bill worker' }, () =>
        examinePollers(client, { namespace, taskQueue: bulkQueueOf(temporal.taskQueue), taskQueueType: ACTIVITY_TASKS }),
      ),
      ...scheduleIds().map((id) =>
        runCheck({ area: AREA, check: `schedule ${id}`, advice: 'run: bill migrate' }, () =>
          examineSchedule(client, id, temporal.taskQueue),
        ),
      ),
    ])),
  ];
}

async function examineSearchAttributes(client: Client, namespace: string): Promise<Observation> {
  const { lacking, refusal } = await lackingSearchAttributes(client, namespace);
  if (refusal !== undefined) {
    return note(`the namespace does not show them: ${refusal}`, 'look there for those of the README: runs do without what is missing');
  }
  if (lacking.length === 0) return 'registered';
  const isAnotherType = lacking.some(({ type }) => type === undefined);
  const remove = 'remove the one of another type (temporal operator search-attribute remove), then ';
  return change(
    `runs do without ${lacking.map(({ name, why }) => `${name}, which ${why}`).join('; ')}`,
    `${isAnotherType ? remove : ''}run: bill migrate, with an account that may administer the namespace`,
  );
}

async function examinePollers(
  client: Client,
  { namespace, taskQueue, taskQueueType }: { namespace: string; taskQueue: string; taskQueueType: number },
): Promise<Observation> {
  const { pollers } = await client.workflowService.describeTaskQueue({ namespace, taskQueue: { name: taskQueue }, taskQueueType });
  const count = pollers?.length ?? 0;
  return count > 0 ? `${count} on ${taskQueue}` : change(`none polls ${taskQueue}`, 'start one: bill worker');
}

async function examineSchedule(client: Client, id: string, taskQueue: string): Promise<Observation> {
  const schedule = await client.schedule
    .getHandle(id)
    .describe()
    .catch((error) => {
      if (error instanceof ScheduleNotFoundError) return undefined;
      throw error;
    });
  if (!schedule) return change('is missing', 'run: bill migrate');
  const { paused, note: why } = schedule.state;
  if (paused)
    return change(`is paused${why ? `: ${why}` : ''}`, `when the reason is gone: temporal schedule toggle --unpause --schedule-id ${id}`);
  if (schedule.action.taskQueue !== taskQueue) {
    return change(`starts its runs on ${schedule.action.taskQueue}, which our workers do not poll`, 'run: bill migrate');
  }
  const grace = Math.max(MISSED_INTERVALS * (schedule.spec.intervals?.[0]?.every ?? 0), LEAST_GRACE_MS);
  const success = await lastSuccess(client, schedule);
  if (success && Date.now() - success.getTime() <= grace) return `last succeeded ${ago(success)}`;
  const since = schedule.info.lastUpdatedAt ?? schedule.info.createdAt;
  if (!success && Date.now() - since.getTime() <= grace)
    return note('has not succeeded yet', 'none: it was made or changed a short while ago');
  const seen = success ? `last succeeded ${ago(success)}` : `has not succeeded in its last ${schedule.info.recentActions.length} runs`;
  return change(seen, 'look at its runs in the Temporal Web UI, and whether a worker runs');
}

/** Among the ten latest runs, which Temporal keeps. */
async function lastSuccess(client: Client, { info }: ScheduleDescription): Promise<Date | undefined> {
  for (const { action } of info.recentActions.toReversed()) {
    const run = await client.workflow
      .getHandle(action.workflow.workflowId, action.workflow.firstExecutionRunId)
      .describe()
      .catch((error) => {
        if (error instanceof WorkflowNotFoundError) return undefined;
        throw error;
      });
    if (run?.status.name === 'COMPLETED' && run.closeTime) return run.closeTime;
  }
  return undefined;
}

/** What Temporal says of our workers and schedules, as domain/status judges it. */
import {
  type Client,
  type ScheduleDescription,
  ScheduleNotFoundError,
  type WorkflowExecutionDescription,
  WorkflowFailedError,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { bulkQueueOf, chargeQueueOf } from '../../workflows/contract.ts';
import type { TemporalConfig } from '../config.ts';
import { type Pollers, type ScheduleFacts, type TemporalFacts, WORKER_GONE_MS } from '../domain/service-status.ts';
import { troubleText } from '../domain/status.ts';
import { namespaceOf } from './connection.ts';
import { scheduleIds } from './schedules.ts';
import { innermostReason, troubleIn } from './trouble.ts';

// temporal.api.enums.v1.TaskQueueType
const WORKFLOW_TASKS = 1;
const ACTIVITY_TASKS = 2;

/** @throws what the client throws where Temporal cannot be asked. */
export async function temporalFacts(client: Client, temporal: TemporalConfig): Promise<Exclude<TemporalFacts, { failure: string }>> {
  const [pollers, schedules] = await Promise.all([
    pollersOf(client, temporal),
    Promise.all(scheduleIds().map((id) => scheduleFacts(client, id, temporal.taskQueue))),
  ]);
  return { pollers, schedules };
}

/**
 * Who asks for workflow tasks, who for charges, and who for bulk work: a worker of a version before may not ask for all.
 *
 * @param host only the workers there.
 */
export async function pollersOf(client: Client, temporal: TemporalConfig, host?: string): Promise<Pollers[]> {
  const ask = async (work: Pollers['work'], taskQueue: string, taskQueueType: number): Promise<Pollers> => {
    const namespace = namespaceOf(temporal);
    const { pollers } = await client.workflowService.describeTaskQueue({ namespace, taskQueue: { name: taskQueue }, taskQueueType });
    // The SDK names a worker `<process id>@<host>`.
    const wanted = (pollers ?? []).filter(({ identity }) => host === undefined || identity?.endsWith(`@${host}`));
    const polls = wanted.map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000);
    // Temporal names one that is gone for minutes more.
    const count = polls.filter((at) => Date.now() - at <= WORKER_GONE_MS).length;
    return { taskQueue, work, count, lastPollAt: polls.length > 0 ? new Date(Math.max(...polls)) : null };
  };
  const { taskQueue } = temporal;
  return Promise.all([
    ask('workflows', taskQueue, WORKFLOW_TASKS),
    ask('charges', chargeQueueOf(taskQueue), ACTIVITY_TASKS),
    ask('bulk', bulkQueueOf(taskQueue), ACTIVITY_TASKS),
  ]);
}

async function scheduleFacts(client: Client, id: string, wantedTaskQueue: string): Promise<ScheduleFacts> {
  const schedule = await client.schedule
    .getHandle(id)
    .describe()
    .catch((error) => {
      if (error instanceof ScheduleNotFoundError) return undefined;
      throw error;
    });
  if (!schedule) {
    const unknown = {
      pausedFor: null,
      taskQueue: wantedTaskQueue,
      intervalMs: 0,
      lastSuccessAt: null,
      lastFailure: null,
      changedAt: new Date(0),
    };
    return { id, isMade: false, wantedTaskQueue, ...unknown };
  }
  const { action, info, spec, state } = schedule;
  return {
    id,
    isMade: true,
    pausedFor: state.paused ? (state.note ?? '') : null,
    taskQueue: action.taskQueue,
    wantedTaskQueue,
    intervalMs: Number(spec.intervals?.[0]?.every ?? 0),
    ...(await latestRuns(client, schedule)),
    changedAt: info.lastUpdatedAt ?? info.createdAt,
  };
}

/** Of the ten latest runs, which Temporal keeps. */
async function latestRuns(client: Client, { info }: ScheduleDescription): Promise<Pick<ScheduleFacts, 'lastSuccessAt' | 'lastFailure'>> {
  let lastFailure: string | null = null;
  for (const { action } of info.recentActions.toReversed()) {
    // The newest of the runs that went on in each other: a long one does.
    const handle = client.workflow.getHandle(action.workflow.workflowId);
    const run = await handle.describe().catch((error) => {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    });
    if (run?.status.name === 'COMPLETED' && run.closeTime) return { lastSuccessAt: run.closeTime, lastFailure };
    if (run) lastFailure ??= await failureOf(run, () => handle.result());
  }
  return { lastSuccessAt: null, lastFailure };
}

/** @param result of a run that has ended: throws what it has failed with. */
async function failureOf(run: WorkflowExecutionDescription, result: () => Promise<unknown>): Promise<string | null> {
  if (run.status.name === 'RUNNING') {
    const trouble = troubleIn(run);
    return trouble ? `its run fails: ${troubleText(trouble)}` : null;
  }
  if (run.status.name !== 'FAILED') return `its last run was ended (${run.status.name.toLowerCase().replace('_', ' ')})`;
  const why = await result().then(
    () => null,
    (error) => (error instanceof WorkflowFailedError ? innermostReason(error) : null),
  );
  return why && `its last run has failed: ${why}`;
}

/** What Temporal says of our workers and schedules, as domain/status judges it. */
import { type Client, type ScheduleDescription, ScheduleNotFoundError, WorkflowNotFoundError } from '@temporalio/client';
import { bulkQueueOf, chargeQueueOf } from '../../workflows/contract.ts';
import type { TemporalConfig } from '../config.ts';
import { type Pollers, type ScheduleFacts, type TemporalFacts, WORKER_GONE_MS } from '../domain/service-status.ts';
import { namespaceOf } from './connection.ts';
import { scheduleIds } from './schedules.ts';

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
  const ask = async (taskQueue: string, taskQueueType: number): Promise<Pollers> => {
    const namespace = namespaceOf(temporal);
    const { pollers } = await client.workflowService.describeTaskQueue({ namespace, taskQueue: { name: taskQueue }, taskQueueType });
    // The SDK names a worker `<process id>@<host>`.
    const wanted = (pollers ?? []).filter(({ identity }) => host === undefined || identity?.endsWith(`@${host}`));
    const polls = wanted.map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000);
    // Temporal names one that is gone for minutes more.
    const count = polls.filter((at) => Date.now() - at <= WORKER_GONE_MS).length;
    return { taskQueue, count, lastPollAt: polls.length > 0 ? new Date(Math.max(...polls)) : null };
  };
  const { taskQueue } = temporal;
  return Promise.all([
    ask(taskQueue, WORKFLOW_TASKS),
    ask(chargeQueueOf(taskQueue), ACTIVITY_TASKS),
    ask(bulkQueueOf(taskQueue), ACTIVITY_TASKS),
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
    const unknown = { pausedFor: null, taskQueue: wantedTaskQueue, intervalMs: 0, lastSuccessAt: null, changedAt: new Date(0) };
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
    lastSuccessAt: (await lastSuccess(client, schedule)) ?? null,
    changedAt: info.lastUpdatedAt ?? info.createdAt,
  };
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

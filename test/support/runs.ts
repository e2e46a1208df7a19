/** What Temporal knows of a run that has not ended. */
import { type WorkflowHandle, WorkflowNotFoundError } from '@temporalio/client';
import { eventually } from './time.ts';

/** Waits until a run has nothing to do before a signal or a timer, has ended, or was never started. */
export async function idle(run: WorkflowHandle): Promise<void> {
  await eventually(async () => (await isIdle(run).catch(isNotFound)) === true, `run ${run.workflowId} is idle`);
}

async function isIdle(run: WorkflowHandle): Promise<boolean> {
  const { status, raw } = await run.describe();
  return status.name !== 'RUNNING' || (!raw.pendingActivities?.length && !raw.pendingWorkflowTask);
}

function isNotFound(error: unknown): boolean {
  if (error instanceof WorkflowNotFoundError) return true;
  throw error;
}

export type FailedAttempts = { activity: string; type: string; failures: number; pauseMs: number };

/**
 * Why the last attempt at what a run is doing has failed, and the pause before the next; undefined while none
 * has failed.
 */
export async function lastFailure(run: WorkflowHandle): Promise<FailedAttempts | undefined> {
  const [pending] = (await run.describe()).raw.pendingActivities ?? [];
  const type = pending?.lastFailure?.applicationFailureInfo?.type;
  if (!type || !pending.currentRetryInterval) return undefined;
  return {
    activity: pending.activityType?.name ?? '',
    type,
    failures: (pending.attempt ?? 1) - 1,
    pauseMs: millis(pending.currentRetryInterval),
  };
}

/**
 * Waits until an attempt at what a run is doing has failed, for this reason if one is named, and another one
 * is due.
 */
export async function failedAttempts(run: WorkflowHandle, type?: string): Promise<FailedAttempts> {
  return eventually(async () => {
    const failed = await lastFailure(run);
    return (type === undefined || failed?.type === type) && failed;
  }, `an attempt in run ${run.workflowId} has failed`);
}

/** To a tenth of a second: Temporal computes the pause from two moments. */
function millis({ seconds, nanos }: { seconds?: unknown; nanos?: number | null }): number {
  return Math.round(Number(seconds ?? 0) * 10 + (nanos ?? 0) / 1e8) * 100;
}

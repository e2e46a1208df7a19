/** What a run under way has failed with and tries again, as Temporal tells it. */
import type { WorkflowExecutionDescription } from '@temporalio/client';
import type { RunStep, RunTrouble } from '../domain/status.ts';

// temporal.api.enums.v1.PendingActivityState
const ACTIVITY_SCHEDULED = 1;
const ACTIVITY_STARTED = 2;

/** undefined: nothing that an activity was tried for. */
export function troubleIn({ raw }: WorkflowExecutionDescription): RunTrouble | undefined {
  const failing = raw.pendingActivities?.find(({ lastFailure }) => lastFailure);
  if (!failing) return undefined;
  const { activityType, attempt, scheduledTime, lastFailure } = failing;
  // The attempt that Temporal counts is the next one, or the one under way.
  const nextAt = failing.state === ACTIVITY_SCHEDULED && scheduledTime ? new Date(Number(scheduledTime.seconds ?? 0) * 1000) : null;
  return { step: activityType?.name ?? 'a step', attempts: (attempt ?? 2) - 1, reason: innermost(lastFailure), nextAt };
}

/** The step that a worker does now, and since when. */
export function stepIn({ raw }: WorkflowExecutionDescription): RunStep | undefined {
  const step = raw.pendingActivities?.find(({ state, lastStartedTime }) => state === ACTIVITY_STARTED && lastStartedTime);
  return step && { step: step.activityType?.name ?? 'a step', since: new Date(Number(step.lastStartedTime?.seconds ?? 0) * 1000) };
}

type Failure = { message?: string | null | undefined; cause?: Failure | null | undefined };

/** A failure wraps what has happened. */
function innermost(failure: Failure | null | undefined): string {
  return failure?.cause ? innermost(failure.cause) : (failure?.message ?? 'no reason was given');
}

/** What a run that has ended has failed with. */
export function innermostReason({ cause, message }: Error): string {
  return cause instanceof Error ? innermostReason(cause) : message;
}

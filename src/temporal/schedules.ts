/** The schedules, for `bill migrate`. */
import { type Client, ScheduleAlreadyRunning, type ScheduleOptions, ScheduleOverlapPolicy } from '@temporalio/client';
import type { Duration } from '@temporalio/common';
import { WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { SWEEP_INTERVAL_MS, SWEEP_JITTER_MS } from '../domain/forecast.ts';

type Plan = {
  workflow: keyof typeof WORKFLOW_TYPES;
  input: unknown[];
  every: Duration;
  jitter: Duration;
  /** A run that is so late is left out. */
  catchUp: Duration;
  /** Overlapping runs are skipped, so without it a run that hangs would stop its schedule. */
  timeout: Duration;
};

/** By its id, which its runs are named after. */
const SCHEDULES: Readonly<Record<string, Plan>> = {
  reconcile: {
    workflow: 'reconcile',
    input: [{ fix: true }],
    every: '1 hour',
    jitter: '2 minutes',
    catchUp: '10 minutes',
    timeout: '2 hours',
  },
  'team-sync': { workflow: 'sync', input: [{}], every: '15 minutes', jitter: '30 seconds', catchUp: '10 minutes', timeout: '1 hour' },
  'balance-sweep': {
    workflow: 'sweep',
    input: [],
    every: SWEEP_INTERVAL_MS,
    jitter: SWEEP_JITTER_MS,
    catchUp: SWEEP_INTERVAL_MS,
    timeout: '15 minutes',
  },
  retention: { workflow: 'retention', input: [], every: '1 day', jitter: '2 hours', catchUp: '6 hours', timeout: '4 hours' },
};

/** A schedule that was down catches up on one run at most: every run looks at everything. */
function scheduleOptions(taskQueue: string): ScheduleOptions[] {
  return Object.entries(SCHEDULES).map(([scheduleId, { workflow, input, every, jitter, catchUp, timeout }]) => ({
    scheduleId,
    spec: { intervals: [{ every }], jitter },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: catchUp },
    action: {
      type: 'startWorkflow',
      workflowType: WORKFLOW_TYPES[workflow],
      workflowId: scheduleId,
      args: input,
      taskQueue,
      workflowRunTimeout: timeout,
    },
  }));
}

/** The ids of every schedule that `bill migrate` makes. */
export function scheduleIds(): string[] {
  return Object.keys(SCHEDULES);
}

/** Creates or updates the schedules and returns their ids. A pause by an operator stays. */
export async function applySchedules(client: Client, taskQueue: string): Promise<string[]> {
  const schedules = scheduleOptions(taskQueue);
  for (const options of schedules) {
    try {
      await client.schedule.create(options);
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      const { scheduleId, ...wanted } = options;
      await client.schedule.getHandle(scheduleId).update((previous) => ({ ...wanted, state: previous.state }));
    }
  }
  return schedules.map(({ scheduleId }) => scheduleId);
}

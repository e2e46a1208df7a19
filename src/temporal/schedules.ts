/** The schedules, for `bill migrate`. */
import { type Client, ScheduleAlreadyRunning, type ScheduleOptions, ScheduleOverlapPolicy } from '@temporalio/client';
import { WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { SWEEP_INTERVAL_MS, SWEEP_JITTER_MS } from '../domain/forecast.ts';

/** Overlapping runs are skipped, so without a timeout a run that hangs would stop its schedule. */
const RECONCILE_TIMEOUT = '2 hours';
const SWEEP_TIMEOUT = '15 minutes';
const SYNC_TIMEOUT = '1 hour';
const RETENTION_TIMEOUT = '4 hours';

/** A schedule that was down catches up on one run at most: every run looks at everything. */
function scheduleOptions(taskQueue: string): ScheduleOptions[] {
  return [
    {
      scheduleId: 'reconcile',
      spec: { intervals: [{ every: '1 hour' }], jitter: '2 minutes' },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '10 minutes' },
      action: {
        type: 'startWorkflow',
        workflowType: WORKFLOW_TYPES.reconcile,
        workflowId: 'reconcile',
        args: [{ fix: true }],
        taskQueue,
        workflowRunTimeout: RECONCILE_TIMEOUT,
      },
    },
    {
      scheduleId: 'team-sync',
      spec: { intervals: [{ every: '15 minutes' }], jitter: '30 seconds' },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '10 minutes' },
      action: {
        type: 'startWorkflow',
        workflowType: WORKFLOW_TYPES.sync,
        workflowId: 'team-sync',
        args: [{}],
        taskQueue,
        workflowRunTimeout: SYNC_TIMEOUT,
      },
    },
    {
      scheduleId: 'balance-sweep',
      spec: { intervals: [{ every: SWEEP_INTERVAL_MS }], jitter: SWEEP_JITTER_MS },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: SWEEP_INTERVAL_MS },
      action: {
        type: 'startWorkflow',
        workflowType: WORKFLOW_TYPES.sweep,
        workflowId: 'balance-sweep',
        args: [],
        taskQueue,
        workflowRunTimeout: SWEEP_TIMEOUT,
      },
    },
    {
      scheduleId: 'retention',
      spec: { intervals: [{ every: '1 day' }], jitter: '2 hours' },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '6 hours' },
      action: {
        type: 'startWorkflow',
        workflowType: WORKFLOW_TYPES.retention,
        workflowId: 'retention',
        args: [],
        taskQueue,
        workflowRunTimeout: RETENTION_TIMEOUT,
      },
    },
  ];
}

/** The ids of every schedule that `bill migrate` makes. */
export function scheduleIds(): string[] {
  return scheduleOptions('').map(({ scheduleId }) => scheduleId);
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

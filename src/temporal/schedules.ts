/** The schedules, for `bill migrate`. */
import { type Client, ScheduleAlreadyRunning, type ScheduleOptions, ScheduleOverlapPolicy } from '@temporalio/client';

/** What a schedule that was down catches up on: nothing older than this, since every run looks at everything. */
const CATCHUP_WINDOW = '10 minutes';

/** A run that hangs longer than its timeout would silence its schedule, as overlapping runs are skipped. */
const RUN_TIMEOUT = '2 hours';

function scheduleOptions(taskQueue: string): ScheduleOptions[] {
  return [
    {
      scheduleId: 'reconcile',
      spec: { intervals: [{ every: '1 hour' }], jitter: '2 minutes' },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: CATCHUP_WINDOW },
      action: {
        type: 'startWorkflow',
        workflowType: 'reconcileWorkflow',
        workflowId: 'reconcile',
        args: [{ fix: true }],
        taskQueue,
        workflowRunTimeout: RUN_TIMEOUT,
      },
    },
  ];
}

/** Creates the schedules or brings them up to date; an operator's pause stays. Answers their ids. */
export async function applySchedules(client: Client, taskQueue: string): Promise<string[]> {
  const all = scheduleOptions(taskQueue);
  for (const options of all) {
    try {
      await client.schedule.create(options);
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      const { scheduleId, ...wanted } = options;
      await client.schedule.getHandle(scheduleId).update((previous) => ({ ...wanted, state: previous.state }));
    }
  }
  return all.map(({ scheduleId }) => scheduleId);
}

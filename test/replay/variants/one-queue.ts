/** A sweep as a version before the task queue of bulk work has scheduled it: on the queue of its workflow. */
import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../../../activities/index.ts';
import type { SweepPart } from '../../../activities/sweep/types.ts';

export * from '../../../workflows/index.ts';

const { sweepTeams } = proxyActivities<Activities>({ startToCloseTimeout: '1 minute' });

export async function balanceSweepWorkflow(): Promise<SweepPart> {
  return sweepTeams({ page: 1, totalPages: 1 });
}

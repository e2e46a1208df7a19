/**
 * The present workflows with a change that runs under way do not survive: one more activity when all is done.
 */
import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../../../activities/index.ts';
import type { RechargeInput, RechargeResult } from '../../../workflows/contract.ts';
import { rechargeWorkflow as present } from '../../../workflows/recharge.ts';

export * from '../../../workflows/index.ts';

const { releaseReservation } = proxyActivities<Activities>({ startToCloseTimeout: '30 seconds' });

export async function rechargeWorkflow(input: RechargeInput): Promise<RechargeResult> {
  const result = await present(input);
  await releaseReservation(input);
  return result;
}

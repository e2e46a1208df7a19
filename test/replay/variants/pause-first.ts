/**
 * The present workflows with a change that runs under way do not survive: a pause before the first look at
 * the balance.
 */
import { sleep } from '@temporalio/workflow';
import type { RechargeInput, RechargeResult } from '../../../workflows/contract.ts';
import { rechargeWorkflow as present } from '../../../workflows/recharge.ts';

export * from '../../../workflows/index.ts';

export async function rechargeWorkflow(input: RechargeInput): Promise<RechargeResult> {
  await sleep('10 milliseconds');
  return present(input);
}

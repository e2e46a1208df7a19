/**
 * The present workflows with pauses before and after, as a deploy may add them: only what runs from here on
 * has them.
 */
import { patched, sleep } from '@temporalio/workflow';
import type { RechargeInput, RechargeResult } from '../../../workflows/contract.ts';
import { rechargeWorkflow as present } from '../../../workflows/recharge.ts';

export * from '../../../workflows/index.ts';

export async function rechargeWorkflow(input: RechargeInput): Promise<RechargeResult> {
  if (patched('pause-before')) await sleep('10 milliseconds');
  const result = await present(input);
  if (patched('pause-after')) await sleep('10 milliseconds');
  return result;
}

import * as reversals from '../../src/database/reversals.ts';
import { type ChangeBudgetDependencies, changeBudget } from './change-budget.ts';
import type { ReversalRef } from './types.ts';

/** Lowers the budget by the quota whose money has gone: granted → prepaid → stripe. Idempotent. */
export function takeBackQuota({ database, ...others }: ChangeBudgetDependencies) {
  return async ({ reversalId }: ReversalRef): Promise<void> => {
    const em = database.fork();
    const tools = { em, ...others };
    const reversal = await reversals.find(em, reversalId);
    // A database that was restored may have lost it: the next look finds it again.
    if (reversal?.status !== 'open') return;
    if (await changeBudget(tools, reversal, 'take')) await reversals.recordTakenBack(em, reversal);
  };
}

import * as reversals from '../../src/database/reversals.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { changeBudget } from './change-budget.ts';
import type { ReversalRef } from './types.ts';

/** Lowers the budget by the quota whose money has gone: granted → prepaid → stripe. Idempotent. */
export function takeBackQuota({ database, kms }: Pick<ActivityDependencies, 'database' | 'kms'>) {
  return async ({ reversalId }: ReversalRef): Promise<void> => {
    const em = database.fork();
    const reversal = await reversals.get(em, reversalId);
    if (reversal.status !== 'open') return;
    if (await changeBudget(em, kms, reversal, 'take')) await reversals.recordTakenBack(em, reversal);
  };
}

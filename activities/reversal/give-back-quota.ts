import * as reversals from '../../src/database/reversals.ts';
import { type ChangeBudgetDependencies, changeBudget } from './change-budget.ts';
import type { ReversalRef } from './types.ts';

/**
 * Raises the budget by what was taken when the money has come back, and records it: stripe → prepaid →
 * granted. Where nothing was taken yet, the reversal is dismissed. Idempotent.
 */
export function giveBackQuota({ database, ...others }: ChangeBudgetDependencies) {
  return async ({ reversalId }: ReversalRef): Promise<void> => {
    const em = database.fork();
    const tools = { em, ...others };
    const reversal = await reversals.find(em, reversalId);
    // A database that was restored may have lost it: the next look finds it again.
    if (!reversal) return;
    if (reversal.status === 'open') {
      if (await reversals.dismiss(em, reversal)) return;
      // A run that was ended half-way may have lowered the budget: its write is finished first, then reversed.
      if (!(await changeBudget(tools, reversal, 'take'))) return;
      await reversals.recordTakenBack(em, reversal);
    }
    const taken = await reversals.get(em, reversalId);
    if (taken.status !== 'taken_back') return;
    if (taken.quota === 0) return reversals.dismissEmpty(em, taken);
    if (await changeBudget(tools, taken, 'give')) await reversals.recordGivenBack(em, taken);
  };
}

import type { EntityManager } from '../../src/database/database.ts';
import type { Reversal } from '../../src/database/entities.ts';
import * as reversals from '../../src/database/reversals.ts';
import { formatQuota } from '../../src/domain/money.ts';
import { takenBy } from '../../src/domain/reversal.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { BudgetRefusedError, writeBudget } from '../budget-write.ts';
import type { ActivityDependencies } from '../dependencies.ts';

/**
 * Writes the budget that follows a reversal's money.
 *
 * @returns false when there is nothing to record: the reversal is parked for a person, or another attempt has
 *   settled it.
 * @throws KmsError and the failures of `writeBudget` where the next attempt may do better.
 */
export async function changeBudget(
  em: EntityManager,
  kms: ActivityDependencies['kms'],
  reversal: Reversal,
  direction: 'take' | 'give',
): Promise<boolean> {
  const { organizationId, litellmTeamId: teamId, id: writer } = reversal;
  try {
    const write = await writeBudget(em, kms, { organizationId, teamId, writer }, (live) =>
      reversals.planWrite(em, reversal, direction, live),
    );
    if (write.kind === 'edited') await reversals.park(em, reversal, write.reason);
    return write.kind === 'written';
  } catch (error) {
    if (error instanceof reversals.ReversalSettledError) return false;
    if (error instanceof BudgetRefusedError) {
      const what =
        direction === 'take'
          ? `${formatQuota(reversal.quota)} quota cannot be taken back`
          : `${formatQuota(takenBy(reversal))} quota cannot be given back`;
      await reversals.park(em, reversal, `${what}: ${error.message}`);
      return false;
    }
    // The team is deleted: there is nothing to take back, and nothing to give the quota to.
    if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
    if (direction === 'take') return true;
    const quota = formatQuota(takenBy(reversal));
    await reversals.park(em, reversal, `the money of ${quota} quota has come back, but the team is gone from LiteLLM`);
    return false;
  }
}

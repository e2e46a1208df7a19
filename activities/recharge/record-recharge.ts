import * as cardAttempts from '../../src/database/card-attempts.ts';
import * as recharges from '../../src/database/recharges.ts';
import { formatMoney } from '../../src/domain/money.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { RechargeRef } from './types.ts';

/**
 * Enters the captured charge in the ledger: stripe → prepaid, with the status that says so, in one
 * transaction.
 *
 * Idempotent by recharge and kind of transfer; does nothing for a recharge that is further on.
 */
export function recordRecharge({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ rechargeId, capturedAt }: RechargeRef & { capturedAt: string }): Promise<void> => {
    const em = database.fork();
    const recharge = await recharges.get(em, rechargeId);
    if (recharge.status !== 'charging' && recharge.status !== 'processing') return;
    await em.transactional(async (tx) => {
      const facts = { captured_at: capturedAt, amount: formatMoney(recharge.amountMinor, recharge.currency) };
      const charged = await recharges.move(tx, recharge, { to: 'charged', transfer: 'charge', facts });
      await cardAttempts.succeed(tx, charged);
    });
  };
}

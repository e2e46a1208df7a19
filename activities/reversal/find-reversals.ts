import { ApplicationFailure } from '@temporalio/activity';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { quotaFor } from '../../src/domain/money.ts';
import { isOpen } from '../../src/domain/recharge-status.ts';
import { decideReversals, failedRefundOf } from '../../src/domain/reversal.ts';
import type { Refund } from '../../src/payments/returned-money.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { RechargeRef } from '../recharge/types.ts';
import type { ReversalsResult } from './types.ts';

/**
 * Reads every refund and dispute of a recharge's intent as Stripe has them now, enters those that are new,
 * and returns the steps that follow. The order of Stripe's events, and whether they came at all, makes no
 * difference.
 *
 * @throws a retryable failure while a run works on the recharge; one of type InvalidInput when there is none.
 */
export function findReversals({ database, payments }: Pick<ActivityDependencies, 'database' | 'payments'>) {
  return async ({ rechargeId }: RechargeRef): Promise<ReversalsResult> => {
    const em = database.fork();
    const recharge = await recharges.find(em, rechargeId);
    // A mistyped id, or a database restored to before it: reconciliation follows the money again once it is known.
    if (!recharge) throw ApplicationFailure.nonRetryable(`rechargeId: there is no recharge ${rechargeId}`, FAILURE.invalidInput);
    if (isOpen(recharge.status) && recharge.status !== 'needs_attention') {
      throw ApplicationFailure.retryable(`recharge ${rechargeId} is ${recharge.status}`, FAILURE.rechargeNotAtRest);
    }
    const intentId = recharge.paymentIntentId;
    if (!intentId) return { steps: [], parked: [], isFinal: true };
    const refunds = await payments.refundsOf(intentId);
    const moneys = [...refunds, ...(await payments.disputesOf(intentId))];

    const failed = failedRefundOf(recharge, refunds, await reversals.known(em, recharge));
    if (failed) await reopen(em, recharge, failed);
    const { steps, parked, isFinal } = await reversals.open(em, recharge, (current, known) => decideReversals(current, moneys, known));
    await reversals.noteLost(em, recharge, moneys);
    return { steps, parked, isFinal };
  };
}

/**
 * A refund of ours, or a part made elsewhere, that has failed after it was recorded: we hold its money again, and a person
 * decides on that. What else has gone back stays gone.
 */
async function reopen(em: EntityManager, recharge: Recharge, { id, amountMinor, failureReason, status }: Refund): Promise<void> {
  const reason = `refund ${id} has failed (${failureReason ?? status}): the customer has neither money nor quota`;
  const portions = [{ reference: id, amountMinor, quotaMicros: quotaFor(amountMinor, recharge) }];
  const isReopened = await recharges.reopen(em, recharge, {
    code: 'refund_failed',
    reason,
    transfer: 'recovery',
    portions,
    captured: amountMinor,
  });
  if (!isReopened) throw ApplicationFailure.retryable(`${reason}; another recharge of the organization is open`, FAILURE.rechargeNotAtRest);
}

import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as recharges from '../../src/database/recharges.ts';
import { formatMoney } from '../../src/domain/money.ts';
import type { PaymentsClient } from '../../src/payments/client.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import type { Refund } from '../../src/payments/returned-money.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { RechargeRef, RefundResult } from './types.ts';

/**
 * Gives back what was captured and could not be granted: prepaid → stripe.
 *
 * Starts only from `charged`, so quota that was granted is never paid for twice over. Idempotent by the
 * intent: a refund that Stripe knows already is taken over, whatever became of our earlier request. Harmless
 * when no money was taken.
 */
export function refundCharge({ database, payments }: Pick<ActivityDependencies, 'database' | 'payments'>) {
  return async ({ rechargeId, reason }: RechargeRef & { reason: string }): Promise<RefundResult> => {
    const em = database.fork();
    let recharge = await recharges.get(em, rechargeId);
    if (recharge.status === 'refunded') return { kind: 'refunded' };
    if (recharge.status === 'charged') recharge = await recharges.move(em, recharge, { to: 'refunding', facts: { reason } });
    if (recharge.status !== 'refunding' || !recharge.paymentIntentId) return { kind: 'nothing_to_refund' };

    try {
      const refund = await askedFor(payments, recharge, recharge.paymentIntentId);
      await recharges.noteRefund(em, recharge, refund.id);
      if (refund.amountMinor !== recharge.amountMinor)
        return park(em, recharge, `refund ${refund.id} is of ${refund.amountMinor}, expected ${recharge.amountMinor}`);
      if (refund.outcome === 'pending') return { kind: 'pending' };
      if (refund.outcome !== 'succeeded') return park(em, recharge, `refund ${refund.id} is ${refund.status}`);
      await recharges.move(em, recharge, {
        to: 'refunded',
        transfer: 'refund',
        portion: { reference: refund.id, amountMinor: recharge.amountMinor, quotaMicros: recharge.quotaGranted },
        facts: { amount: formatMoney(recharge.amountMinor, recharge.currency), refund: refund.id },
      });
      return { kind: 'refunded' };
    } catch (error) {
      if (!(error instanceof PaymentsError)) throw error;
      if (error.isSavedServerError) await recharges.countSpentKey(em, recharge);
      if (error.kind !== 'refused') throw error;
      return park(em, recharge, `Stripe refuses the refund: ${error.failure.message}`);
    }
  };
}

/** The refund asked for before, whatever became of it; else one that Stripe knows; else a new one. */
async function askedFor(payments: PaymentsClient, recharge: Recharge, intentId: string): Promise<Refund> {
  const refunds = await payments.refundsOf(intentId);
  const ours = refunds.find(({ id }) => id === recharge.refundId);
  const standing = refunds.find(({ outcome }) => outcome !== 'failed');
  return ours ?? standing ?? payments.refund(recharge, intentId);
}

async function park(em: EntityManager, recharge: Recharge, reason: string): Promise<RefundResult> {
  await recharges.move(em, recharge, {
    to: 'needs_attention',
    changes: { failureCode: 'refund_failed', failureMessage: reason },
    facts: { reason },
  });
  return { kind: 'needs_attention', reason };
}

import type Stripe from 'stripe';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as recharges from '../../src/database/recharges.ts';
import { formatMoney } from '../../src/domain/money.ts';
import type { PaymentsClient } from '../../src/payments/client.ts';
import { classifyStripeError, failureOfError, isSavedServerError } from '../../src/payments/outcome.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { RechargeRef, RefundResult } from './types.ts';

/**
 * Gives back what was captured and could not be granted: prepaid → stripe.
 *
 * Starts only from `charged`, so quota that was granted is never paid for twice over. Idempotent by the intent: a refund
 * that Stripe knows already is taken over, whatever became of our earlier request. Harmless when no money was taken.
 */
export function refundCharge({ database, payments }: Pick<ActivityDependencies, 'database' | 'payments'>) {
  return async ({ rechargeId, reason }: RechargeRef & { reason: string }): Promise<RefundResult> => {
    const em = database.fork();
    let recharge = await recharges.get(em, rechargeId);
    if (recharge.status === 'refunded') return { kind: 'refunded' };
    if (recharge.status === 'charged') recharge = await recharges.move(em, recharge, 'refunding', { facts: { reason } });
    if (recharge.status !== 'refunding' || !recharge.paymentIntentId) return { kind: 'nothing_to_refund' };

    try {
      const refund = await askedFor(payments, recharge, recharge.paymentIntentId);
      await recharges.noteRefund(em, recharge, refund.id);
      if (refund.amount !== recharge.amountMinor)
        return park(em, recharge, `refund ${refund.id} is of ${refund.amount}, expected ${recharge.amountMinor}`);
      if (refund.status === 'pending' || refund.status === 'requires_action') return { kind: 'pending' };
      if (refund.status !== 'succeeded') return park(em, recharge, `refund ${refund.id} is ${refund.status}`);
      await recharges.move(em, recharge, 'refunded', {
        transfer: 'refund',
        portion: { reference: refund.id, amountMinor: recharge.amountMinor, quotaMicros: recharge.quotaGranted },
        facts: { amount: formatMoney(recharge.amountMinor, recharge.currency), refund: refund.id },
      });
      return { kind: 'refunded' };
    } catch (error) {
      if (isSavedServerError(error)) await recharges.countSpentKey(em, recharge);
      if (classifyStripeError(error) !== 'refused') throw error;
      return park(em, recharge, `Stripe refuses the refund: ${failureOfError(error).message}`);
    }
  };
}

/** The refund that was asked for before, whatever became of it; else one that Stripe knows; else a new one. */
async function askedFor(payments: PaymentsClient, recharge: Recharge, intentId: string): Promise<Stripe.Refund> {
  const refunds = await payments.refundsOf(intentId);
  const ours = refunds.find(({ id }) => id === recharge.refundId);
  const standing = refunds.find(({ status }) => status !== 'failed' && status !== 'canceled');
  return ours ?? standing ?? payments.refund(recharge, intentId);
}

async function park(em: EntityManager, recharge: Recharge, reason: string): Promise<RefundResult> {
  await recharges.move(em, recharge, 'needs_attention', {
    changes: { failureCode: 'refund_failed', failureMessage: reason },
    facts: { reason },
  });
  return { kind: 'needs_attention', reason };
}

/** Refunds and disputes, in one form, as Stripe has them now. */
import type Stripe from 'stripe';
import { minorUnits } from '../domain/money.ts';
import type { ReturnedMoney } from '../domain/reversal.ts';
import { amountIn, currencyIn } from './fields.ts';

export type Refund = ReturnedMoney & {
  kind: 'refund';
  /**
   * `failed`: the money is ours again. `unexpected`: a status that this version does not know, or no readable
   * amount, and a person looks.
   */
  outcome: 'succeeded' | 'pending' | 'failed' | 'unexpected';
  /** Stripe's own words, for a person to read. */
  status: string;
  failureReason: string | null;
};

export function ofRefund(refund: Stripe.Refund): Refund {
  const amount = amountIn(refund.amount);
  const outcome = amount === null ? 'unexpected' : outcomeOfRefund(refund.status);
  return {
    id: refund.id,
    kind: 'refund',
    amountMinor: minorUnits(amount ?? 0),
    currency: currencyIn(refund.currency),
    isGone: outcome !== 'failed',
    isFinal: outcome !== 'pending',
    isInquiry: false,
    reason: refund.reason ?? null,
    rechargeId: refund.metadata?.['recharge_id'] ?? null,
    outcome,
    status: amount === null ? `${refund.status} without a readable amount` : String(refund.status),
    failureReason: refund.failure_reason ?? null,
  };
}

function outcomeOfRefund(status: string | null): Refund['outcome'] {
  switch (status) {
    case 'succeeded':
      return 'succeeded';
    case 'pending':
    case 'requires_action':
      return 'pending';
    case 'failed':
    case 'canceled':
      return 'failed';
    default:
      return 'unexpected';
  }
}

export function ofDispute(dispute: Stripe.Dispute): ReturnedMoney {
  const status = String(dispute.status);
  const isInquiry = status.startsWith('warning_');
  return {
    id: dispute.id,
    kind: 'dispute',
    amountMinor: minorUnits(amountIn(dispute.amount) ?? 0),
    currency: currencyIn(dispute.currency),
    isGone: status !== 'won' && !isInquiry,
    isFinal: ['won', 'lost', 'prevented', 'warning_closed'].includes(status),
    isInquiry,
    reason: dispute.reason ? String(dispute.reason) : null,
    rechargeId: null,
  };
}

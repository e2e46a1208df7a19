/** Money that has gone back to a customer, or may: refunds and disputes in one form, as Stripe has them now. */
import type Stripe from 'stripe';
import { type MinorUnits, minorUnits } from '../domain/money.ts';

export type ReturnedMoney = {
  /** Stripe's id of the refund or dispute. */
  id: string;
  kind: 'refund' | 'dispute';
  amountMinor: MinorUnits;
  /** The customer has it, or will have it unless something changes. */
  isGone: boolean;
  /** Stripe will not change its mind, or says so by an event weeks later. */
  isFinal: boolean;
  /** The bank only asks, and no money has moved; it may become a dispute under the same id. */
  isInquiry: boolean;
};

export function ofRefund(refund: Stripe.Refund): ReturnedMoney {
  return {
    id: refund.id,
    kind: 'refund',
    amountMinor: minorUnits(refund.amount),
    isGone: refund.status !== 'failed' && refund.status !== 'canceled',
    isFinal: refund.status !== 'pending' && refund.status !== 'requires_action',
    isInquiry: false,
  };
}

export function ofDispute(dispute: Stripe.Dispute): ReturnedMoney {
  const isInquiry = dispute.status.startsWith('warning_');
  return {
    id: dispute.id,
    kind: 'dispute',
    amountMinor: minorUnits(dispute.amount),
    isGone: dispute.status !== 'won' && !isInquiry,
    isFinal: ['won', 'lost', 'prevented', 'warning_closed'].includes(dispute.status),
    isInquiry,
  };
}

/**
 * A recharge that is given back whole. Somebody may have refunded a part of it at Stripe before: that part is
 * gone already, and we ask for the rest.
 */
import { type MinorUnits, minorUnits, type Purchase, type QuotaMicros, quotaFor, quotaMicros } from './money.ts';
import type { ReturnedMoney } from './reversal.ts';

export type Refunded = Purchase & {
  id: string;
  /** The refund that we have asked for. */
  refundId?: string | null | undefined;
};

/**
 * What Stripe shows of the refunds of a recharge's payment.
 *
 * @param refunds all of them.
 * @returns `ours`: the one that we have asked for last, whatever became of it. `others`: made elsewhere, or by us
 *   before, and not failed. `rest`: what is ours to give back beside them; 0 where they are all of it.
 */
export function refundsShown<Refund extends ReturnedMoney>(
  { id, refundId, amountMinor }: Refunded,
  refunds: readonly Refund[],
): { ours: Refund | undefined; others: Refund[]; rest: MinorUnits } {
  const mine = refunds.filter((refund) => refund.id === refundId || (refund.rechargeId === id && refund.isGone));
  const ours = mine.find((refund) => refund.id === refundId) ?? mine[0];
  const others = refunds.filter((refund) => refund.isGone && refund !== ours);
  const gone = others.reduce((sum, refund) => sum + refund.amountMinor, 0);
  return { ours, others, rest: minorUnits(Math.max(0, amountMinor - gone)) };
}

export type RefundPart = { reference: string; amountMinor: MinorUnits; quotaMicros: QuotaMicros };

/** The ledger's part of each refund. The last one takes what rounding leaves of the quota. */
export function refundParts(recharge: Purchase, refunds: readonly Pick<ReturnedMoney, 'id' | 'amountMinor'>[]): RefundPart[] {
  let left = recharge.quotaGranted;
  return refunds.map(({ id: reference, amountMinor }, index) => {
    const quota = index === refunds.length - 1 ? left : quotaFor(amountMinor, recharge);
    left = quotaMicros(left - quota);
    return { reference, amountMinor, quotaMicros: quota };
  });
}

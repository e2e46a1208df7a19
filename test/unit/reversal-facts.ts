/** What Stripe shows of a recharge's money, for the tests of reversals. */
import { minorUnits, parseQuota } from '../../src/domain/money.ts';
import type { ReturnedMoney, ReversedRecharge } from '../../src/domain/reversal.ts';

/** 20.50 dollars that bought 20.50 of quota. */
export const granted: ReversedRecharge = {
  id: 'rch_1',
  currency: 'usd',
  status: 'succeeded',
  amountMinor: minorUnits(2050),
  quotaGranted: parseQuota('20.50'),
  refundId: null,
};
/** Quota of one cent of it. */
export const ONE_CENT = 10_000;

/** All of it, as a refund or as a dispute by its id. */
export function money(id: string, fields: Partial<ReturnedMoney> = {}): ReturnedMoney {
  const kind = id.startsWith('du_') ? 'dispute' : 'refund';
  return {
    id,
    kind,
    amountMinor: minorUnits(2050),
    currency: 'usd',
    isGone: true,
    isFinal: true,
    isInquiry: false,
    rechargeId: null,
    ...fields,
  };
}
export const gone = (id: string, fields: Partial<ReturnedMoney> = {}) => money(id, fields);
export const here = (id: string, fields: Partial<ReturnedMoney> = {}) => money(id, { isGone: false, ...fields });

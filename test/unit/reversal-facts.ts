/** What Stripe shows of a recharge's money, for the tests of reversals. */
import { minorUnits, parseQuota, quotaMicros } from '../../src/domain/money.ts';
import type { KnownReversal, ReturnedMoney, ReversalDecision, ReversalStatus, ReversedRecharge } from '../../src/domain/reversal.ts';

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
/** Of a dispute that the bank only asks about so far. */
export const inquiry = (id: string) => here(id, { isInquiry: true, isFinal: false });
export const cents = (amount: number) => ({ amountMinor: minorUnits(amount) });

/** A reversal of so many cents, and of as much quota. */
export function reversal(id: string, status: ReversalStatus, amount = 2050, quota = amount * ONE_CENT): KnownReversal {
  return { id, status, amountMinor: minorUnits(amount), quota: quotaMicros(quota) };
}

/** Nothing is left to do. */
export const NOTHING: ReversalDecision = { open: [], steps: [], parked: [], isFinal: true };

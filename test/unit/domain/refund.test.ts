import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { minorUnits, quotaMicros } from '../../../src/domain/money.ts';
import { refundParts, refundsShown } from '../../../src/domain/refund.ts';
import type { ReturnedMoney } from '../../../src/domain/reversal.ts';

const RECHARGE = { id: 'rch_1', amountMinor: minorUnits(2000), quotaGranted: quotaMicros(20_000_000), refundId: null };

function refund(id: string, amount: number, changes: Partial<ReturnedMoney> = {}): ReturnedMoney {
  return {
    id,
    kind: 'refund',
    amountMinor: minorUnits(amount),
    currency: 'usd',
    isGone: true,
    isFinal: true,
    isInquiry: false,
    rechargeId: null,
    ...changes,
  };
}

describe('what is still to be refunded', () => {
  const [elsewhere, more] = [refund('re_elsewhere', 500), refund('re_more', 1500)];
  const ours = refund('re_ours', 1500, { rechargeId: 'rch_1' });

  test('is all of it where nobody has refunded anything', () => {
    expect(refundsShown(RECHARGE, [])).toEqual({ ours: undefined, others: [], rest: 2000 });
  });

  test('is less by what was refunded elsewhere, and nothing where that is all or more', () => {
    expect(refundsShown(RECHARGE, [elsewhere])).toEqual({ ours: undefined, others: [elsewhere], rest: 1500 });
    expect(refundsShown(RECHARGE, [elsewhere, more])).toEqual({ ours: undefined, others: [elsewhere, more], rest: 0 });
    expect(refundsShown(RECHARGE, [elsewhere, more, refund('re_odd', 1)]).rest).toBe(0);
  });

  test('is less by no refund that has failed', () => {
    const failed = { ...elsewhere, isGone: false };
    expect(refundsShown(RECHARGE, [failed])).toEqual({ ours: undefined, others: [], rest: 2000 });
  });

  test('was asked for where Stripe shows a refund of ours, also one whose id was never stored', () => {
    expect(refundsShown(RECHARGE, [elsewhere, ours])).toEqual({ ours, others: [elsewhere], rest: 1500 });
    expect(refundsShown({ ...RECHARGE, refundId: 're_ours' }, [elsewhere, refund('re_ours', 1500)])).toMatchObject({
      ours: { id: 're_ours' },
      others: [elsewhere],
    });
  });

  test('is less by a further one of ours too', () => {
    const further = refund('re_further', 300, { rechargeId: 'rch_1' });
    const recharge = { ...RECHARGE, refundId: 're_further' };
    expect(refundsShown(recharge, [further, ours])).toEqual({ ours: further, others: [ours], rest: 500 });
  });

  test('the one whose id is stored comes first, whatever became of it; another of ours that has failed is none', () => {
    const failed = { ...ours, id: 're_failed', isGone: false };
    expect(refundsShown({ ...RECHARGE, refundId: 're_failed' }, [ours, failed]).ours).toBe(failed);
    expect(refundsShown(RECHARGE, [failed]).ours).toBeUndefined();
    expect(refundsShown(RECHARGE, [refund('re_1', 1500, { rechargeId: 'rch_2' })]).ours).toBeUndefined();
  });
});

describe("the ledger's part of each refund", () => {
  test('is its amount and its share of the quota', () => {
    expect(refundParts(RECHARGE, [refund('re_1', 500), refund('re_2', 1500)])).toEqual([
      { reference: 're_1', amountMinor: 500, quotaMicros: 5_000_000 },
      { reference: 're_2', amountMinor: 1500, quotaMicros: 15_000_000 },
    ]);
  });

  test('the parts of any quota add up to it, none of them below nothing', () => {
    const parts = fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(parts, fc.integer({ min: 1, max: 10_000_000_000 }), (amounts, quota) => {
        const whole = amounts.reduce((sum, amount) => sum + amount, 0);
        const recharge = { amountMinor: minorUnits(whole), quotaGranted: quotaMicros(quota) };
        const shares = refundParts(
          recharge,
          amounts.map((amount, index) => refund(`re_${index}`, amount)),
        ).map(({ quotaMicros }) => quotaMicros);
        expect(shares.reduce((sum, share) => sum + share, 0)).toBe(quota);
        expect(Math.min(...shares)).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

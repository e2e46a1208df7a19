/** Which refunds and disputes are followed, and when a run is started for that: not for refunds of our own, unless they fail. */
import { describe, expect, test } from '@jest/globals';
import { quotaMicros } from '../../../src/domain/money.ts';
import { OPEN_STATUSES } from '../../../src/domain/recharge-status.ts';
import {
  decideReversals,
  failedRefundOf,
  isFollowed,
  isMoneyGone,
  isToBeFollowed,
  type KnownReversal,
  type ReturnedMoney,
  type ReversalStatus,
  type ReversedRecharge,
} from '../../../src/domain/reversal.ts';
import { cents, gone, granted, here, inquiry, NOTHING, reversal } from '../reversal-facts.ts';

describe('a refund that the recharge has asked for itself', () => {
  const ours = gone('re_ours', { isFinal: false });

  test.each<[string, ReversedRecharge, ReturnedMoney]>([
    ['by its id', { ...granted, refundId: 're_ours' }, ours],
    ['by its metadata', granted, { ...ours, rechargeId: 'rch_1' }],
  ])('is known %s, is no reversal, and is not waited for', (_how, recharge, refund) => {
    expect(decideReversals(recharge, [refund], [])).toEqual(NOTHING);
  });

  test('is not one that another recharge has asked for', () => {
    expect(decideReversals(granted, [{ ...ours, rechargeId: 'rch_2' }], []).open).toHaveLength(1);
  });

  const refunded: ReversedRecharge = { ...granted, status: 'refunded', refundId: 're_ours' };
  test('has failed when its money is here again after it was recorded', () => {
    const failed = here('re_ours');
    expect(failedRefundOf(refunded, [here('re_other'), failed], [])).toBe(failed);
    expect(failedRefundOf(refunded, [here('re_other'), gone('re_ours')], [])).toBeUndefined();
    expect(failedRefundOf({ ...refunded, status: 'refunding' }, [failed], [])).toBeUndefined();
    expect(failedRefundOf({ ...refunded, refundId: undefined }, [failed], [])).toBeUndefined();
  });

  test('is followed unless it failed after it was recorded', () => {
    expect(isFollowed(refunded, here('re_ours'), [])).toBe(false);
    expect(isFollowed(refunded, gone('re_ours'), [])).toBe(true);
    expect(isFollowed({ ...refunded, status: 'needs_attention' }, here('re_ours'), [])).toBe(true);
  });
});

describe('a part of a recharge that went back whole, and whose money comes again', () => {
  /** 15.50 of 20.50 came back first, and was granted. */
  const rest: ReversedRecharge = { ...granted, ...cents(1550), quotaGranted: quotaMicros(15_500_000) };
  const part = { ...reversal('re_1', 'taken_back', 500), isPart: true };
  const again = here('re_1', cents(500));

  test('when the rest was granted, is given, whoever had asked for the refund', () => {
    for (const money of [again, { ...again, rechargeId: 'rch_1' }]) {
      const { open, steps } = decideReversals(rest, [money], [part]);
      expect(open).toEqual([{ id: 're_1', kind: 'refund', amountMinor: 500, quota: 5_000_000, status: 'taken_back' }]);
      expect(steps).toEqual([{ reversalId: 're_1', step: 'give_back', amountMinor: 500 }]);
      expect(decideReversals(granted, [money], [reversal('re_1', 'taken_back', 500)]).steps).toEqual(steps);
      expect(isFollowed(rest, money, [part])).toBe(false);
      expect(isFollowed(granted, money, [reversal('re_1', 'given_back', 500)])).toBe(true);
    }
  });

  test('is of the recharge again for a dispute that comes with it', () => {
    const { open } = decideReversals(rest, [again, gone('du_1', cents(1550))], [part]);
    expect(open).toMatchObject([{ id: 're_1' }, { id: 'du_1', amountMinor: 1550, quota: 15_500_000, status: 'open' }]);
  });

  test('is left alone while it is gone, and nothing waits for it', () => {
    expect(decideReversals(rest, [gone('re_1', { ...cents(500), isFinal: false })], [part])).toEqual(NOTHING);
  });

  test('holds nothing of the rest while it is gone: a dispute takes all of that', () => {
    const { open } = decideReversals(rest, [gone('re_1', cents(500)), gone('du_1', cents(1550))], [part]);
    expect(open).toMatchObject([{ id: 'du_1', amountMinor: 1550, quota: 15_500_000, status: 'open' }]);
  });

  test('is that refund and no other one', () => {
    const other = { ...reversal('re_0', 'taken_back', 300), isPart: true };
    expect(decideReversals(rest, [gone('re_0', cents(300)), again], [other, part]).open).toMatchObject([{ id: 're_1', amountMinor: 500 }]);
    expect(decideReversals(rest, [gone('re_2', cents(500))], [part]).open).toMatchObject([{ id: 're_2', status: 'open' }]);
  });

  test('is followed while it is gone, and while the run of the recharge is there to see it', () => {
    expect(isFollowed(rest, gone('re_1', cents(500)), [part])).toBe(true);
    for (const status of OPEN_STATUSES) expect(isFollowed({ ...rest, status }, again, [part])).toBe(true);
  });

  test('after the whole was recorded as gone, is a refund that has failed', () => {
    const refunded: ReversedRecharge = { ...granted, status: 'refunded', refundId: 're_ours' };
    const moneys = [gone('re_ours', cents(1550)), again];
    expect(failedRefundOf(refunded, moneys, [part])).toBe(again);
    expect(failedRefundOf(refunded, moneys, [])).toBeUndefined();
    expect(isToBeFollowed(refunded, moneys, [part])).toBe(true);
    expect(decideReversals(refunded, moneys, [part])).toEqual(NOTHING);
  });
});

describe('a run is started', () => {
  const ours = gone('re_ours', { rechargeId: 'rch_1' });
  const refunded: ReversedRecharge = { ...granted, status: 'refunded', refundId: 're_ours' };

  test('for money that has gone, and for what may still change', () => {
    expect(isToBeFollowed(granted, [gone('re_1')], [])).toBe(true);
    expect(isToBeFollowed(granted, [gone('du_1', { isFinal: false })], [reversal('du_1', 'taken_back')])).toBe(true);
    expect(isToBeFollowed(granted, [inquiry('du_1')], [])).toBe(true);
  });

  test('for money that is here again: its quota is given back, or a person hears that it was gone', () => {
    expect(isToBeFollowed(granted, [here('du_1')], [reversal('du_1', 'taken_back')])).toBe(true);
    expect(isToBeFollowed(granted, [here('du_1')], [])).toBe(true);
  });

  test('for nothing that has been followed to its end', () => {
    expect(isToBeFollowed(granted, [], [])).toBe(false);
    expect(isToBeFollowed(granted, [gone('du_1')], [reversal('du_1', 'taken_back')])).toBe(false);
    expect(isToBeFollowed(granted, [here('du_1')], [reversal('du_1', 'given_back')])).toBe(false);
  });

  test.each(OPEN_STATUSES)('for a refund that the recharge has asked for, while it is %s: not unless it fails beside its run', (status) => {
    const open = { ...granted, status };
    expect(isToBeFollowed(open, [ours], [])).toBe(false);
    expect(isToBeFollowed({ ...open, refundId: 're_ours' }, [gone('re_ours')], [])).toBe(false);
    expect(isToBeFollowed(open, [{ ...ours, isGone: false }], [])).toBe(status === 'refunding');
    expect(isToBeFollowed(open, [ours, gone('du_1')], [])).toBe(true);
  });

  test('for the refund of a refunded recharge only when it has failed', () => {
    expect(isToBeFollowed(refunded, [ours], [])).toBe(false);
    expect(isToBeFollowed(refunded, [{ ...ours, isGone: false }], [])).toBe(true);
    expect(isToBeFollowed(refunded, [ours, gone('du_1')], [])).toBe(true);
  });
});

describe('a refund made elsewhere before the recharge gave the rest back', () => {
  const refunded: ReversedRecharge = { ...granted, status: 'refunded', refundId: 're_ours' };
  const moneys = [gone('re_ours', cents(1550)), gone('re_elsewhere', cents(500))];

  test('takes no quota, and is followed', () => {
    expect(decideReversals(refunded, moneys, [])).toEqual(NOTHING);
    expect(moneys.map((money) => isFollowed(refunded, money, []))).toEqual([true, true]);
  });

  test('is none of a dispute, nor of a recharge that is granted', () => {
    expect(decideReversals(refunded, [gone('du_1', cents(500))], []).parked).toEqual(['du_1']);
    expect(isFollowed(refunded, gone('du_1', cents(500)), [])).toBe(false);
    expect(isFollowed({ ...refunded, status: 'succeeded' }, gone('re_elsewhere', cents(500)), [])).toBe(false);
  });
});

describe('refunds and disputes are followed', () => {
  test.each<[KnownReversal | undefined, boolean, boolean]>([
    [undefined, false, true],
    [reversal('du_1', 'open'), false, false],
    [reversal('du_1', 'taken_back'), true, false],
    [reversal('du_1', 'taken_back', 2050, 0), true, false],
    [reversal('du_1', 'given_back'), false, true],
    [reversal('du_1', 'needs_attention'), true, true],
  ])('%j: %s while the money is gone, %s when it is here', (known, whileGone, whenHere) => {
    const others = [reversal('du_2', 'open'), ...(known ? [known] : [])];
    expect(isFollowed(granted, gone('du_1'), others)).toBe(whileGone);
    expect(isFollowed(granted, here('du_1'), others)).toBe(whenHere);
  });

  test('by the last of their reversals', () => {
    const known = [reversal('du_1.2', 'taken_back'), reversal('du_1', 'given_back')];
    expect(isFollowed(granted, gone('du_1'), known)).toBe(true);
    expect(isFollowed(granted, here('du_1'), known)).toBe(false);
  });
});

test.each<[ReversalStatus, boolean]>([
  ['taken_back', false],
  ['needs_attention', true],
])('money that found no quota (%s) is not followed as soon as there is some to take', (status, whenHere) => {
  const empty = reversal('du_1', status, 2050, 0);
  expect(isFollowed(granted, gone('du_1'), [empty])).toBe(false);
  expect(isFollowed(granted, here('du_1'), [empty])).toBe(whenHere);
  expect(isFollowed(granted, gone('du_1'), [empty, reversal('re_1', 'taken_back')])).toBe(true);
  expect(isFollowed({ ...granted, status: 'refunded' }, gone('du_1'), [empty])).toBe(true);
});

test('the customer has the money of a reversal as Stripe says, and as long as Stripe says nothing', () => {
  const moneys = [here('du_1'), gone('re_1')];
  expect(['du_1', 'du_1.2', 're_1', 're_1.2', 're_unlisted'].map((id) => isMoneyGone({ id }, moneys))).toEqual([
    false,
    false,
    true,
    true,
    true,
  ]);
});

import { describe, expect, test } from '@jest/globals';
import { minorUnits, quotaMicros } from '../../../src/domain/money.ts';
import { OPEN_STATUSES, RECHARGE_STATUSES, type RechargeStatus } from '../../../src/domain/recharge-status.ts';
import {
  decideReversals,
  failedRefundOf,
  isFollowed,
  isMoneyGone,
  isToBeFollowed,
  type KnownReversal,
  REVERSAL_MOVES,
  REVERSAL_STATUSES,
  type ReturnedMoney,
  type ReversalDecision,
  type ReversalKind,
  type ReversalStatus,
  type ReversedRecharge,
} from '../../../src/domain/reversal.ts';
import { gone, granted, here, ONE_CENT } from '../reversal-facts.ts';

const WHOLE = { amountMinor: granted.amountMinor, quota: granted.quotaGranted };
const NOTHING: ReversalDecision = { open: [], steps: [], parked: [], isFinal: true };

const inquiry = (id: string) => here(id, { isInquiry: true, isFinal: false });
const cents = (amount: number) => ({ amountMinor: minorUnits(amount) });

/** A reversal of so many cents, and of as much quota. */
function reversal(id: string, status: ReversalStatus, amount = 2050, quota = amount * ONE_CENT): KnownReversal {
  return { id, status, amountMinor: minorUnits(amount), quota: quotaMicros(quota) };
}

function isOneOf(statuses: readonly RechargeStatus[], status: RechargeStatus): boolean {
  return statuses.includes(status);
}

describe('money that goes for the first time', () => {
  test.each<[string, ReversalKind]>([
    ['re_1', 'refund'],
    ['du_1', 'dispute'],
  ])('opens %s, and its quota is taken back', (id, kind) => {
    expect(decideReversals(granted, [gone(id)], [])).toEqual({
      open: [{ id, kind, ...WHOLE, status: 'open' }],
      steps: [{ reversalId: id, step: 'take_back', amountMinor: 2050 }],
      parked: [],
      isFinal: true,
    });
  });

  test("keeps Stripe's word for why it went, where there is one", () => {
    const reasonOf = (reason: string | null) => decideReversals(granted, [gone('du_1', { reason })], []).open;
    const opened = { id: 'du_1', kind: 'dispute', ...WHOLE, status: 'open' };
    expect(reasonOf('fraudulent')).toStrictEqual([{ ...opened, reason: 'fraudulent' }]);
    expect(reasonOf(null)).toStrictEqual([opened]);
  });

  test('in part takes the part of the quota that it paid for, rounded down', () => {
    const odd = { ...granted, amountMinor: minorUnits(3), quotaGranted: quotaMicros(100) };
    const { open } = decideReversals(odd, [gone('re_1', cents(1)), gone('re_2', cents(2))], []);
    expect(open.map(({ quota, amountMinor }) => [amountMinor, quota])).toEqual([
      [1, 33],
      [2, 66],
    ]);
  });

  test('takes no more than the rest that other reversals leave', () => {
    const { open, parked } = decideReversals(granted, [gone('re_1', cents(500)), gone('du_1')], [reversal('re_1', 'taken_back', 500)]);
    expect(open).toEqual([{ id: 'du_1', kind: 'dispute', amountMinor: 1550, quota: 15_500_000, status: 'open' }]);
    expect(parked).toEqual([]);
  });

  test('does not wait for room where what the others have taken is final', () => {
    const moneys = [gone('re_1', cents(500)), gone('du_1', { isFinal: false })];
    const { open, isFinal } = decideReversals(granted, moneys, [reversal('re_1', 'taken_back', 500)]);
    expect(open).toEqual([{ id: 'du_1', kind: 'dispute', amountMinor: 1550, quota: 15_500_000, status: 'open' }]);
    expect(isFinal).toBe(false);
  });

  test('that fits the rest to the cent takes all of it', () => {
    const pending = gone('re_1', { ...cents(500), isFinal: false });
    const { open, isFinal } = decideReversals(granted, [pending, gone('re_2', cents(1550))], [reversal('re_1', 'taken_back', 500)]);
    expect(open).toEqual([{ id: 're_2', kind: 'refund', amountMinor: 1550, quota: 15_500_000, status: 'open' }]);
    expect(isFinal).toBe(false);
  });

  test('leaves what others have still to take as it is', () => {
    const moneys = [gone('re_1', cents(500)), gone('re_2', cents(700))];
    const { open, steps } = decideReversals(granted, moneys, [reversal('re_1', 'open', 500)]);
    expect(open.map(({ id }) => id)).toEqual(['re_2']);
    expect(steps.map(({ reversalId, step }) => [reversalId, step])).toEqual([
      ['re_1', 'take_back'],
      ['re_2', 'take_back'],
    ]);
  });

  test('is taken in the order of the ids, whatever the order in which the reversals are known', () => {
    const known = [reversal('re_2', 'open', 700), reversal('re_1', 'open', 500)];
    const { steps } = decideReversals(granted, [gone('re_1', cents(500)), gone('re_2', cents(700))], known);
    expect(steps.map(({ reversalId }) => reversalId)).toEqual(['re_1', 're_2']);
  });

  test('and finds nothing left to take needs a person', () => {
    const known = [reversal('re_1', 'taken_back')];
    expect(decideReversals(granted, [gone('re_1'), gone('du_1')], known)).toEqual({
      open: [{ id: 'du_1', kind: 'dispute', amountMinor: 2050, quota: 0, status: 'needs_attention' }],
      steps: [],
      parked: ['du_1'],
      isFinal: true,
    });
  });

  test.each(RECHARGE_STATUSES.filter((status) => status !== 'succeeded' && !isOneOf(OPEN_STATUSES, status)))(
    'of a recharge that is %s, so of which nothing is granted, needs a person',
    (status) => {
      const { open, steps } = decideReversals({ ...granted, status }, [gone('du_1')], []);
      expect([open, steps]).toMatchObject([[{ status: 'needs_attention', amountMinor: 2050, quota: 0 }], []]);
    },
  );

  test('so small that no micro-dollar goes with it needs a person', () => {
    const cheap = { ...granted, quotaGranted: quotaMicros(1) };
    expect(decideReversals(cheap, [gone('re_1', cents(2049))], [])).toMatchObject({ open: [{ status: 'needs_attention', quota: 0 }] });
    expect(decideReversals(cheap, [gone('re_1', cents(2050))], [])).toMatchObject({ open: [{ status: 'open', quota: 1 }] });
  });

  test('and came again before we looked takes nothing, and is entered all the same', () => {
    expect(decideReversals(granted, [here('du_1')], [])).toEqual({
      ...NOTHING,
      open: [{ id: 'du_1', kind: 'dispute', amountMinor: 2050, quota: 0, status: 'given_back' }],
    });
  });

  test('and came again leaves nothing to do where nothing was granted', () => {
    expect(decideReversals({ ...granted, status: 'refunded' }, [here('re_1')], [])).toEqual(NOTHING);
  });

  test('but only an inquiry of the bank so far takes nothing, and is waited for', () => {
    expect(decideReversals(granted, [inquiry('du_1')], [])).toEqual({ ...NOTHING, isFinal: false });
    expect(decideReversals(granted, [{ ...inquiry('du_1'), isFinal: true }], [])).toEqual(NOTHING);
  });
});

describe('money that others of the same recharge may make room for', () => {
  const pending = gone('re_1', { isFinal: false });

  test.each<[string, ReturnedMoney[], KnownReversal[]]>([
    ['a refund that may fail', [pending], [reversal('re_1', 'taken_back')]],
    ['a refund that may fail and was not taken back yet', [pending], [reversal('re_1', 'open')]],
    ['a refund that may fail and is new too', [pending], []],
    ['a refund whose money is here and whose quota is not', [here('re_1')], [reversal('re_1', 'taken_back')]],
    ['a refund whose quota a person has to give back', [here('re_1')], [reversal('re_1', 'needs_attention')]],
    ['a refund of a part that may fail', [{ ...pending, ...cents(1) }], [reversal('re_1', 'taken_back', 1)]],
  ])('waits for %s', (_what, others, known) => {
    const { open, isFinal } = decideReversals(granted, [...others, gone('du_1')], known);
    expect(open.map(({ id }) => id)).not.toContain('du_1');
    expect(isFinal).toBe(false);
  });

  test.each<[string, ReturnedMoney[], KnownReversal[]]>([
    ['has come again and was given back', [here('re_1')], [reversal('re_1', 'given_back')]],
    ['has found nothing to take itself', [here('re_1', { isFinal: false })], [reversal('re_1', 'needs_attention', 2050, 0)]],
    ['Stripe does not list', [], [reversal('re_1', 'given_back')]],
  ])('takes all where the other %s', (_what, others, known) => {
    const { open } = decideReversals(granted, [...others, gone('du_1')], known);
    expect(open).toContainEqual({ id: 'du_1', kind: 'dispute', ...WHOLE, status: 'open' });
  });

  test('does not wait for what is gone for good, nor for what Stripe does not list', () => {
    const known = [reversal('re_1', 'taken_back')];
    for (const others of [[gone('re_1')], []]) {
      expect(decideReversals(granted, [...others, gone('du_1')], known)).toMatchObject({ parked: ['du_1'], isFinal: true });
    }
  });

  test('comes second where both are new: a refund before a dispute, then by id', () => {
    const moneys = [gone('du_1', cents(1000)), gone('re_2', cents(1000)), gone('re_1', cents(1000))];
    expect(decideReversals(granted, moneys, []).open.map(({ id, amountMinor }) => [id, amountMinor])).toEqual([
      ['re_1', 1000],
      ['re_2', 1000],
      ['du_1', 50],
    ]);
  });
});

describe('money of a known reversal', () => {
  test.each<[ReversalStatus, 'gone' | 'here', string | undefined]>([
    ['open', 'gone', 'take_back'],
    ['open', 'here', 'dismiss'],
    ['taken_back', 'gone', undefined],
    ['taken_back', 'here', 'give_back'],
    ['given_back', 'here', undefined],
    ['needs_attention', 'gone', undefined],
    ['needs_attention', 'here', undefined],
  ])('%s, and the money is %s: %s', (status, where, step) => {
    const decision = decideReversals(granted, [where === 'gone' ? gone('du_1') : here('du_1')], [reversal('du_1', status)]);
    expect(decision).toEqual({
      open: [],
      steps: step ? [{ reversalId: 'du_1', step, amountMinor: 2050 }] : [],
      parked: status === 'needs_attention' ? ['du_1'] : [],
      isFinal: true,
    });
  });

  test('that Stripe does not list any more has not come again: nothing is given back for it', () => {
    expect(decideReversals(granted, [], [reversal('du_1', 'taken_back')])).toEqual(NOTHING);
    expect(decideReversals(granted, [], [reversal('du_1', 'open')]).steps).toMatchObject([{ step: 'take_back' }]);
  });

  test('is given back before other money is taken', () => {
    const known = [reversal('re_1', 'open', 500), reversal('re_2', 'taken_back', 600), reversal('re_3', 'open', 700)];
    const moneys = [gone('re_1'), here('re_2'), here('re_3')];
    expect(decideReversals(granted, moneys, known).steps).toEqual([
      { reversalId: 're_2', step: 'give_back', amountMinor: 600 },
      { reversalId: 're_3', step: 'dismiss', amountMinor: 700 },
      { reversalId: 're_1', step: 'take_back', amountMinor: 500 },
    ]);
  });

  test('that Stripe may still decide otherwise is waited for', () => {
    const moneys = [gone('re_1', { isFinal: false, ...cents(500) }), gone('re_2', cents(500))];
    const known = [reversal('re_1', 'taken_back', 500), reversal('re_2', 'taken_back', 500)];
    expect(decideReversals(granted, moneys, known)).toEqual({ ...NOTHING, isFinal: false });
  });
});

describe('money that goes again after it came again', () => {
  test.each([
    ['du_1', 'du_1.2'],
    ['du_1.2', 'du_1.3'],
    ['du_1.9', 'du_1.10'],
  ])('opens the reversal after %s: %s', (last, next) => {
    expect(decideReversals(granted, [gone('du_1')], [reversal(last, 'given_back')])).toEqual({
      open: [{ id: next, kind: 'dispute', ...WHOLE, status: 'open' }],
      steps: [{ reversalId: next, step: 'take_back', amountMinor: 2050 }],
      parked: [],
      isFinal: true,
    });
  });

  test('is counted from the last time, not from the last one in the list', () => {
    const times = ['du_1.2', 'du_1.10', 'du_1', 'du_1.9'].map((id) => reversal(id, 'given_back'));
    expect(decideReversals(granted, [gone('du_1')], times).open).toMatchObject([{ id: 'du_1.11' }]);
  });

  test('and comes again once more is given back for that time alone', () => {
    const known = [reversal('du_1', 'given_back'), reversal('du_1.2', 'taken_back')];
    expect(decideReversals(granted, [gone('du_1')], known)).toEqual(NOTHING);
    expect(decideReversals(granted, [here('du_1')], known).steps).toEqual([{ reversalId: 'du_1.2', step: 'give_back', amountMinor: 2050 }]);
  });

  test('is held by its own reversals only', () => {
    const known = [reversal('du_1', 'given_back', 1000), reversal('du_10', 'given_back', 1000)];
    const { open } = decideReversals(granted, [gone('du_1', cents(1000)), here('du_10', cents(1000))], known);
    expect(open).toMatchObject([{ id: 'du_1.2', amountMinor: 1000 }]);
  });

  test('waits while another one has the quota and may come again', () => {
    const known = [reversal('du_1', 'given_back'), reversal('re_1', 'taken_back')];
    const pending = gone('re_1', { isFinal: false });
    expect(decideReversals(granted, [gone('du_1'), pending], known)).toEqual({ ...NOTHING, isFinal: false });
  });
});

describe('a reversal that found nothing to take', () => {
  const without = (status: ReversalStatus) => reversal('du_1', status, 2050, 0);

  test.each<ReversalStatus>(['needs_attention', 'taken_back'])('and is %s opens anew once the recharge is granted', (status) => {
    expect(decideReversals(granted, [gone('du_1')], [without(status)])).toEqual({
      open: [{ id: 'du_1', kind: 'dispute', ...WHOLE, status: 'open' }],
      steps: [{ reversalId: 'du_1', step: 'take_back', amountMinor: 2050 }],
      parked: [],
      isFinal: true,
    });
  });

  test('stays parked while nothing is granted, and accepted where a person has accepted it', () => {
    const refunded: ReversedRecharge = { ...granted, status: 'refunded' };
    expect(decideReversals(refunded, [gone('du_1')], [without('needs_attention')])).toEqual({ ...NOTHING, parked: ['du_1'] });
    expect(decideReversals(refunded, [gone('du_1')], [without('taken_back')])).toEqual(NOTHING);
  });

  test('and is parked gives nothing back when its money comes again', () => {
    expect(decideReversals(granted, [here('du_1')], [without('needs_attention')])).toMatchObject({ open: [], steps: [] });
  });

  test('and was accepted is over when its money comes again, and gives nothing back', () => {
    expect(decideReversals(granted, [here('du_1')], [without('taken_back')])).toMatchObject({
      open: [],
      steps: [{ reversalId: 'du_1', step: 'dismiss' }],
    });
  });

  test('and whose money came again is the first time: the next has a number', () => {
    expect(decideReversals(granted, [gone('du_1')], [without('given_back')]).open).toMatchObject([{ id: 'du_1.2', status: 'open' }]);
  });
});

describe('what has to be decided first', () => {
  test.each(OPEN_STATUSES)('is the recharge itself while it is %s', (status) => {
    const open = { ...granted, status };
    expect(decideReversals(open, [gone('du_1')], [reversal('du_1', 'open')])).toEqual({ ...NOTHING, isFinal: false });
    expect(decideReversals(open, [], [])).toEqual(NOTHING);
  });
});

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

test('money that has gone and of which Stripe does not say how much may be all of it: a person looks', () => {
  const unsaid = gone('du_1', cents(0));
  const parked = {
    id: 'du_1',
    kind: 'dispute' as const,
    amountMinor: granted.amountMinor,
    quota: quotaMicros(0),
    status: 'needs_attention' as const,
  };
  expect(decideReversals(granted, [unsaid], [])).toMatchObject({ open: [parked], parked: ['du_1'], steps: [] });
  expect(decideReversals(granted, [unsaid], [parked])).toMatchObject({ open: [], parked: ['du_1'], steps: [] });
  expect(decideReversals(granted, [gone('du_1')], [parked]).open).toMatchObject([{ id: 'du_1', ...WHOLE, status: 'open' }]);
  expect(isFollowed(granted, unsaid, [parked])).toBe(true);
});

test.each([cents(900), cents(99_999)])('a dispute in another currency is of the whole payment, whatever it is of: $amountMinor', (said) => {
  const inEuros = gone('du_1', { ...said, currency: 'eur' });
  expect(decideReversals(granted, [inEuros], []).open).toMatchObject([{ id: 'du_1', ...WHOLE, status: 'open' }]);
  expect(decideReversals(granted, [inEuros], [reversal('re_1', 'taken_back', 500)]).open).toMatchObject([{ amountMinor: 1550 }]);
  const foundNothing = { ...reversal('du_1', 'taken_back', 2050, 0) };
  expect(isFollowed(granted, inEuros, [foundNothing])).toBe(false);
});

test('a dispute without a currency may be of anything: a person looks', () => {
  expect(decideReversals(granted, [gone('du_1', { ...cents(900), currency: null })], [])).toMatchObject({ parked: ['du_1'], steps: [] });
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

describe('a write that has begun', () => {
  const writing = (known: KnownReversal): KnownReversal => ({ ...known, isWriting: true });
  const stepsOf = (moneys: ReturnedMoney[], known: KnownReversal[]) =>
    decideReversals(granted, moneys, known).steps.map(({ reversalId, step }) => [reversalId, step]);

  test('comes before every other step, since no other can claim the budget', () => {
    const moneys = [gone('du_1', cents(700)), gone('re_1', cents(500)), here('re_2', cents(300))];
    const known = [reversal('du_1', 'open', 700), writing(reversal('re_1', 'open', 500)), reversal('re_2', 'taken_back', 300)];
    expect(stepsOf(moneys, known)).toEqual([
      ['re_1', 'take_back'],
      ['re_2', 'give_back'],
      ['du_1', 'take_back'],
    ]);
  });

  test('and gives back is finished although the money is gone again, and is taken again by the next look', () => {
    expect(stepsOf([gone('du_1')], [writing(reversal('du_1', 'taken_back'))])).toEqual([['du_1', 'give_back']]);
    expect(stepsOf([gone('du_1')], [reversal('du_1', 'given_back')])).toEqual([['du_1.2', 'take_back']]);
  });

  test('is not followed yet', () => {
    expect(isFollowed(granted, gone('du_1'), [writing(reversal('du_1', 'taken_back'))])).toBe(false);
    expect(isFollowed(granted, gone('du_1'), [reversal('du_1', 'taken_back')])).toBe(true);
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

test('reversals that hold more than the whole leave nothing, and not less', () => {
  const known = [reversal('re_1', 'taken_back'), reversal('re_2', 'taken_back', 500)];
  const { open } = decideReversals(granted, [gone('re_1'), gone('re_2', cents(500)), gone('du_1', cents(100))], known);
  expect(open).toEqual([{ id: 'du_1', kind: 'dispute', amountMinor: 100, quota: 0, status: 'needs_attention' }]);
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

test('a reversal moves as the picture has it', () => {
  expect(REVERSAL_MOVES).toEqual({
    open: ['taken_back', 'given_back', 'needs_attention'],
    taken_back: ['given_back', 'needs_attention', 'open'],
    given_back: [],
    needs_attention: ['taken_back', 'given_back', 'open'],
  });
  expect(Object.keys(REVERSAL_MOVES).sort()).toEqual([...REVERSAL_STATUSES].sort());
});

/** Money of a recharge that goes back, and comes again: what opens a reversal, and what becomes of the quota. */
import { describe, expect, test } from '@jest/globals';
import { minorUnits, quotaMicros } from '../../../src/domain/money.ts';
import { OPEN_STATUSES, RECHARGE_STATUSES, type RechargeStatus } from '../../../src/domain/recharge-status.ts';
import {
  decideReversals,
  isFollowed,
  type KnownReversal,
  REVERSAL_MOVES,
  REVERSAL_STATUSES,
  type ReturnedMoney,
  type ReversalKind,
  type ReversalStatus,
  type ReversedRecharge,
} from '../../../src/domain/reversal.ts';
import { cents, gone, granted, here, inquiry, NOTHING, reversal } from '../reversal-facts.ts';

const WHOLE = { amountMinor: granted.amountMinor, quota: granted.quotaGranted };

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

test('reversals that hold more than the whole leave nothing, and not less', () => {
  const known = [reversal('re_1', 'taken_back'), reversal('re_2', 'taken_back', 500)];
  const { open } = decideReversals(granted, [gone('re_1'), gone('re_2', cents(500)), gone('du_1', cents(100))], known);
  expect(open).toEqual([{ id: 'du_1', kind: 'dispute', amountMinor: 100, quota: 0, status: 'needs_attention' }]);
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

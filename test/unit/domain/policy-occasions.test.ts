/** What a recharge is asked for by: a sweep, which looks ahead; an alert that is ahead of LiteLLM; a call that it refuses. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { minorUnits, parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { isRefusedByReservation, type LiveBudget, type Occasion, spendIsStillFlushing } from '../../../src/domain/policy.ts';
import { amounts, budget, budgetWithBalance, decide, history, policies, policy, REFUSED_CALL, refusalOf } from '../policy-facts.ts';

describe('a sweep', () => {
  const ahead = (balance: string, spend: string, anyHistory = history) =>
    decide({
      budget: budgetWithBalance(parseQuota(balance), 0),
      history: anyHistory,
      occasion: { kind: 'sweep', expectedSpend: parseQuota(spend) },
    });

  test('recharges a balance above the minimum that will be there before the next sweep, from what it is now up to the target', () => {
    expect(ahead('15', '5')).toMatchObject({ kind: 'recharge', amount: 1500, quota: parseQuota('15'), balance: parseQuota('15') });
    expect(refusalOf(ahead('15', '4.999999'))).toBe('above_minimum');
  });
  test('does not charge ahead for less than a quarter of what lies between minimum and target', () => {
    expect(ahead('25', '1000').kind).toBe('recharge');
    expect(refusalOf(ahead('25.000001', '1000'))).toBe('above_minimum');
    expect(refusalOf(ahead('500', '1000'))).toBe('above_minimum');
  });
  test('that expects nothing decides as for an alert', () => {
    const balances = fc.integer({ min: -10_000_000_000, max: 10_000_000_000 });
    fc.assert(
      fc.property(policies, balances, amounts, (anyPolicy, balance, spend) => {
        const live = budgetWithBalance(balance, spend);
        const nothing: Occasion = { kind: 'sweep', expectedSpend: quotaMicros(0) };
        expect(decide({ policy: anyPolicy, budget: live, occasion: nothing })).toEqual(decide({ policy: anyPolicy, budget: live }));
      }),
    );
  });
  test('never takes a balance further above the target than an alert does, whatever it expects', () => {
    fc.assert(
      fc.property(policies, fc.integer({ min: 1, max: 10_000_000_000 }), amounts, (anyPolicy, above, expected) => {
        const occasion: Occasion = { kind: 'sweep', expectedSpend: quotaMicros(expected) };
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(anyPolicy.minimumBalance + above, 0), occasion });
        if (decision.kind !== 'recharge') return;
        expect(decision.balance).toBeLessThan(anyPolicy.targetBalance);
        const due = decide({ policy: { ...anyPolicy, minimumBalance: decision.balance }, budget: budgetWithBalance(decision.balance, 0) });
        expect(decision).toEqual({ ...due, quotaBefore: decision.quotaBefore });
      }),
    );
  });
});

describe('an alert that is ahead of the figures KMS shows', () => {
  const shown = { ...budget, quota: parseQuota('100'), spend: parseQuota('80') };
  const flushing = (alertSpend: string | null, live: LiveBudget = shown) =>
    spendIsStillFlushing(alertSpend === null ? null : parseQuota(alertSpend), live, policy.minimumBalance);

  test('is worth another look when its spend would put the balance at or below the minimum', () => {
    expect(flushing('100.000123')).toBe(true);
    expect(flushing('90')).toBe(true);
  });
  test('is believed by nobody when its spend would leave the balance above the minimum', () => {
    expect(flushing('89.999999')).toBe(false);
  });
  test('is not ahead when KMS shows as much spend, or more', () => {
    const flushed = { ...shown, spend: parseQuota('100') };
    expect(flushing('100', flushed)).toBe(false);
    expect(flushing('99', flushed)).toBe(false);
  });
  test('says nothing without a spend, or about a team without a limit', () => {
    expect(flushing(null)).toBe(false);
    expect(flushing(null, { ...shown, quota: parseQuota('5'), spend: parseQuota('-1') })).toBe(false);
    expect(flushing('100', { ...shown, quota: null })).toBe(false);
  });
});

describe('a call that LiteLLM refuses while the balance is above the minimum', () => {
  const refused = (balance: string) => decide({ budget: budgetWithBalance(parseQuota(balance), 0), occasion: REFUSED_CALL });

  test('is a reason to recharge up to the target, with a quarter of what lies between minimum and target used', () => {
    expect(refused('25')).toMatchObject({ kind: 'recharge', amount: 500, balance: parseQuota('25') });
    expect(refused('10.000001')).toMatchObject({ kind: 'recharge', amount: 2_000 });
  });
  test('is said to be one, and charged nothing, with less than a quarter used', () => {
    expect(refusalOf(refused('25.000001'))).toBe('refused_with_money_left');
    expect(refusalOf(refused('500'))).toBe('refused_with_money_left');
  });
  test('is decided like any other alert at or below the minimum', () => {
    expect(refused('10')).toEqual(decide({ budget: budgetWithBalance(parseQuota('10'), 0) }));
  });
  test('is charged nothing above the limits', () => {
    const tight = { ...policy, maxDailyAmount: minorUnits(300) };
    const live = budgetWithBalance(parseQuota('20'), 0);
    expect(decide({ policy: tight, budget: live, occasion: REFUSED_CALL })).toMatchObject({ kind: 'recharge', amount: 300 });
    expect(refusalOf(decide({ policy: { ...policy, maxDailyAmount: minorUnits(0) }, budget: live, occasion: REFUSED_CALL }))).toBe(
      'daily_amount_reached',
    );
  });
});

describe('an alert of a refused call', () => {
  const live = { ...budget, quota: parseQuota('100'), spend: parseQuota('60') };
  const says = (spend: string | null, of: string | null, shown: LiveBudget = live) =>
    isRefusedByReservation({ spend: spend === null ? null : parseQuota(spend), budget: of === null ? null : parseQuota(of) }, shown);

  test('reports a reservation when it says that exactly the present budget is used up', () => {
    expect(says('100', '100')).toBe(true);
  });
  test('reports money that was spent when it says more, and nothing when it says less', () => {
    expect(says('100.000001', '100')).toBe(false);
    expect(says('99.999999', '100')).toBe(false);
  });
  test('was answered already when the budget is another one now', () => {
    expect(says('100', '100', { ...live, quota: parseQuota('130') })).toBe(false);
    expect(says('100', '100', { ...live, quota: null })).toBe(false);
  });
  test('says nothing without figures', () => {
    expect(says(null, '100')).toBe(false);
    expect(says(null, null)).toBe(false);
    expect(says(null, null, { ...live, quota: null })).toBe(false);
  });
});

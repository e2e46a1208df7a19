import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { DEFAULT_TARGETS, isOfLimit, type Limits, limitsOf, limitsReached, limitsUsed } from '../../../src/domain/limits.ts';
import { chargeThatBuys, currency, minorUnits, parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { currencies, NO_HISTORY, prices, quotas, USD } from '../arbitraries.ts';

const target = (dollars: string, code = 'usd', price = '1') => ({
  targetBalance: parseQuota(dollars),
  currency: currency(code),
  quotaPerUnit: parseQuota(price),
});

describe('what is used up', () => {
  const limits = { ...limitsOf(target('20')), maxDailyRecharges: 5, currency: USD };
  test('is told of each limit, in its unit, with its period', () => {
    const counted = { attemptsToday: 3, chargedToday: minorUnits(6_150), chargedThisMonth: minorUnits(30_000) };
    expect(limitsUsed(limits, counted)).toEqual({
      daily_limit_reached: '3 of 5 today',
      daily_amount_reached: '61.50 of 200.00 USD today',
      monthly_limit_reached: '300.00 of 400.00 USD this month',
    });
  });
  test('is asked for where a limit refuses, and nowhere else', () => {
    const refusals = ['daily_limit_reached', 'daily_amount_reached', 'monthly_limit_reached', 'amount_too_large', 'held'];
    expect(refusals.filter(isOfLimit)).toEqual(refusals.slice(0, 3));
  });
});

describe('a limit that is not set', () => {
  test('is three, ten and twenty times the target', () => {
    expect(limitsOf(target('20'))).toEqual({ maxCharge: 6_000, maxDailyAmount: 20_000, maxMonthlyAmount: 40_000 });
  });
  test.each([
    ['in a currency without minor units, rounded up', target('20', 'jpy', '0.0066'), 3_031],
    ['in a currency with a price of its own', target('20', 'eur', '1.25'), 1_600],
    ['in a currency that Stripe takes in tens', target('20.001', 'kwd', '1'), 20_010],
    ['below the smallest charge', target('0.01'), 50],
    ['above the largest charge', target('2000000'), 200_000_000],
  ])('follows the price of the target %s', (_where, priced, price) => {
    expect(limitsOf(priced)).toEqual({ maxCharge: price * 3, maxDailyAmount: price * 10, maxMonthlyAmount: price * 20 });
  });
  test('lets the target be charged in one piece', () => {
    fc.assert(
      fc.property(quotas, currencies, prices, (targetBalance, code, quotaPerUnit) => {
        const amount = chargeThatBuys(targetBalance, code, quotaPerUnit) ?? 0;
        const limits = limitsOf({ targetBalance, currency: code, quotaPerUnit });
        expect(limits.maxCharge).toBeGreaterThanOrEqual(DEFAULT_TARGETS.maxCharge * amount);
        expect(limits.maxDailyAmount).toBeGreaterThan(limits.maxCharge);
        expect(limits.maxMonthlyAmount).toBeGreaterThan(limits.maxDailyAmount);
      }),
    );
  });
  test('can be computed for any target at any price', () => {
    const most = { targetBalance: quotaMicros(Number.MAX_SAFE_INTEGER), currency: USD, quotaPerUnit: quotaMicros(1) };
    expect(limitsOf(most).maxCharge).toBe(Number.MAX_SAFE_INTEGER);
  });
});

test('a limit that is set is that one, nothing included', () => {
  const set = { maxCharge: minorUnits(0), maxDailyAmount: minorUnits(1), maxMonthlyAmount: minorUnits(2) };
  expect(limitsOf({ ...target('20'), ...set })).toEqual(set);
  expect(limitsOf({ ...target('20'), maxCharge: null, maxDailyAmount: undefined, maxMonthlyAmount: minorUnits(2) })).toEqual({
    maxCharge: 6_000,
    maxDailyAmount: 20_000,
    maxMonthlyAmount: 2,
  });
});

describe('a reservation reaches', () => {
  const limits: Limits & { maxDailyRecharges: number } = {
    maxCharge: minorUnits(1),
    maxDailyAmount: minorUnits(10_000),
    maxMonthlyAmount: minorUnits(20_000),
    maxDailyRecharges: 10,
  };
  const reached = (before: Partial<typeof NO_HISTORY>, amount = 1_000) =>
    limitsReached(limits, { ...NO_HISTORY, ...before }, minorUnits(amount)).map(({ key }) => key);

  test('80, 90 and 100 % of the attempts of a day', () => {
    expect(reached({ attemptsToday: 6 })).toEqual([]);
    expect(reached({ attemptsToday: 7 })).toEqual(['max_daily_recharges/2026-11-26/80']);
    expect(reached({ attemptsToday: 8 })).toEqual(['max_daily_recharges/2026-11-26/90']);
    expect(reached({ attemptsToday: 9 })).toEqual(['max_daily_recharges/2026-11-26/100']);
  });
  test('a threshold of the amounts to the cent, and once', () => {
    const charged = (today: number) => ({ chargedToday: minorUnits(today) });
    expect(reached(charged(6_999))).toEqual([]);
    expect(reached(charged(7_000))).toEqual(['max_daily_amount/2026-11-26/80']);
    expect(reached(charged(7_999))).toEqual(['max_daily_amount/2026-11-26/80']);
    expect(reached(charged(8_000), 999)).toEqual([]);
    expect(reached(charged(8_000))).toEqual(['max_daily_amount/2026-11-26/90']);
    expect(reached(charged(10_000))).toEqual([]);
  });
  test('several at once, of the day and the month', () => {
    const both = { chargedToday: minorUnits(0), chargedThisMonth: minorUnits(8_000) };
    expect(limitsReached(limits, { ...NO_HISTORY, ...both }, minorUnits(9_500))).toEqual([
      { limit: 'max_daily_amount', percent: 80, used: 9_500, most: 10_000, period: '2026-11-26', key: 'max_daily_amount/2026-11-26/80' },
      { limit: 'max_daily_amount', percent: 90, used: 9_500, most: 10_000, period: '2026-11-26', key: 'max_daily_amount/2026-11-26/90' },
      { limit: 'max_monthly_amount', percent: 80, used: 17_500, most: 20_000, period: '2026-11', key: 'max_monthly_amount/2026-11/80' },
    ]);
  });
  test('each of a limit when an approved amount goes beyond it', () => {
    expect(reached({}, 60_000)).toHaveLength(6);
  });
  test('nothing of a limit that allows nothing', () => {
    const none = { ...limits, maxDailyAmount: minorUnits(0), maxMonthlyAmount: minorUnits(0), maxDailyRecharges: 0 };
    expect(limitsReached(none, NO_HISTORY, minorUnits(50))).toEqual([]);
  });
});

import { expect, test } from '@jest/globals';
import { minorUnits, parseQuota } from '../../../src/domain/money.ts';
import { REFUSALS, type RechargePolicy } from '../../../src/domain/policy.ts';
import {
  limitsOfOneCharge,
  neverCharged,
  timeZoneAdvice,
  toldRefusal,
  warningsOf,
  whyRefusedUnder,
} from '../../../src/domain/settings-warnings.ts';
import { NO_LIMITS, USD } from '../arbitraries.ts';

const policy: RechargePolicy = {
  autoRechargeEnabled: true,
  blocked: false,
  minimumBalance: parseQuota('5'),
  targetBalance: parseQuota('25'),
  maxDailyRecharges: 10,
  ...NO_LIMITS,
  currency: USD,
  quotaPerUnit: parseQuota('1'),
};

test('a minimum of zero is warned of: a call reserves more than is left before nothing is left', () => {
  expect(warningsOf({ ...policy, minimumBalance: parseQuota('0') })).toEqual([
    expect.stringMatching(/^minimum_balance is 0, .*reserves more than is left[^:]*: set it to more than one call can cost$/),
  ]);
});

test('any other minimum may be enough: what a call reserves is not known', () => {
  expect(warningsOf({ ...policy, minimumBalance: parseQuota('0.000001') })).toEqual([]);
});

test('a time zone that PostgreSQL does not know is warned of, beside the rest', () => {
  const warnings = warningsOf({ ...policy, minimumBalance: parseQuota('0') }, { isTimeZoneUnknown: true });
  expect(warnings).toEqual([expect.stringMatching(/^minimum_balance/), expect.stringMatching(/^time_zone .*UTC[^:]*: set it/)]);
});

test('a time zone is set by a command that names the organization', () => {
  expect(timeZoneAdvice('acme')).toBe('bill org set acme --time-zone <IANA name>');
});

test('limits by which nothing is ever charged are warned of, each by its name', () => {
  const cents = (amount: number) => minorUnits(amount);
  expect(neverCharged(policy)).toEqual([]);
  expect(neverCharged({ ...policy, maxDailyRecharges: 0 })).toEqual([expect.stringMatching(/^max_daily_recharges is 0, .*ever charged/)]);
  expect(neverCharged({ ...policy, maxDailyAmount: cents(49) })).toEqual([
    expect.stringMatching(/^max_daily_amount is 0.49 USD, .*ever charged/),
  ]);
  expect(neverCharged({ ...policy, maxMonthlyAmount: cents(0) })).toEqual([expect.stringMatching(/^max_monthly_amount is 0.00 USD/)]);
  expect(neverCharged({ ...policy, maxDailyAmount: cents(50), maxMonthlyAmount: cents(50) })).toEqual([]);
  expect(neverCharged({ ...policy, maxCharge: cents(1999) })).toEqual([
    expect.stringMatching(/^max_charge is 19.99 USD, .*20.00 USD, .*held until a person releases it[^:]*: raise max_charge/),
  ]);
  expect(neverCharged({ ...policy, maxCharge: cents(2000) })).toEqual([]);
  expect(warningsOf({ ...policy, maxDailyRecharges: 0 })).toHaveLength(1);
});

test('a target that one charge does not reach from the minimum is warned of, with the most that a charge carries', () => {
  const most = { ...policy, maxCharge: minorUnits(99_999_999) };
  expect(neverCharged({ ...most, targetBalance: parseQuota('1000004.99') })).toEqual([]);
  expect(neverCharged({ ...most, targetBalance: parseQuota('1000005') })).toEqual([
    expect.stringMatching(
      /^target_balance is further above minimum_balance than one charge carries \(999999\.99 USD\), [^:]*: lower target/,
    ),
  ]);
});

test('a lower target is advised only where a charge within max_charge brings a balance above its minimum, with how low it has to be', () => {
  const advice = (changes: Partial<RechargePolicy>) => neverCharged({ ...policy, ...changes }).map((why) => why.replace(/.*: /, ''));
  const raise = ['raise max_charge'];
  for (const cents of [0, 1, 49]) expect(advice({ maxCharge: minorUnits(cents) })).toEqual(raise);
  expect(advice({ maxCharge: minorUnits(50) })).toEqual(['raise max_charge, or lower target_balance to 5.50 at most']);
  expect(advice({ maxCharge: minorUnits(1999) })).toEqual(['raise max_charge, or lower target_balance to 24.99 at most']);
  expect(advice({ targetBalance: parseQuota('24.99'), maxCharge: minorUnits(1999) })).toEqual([]);
  expect(advice({ targetBalance: parseQuota('5.00001'), quotaPerUnit: parseQuota('0.000001'), maxCharge: minorUnits(50) })).toEqual(raise);
});

test('what one charge may not carry is settled by the setting that is in the way', () => {
  const flags = (changes: Partial<RechargePolicy>) => limitsOfOneCharge({ ...policy, ...changes }).map(({ flag }) => flag);
  expect(flags({ maxCharge: minorUnits(1999) })).toEqual(['--max-charge <amount>']);
  expect(flags({ targetBalance: parseQuota('1000005') })).toEqual(['--target <dollars>']);
});

test('a limit of nothing is not used up: no next day is waited for', () => {
  const refused = (refusal: 'daily_limit_reached' | 'daily_amount_reached' | 'monthly_limit_reached') =>
    ({ kind: 'refuse', refusal, balance: null }) as const;
  for (const [limit, refusal, flag] of [
    ['maxDailyRecharges', 'daily_limit_reached', '--max-daily <n>'],
    ['maxDailyAmount', 'daily_amount_reached', '--max-daily-amount <amount>'],
    ['maxMonthlyAmount', 'monthly_limit_reached', '--max-monthly <amount>'],
  ] as const) {
    const nothing = { ...policy, [limit]: 0 };
    expect(whyRefusedUnder(nothing, refused(refusal))).toMatch(/ is 0.* nothing is ever charged/);
    expect(toldRefusal(nothing, refusal, 'acme').action).toBe(`bill org set acme ${flag}`);
    const other = refusal === 'daily_limit_reached' ? 'monthly_limit_reached' : 'daily_limit_reached';
    expect(whyRefusedUnder(nothing, refused(other))).toBe(REFUSALS[other]);
    expect(whyRefusedUnder(policy, refused(refusal))).toBe(REFUSALS[refusal]);
    expect(toldRefusal(policy, refusal, 'acme').action).toContain('wait for the next');
  }
});

/**
 * What the rules are tried on: amounts and prices as large as anybody will ever see, and every kind of
 * currency.
 */
import fc from 'fast-check';
import type { Limits } from '../../src/domain/limits.ts';
import { currency, minorUnits, quotaMicros } from '../../src/domain/money.ts';
import type { RechargeHistory } from '../../src/domain/policy.ts';

export const USD = currency('usd');

export const currencies = fc.constantFrom('usd', 'eur', 'jpy', 'krw', 'kwd', 'bhd').map(currency);
export const threeDecimalCurrencies = fc.constantFrom('bhd', 'jod', 'kwd', 'omr', 'tnd').map(currency);

/** Up to ten million dollars, small ones as often as large ones. */
export const quotas = fc.oneof(fc.integer({ min: 1, max: 2_000_000 }), fc.integer({ min: 1, max: 10_000_000_000_000 })).map(quotaMicros);
/** From a hundredth of a cent for one unit of the currency to 90 dollars. */
export const prices = fc.oneof(fc.constantFrom(1_000_000, 6_500, 3_000_000), fc.integer({ min: 100, max: 90_000_000 })).map(quotaMicros);
/** Whatever Stripe takes. */
export const charges = fc.integer({ min: 0, max: 99_999_999 }).map(minorUnits);

/** Amounts that nothing is above, for the rules beside them. */
export const NO_LIMITS: Limits = {
  maxCharge: minorUnits(Number.MAX_SAFE_INTEGER),
  maxDailyAmount: minorUnits(Number.MAX_SAFE_INTEGER),
  maxMonthlyAmount: minorUnits(Number.MAX_SAFE_INTEGER),
};

/** Of an organization that nothing was ever charged to. */
export const NO_HISTORY: RechargeHistory = {
  today: '2026-11-26',
  attemptsToday: 0,
  chargedToday: minorUnits(0),
  chargedThisMonth: minorUnits(0),
  hasOpenRecharge: false,
  holds: [],
  recent: { lastHour: 0, busiestHourBefore: 0, firstAgoMs: null },
  approvedAmount: null,
};

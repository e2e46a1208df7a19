/**
 * What an organization may be charged at most: at once, in a day, in a month. Pure, and the one home of the
 * defaults: an amount that is not set follows the target balance and its price.
 */
import { type Currency, formatMoney, type MinorUnits, minorUnits, moneyText, priceOf, type QuotaMicros } from './money.ts';

/** In minor units of the organization's currency. */
export type Limits = {
  /** More than this is charged only when a person has approved that very amount. */
  maxCharge: MinorUnits;
  /** Of a calendar day in the organization's time zone. */
  maxDailyAmount: MinorUnits;
  /** Of a calendar month in the organization's time zone. */
  maxMonthlyAmount: MinorUnits;
};

/** How often the price of the whole target balance fits into a limit that is not set. */
export const DEFAULT_TARGETS = { maxCharge: 3, maxDailyAmount: 10, maxMonthlyAmount: 20 } as const satisfies Record<keyof Limits, number>;

/** What the defaults follow. */
type Priced = { targetBalance: QuotaMicros; currency: Currency; quotaPerUnit: QuotaMicros };

/** The limits as they are stored: null is the default. */
export type LimitSettings = { [L in keyof Limits]?: MinorUnits | null | undefined };

/** The limits that apply: what is set, and the default of what is not. */
export function limitsOf(organization: LimitSettings & Priced): Limits {
  const { maxCharge, maxDailyAmount, maxMonthlyAmount } = organization;
  return {
    maxCharge: maxCharge ?? defaultOf('maxCharge', organization),
    maxDailyAmount: maxDailyAmount ?? defaultOf('maxDailyAmount', organization),
    maxMonthlyAmount: maxMonthlyAmount ?? defaultOf('maxMonthlyAmount', organization),
  };
}

function defaultOf(limit: keyof Limits, { targetBalance, currency, quotaPerUnit }: Priced): MinorUnits {
  const price = priceOf(targetBalance, currency, quotaPerUnit) * BigInt(DEFAULT_TARGETS[limit]);
  // A limit above any amount is none; this one can still be computed with.
  return minorUnits(Math.min(Number(price), Number.MAX_SAFE_INTEGER));
}

/** What counts against the limits of a day and a month before one more charge. */
type Counted = {
  attemptsToday: number;
  chargedToday: MinorUnits;
  chargedThisMonth: MinorUnits;
  /** The organization's calendar day, such as `2026-11-26`. */
  today: string;
};

/** The refusals that say that a limit is used up. */
const LIMIT_REFUSALS = ['daily_limit_reached', 'daily_amount_reached', 'monthly_limit_reached'] as const;
export type LimitRefusal = (typeof LIMIT_REFUSALS)[number];

export function isOfLimit(reason: string): reason is LimitRefusal {
  return LIMIT_REFUSALS.some((refusal) => refusal === reason);
}

/** How much of each limit is used up, in words. */
export type LimitsUsed = Record<LimitRefusal, string>;

export function limitsUsed(
  { maxDailyRecharges, maxDailyAmount, maxMonthlyAmount, currency }: Limits & { maxDailyRecharges: number; currency: Currency },
  { attemptsToday, chargedToday, chargedThisMonth }: Omit<Counted, 'today'>,
): LimitsUsed {
  const money = (used: MinorUnits, most: MinorUnits) => `${formatMoney(used, currency)} of ${moneyText(most, currency)}`;
  return {
    daily_limit_reached: `${attemptsToday} of ${maxDailyRecharges} today`,
    daily_amount_reached: `${money(chargedToday, maxDailyAmount)} today`,
    monthly_limit_reached: `${money(chargedThisMonth, maxMonthlyAmount)} this month`,
  };
}

/** In percent of a limit. */
const THRESHOLDS = [80, 90, 100] as const;

/** A threshold that a reservation reaches: `used` of `most`, in minor units or attempts. */
export type LimitReached = {
  limit: 'max_daily_recharges' | 'max_daily_amount' | 'max_monthly_amount';
  percent: (typeof THRESHOLDS)[number];
  used: number;
  most: number;
  /** The day or month: `2026-11-26`, `2026-11`. */
  period: string;
  /** The same whenever the organization reaches this threshold in the same day or month: told once. */
  key: string;
};

/** The thresholds that reserving `amount` reaches, those of a day first and the lowest first. */
export function limitsReached(
  { maxDailyRecharges, maxDailyAmount, maxMonthlyAmount }: Limits & { maxDailyRecharges: number },
  { attemptsToday, chargedToday, chargedThisMonth, today }: Counted,
  amount: MinorUnits,
): LimitReached[] {
  const month = today.slice(0, 'YYYY-MM'.length);
  return [
    ...thresholds('max_daily_recharges', { before: attemptsToday, more: 1, most: maxDailyRecharges, period: today }),
    ...thresholds('max_daily_amount', { before: chargedToday, more: amount, most: maxDailyAmount, period: today }),
    ...thresholds('max_monthly_amount', { before: chargedThisMonth, more: amount, most: maxMonthlyAmount, period: month }),
  ];
}

function thresholds(
  limit: LimitReached['limit'],
  { before, more, most, period }: { before: number; more: number; most: number; period: string },
): LimitReached[] {
  const used = before + more;
  const reached = (amount: number, percent: number) => amount * 100 >= most * percent;
  return THRESHOLDS.filter((percent) => reached(used, percent) && !reached(before, percent)).map((percent) => ({
    limit,
    percent,
    used,
    most,
    period,
    key: `${limit}/${period}/${percent}`,
  }));
}

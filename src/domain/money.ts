/**
 * Money and quota, and the one place where one becomes the other.
 *
 * Money is an integer of the currency's minor units (cents for USD), as Stripe counts it. Quota is an integer
 * of micro-dollars; LiteLLM counts it in dollars as a double, so doubles appear only in `quotaFromDollars`
 * and `dollarsFromQuota`.
 */

/** An integer amount of money in its currency's minor unit. */
export type MinorUnits = number & { readonly __unit: 'minor' };
/** An integer amount of LiteLLM budget, in millionths of a US dollar. */
export type QuotaMicros = number & { readonly __unit: 'quota_micros' };
/** A lower-case ISO 4217 code, as Stripe writes it. */
export type Currency = string & { readonly __unit: 'currency' };

export const MICROS_PER_DOLLAR = 1_000_000;

// https://docs.stripe.com/currencies: amounts of these have no minor unit, or a thousandth.
export const ZERO_DECIMAL: ReadonlySet<string> = new Set('bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf'.split(' '));
export const THREE_DECIMAL: ReadonlySet<string> = new Set('bhd jod kwd omr tnd'.split(' '));

/**
 * Stripe refuses a smaller charge in US dollars; in other currencies Stripe refuses with `amount_too_small`.
 */
const MINIMUM_CHARGE: Readonly<Record<string, number>> = { usd: 50 };

/** Stripe's largest amount: eight digits of minor units. */
export const MAX_CHARGE_MINOR = 99_999_999 as MinorUnits;

/**
 * Stripe lists the Ugandan shilling as having no minor unit, and elsewhere asks for two places: a hundredfold
 * error either way.
 */
const AMBIGUOUS = new Set(['ugx']);

export class MoneyFormatError extends Error {
  override name = 'MoneyFormatError';
}

/** @throws MoneyFormatError unless it is three letters of a currency whose minor unit is certain. */
export function currency(code: string): Currency {
  if (!/^[a-z]{3}$/i.test(code)) throw new MoneyFormatError(`"${code}" is not a three-letter currency code`);
  if (AMBIGUOUS.has(code.toLowerCase()))
    throw new MoneyFormatError(`${code} is not supported: what its minor unit is at Stripe is not certain`);
  return code.toLowerCase() as Currency;
}

/** How many decimal places the currency has at Stripe: 0, 2 or 3. */
export function decimalPlaces(code: Currency): number {
  return ZERO_DECIMAL.has(code) ? 0 : THREE_DECIMAL.has(code) ? 3 : 2;
}

/** @throws MoneyFormatError for anything but a safe integer. */
export function minorUnits(value: number): MinorUnits {
  if (!Number.isSafeInteger(value)) throw new MoneyFormatError(`${value} is not a whole number of minor units`);
  return value as MinorUnits;
}

/** @throws MoneyFormatError for anything but a safe integer. */
export function quotaMicros(value: number): QuotaMicros {
  if (!Number.isSafeInteger(value)) throw new MoneyFormatError(`${value} is not a whole number of micro-dollars`);
  return value as QuotaMicros;
}

/** Quota as a decimal string of dollars with two to six places: 2500000 → "2.50", 1 → "0.000001". */
export function formatQuota(quota: QuotaMicros): string {
  return formatDecimal(quota, 6).replace(/(\.\d{2}\d*?)0+$/, '$1');
}

/** The same of a quota that may not be known, or not be limited. */
export function formatQuotaOrNull(quota: QuotaMicros | null | undefined): string | null {
  return quota === null || quota === undefined ? null : formatQuota(quota);
}

/** @throws MoneyFormatError for anything but a decimal with up to six places. */
export function parseQuota(text: string): QuotaMicros {
  return parseDecimal(text, 6) as QuotaMicros;
}

/** Money as a decimal string in the currency's own places: 2500 usd → "25.00", 2500 jpy → "2500". */
export function formatMoney(amount: MinorUnits, code: Currency): string {
  return formatDecimal(amount, decimalPlaces(code));
}

/** Money for people: `20.50 USD`. */
export function moneyText(amount: MinorUnits, code: Currency): string {
  return `${formatMoney(amount, code)} ${code.toUpperCase()}`;
}

/** @throws MoneyFormatError for anything but a decimal with at most the currency's places. */
export function parseMoney(text: string, code: Currency): MinorUnits {
  const places = decimalPlaces(code);
  return parseDecimal(text, places, places === 0 ? `: ${code.toUpperCase()} has no decimal places` : '') as MinorUnits;
}

/** Quota from LiteLLM's double of dollars, rounded to the nearest micro-dollar. */
export function quotaFromDollars(dollars: number): QuotaMicros {
  return quotaMicros(Math.round(dollars * MICROS_PER_DOLLAR));
}

/** The double of dollars that LiteLLM expects; exact to a micro-dollar up to four billion dollars. */
export function dollarsFromQuota(quota: QuotaMicros): number {
  return quota / MICROS_PER_DOLLAR;
}

/** What `amount` buys, rounded down: quota is never granted that was not paid for. */
export function quotaBoughtBy(amount: MinorUnits, code: Currency, quotaPerUnit: QuotaMicros): QuotaMicros {
  return quotaMicros(Number((BigInt(amount) * BigInt(quotaPerUnit)) / scaleOf(code)));
}

/** A payment and the quota that it buys. */
export type Purchase = { amountMinor: MinorUnits; quotaGranted: QuotaMicros };

/** The quota that a part of a payment has bought, or more than it has: rounded down, so that none is unpaid. */
export function quotaFor(part: MinorUnits, { amountMinor, quotaGranted }: Purchase): QuotaMicros {
  return quotaMicros(Number((BigInt(quotaGranted) * BigInt(part)) / BigInt(amountMinor)));
}

/**
 * The smallest chargeable amount that buys at least `quota`: rounded up to what Stripe takes of the currency,
 * and to the currency's minimum charge.
 *
 * @param quotaPerUnit quota that one unit of the currency (one dollar, one yen) buys; positive.
 * @returns undefined when it is more than one charge can carry.
 */
export function chargeThatBuys(quota: QuotaMicros, code: Currency, quotaPerUnit: QuotaMicros): MinorUnits | undefined {
  const price = priceOf(quota, code, quotaPerUnit);
  return price > BigInt(MAX_CHARGE_MINOR) ? undefined : minorUnits(Number(price));
}

/** As `chargeThatBuys`, in minor units of any size: several charges may add up to it. */
export function priceOf(quota: QuotaMicros, code: Currency, quotaPerUnit: QuotaMicros): bigint {
  const exact = divideUp(BigInt(quota) * scaleOf(code), BigInt(quotaPerUnit));
  const step = chargeStep(code);
  const rounded = divideUp(exact, step) * step;
  const minimum = BigInt(MINIMUM_CHARGE[code] ?? 0);
  // Stryker disable next-line EqualityOperator: where they are equal, either is the price.
  return rounded > minimum ? rounded : minimum;
}

/** The largest chargeable amount that is not above `limit`; undefined when that is none. */
export function chargeWithin(limit: MinorUnits, code: Currency): MinorUnits | undefined {
  const step = Number(chargeStep(code));
  const rounded = Math.floor(limit / step) * step;
  return rounded < Math.max(MINIMUM_CHARGE[code] ?? 0, step) ? undefined : minorUnits(Math.min(rounded, MAX_CHARGE_MINOR));
}

/**
 * Stripe takes three-decimal amounts in tens, and the Icelandic króna, which has no minor unit any more, in
 * hundreds.
 */
function chargeStep(code: Currency): bigint {
  if (code === 'isk') return 100n;
  return decimalPlaces(code) === 3 ? 10n : 1n;
}

function scaleOf(code: Currency): bigint {
  return 10n ** BigInt(decimalPlaces(code));
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

function formatDecimal(value: number, places: number): string {
  const digits = String(Math.abs(value)).padStart(places + 1, '0');
  const sign = value < 0 ? '-' : '';
  return places === 0 ? sign + digits : `${sign}${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** More is no amount that anybody means. */
const MAX_WHOLE_DIGITS = 10;

/** @param because why the text has to have these places, behind what is said of one that has more. */
function parseDecimal(text: string, places: number, because = ''): number {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!match || (match[3]?.length ?? 0) > places) {
    const wanted = places === 0 ? 'a whole number, like "2500"' : `a decimal number with at most ${places} places, like "25.00"`;
    throw new MoneyFormatError(`"${text}" is not ${wanted}${because}`);
  }
  const [, sign, whole = text, fraction = ''] = match;
  if (whole.length > MAX_WHOLE_DIGITS) {
    throw new MoneyFormatError(`"${text}" has more than ${MAX_WHOLE_DIGITS} digits before the decimal places`);
  }
  const value = Number(whole + fraction.padEnd(places, '0'));
  if (!Number.isSafeInteger(value)) throw new MoneyFormatError(`"${text}" is too large`);
  return sign ? -value : value;
}

/** Stripe's rules on amounts, in minor units of a currency: https://docs.stripe.com/currencies */
import { invalidParameter, invalidRequest } from './errors.ts';
import type { Parameters } from './parameters.ts';

const ZERO_DECIMAL = new Set('bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf'.split(' '));
const THREE_DECIMAL = new Set('bhd jod kwd omr tnd'.split(' '));
const CURRENCIES = new Set(Intl.supportedValuesOf('currency').map((code) => code.toLowerCase()));

/** The smallest charge. Currencies that are not named here are given the common one. */
const MINIMUM_AMOUNT: Record<string, number> = {
  aed: 200,
  bgn: 100,
  czk: 1500,
  dkk: 250,
  gbp: 30,
  hkd: 400,
  huf: 17500,
  mxn: 1000,
  myr: 200,
  nok: 300,
  pln: 200,
  ron: 200,
  sek: 300,
  thb: 1000,
};
const COMMON_MINIMUM_AMOUNT = 50;

/** Eight digits, whatever the currency. */
const MAX_AMOUNT = 99_999_999;

/** @throws {StripeError} unless the parameter `currency` is a known three-letter code. */
export function readCurrency(parameters: Parameters): string {
  const currency = parameters.requiredText('currency').toLowerCase();
  if (!CURRENCIES.has(currency)) throw invalidParameter(`Invalid currency: ${currency}.`, 'currency');
  return currency;
}

/** @throws {StripeError} unless the parameter `name` is an amount that can be charged in the currency. */
export function readChargeAmount(parameters: Parameters, name: string, currency: string): number {
  const amount = readPositiveAmount(parameters, name);
  if (amount === undefined) throw parameters.missing(name);
  const minimum = MINIMUM_AMOUNT[currency] ?? COMMON_MINIMUM_AMOUNT;
  if (amount < minimum) {
    throw invalidRequest(`Amount must be at least ${describe(minimum, currency)}`, { code: 'amount_too_small', param: name });
  }
  if (amount > MAX_AMOUNT) {
    throw invalidRequest(`Amount must be no more than ${describe(MAX_AMOUNT, currency)}`, { code: 'amount_too_large', param: name });
  }
  if (THREE_DECIMAL.has(currency) && amount % 10 !== 0) {
    throw invalidRequest(`Invalid amount: the last digit of an amount in ${currency} must be 0`, { param: name });
  }
  return amount;
}

export function readPositiveAmount(parameters: Parameters, name: string): number | undefined {
  const amount = parameters.integer(name);
  if (amount !== undefined && amount < 1) {
    throw invalidParameter('This value must be greater than or equal to 1.', name, 'parameter_invalid_integer');
  }
  return amount;
}

/** For messages: `12.50 usd`. */
export function describe(amount: number, currency: string): string {
  const decimals = ZERO_DECIMAL.has(currency) ? 0 : THREE_DECIMAL.has(currency) ? 3 : 2;
  return `${(amount / 10 ** decimals).toFixed(decimals)} ${currency}`;
}

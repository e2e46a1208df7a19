import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type Currency,
  chargeThatBuys,
  chargeWithin,
  currency,
  decimalPlaces,
  dollarsFromQuota,
  formatMoney,
  formatQuota,
  formatQuotaOrNull,
  type MinorUnits,
  MoneyFormatError,
  minorUnits,
  parseMoney,
  parseQuota,
  type QuotaMicros,
  quotaBoughtBy,
  quotaFor,
  quotaFromDollars,
  quotaMicros,
} from '../../../src/domain/money.ts';
import { charges, currencies, prices, quotas, threeDecimalCurrencies, USD } from '../arbitraries.ts';

const PAR = parseQuota('1');

describe('quota as text', () => {
  test('comes back as the same number, whatever the number', () => {
    fc.assert(fc.property(fc.maxSafeInteger(), (n) => parseQuota(formatQuota(quotaMicros(n))) === n));
  });

  test.each([
    [2_500_000, '2.50'],
    [1, '0.000001'],
    [0, '0.00'],
    [-500_000, '-0.50'],
    [1_230_000, '1.23'],
    [1_234_500, '1.2345'],
    [100_000_000, '100.00'],
  ])('%d micro-dollars are written %s', (micros, text) => {
    expect(formatQuota(quotaMicros(micros))).toBe(text);
  });

  test('that is not known is none, and zero is one', () => {
    expect([null, undefined, quotaMicros(0)].map(formatQuotaOrNull)).toEqual([null, null, '0.00']);
  });

  test('has two to six places and no zero beyond the second', () => {
    fc.assert(fc.property(fc.maxSafeInteger(), (n) => /^-?\d+\.\d{2}(\d{0,3}[1-9])?$/.test(formatQuota(quotaMicros(n)))));
  });

  test.each([
    ['25', 25_000_000],
    ['25.0', 25_000_000],
    ['0025.00', 25_000_000],
    ['-1.5', -1_500_000],
    ['0.000001', 1],
    ['9007199254.740991', Number.MAX_SAFE_INTEGER],
  ])('%s is read as %d micro-dollars', (text, micros) => {
    expect(parseQuota(text)).toBe(micros);
  });

  test.each(['', ' ', '25.', '.5', '+1', '--1', '-', '1e3', '0x10', '1,00', '1 000', ' 1', '1\n', '1.0000001', 'NaN', 'Infinity', '١'])(
    '%j is refused',
    (text) => {
      expect(() => parseQuota(text)).toThrow(MoneyFormatError);
    },
  );

  test.each(['9007199254.740992', '9999999999', '10000000000', '1'.repeat(400)])('%s is too large to be exact and is refused', (text) => {
    expect(() => parseQuota(text)).toThrow(MoneyFormatError);
  });
});

describe('money as text', () => {
  test.each([
    [2500, 'usd', '25.00'],
    [5, 'usd', '0.05'],
    [0, 'usd', '0.00'],
    [-2050, 'usd', '-20.50'],
    [2500, 'jpy', '2500'],
    [-3, 'jpy', '-3'],
    [2500, 'kwd', '2.500'],
  ])('%d minor units of %s are %s', (amount, code, text) => {
    expect(formatMoney(minorUnits(amount), currency(code))).toBe(text);
  });

  test('holds every minor unit, in as many places as the currency has', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), currencies, (n, code) => {
        const text = formatMoney(minorUnits(n), code);
        expect(Number(text.replace('.', ''))).toBe(n);
        expect(text.split('.')[1]?.length ?? 0).toBe(decimalPlaces(code));
      }),
    );
  });
});

describe('money that somebody has written', () => {
  test('comes back as the same number, in any currency', () => {
    fc.assert(
      fc.property(fc.integer({ min: -9_999_999_999, max: 9_999_999_999 }), currencies, (n, code) => {
        expect(parseMoney(formatMoney(minorUnits(n), code), code)).toBe(n);
      }),
    );
  });

  test.each([
    ['25', 'usd', 2500],
    ['25.5', 'usd', 2550],
    ['25.50', 'usd', 2550],
    ['2500', 'jpy', 2500],
    ['2.5', 'kwd', 2500],
    ['-3', 'jpy', -3],
  ])('%s %s are %d minor units', (text, code, amount) => {
    expect(parseMoney(text, currency(code))).toBe(amount);
  });

  test.each([
    ['25.001', 'usd', 'is not a decimal number with at most 2 places, like "25.00"'],
    ['2500.0', 'jpy', 'is not a whole number, like "2500": JPY has no decimal places'],
    ['2.5001', 'kwd', 'is not a decimal number with at most 3 places, like "25.00"'],
  ])('%s is refused in %s, and the places of the currency are said', (text, code, said) => {
    expect(() => parseMoney(text, currency(code))).toThrow(new MoneyFormatError(`"${text}" ${said}`));
  });
});

describe('a refusal names what was given and what is wrong with it', () => {
  test.each([
    [() => currency('dollar'), '"dollar" is not a three-letter currency code'],
    [() => currency('UGX'), 'UGX is not supported: what its minor unit is at Stripe is not certain'],
    [() => minorUnits(0.5), '0.5 is not a whole number of minor units'],
    [() => quotaMicros(0.5), '0.5 is not a whole number of micro-dollars'],
    [() => parseQuota('1e3'), '"1e3" is not a decimal number with at most 6 places, like "25.00"'],
    [() => parseQuota('9999999999'), '"9999999999" is too large'],
    [() => parseQuota('12345678901'), '"12345678901" has more than 10 digits before the decimal places'],
    [() => parseQuota('-12345678901.5'), '"-12345678901.5" has more than 10 digits before the decimal places'],
  ])('%s', (refused, message) => {
    expect(refused).toThrow(expect.objectContaining({ name: 'MoneyFormatError', message }));
  });
});

describe('a currency', () => {
  test.each(['usd', 'USD', 'Usd'])('%s is written as Stripe writes it, in lower case', (code) => {
    expect(currency(code)).toBe('usd');
  });

  test('UGX is refused: Stripe contradicts itself about its minor unit', () => {
    expect(() => currency('UGX')).toThrow(MoneyFormatError);
  });

  test.each('BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' '))('%s has no minor unit', (code) => {
    expect(decimalPlaces(currency(code))).toBe(0);
  });

  test.each('BHD JOD KWD OMR TND'.split(' '))('%s is counted in thousandths', (code) => {
    expect(decimalPlaces(currency(code))).toBe(3);
  });

  test.each('USD EUR GBP INR'.split(' '))('%s is counted in hundredths', (code) => {
    expect(decimalPlaces(currency(code))).toBe(2);
  });

  test.each(['', 'us', 'usdt', 'u$d', 'usd ', 'us1'])('%j is not one', (code) => {
    expect(() => currency(code)).toThrow(MoneyFormatError);
  });
});

test.each([0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])(
  '%d is neither an amount nor a quota, for it is no exact integer',
  (value) => {
    expect(() => minorUnits(value)).toThrow(MoneyFormatError);
    expect(() => quotaMicros(value)).toThrow(MoneyFormatError);
  },
);

describe("LiteLLM's doubles", () => {
  test('carry a quota there and back to the micro-dollar, up to four billion dollars', () => {
    const most = 4_000_000_000_000_000;
    fc.assert(
      fc.property(fc.integer({ min: -most, max: most }), (n) => {
        expect(quotaFromDollars(dollarsFromQuota(quotaMicros(n)))).toBe(n);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    [10.000123, 10_000_123],
    [0.1 + 0.2, 300_000],
    [1.0000004, 1_000_000],
    [1.0000006, 1_000_001],
  ])('%d dollars are %d micro-dollars', (dollars, micros) => {
    expect(quotaFromDollars(dollars)).toBe(micros);
  });

  test.each([1e308, Number.NaN, Number.POSITIVE_INFINITY, 1e10])('%d dollars are refused rather than rounded', (dollars) => {
    expect(() => quotaFromDollars(dollars)).toThrow(MoneyFormatError);
  });
});

describe('what a charge buys', () => {
  test('is never more than was paid for, and less by under a micro-dollar', () => {
    fc.assert(
      fc.property(charges, currencies, prices, (amount, code, price) => {
        const paidFor = BigInt(amount) * BigInt(price);
        const unit = 10n ** BigInt(decimalPlaces(code));
        const bought = BigInt(quotaBoughtBy(amount, code, price));
        expect(bought * unit <= paidFor && paidFor < (bought + 1n) * unit).toBe(true);
      }),
    );
  });

  test.each([
    [2050, 'usd', '1', '20.50'],
    [2050, 'usd', '0.80', '16.40'],
    [1, 'usd', '0.000099', '0.00'],
    [500, 'jpy', '0.0065', '3.25'],
    [1230, 'kwd', '3.25', '3.9975'],
  ])('%d minor units of %s at %s a unit buy %s', (amount, code, price, quota) => {
    expect(formatQuota(quotaBoughtBy(minorUnits(amount), currency(code), parseQuota(price)))).toBe(quota);
  });
});

test('a part of a payment has bought its part of the quota, rounded down, and more of it more', () => {
  const purchase = { amountMinor: minorUnits(2000), quotaGranted: quotaMicros(6_666_660) };
  expect([1500, 2000, 2500, 1, 0].map((part) => quotaFor(minorUnits(part), purchase))).toEqual([4_999_995, 6_666_660, 8_333_325, 3333, 0]);
});

/** The charge, where one charge can carry it: the larger ones are not tested here. */
function chargeable(quota: QuotaMicros, code: Currency, price: QuotaMicros): MinorUnits {
  const amount = chargeThatBuys(quota, code, price);
  fc.pre(amount !== undefined);
  return amount as MinorUnits;
}

describe('the charge for a quota', () => {
  test('buys at least what is needed', () => {
    fc.assert(
      fc.property(quotas, currencies, prices, (quota, code, price) => {
        expect(quotaBoughtBy(chargeable(quota, code, price), code, price)).toBeGreaterThanOrEqual(quota);
      }),
    );
  });

  test('is the smallest that does: one step less buys too little or falls below the minimum charge', () => {
    fc.assert(
      fc.property(quotas, currencies, prices, (quota, code, price) => {
        const amount = chargeable(quota, code, price);
        const less = amount - (code === 'isk' ? 100 : decimalPlaces(code) === 3 ? 10 : 1);
        const isBelowMinimum = code === 'usd' && less < 50;
        expect(isBelowMinimum || quotaBoughtBy(minorUnits(less), code, price) < quota).toBe(true);
      }),
    );
  });

  test('ends in 0 where the currency has three decimals', () => {
    fc.assert(fc.property(quotas, threeDecimalCurrencies, prices, (quota, code, price) => chargeable(quota, code, price) % 10 === 0));
  });

  test.each([
    ['20.00', 'usd', '1', 2000],
    ['20.000001', 'usd', '1', 2001],
    ['0.01', 'usd', '1', 50],
    ['0.50', 'usd', '1', 50],
    ['0.51', 'usd', '1', 51],
    ['0.01', 'eur', '1', 1],
    ['3.25', 'jpy', '0.0065', 500],
    ['3.250001', 'jpy', '0.0065', 501],
    ['1.00', 'kwd', '1', 1000],
    ['1.001', 'kwd', '1', 1010],
    ['1.01', 'isk', '1', 200],
    ['10.00', 'usd', '3', 334],
  ])('%s of quota in %s at %s a unit cost %d minor units', (quota, code, price, amount) => {
    expect(chargeThatBuys(parseQuota(quota), currency(code), parseQuota(price))).toBe(amount);
  });

  test('is none where it is more than one charge can carry', () => {
    expect(chargeThatBuys(parseQuota('9000000000'), USD, quotaMicros(1))).toBeUndefined();
    expect(chargeThatBuys(parseQuota('1000000.00'), USD, PAR)).toBeUndefined();
    expect(chargeThatBuys(parseQuota('999999.99'), USD, PAR)).toBe(99_999_999);
  });
});

describe('the charge within a limit', () => {
  test.each([
    [51, 'usd', 51],
    [50, 'usd', 50],
    [49, 'usd', undefined],
    [1, 'eur', 1],
    [0, 'eur', undefined],
    [1_239, 'kwd', 1_230],
    [10, 'kwd', 10],
    [9, 'kwd', undefined],
    [1_250, 'isk', 1_200],
    [99, 'isk', undefined],
    [500_000_000, 'usd', 99_999_999],
  ])('of %d minor units of %s is %s', (limit, code, amount) => {
    expect(chargeWithin(minorUnits(limit), currency(code))).toBe(amount);
  });
});

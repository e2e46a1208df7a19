import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { accountsOf, everyKind, type OpenFigures, type Transferred, unaccounted } from '../../../src/domain/figures.ts';
import { TRANSFER_KINDS } from '../../../src/domain/ledger.ts';
import { type Currency, minorUnits } from '../../../src/domain/money.ts';

const transferred = (kind: Transferred['kind'], amount: number, currency = 'usd'): Transferred => ({
  kind,
  currency: currency as Currency,
  amount: minorUnits(amount),
});
const open = (held: number, currency = 'usd'): OpenFigures => ({
  status: 'charged',
  currency: currency as Currency,
  count: 1,
  oldestMs: 0,
  held: minorUnits(held),
});

describe('the accounts', () => {
  test('are where each kind of transfer moves money to', () => {
    expect(accountsOf([transferred('charge', 2050), transferred('grant', 2000)])).toEqual([
      { currency: 'usd', stripe: -2050, prepaid: 50, granted: 2000 },
    ]);
    expect(
      accountsOf([transferred('charge', 2050), transferred('grant', 2050), transferred('reversal', 300), transferred('chargeback', 300)]),
    ).toEqual([{ currency: 'usd', stripe: -1750, prepaid: 0, granted: 1750 }]);
  });

  test('hold together what was ever moved: money is neither made nor lost', () => {
    const some = fc.array(fc.record({ kind: fc.constantFrom(...TRANSFER_KINDS), amount: fc.integer({ min: 1, max: 1e9 }) }), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(some, (moves) => {
        for (const { stripe, prepaid, granted } of accountsOf(moves.map(({ kind, amount }) => transferred(kind, amount))))
          expect(stripe + prepaid + granted).toBe(0);
      }),
    );
  });

  test('are kept apart by currency', () => {
    expect(
      accountsOf([transferred('charge', 100), transferred('charge', 700, 'eur')]).map(({ currency, prepaid }) => [currency, prepaid]),
    ).toEqual([
      ['usd', 100],
      ['eur', 700],
    ]);
  });
});

describe('what is unaccounted for', () => {
  test('is 0 while all that is held belongs to an open recharge', () => {
    expect(unaccounted({ transferred: [transferred('charge', 2050)], open: [open(2050)] })).toEqual([{ currency: 'usd', amount: 0 }]);
  });

  test('is what is held and belongs to none, or was given unpaid, by currency', () => {
    expect(unaccounted({ transferred: [transferred('charge', 2050)], open: [] })).toEqual([{ currency: 'usd', amount: 2050 }]);
    expect(unaccounted({ transferred: [transferred('grant', 5)], open: [] })).toEqual([{ currency: 'usd', amount: -5 }]);
    expect(unaccounted({ transferred: [transferred('charge', 2050)], open: [open(2050, 'eur')] })).toEqual([
      { currency: 'usd', amount: 2050 },
    ]);
  });
});

test('a kind that has not happened is 0, so that its first time is an increase', () => {
  const shown = everyKind([transferred('charge', 7)]);
  expect(shown.map(({ kind }) => kind)).toEqual([...TRANSFER_KINDS]);
  expect(shown.filter(({ amount }) => amount !== 0)).toEqual([{ kind: 'charge', currency: 'usd', amount: 7 }]);
});

test('a kind is counted in its own currency', () => {
  const shown = everyKind([transferred('charge', 7), transferred('grant', 5, 'eur')]);
  expect(shown).toHaveLength(2 * TRANSFER_KINDS.length);
  expect(shown.filter(({ amount }) => amount !== 0)).toEqual([
    { kind: 'charge', currency: 'usd', amount: 7 },
    { kind: 'grant', currency: 'eur', amount: 5 },
  ]);
});

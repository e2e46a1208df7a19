import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { editsBetween, mostSimilar } from '../../../src/domain/similar-names.ts';

/** The most alike of these, the most alike first. */
function alike(wanted: string, names: readonly string[], limit = 3): string[] {
  return mostSimilar(wanted, names, (name) => [name], limit);
}

describe('a name is like another', () => {
  test.each([
    ['two letters swapped', 'acme-prdo', 'acme-prod'],
    ['a letter missing', 'acme-prd', 'acme-prod'],
    ['a letter too many', 'acme-prood', 'acme-prod'],
    ['a wrong letter', 'acne-prod', 'acme-prod'],
    ['upper and lower case', 'ACME-PROD', 'acme-prod'],
    ['three slips', 'acme_prdo-x', 'acme-prod-y'],
    ['the beginning of it alone', 'acme', 'acme-prod'],
    ['another end', 'acme-staging', 'acme-prod'],
    ['itself', 'acme', 'acme'],
  ])('but for %s', (_difference, wanted, name) => {
    expect(alike(wanted, [name])).toEqual([name]);
  });
  test.each([
    ['has nothing in common with it', 'acme-prod', 'globex'],
    ['shares a beginning that says little', 'ac-prod', 'acx'],
    ['shares less than half of the shorter one', 'acme-prod', 'acm3456789'],
    ['is as short and differs by one letter', 'ab', 'ac'],
    ['has four slips', 'abcdefghijklmno', 'xbcdxfghxjklxno'],
  ])('not one that %s', (_reason, wanted, name) => {
    expect(alike(wanted, [name])).toEqual([]);
  });
});

test('the most alike come first: fewer edits, then the longer shared beginning, and no more than asked for', () => {
  const names = ['acme-test', 'acme-production', 'acme-prodd', 'bcme-prdo', 'globex', 'acme-prod'];
  const ordered = ['acme-prod', 'bcme-prdo', 'acme-prodd', 'acme-production', 'acme-test'];
  expect(alike('acme-prdo', names, 9)).toEqual(ordered);
  expect(alike('acme-prdo', names, 2)).toEqual(ordered.slice(0, 2));
});

test('of several names of one the most alike counts', () => {
  const teams = [
    { id: '7f3a', alias: 'acme-prod' },
    { id: 'acme-prdx1', alias: 'X' },
  ];
  expect(mostSimilar('acme-prdo', teams, ({ id, alias }) => [id, alias], 3).map(({ id }) => id)).toEqual(['7f3a', 'acme-prdx1']);
});

test('of several names of one the most alike counts, whatever their order', () => {
  const teams = [{ names: ['acme-prdx1', 'acme-prdo'] }, { names: ['acme-prd'] }];
  expect(mostSimilar('acme-prdo', teams, ({ names }) => names, 3)[0]).toBe(teams[0]);
});

test('a shared beginning of three characters says something, where it is half of the shorter name', () => {
  expect(alike('acme-prod-eu', ['acmxyz', 'acmxyzz', 'acxxxx'])).toEqual(['acmxyz']);
  expect(alike('acm', ['acm-of-somebody'])).toEqual(['acm-of-somebody']);
});

/** The same by trying every way. */
function fewestEdits(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length;
  const rest = (one: number, other: number) => fewestEdits(a.slice(one), b.slice(other));
  const isSwap = a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0];
  return Math.min(rest(1, 0) + 1, rest(0, 1) + 1, rest(1, 1) + (a[0] === b[0] ? 0 : 1), isSwap ? rest(2, 2) + 1 : Number.POSITIVE_INFINITY);
}

test('the edits between two names are the fewest that there are', () => {
  const names = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 5 });
  fc.assert(
    fc.property(names, names, (a, b) => {
      expect(editsBetween(a, b)).toBe(fewestEdits(a, b));
    }),
    { numRuns: 300 },
  );
});

test('every name is like itself and comes first, whatever the others are', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 20 }), fc.array(fc.string({ maxLength: 20 }), { maxLength: 10 }), (wanted, others) => {
      const [first] = mostSimilar(wanted, [...others, wanted], (name) => [name], 1);
      expect(first?.toLowerCase()).toBe(wanted.toLowerCase());
    }),
  );
});

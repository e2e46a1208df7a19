import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { mostAlike } from '../../../src/domain/alike.ts';

/** The most alike of these, the most alike first. */
function alike(wanted: string, names: readonly string[], limit = 3): string[] {
  return mostAlike(wanted, names, (name) => [name], limit);
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
  expect(mostAlike('acme-prdo', teams, ({ id, alias }) => [id, alias], 3).map(({ id }) => id)).toEqual(['7f3a', 'acme-prdx1']);
});

test('every name is like itself and comes first, whatever the others are', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 20 }), fc.array(fc.string({ maxLength: 20 }), { maxLength: 10 }), (wanted, others) => {
      const [first] = mostAlike(wanted, [...others, wanted], (name) => [name], 1);
      expect(first?.toLowerCase()).toBe(wanted.toLowerCase());
    }),
  );
});

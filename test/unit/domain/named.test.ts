import { expect, test } from '@jest/globals';
import { named } from '../../../src/domain/named.ts';

test('what is counted is named behind the count, as far as the names go', () => {
  expect(named([], 3)).toBe('');
  expect(named(['acme'], 1)).toBe(': acme');
  expect(named(['acme', 'globex'], 5)).toBe(': acme, globex and 3 more');
});

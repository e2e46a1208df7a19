import { expect, test } from '@jest/globals';
import { shortList } from '../../../src/domain/short-list.ts';

test('says which they are, and how many more there are', () => {
  expect(shortList(['acme'], 1)).toBe('acme');
  expect(shortList(['acme', 'globex'], 2)).toBe('acme, globex');
  expect(shortList(['acme', 'globex'], 5)).toBe('acme, globex and 3 more');
});

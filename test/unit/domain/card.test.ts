import { expect, test } from '@jest/globals';
import { holdSubjectOf } from '../../../src/domain/card.ts';

const card = { id: 'pm_1', fingerprint: 'Xt5EWLLDS7FJjR1c', expiry: '12/2029' };

test('a card is the same under whatever id, until it gets another expiry', () => {
  expect(holdSubjectOf(card)).toBe('Xt5EWLLDS7FJjR1c 12/2029');
  expect(holdSubjectOf({ ...card, id: 'pm_2' })).toBe(holdSubjectOf(card));
  expect(holdSubjectOf({ ...card, expiry: '12/2032' })).not.toBe(holdSubjectOf(card));
});
test('what does not expire is known by its fingerprint alone', () => {
  expect(holdSubjectOf({ ...card, expiry: '' })).toBe('Xt5EWLLDS7FJjR1c');
});

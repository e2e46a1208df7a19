/** SQL text that is made from the program's own words. */
import { expect, test } from '@jest/globals';
import { sqlList } from '../../../src/database/sql.ts';
import { OPEN_STATUSES } from '../../../src/domain/recharge-status.ts';

test('a list is written as SQL has it', () => {
  expect(sqlList(OPEN_STATUSES)).toBe("'reserved', 'charging', 'processing', 'charged', 'refunding', 'needs_attention'");
});

test.each(["it's", 'a; drop table recharge', '', 'A', 'a-b'])('%j is no word of the program, and refused', (word) => {
  expect(() => sqlList(['charged', word])).toThrow(/not a word for SQL text/);
});

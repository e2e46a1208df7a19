/** SQL text that is made from the program's own words. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { sqlList } from '../../../src/database/sql.ts';
import { OPEN_STATUSES, RECHARGE_STATUSES } from '../../../src/domain/recharge-status.ts';

test('a list is written as SQL has it', () => {
  expect(sqlList(OPEN_STATUSES)).toBe("'reserved', 'charging', 'processing', 'charged', 'refunding', 'needs_attention'");
});

test.each(["it's", 'a; drop table recharge', '', 'A', 'a-b'])('%j is no word of the program, and refused', (word) => {
  expect(() => sqlList(['charged', word])).toThrow(/not a word for SQL text/);
});

test('no query lists statuses of a recharge by hand', () => {
  const room = new URL('../../../src/database/', import.meta.url);
  const files = readdirSync(room).filter((name) => name.endsWith('.ts'));
  const lists = files.flatMap((name) =>
    [...readFileSync(new URL(name, room), 'utf8').matchAll(/\bin \(('[^)]*)\)/g)].map(([, list = '']) => ({ name, list })),
  );
  const byHand = lists.filter(({ list }) => list.match(/\w+/g)?.every((word) => RECHARGE_STATUSES.some((status) => status === word)));
  expect(files.length).toBeGreaterThan(10);
  expect(byHand).toEqual([]);
});

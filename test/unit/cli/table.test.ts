import { expect, test } from '@jest/globals';
import { table } from '../../../src/cli/table.ts';

test('columns are as wide as their widest cell, and no line ends in spaces', () => {
  const rows = [
    { id: 'org_1', balance: '9.50', note: '' },
    { id: 'o', balance: '1000.00', note: 'suspended' },
  ];
  expect(table(rows).split('\n')).toEqual([
    'id     balance  note', //
    'org_1  9.50',
    'o      1000.00  suspended',
  ]);
});

test('a cell that a row does not have is left empty', () => {
  expect(table([{ id: '1', note: 'x' }, { id: '2' }])).toBe('id  note\n1   x\n2');
});

test('no rows are said in words', () => {
  expect(table([])).toBe('nothing there');
});

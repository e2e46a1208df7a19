import { describe, expect, test } from '@jest/globals';
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

describe('where the terminal is narrower', () => {
  const rows = [
    { id: 'hld_1', detail: 'an invoice is unpaid' },
    { id: 'hld_2', detail: '' },
  ];
  const blocks = ['id      hld_1', 'detail  an invoice is unpaid', '', 'id      hld_2', 'detail'].join('\n');
  const widest = 'hld_1  an invoice is unpaid'.length;

  test('each row is a block, with a line for each column', () => {
    expect(table(rows, widest - 1)).toBe(blocks);
    expect(table(rows, widest)).toBe(['id     detail', 'hld_1  an invoice is unpaid', 'hld_2'].join('\n'));
  });

  test('and what goes to a pipe stays a table', () => {
    const { isTTY, columns } = process.stdout;
    try {
      Object.assign(process.stdout, { isTTY: true, columns: widest - 1 });
      expect(table(rows)).toBe(blocks);
      Object.assign(process.stdout, { isTTY: false });
      expect(table(rows)).toMatch(/^id +detail\n/);
    } finally {
      Object.assign(process.stdout, { isTTY, columns });
    }
  });
});

test('no rows are said in words', () => {
  expect(table([])).toBe('nothing there');
});

/** docs/guarantees.md names a test for every case: that test exists, and no case is without one. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CASES = 77;

const table = readFileSync(join(ROOT, 'docs/guarantees.md'), 'utf8').matchAll(/^\| (\d+) [^|]+\| [^|]+\| `([\w.-]+)`: (.+) \|$/gm);
const rows = Array.from(table, ([, number, file = '', name = '']) => ({ number: Number(number), file, name }));

/** What the test files of each name hold: several suites may have one of the same name. */
const sources = new Map<string, string>();
for (const path of readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })) {
  if (!path.endsWith('.test.ts')) continue;
  const name = basename(path);
  sources.set(name, (sources.get(name) ?? '') + readFileSync(join(ROOT, 'test', path), 'utf8'));
}

describe('docs/guarantees.md', () => {
  test(`has one row for each of the first ${CASES} cases, and further ones, in order`, () => {
    const numbers = rows.map(({ number }) => number);
    expect(numbers.slice(0, CASES)).toEqual(Array.from({ length: CASES }, (_, index) => index + 1));
    expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
  });

  test.each(rows)('case $number is shown by a test of that name in $file', ({ number, file, name }) => {
    expect(name).toMatch(new RegExp(`^case ${number}: `));
    expect(sources.get(file)).toContain(name);
  });
});

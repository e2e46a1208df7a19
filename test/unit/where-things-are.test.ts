/** "Where things are" in the README leads to files that exist, and to names that these files have. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const [, section = ''] = readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n## Where things are\n');
const rows = Array.from(section.matchAll(/^\| (?!to find|---)(.+?) \| (.+) \|$/gm), ([, sought = '', places = '']) => {
  const quoted = Array.from(places.matchAll(/`([^`]+)`/g), ([, text = '']) => text);
  return { sought, paths: quoted.filter((text) => text.includes('/')), names: quoted.filter((text) => !text.includes('/')) };
});

test('the table is read', () => expect(rows.length).toBeGreaterThan(10));

test.each(rows)('$sought', ({ paths, names }) => {
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  const sources = paths.filter((path) => path.endsWith('.ts')).map((path) => readFileSync(join(ROOT, path), 'utf8'));
  expect(names.filter((name) => !sources.some((source) => source.includes(name)))).toEqual([]);
});

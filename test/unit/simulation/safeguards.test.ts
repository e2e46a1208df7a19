import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { MUTATIONS } from '../../simulation/safeguards.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const edits = MUTATIONS.flatMap(({ safeguard, edits }) => edits.map(([file, from]) => [safeguard, file, from] as const));

describe('what is taken out stands in the source, once', () => {
  test.each(edits)('%s: %s', (_safeguard, file, from) => {
    expect(readFileSync(`${ROOT}/${file}`, 'utf8').split(from)).toHaveLength(2);
  });
});

test('docs/guarantees.md shows a wrong run for each safeguard, in the same order', () => {
  const docs = readFileSync(`${ROOT}/docs/guarantees.md`, 'utf8');
  const [, table = ''] = docs.split('| without this safeguard |');
  const rows = [...(table.split('\n\n', 1)[0]?.matchAll(/^\| (.+?) \| \d+ \| .+ \|$/gm) ?? [])].map(([, safeguard]) => safeguard);
  expect(rows).toEqual(MUTATIONS.map(({ safeguard }) => safeguard));
});

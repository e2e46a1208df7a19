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

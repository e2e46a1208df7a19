/** The list of routes that LiteLLM's key has to be allowed, in the program and in what it tells of itself. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { KMS_ROUTES } from '../../../src/kms/routes.ts';

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../../${path}`, import.meta.url)), 'utf8');

test('the documentation names each of them, and no other', () => {
  const [, list = ''] = /"allowed_routes": (\[[^\]]+\])/.exec(read('docs/connecting-litellm.md')) ?? [];
  expect(JSON.parse(list).sort()).toEqual(KMS_ROUTES.map(({ path }) => path).sort());
});

test.each(KMS_ROUTES)('the client calls $path', ({ path }) => {
  expect(read('src/kms/client.ts') + read('src/kms/team-reads.ts')).toContain(`'${path}'`);
});

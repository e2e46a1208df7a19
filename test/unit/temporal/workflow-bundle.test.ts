import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { loadWorkflowBundle } from '../../../src/temporal/workflow-bundle.ts';

const folder = mkdtempSync(join(tmpdir(), 'bill-bundle-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const codeAt = async (path: string, bundle?: () => Promise<string>) => {
  const made = await loadWorkflowBundle(path, bundle);
  return 'code' in made ? made.code : undefined;
};
const bundle = async () => 'made anew';

test('a bundle is kept for the next worker of the same code, and made again where it is of other code or torn', async () => {
  const path = join(folder, 'new/workflows.json');
  expect(await codeAt(path, bundle)).toBe('made anew');
  const { digest } = JSON.parse(readFileSync(path, 'utf8'));

  writeFileSync(path, JSON.stringify({ digest, code: 'the kept one' }));
  expect(await codeAt(path, bundle)).toBe('the kept one');

  writeFileSync(path, JSON.stringify({ digest: 'of other code', code: 'the kept one' }));
  expect(await codeAt(path, bundle)).toBe('made anew');

  writeFileSync(path, JSON.stringify({ digest, code: 'the kept one' }).slice(0, 40));
  expect(await codeAt(path, bundle)).toBe('made anew');
});

test('where nothing can be written, it is bundled all the same', async () => {
  expect(await codeAt('/proc/workflows.json')).toContain('rechargeWorkflow');
});

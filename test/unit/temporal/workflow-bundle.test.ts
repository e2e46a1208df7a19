import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { loadWorkflowBundle } from '../../../src/temporal/workflow-bundle.ts';

const folder = mkdtempSync(join(tmpdir(), 'bill-bundle-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const codeAt = async (path: string) => {
  const bundle = await loadWorkflowBundle(path);
  return 'code' in bundle ? bundle.code : undefined;
};

test('a bundle is kept for the next worker of the same code, and made again where it is of other code or torn', async () => {
  const path = join(folder, 'new/workflows.json');
  const made = await codeAt(path);
  expect(made).toContain('rechargeWorkflow');
  const { digest } = JSON.parse(readFileSync(path, 'utf8'));

  writeFileSync(path, JSON.stringify({ digest, code: 'the kept one' }));
  expect(await codeAt(path)).toBe('the kept one');

  writeFileSync(path, JSON.stringify({ digest: 'of other code', code: 'the kept one' }));
  expect(await codeAt(path)).toBe(made);

  writeFileSync(path, JSON.stringify({ digest, code: made }).slice(0, 1_000));
  expect(await codeAt(path)).toBe(made);
});

test('where nothing can be written, it is bundled all the same', async () => {
  expect(await codeAt('/proc/workflows.json')).toContain('rechargeWorkflow');
});

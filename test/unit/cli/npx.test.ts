/** `npx bill` and `npm run bill`: what they start, and that nothing but the command's own output is printed. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const { bin, scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

function bill(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, bin.bill), ...args], { cwd: tmpdir(), encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('both run the same program', () => {
  expect(scripts.bill).toBe(`node ${bin.bill}`);
});

test("standard output is the command's alone, from any folder", () => {
  const { status, stdout, stderr } = bill('completion', 'bash');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/^_bill\(\) \{\n.*complete -F _bill bill\n$/s);
});

test('the exit code of the command is passed on', () => {
  expect(bill('charge-everybody')).toMatchObject({ status: 2, stdout: '' });
});

/** Which tables a process starts on. */
import { expect, test } from '@jest/globals';
import { refusalOf } from '../../../src/cli/startup-check.ts';

test('starts on the tables of its own version', () => {
  expect(refusalOf({ missing: [], unknown: [] })).toBeUndefined();
});

test('starts on those of a newer version, as in each rolling update', () => {
  expect(refusalOf({ missing: [], unknown: ['0099-more', '0100-unbreaking-more'] })).toBeUndefined();
});

test('does not start on older ones, and says what to run', () => {
  expect(refusalOf({ missing: ['0018-one-row-alone'], unknown: [] })).toMatch(/0018-one-row-alone.*run bill migrate/);
});

test('does not start on newer ones that are marked as incompatible, whatever else is missing, and says which version to start', () => {
  const refusal = refusalOf({ missing: ['0018-one-row-alone'], unknown: ['0099-breaking-one', '0100-more'] });
  expect(refusal).toMatch(/0099-breaking-one\): start the newer version/);
});

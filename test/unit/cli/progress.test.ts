import { expect, test } from '@jest/globals';
import { progress } from '../../../src/cli/progress.ts';

test('a line is said when it has changed, with what the run fails with, and again after ten seconds', () => {
  const said: string[] = [];
  const look = progress({}, (line) => said.push(line));
  look('no team looked at', null, 1_000);
  look('no team looked at', null, 10_999);
  look('no team looked at', 'sweepPage has failed once: no answer', 11_000);
  look('no team looked at', 'sweepPage has failed once: no answer', 20_999);
  look('no team looked at', 'sweepPage has failed once: no answer', 21_000);
  const failing = 'no team looked at; sweepPage has failed once: no answer …';
  expect(said).toEqual(['no team looked at …', failing, failing]);
});

test('nothing is said beside JSON', () => {
  const said: string[] = [];
  progress({ json: true }, (line) => said.push(line))('no team looked at');
  expect(said).toEqual([]);
});

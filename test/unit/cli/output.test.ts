import { expect, test } from '@jest/globals';
import { morePages } from '../../../src/cli/output.ts';

test.each([
  [['org', 'list'], 'more: bill org list --cursor abc'],
  [['recharges', 'acme', '--cursor', 'old', '--limit', '5'], 'more: bill recharges acme --limit 5 --cursor abc'],
  [['status', '--cursor=old', '--all'], 'more: bill status --all --cursor abc'],
  [['events', '--team', "o'neil & co"], "more: bill events --team 'o'\\''neil & co' --cursor abc"],
])('the next page of %j is a command to be pasted', (given, more) => {
  expect(morePages('abc', given)).toBe(more);
});

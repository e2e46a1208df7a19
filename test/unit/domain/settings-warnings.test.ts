import { expect, test } from '@jest/globals';
import { parseQuota } from '../../../src/domain/money.ts';
import { timeZoneAdvice, warningsOf } from '../../../src/domain/settings-warnings.ts';

test('a minimum of zero is warned of: a call reserves more than is left before nothing is left', () => {
  expect(warningsOf({ minimumBalance: parseQuota('0') })).toEqual([
    expect.stringMatching(/^minimum_balance is 0, .*reserves more than is left[^:]*: set it to more than one call can cost$/),
  ]);
});

test('any other minimum may be enough: what a call reserves is not known', () => {
  expect(warningsOf({ minimumBalance: parseQuota('0.000001') })).toEqual([]);
});

test('a time zone that PostgreSQL does not know is warned of, beside the rest', () => {
  const warnings = warningsOf({ minimumBalance: parseQuota('0') }, { isTimeZoneUnknown: true });
  expect(warnings).toEqual([expect.stringMatching(/^minimum_balance/), expect.stringMatching(/^time_zone .*UTC[^:]*: set it/)]);
});

test('a time zone is set by a command that names the organization', () => {
  expect(timeZoneAdvice('acme')).toBe('bill org set acme --time-zone <IANA name>');
});

import { expect, test } from '@jest/globals';
import { isRunaway } from '../../../src/domain/runaway.ts';

const WEEK_MS = 7 * 24 * 3_600_000;
const series = { lastHour: 5, busiestHourBefore: 1, firstAgoMs: WEEK_MS };

test('five recharges in an hour, where one a day was normal, are a runaway', () => {
  expect(isRunaway(series)).toBe(true);
  expect(isRunaway({ ...series, busiestHourBefore: 0 })).toBe(true);
});

test('fewer than five are no series', () => {
  expect(isRunaway({ ...series, lastHour: 4 })).toBe(false);
});

test("up to three times the organization's busiest hour is normal", () => {
  expect(isRunaway({ ...series, lastHour: 6, busiestHourBefore: 2 })).toBe(false);
  expect(isRunaway({ ...series, lastHour: 7, busiestHourBefore: 2 })).toBe(true);
});

test('an organization has a normal after a week', () => {
  expect(isRunaway({ ...series, firstAgoMs: WEEK_MS - 1 })).toBe(false);
  expect(isRunaway({ ...series, firstAgoMs: null })).toBe(false);
});

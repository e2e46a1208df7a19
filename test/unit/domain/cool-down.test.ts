import { describe, expect, test } from '@jest/globals';
import { isCoolingDown } from '../../../src/domain/cool-down.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

/** Minutes that the sweep waits after so many failures in a row; no pause is as long as 30 days. */
function pauseAfter(count: number): number {
  for (let minutes = 0; minutes < (30 * DAY_MS) / MINUTE_MS; minutes++) {
    if (!isCoolingDown({ count, lastAgoMs: minutes * MINUTE_MS })) return minutes;
  }
  throw new Error(`after ${count} failures the pause does not end`);
}

/**
 * How often a card is tried within so many days, if every attempt fails and the next comes as soon as it may.
 */
function attemptsWithin(days: number): number {
  let at = 0;
  for (let attempts = 1; attempts < 1000; attempts++) {
    at += pauseAfter(attempts) * MINUTE_MS;
    if (at >= days * DAY_MS) return attempts;
  }
  throw new Error('the pauses come to nothing');
}

describe('the pause after failed attempts', () => {
  test('is none without a failure, however recent the last one before the success was', () => {
    expect(isCoolingDown({ count: 0, lastAgoMs: null })).toBe(false);
    expect(isCoolingDown({ count: 0, lastAgoMs: 0 })).toBe(false);
  });
  test('is none when it is unknown how long ago the last failure was', () => {
    expect(isCoolingDown({ count: 3, lastAgoMs: null })).toBe(false);
  });
  test('doubles from fifteen minutes to a week', () => {
    expect([1, 2, 3, 4].map(pauseAfter)).toEqual([15, 30, 60, 120]);
    expect([12, 100, 5000].map(pauseAfter)).toEqual(Array(3).fill(7 * 24 * 60));
  });
  test('is over to the millisecond', () => {
    expect(isCoolingDown({ count: 1, lastAgoMs: 15 * MINUTE_MS - 1 })).toBe(true);
    expect(isCoolingDown({ count: 1, lastAgoMs: 15 * MINUTE_MS })).toBe(false);
  });
  test('keeps a dead card below the eight retries a day of Stripe and the fifteen attempts in 30 days of Visa', () => {
    expect(attemptsWithin(1)).toBe(7);
    expect(attemptsWithin(30)).toBe(13);
  });
});

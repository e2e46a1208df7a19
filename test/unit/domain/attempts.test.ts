import { describe, expect, test } from '@jest/globals';
import {
  ATTEMPTS_WINDOW_MS,
  FAILURES_IN_A_ROW,
  type FailuresBefore,
  holdsAfterFailure,
  MAX_FAILED_ATTEMPTS,
  pauseAfter,
  waitForWindow,
} from '../../../src/domain/attempts.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const none: FailuresBefore = { cardInARow: 0, cardInWindow: 0, oldestInWindowAgoMs: null, organizationInARow: 0 };

/** When a card that always declines is tried, if each attempt comes as soon as its hold allows. */
function attemptsOfDeadCard(days: number): number[] {
  const attempts: number[] = [];
  for (let at = 0; at < days * DAY_MS; ) {
    const recent = attempts.filter((time) => time > at - ATTEMPTS_WINDOW_MS);
    const before = {
      ...none,
      cardInARow: attempts.length,
      cardInWindow: recent.length,
      oldestInWindowAgoMs: recent[0] === undefined ? null : at - recent[0],
    };
    attempts.push(at);
    const [hold] = holdsAfterFailure('soft', before);
    at += hold?.forMs ?? Number.POSITIVE_INFINITY;
  }
  return attempts;
}

describe('the pause after failures', () => {
  test('doubles from fifteen minutes to a week', () => {
    expect([0, 1, 2, 3, 4].map((count) => pauseAfter(count) / MINUTE_MS)).toEqual([0, 15, 30, 60, 120]);
    expect([10, 11, 12, 5000].map((count) => pauseAfter(count) / MINUTE_MS)).toEqual([7680, 10080, 10080, 10080]);
  });
});

describe('after a failed attempt', () => {
  test('the card is held for its step, whatever the organization', () => {
    expect(holdsAfterFailure('soft', none)).toEqual([{ reason: 'declined', forMs: 15 * MINUTE_MS }]);
    expect(holdsAfterFailure('authentication_required', { ...none, cardInARow: 2 })).toEqual([
      { reason: 'declined', forMs: 60 * MINUTE_MS },
    ]);
  });
  test('a card that is declined for good is held until it changes', () => {
    expect(holdsAfterFailure('hard', none)).toEqual([{ reason: 'card_refused', forMs: null }]);
  });
  test('the third in a row holds the organization too', () => {
    const second = holdsAfterFailure('soft', { ...none, organizationInARow: FAILURES_IN_A_ROW - 2 });
    const third = holdsAfterFailure('soft', { ...none, organizationInARow: FAILURES_IN_A_ROW - 1 });
    expect([second, third].map((holds) => holds.map(({ reason }) => reason))).toEqual([['declined'], ['declined', 'three_failures']]);
    expect(third.at(-1)).toEqual({ reason: 'three_failures', forMs: null });
  });
  test('the last one that the window allows waits until the oldest has left it', () => {
    const last = { ...none, cardInWindow: MAX_FAILED_ATTEMPTS - 1, oldestInWindowAgoMs: 10 * DAY_MS };
    expect(holdsAfterFailure('soft', last)).toEqual([{ reason: 'declined', forMs: 20 * DAY_MS }]);
    expect(holdsAfterFailure('soft', { ...last, cardInWindow: MAX_FAILED_ATTEMPTS - 2 })).toEqual([
      { reason: 'declined', forMs: 15 * MINUTE_MS },
    ]);
    // A long step is longer still.
    expect(holdsAfterFailure('soft', { ...last, cardInARow: 20, oldestInWindowAgoMs: 29 * DAY_MS })).toEqual([
      { reason: 'declined', forMs: 7 * DAY_MS },
    ]);
    expect(holdsAfterFailure('soft', { ...last, oldestInWindowAgoMs: null })).toEqual([{ reason: 'declined', forMs: ATTEMPTS_WINDOW_MS }]);
  });
});

describe('the window of 30 days', () => {
  const full = { cardInWindow: MAX_FAILED_ATTEMPTS, oldestInWindowAgoMs: 29 * DAY_MS };
  test('has room for thirteen failures, and then until the oldest has left it there is none', () => {
    expect(waitForWindow({ ...full, cardInWindow: MAX_FAILED_ATTEMPTS - 1 })).toBe(0);
    expect(waitForWindow(full)).toBe(DAY_MS);
    expect(waitForWindow({ ...full, oldestInWindowAgoMs: 31 * DAY_MS })).toBe(0);
    expect(waitForWindow({ ...full, oldestInWindowAgoMs: null })).toBe(ATTEMPTS_WINDOW_MS);
  });
});

test('a dead card is tried seven times on the first day, and thirteen times in any 30 days of a year', () => {
  const attempts = attemptsOfDeadCard(365);
  expect(attempts.filter((at) => at < DAY_MS)).toHaveLength(7);
  const inWindow = attempts.map((from) => attempts.filter((at) => at >= from && at < from + ATTEMPTS_WINDOW_MS).length);
  expect(Math.max(...inWindow)).toBe(MAX_FAILED_ATTEMPTS);
});

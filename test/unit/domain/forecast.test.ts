import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  expectedSpend,
  FORECAST_HORIZON_MS,
  SPEND_WINDOW_MS,
  type SpendSample,
  SWEEP_INTERVAL_MS,
  SWEEP_JITTER_MS,
} from '../../../src/domain/forecast.ts';
import { parseQuota, quotaMicros } from '../../../src/domain/money.ts';

/** Seconds ago, and the spend in dollars that LiteLLM showed then. */
const seen = (secondsAgo: number, dollars: string): SpendSample => ({ agoMs: secondsAgo * 1000, spend: parseQuota(dollars) });
const forecast = (now: string, ...samples: SpendSample[]) => expectedSpend(samples, parseQuota(now));
/** What a dollar a minute comes to within the horizon. */
const A_DOLLAR_A_MINUTE = (FORECAST_HORIZON_MS / 60_000) * 1e6;

test('a balance has to last for a minute and a half: the next look, its jitter, the flush of the spend and the recharge', () => {
  expect(SWEEP_INTERVAL_MS).toBe(60_000);
  expect(SWEEP_JITTER_MS).toBe(5_000);
  expect(FORECAST_HORIZON_MS).toBe(90_000);
});

describe('the spend to expect before the next look', () => {
  test('is nothing without a sample that is old enough', () => {
    expect(forecast('5')).toBe(0);
    expect(forecast('5', seen(29, '1'))).toBe(0);
    expect(forecast('5', seen(SPEND_WINDOW_MS / 1000 + 1, '1'))).toBe(0);
  });
  test('rests on samples from half a minute to ten minutes old, both included', () => {
    expect(SPEND_WINDOW_MS).toBe(10 * 60_000);
    expect(forecast('2', seen(30, '1'))).toBe(A_DOLLAR_A_MINUTE * 2);
    expect(forecast('2', seen(600, '1'))).toBe(A_DOLLAR_A_MINUTE / 10);
  });
  test('counts what was spent since a sample that is too young to tell a pace', () => {
    expect(forecast('3', seen(10, '2'), seen(60, '2'))).toBe(A_DOLLAR_A_MINUTE);
    expect(forecast('3', seen(10, '3'), seen(60, '2'))).toBe(A_DOLLAR_A_MINUTE);
  });
  test('is rounded up to a whole micro-dollar, and is at most the largest exact number', () => {
    expect(expectedSpend([{ agoMs: 60_000, spend: quotaMicros(0) }], quotaMicros(1))).toBe(2);
    expect(expectedSpend([{ agoMs: 30_000, spend: quotaMicros(0) }], quotaMicros(Number.MAX_SAFE_INTEGER))).toBe(Number.MAX_SAFE_INTEGER);
  });
  test('goes on at the pace so far', () => {
    expect(forecast('3', seen(60, '2'), seen(120, '1'))).toBe(A_DOLLAR_A_MINUTE);
  });
  test('counts a spender at once who has just begun', () => {
    expect(forecast('3', seen(60, '2'), seen(120, '2'), seen(600, '2'))).toBe(A_DOLLAR_A_MINUTE);
  });
  test('counts one who has stopped less with every minute', () => {
    expect(forecast('3', seen(240, '3'), seen(300, '2'))).toBe(A_DOLLAR_A_MINUTE / 5);
  });
  test('does not depend on the order of the samples', () => {
    const samples = [seen(40, '9'), seen(100, '7'), seen(160, '2'), seen(220, '2'), seen(280, '1'), seen(340, '0')];
    fc.assert(
      fc.property(fc.shuffledSubarray(samples, { minLength: samples.length }), (shuffled) => {
        expect(forecast('9', ...shuffled)).toBe(forecast('9', ...samples));
      }),
    );
    // The fastest stretch is the one of 160 s: seven dollars.
    expect(forecast('9', ...samples.toReversed())).toBe(Math.ceil((7e6 / 160_000) * FORECAST_HORIZON_MS));
  });
  test('outlives a spend that LiteLLM has set back to nothing', () => {
    expect(forecast('1', seen(60, '0'), seen(120, '50'))).toBe(A_DOLLAR_A_MINUTE);
  });

  test('of a steady spender is right within what a flush can hide: no less than nine tenths, no more than three halves', () => {
    const cases = fc.record({
      perSecond: fc.integer({ min: 1_000, max: 1_000_000 }),
      flushEveryS: fc.integer({ min: 1, max: 15 }),
      phaseS: fc.integer({ min: 0, max: 14 }),
      lookEveryS: fc.integer({ min: 5, max: 65 }),
    });
    fc.assert(
      fc.property(cases, ({ perSecond, flushEveryS, phaseS, lookEveryS }) => {
        const shownAt = (secondsAgo: number): SpendSample => {
          const second = Math.floor((1_000_000 - secondsAgo + phaseS) / flushEveryS) * flushEveryS;
          return { agoMs: secondsAgo * 1000, spend: quotaMicros(second * perSecond) };
        };
        const looks = Array.from({ length: Math.floor(600 / lookEveryS) }, (_, look) => shownAt((look + 1) * lookEveryS));
        const expected = expectedSpend(looks, shownAt(0).spend);
        const truth = (perSecond * FORECAST_HORIZON_MS) / 1000;
        expect(expected).toBeGreaterThanOrEqual(truth * 0.9);
        expect(expected).toBeLessThanOrEqual(truth * 1.5 + 1);
      }),
    );
  });

  test('is never negative and always a whole number, whatever was seen', () => {
    const samples = fc.array(
      fc.record({ agoMs: fc.integer({ min: 0, max: 2 * SPEND_WINDOW_MS }), spend: fc.integer({ min: -1e15, max: 1e15 }) }),
      { minLength: 1, maxLength: 30 },
    );
    fc.assert(
      fc.property(samples, fc.integer({ min: -1e15, max: 1e15 }), (any, now) => {
        const expected = expectedSpend(any as SpendSample[], quotaMicros(now));
        expect(expected).toBeGreaterThanOrEqual(0);
        expect(Number.isSafeInteger(expected)).toBe(true);
      }),
    );
  });
});

/** The readings of probes: kept for some seconds, and of one that fails since when. */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { readingOf } from '../../../src/http/readings.ts';

beforeEach(() => void jest.useFakeTimers({ now: new Date('2026-11-27T05:00:00Z') }));
afterEach(() => void jest.useRealTimers());

test('a probe that fails says since when, from the first failure after it last worked', async () => {
  let isAway = true;
  const probe = async () => {
    if (isAway) throw new Error('nothing listens there\nat all');
    return 1;
  };
  const later = (seconds: number) => jest.setSystemTime(Date.now() + seconds * 1000);
  const looked_at = expect.any(String);
  const failing = (since: string) => ({ status: 'failing', reason: 'nothing listens there', since, looked_at });
  expect(await readingOf(probe)).toEqual(failing('2026-11-27T05:00:00.000Z'));
  later(60);
  expect(await readingOf(probe)).toEqual(failing('2026-11-27T05:00:00.000Z'));
  isAway = false;
  later(60);
  expect(await readingOf(probe)).toEqual({ status: 'ok', latency_ms: 1, looked_at });
  isAway = true;
  expect(await readingOf(probe)).toMatchObject({ status: 'ok' });
  later(60);
  expect(await readingOf(probe)).toEqual(failing('2026-11-27T05:03:00.000Z'));
});

test('what nobody has looked at for minutes is not said to have failed all the while', async () => {
  const probe = () => Promise.reject(new Error('nothing listens there'));
  const at = () => new Date().toISOString();
  const first = at();
  expect(await readingOf(probe)).toMatchObject({ since: first, looked_at: first });
  jest.setSystemTime(Date.now() + 3_000);
  expect(await readingOf(probe)).toMatchObject({ since: first, looked_at: first });
  jest.setSystemTime(Date.now() + 117_000);
  expect(await readingOf(probe)).toMatchObject({ since: first, looked_at: at() });
  jest.setSystemTime(Date.now() + 120_001);
  expect(await readingOf(probe)).toMatchObject({ since: at(), looked_at: at() });
});

/** How the service stands, in words that somebody can act on. */
import { describe, expect, test } from '@jest/globals';
import {
  dependencyLine,
  lagLine,
  scheduleLine,
  serviceHoldLine,
  stopOf,
  temporalLines,
  underWayLine,
  workerLines,
} from '../../../src/domain/service-status.ts';

const NOW = new Date('2026-11-26T12:00:00Z');
const minutesAgo = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

describe('the service', () => {
  const pollers = (lastPollAt: Date | null) => [{ taskQueue: 'bill-service', count: 1, lastPollAt }];
  const schedule = {
    id: 'balance-sweep',
    isMade: true,
    pausedFor: null,
    taskQueue: 'bill-service',
    wantedTaskQueue: 'bill-service',
    intervalMs: 60_000,
    lastSuccessAt: minutesAgo(1),
    changedAt: minutesAgo(60),
  };

  test.each([
    [new Date(NOW.getTime() - 90_000), true, '1, the last one asked 1 minute ago'],
    [new Date(NOW.getTime() - 90_001), false, 'the last one asked for work 1 minute ago: nothing is charged, swept or synchronised'],
    [null, false, 'none asks for work: nothing is charged, swept or synchronised'],
  ])('has a worker as long as one has asked for work: %s', (lastPollAt, isFine, seen) => {
    expect(workerLines(pollers(lastPollAt), NOW)).toEqual([
      { check: 'workers of bill-service', isFine, seen, next: isFine ? null : 'start one: bill worker' },
    ]);
  });

  test.each([
    [{}, true, 'last succeeded 1 minute ago', null],
    [{ isMade: false }, false, 'is missing', 'run: bill migrate'],
    [
      { pausedFor: 'for the upgrade' },
      false,
      'is paused: for the upgrade',
      'when the reason is gone: temporal schedule toggle --unpause --schedule-id balance-sweep',
    ],
    [{ pausedFor: '' }, false, 'is paused', 'when the reason is gone: temporal schedule toggle --unpause --schedule-id balance-sweep'],
    [{ taskQueue: 'old' }, false, 'starts its runs on old, which our workers do not poll', 'run: bill migrate'],
    [{ lastSuccessAt: minutesAgo(5) }, true, 'last succeeded 5 minutes ago', null],
    [{ lastSuccessAt: minutesAgo(6) }, false, 'last succeeded 6 minutes ago', expect.stringContaining('Temporal Web UI')],
    [{ lastSuccessAt: minutesAgo(45), intervalMs: 15 * 60_000 }, true, 'last succeeded 45 minutes ago', null],
    [{ lastSuccessAt: minutesAgo(46), intervalMs: 15 * 60_000 }, false, 'last succeeded 46 minutes ago', expect.any(String)],
    [{ lastSuccessAt: null, changedAt: minutesAgo(1) }, true, 'has not succeeded yet: it is new', null],
    [{ lastSuccessAt: null }, false, 'has not succeeded in its latest runs', expect.any(String)],
  ])('has a schedule: %j', (facts, isFine, seen, next) => {
    expect(scheduleLine({ ...schedule, ...facts }, NOW)).toEqual({ check: 'schedule balance-sweep', isFine, seen, next });
  });

  test.each([
    [{ waiting: 0, oldestMs: null }, true, 'nothing waits to be handed on'],
    [{ waiting: 2, oldestMs: 30_000 }, true, '2 wait, the oldest for 30 s'],
    [{ waiting: 2, oldestMs: 30_001 }, false, '2 wait, the oldest for 30 s'],
  ])('hands on what arrives: %j', (lag, isFine, seen) => {
    expect(lagLine({ what: 'alerts', ...lag })).toMatchObject({ check: 'alerts', isFine, seen, next: isFine ? null : expect.any(String) });
  });

  test('says that it is held, and what releases it', () => {
    expect(
      serviceHoldLine({ id: 'hld_1', scope: 'service', reason: 'operator', detail: 'an incident', since: minutesAgo(30), until: null }),
    ).toEqual({
      check: 'service',
      isFine: false,
      seen: 'is held, nothing is charged: an incident (operator)',
      next: 'a person releases it: bill release hld_1 "reason"',
    });
  });

  test.each([
    [null, true, 'answers', null],
    ['LiteLLM does not answer', false, 'LiteLLM does not answer', expect.stringContaining('KMS_BASE_URL')],
  ])('has a line for what it depends on: %s', (failure, isFine, seen, next) => {
    expect(dependencyLine({ name: 'LiteLLM', failure })).toEqual({ check: 'LiteLLM', isFine, seen, next });
  });

  test.each([
    [{ count: 0, oldestMs: null }, 'no worker', true, 'none'],
    [{ count: 1, oldestMs: 180_000 }, null, true, '1, the oldest for 3 minutes'],
    [{ count: 1, oldestMs: 1_000 }, 'no worker', false, '1, the oldest for 1 s: not settled before this is put right: no worker'],
  ])('counts the alerts that have a run: %j, stopped by %s', (runs, stop, isFine, seen) => {
    expect(underWayLine(runs, stop)).toMatchObject({ check: 'alerts under way', isFine, seen });
  });

  test('knows what stops every run', () => {
    const temporal = { pollers: pollers(null), schedules: [schedule] };
    expect(stopOf({ temporal }, NOW)).toBe('workers of bill-service: none asks for work');
    expect(stopOf({ temporal: { pollers: pollers(NOW), schedules: [{ ...schedule, isMade: false }] } }, NOW)).toBeNull();
    expect(stopOf({ temporal: { failure: 'no connection' } }, NOW)).toBe('Temporal: no connection');
  });

  test('without a worker says since when about nothing was done', () => {
    const [workers] = temporalLines({ pollers: pollers(null), schedules: [{ ...schedule, lastSuccessAt: minutesAgo(12) }] }, NOW);
    expect(workers?.seen).toBe(
      'none asks for work, and the last scheduled run ended 12 minutes ago: nothing is charged, swept or synchronised',
    );
  });

  test('says why Temporal cannot be asked', () => {
    expect(temporalLines({ failure: 'no connection' }, NOW)).toMatchObject([{ check: 'Temporal', isFine: false, seen: 'no connection' }]);
    expect(temporalLines({ pollers: pollers(NOW), schedules: [schedule] }, NOW).map(({ isFine }) => isFine)).toEqual([true, true]);
  });
});

/** How the service stands, in words that somebody can act on. */
import { describe, expect, test } from '@jest/globals';
import {
  type Dependency,
  dependencyLine,
  isSchedulePlaced,
  lagLine,
  type Pollers,
  type ScheduleFacts,
  scheduleLine,
  serviceHoldLine,
  serviceLines,
  stopOf,
  temporalLines,
  underWayLine,
  workerLines,
} from '../../../src/domain/service-status.ts';

const NOW = new Date('2026-11-26T12:00:00Z');
const LOOK_AT_RUNS = 'look at its runs in the Temporal Web UI, and whether a worker runs';
const minutesAgo = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

describe('the service', () => {
  const pollers = (lastPollAt: Date | null, work: Pollers['work'] = 'workflows') => [
    { taskQueue: 'bill-service', work, count: 1, lastPollAt },
  ];
  const schedule = {
    id: 'balance-sweep',
    isMade: true,
    pausedFor: null,
    taskQueue: 'bill-service',
    wantedTaskQueue: 'bill-service',
    intervalMs: 60_000,
    lastSuccessAt: minutesAgo(1),
    lastFailure: null,
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
    ['charges', 'none asks for work: nothing is charged'],
    ['bulk', 'none asks for work: nothing is swept, synchronised or reconciled'],
  ] as const)('without a worker for %s says what is left undone', (work, seen) => {
    expect(workerLines(pollers(null, work), NOW).map((line) => line.seen)).toEqual([seen]);
    expect(stopOf({ temporal: { pollers: pollers(null, work), schedules: [] } }, NOW)).toBe('workers of bill-service: none asks for work');
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
    [{ lastSuccessAt: minutesAgo(6) }, false, 'last succeeded 6 minutes ago', LOOK_AT_RUNS],
    [{ lastSuccessAt: minutesAgo(45), intervalMs: 15 * 60_000 }, true, 'last succeeded 45 minutes ago', null],
    [{ lastSuccessAt: minutesAgo(46), intervalMs: 15 * 60_000 }, false, 'last succeeded 46 minutes ago', LOOK_AT_RUNS],
    [{ lastSuccessAt: null, changedAt: minutesAgo(5) }, true, 'has not succeeded yet: it is new', null],
    [{ lastSuccessAt: null, changedAt: minutesAgo(6) }, false, 'has not succeeded in its latest runs', LOOK_AT_RUNS],
    [{ lastSuccessAt: minutesAgo(6), changedAt: minutesAgo(5) }, false, 'last succeeded 6 minutes ago', LOOK_AT_RUNS],
    [
      { lastSuccessAt: minutesAgo(6), lastFailure: 'its last run has failed: LiteLLM answered 500' },
      false,
      'last succeeded 6 minutes ago; its last run has failed: LiteLLM answered 500',
      LOOK_AT_RUNS,
    ],
    [{ lastFailure: 'its last run has failed: LiteLLM answered 500' }, true, 'last succeeded 1 minute ago', null],
    [{ lastSuccessAt: null }, false, 'has not succeeded in its latest runs', LOOK_AT_RUNS],
  ])('has a schedule: %j', (facts, isFine, seen, next) => {
    expect(scheduleLine({ ...schedule, ...facts }, NOW)).toEqual({ check: 'schedule balance-sweep', isFine, seen, next });
  });

  test.each([
    [{ waiting: 0, oldestMs: null }, true, 'nothing waits to be handed on'],
    [{ waiting: 2, oldestMs: 30_000 }, true, '2 wait, the oldest for 30 s'],
    [{ waiting: 2, oldestMs: 30_001 }, false, '2 wait, the oldest for 30 s'],
  ])('hands on what arrives: %j', (lag, isFine, seen) => {
    const next = isFine ? null : 'bill doctor says what cannot be reached; bill serve hands on what waits';
    expect(lagLine({ what: 'alerts', ...lag })).toEqual({ check: 'alerts', isFine, seen, next });
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

  test('has a line for what it depends on, with what to look at where it does not answer', () => {
    const advice = 'see that it is up';
    const next = 'see that it is up. What needs it is tried again by itself: bill doctor says more';
    expect(dependencyLine({ name: 'Stripe', advice, failure: null })).toEqual({
      check: 'Stripe',
      isFine: true,
      seen: 'answers',
      next: null,
    });
    const failing = { check: 'Stripe', isFine: false, seen: 'no answer', next };
    expect(dependencyLine({ name: 'Stripe', advice, failure: 'no answer' })).toEqual(failing);
  });

  test.each([
    [{ count: 0, oldestMs: null }, 'no worker', true, 'none'],
    [{ count: 1, oldestMs: 180_000 }, null, true, '1, the oldest for 3 minutes'],
    [{ count: 1, oldestMs: 1_000 }, 'no worker', false, '1, the oldest for 1 s: not settled before this is put right: no worker'],
  ])('counts the alerts that have a run: %j, stopped by %s', (runs, stop, isFine, seen) => {
    expect(underWayLine(runs, stop)).toEqual({ check: 'alerts under way', isFine, seen, next: null });
  });

  test('knows what stops every run', () => {
    const temporal = { pollers: pollers(null), schedules: [schedule] };
    expect(stopOf({ temporal }, NOW)).toBe('workers of bill-service: none asks for work');
    expect(stopOf({ temporal: { pollers: pollers(NOW), schedules: [{ ...schedule, isMade: false }] } }, NOW)).toBeNull();
    expect(stopOf({ temporal: { failure: 'no connection' } }, NOW)).toBe('Temporal: no connection');
    const failure = 'Temporal cannot be reached at 127.0.0.1:7233 (no answer)';
    expect(stopOf({ temporal: { failure } }, NOW)).toBe(failure);
  });

  test('without a worker says since when about nothing was done', () => {
    const ended = (minutes: number): ScheduleFacts => ({ ...schedule, lastSuccessAt: minutesAgo(minutes) });
    const [workers] = temporalLines(
      { pollers: pollers(null), schedules: [30, 12, 20].map(ended).concat({ ...schedule, lastSuccessAt: null }) },
      NOW,
    );
    expect(workers?.seen).toBe(
      'none asks for work, and the last scheduled run ended 12 minutes ago: nothing is charged, swept or synchronised',
    );
    const [unknown] = temporalLines({ pollers: pollers(null), schedules: [{ ...schedule, lastSuccessAt: null }] }, NOW);
    expect(unknown?.seen).toBe('none asks for work: nothing is charged, swept or synchronised');
  });

  test('says why Temporal cannot be asked', () => {
    const next = 'set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, or start it: what arrives is kept meanwhile';
    expect(temporalLines({ failure: 'no connection' }, NOW)).toEqual([{ check: 'Temporal', isFine: false, seen: 'no connection', next }]);
    const since = new Date(NOW.getTime() - 120_000);
    const [line] = temporalLines({ failure: 'no connection', since }, NOW);
    expect(line?.seen).toMatch(/^no connection; since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(2 minutes ago\), or longer$/);
    expect(stopOf({ temporal: { failure: 'no connection', since } }, NOW)).toBe('Temporal: no connection');
    expect(temporalLines({ pollers: pollers(NOW), schedules: [schedule] }, NOW).map(({ isFine }) => isFine)).toEqual([true, true]);
  });

  test('has a line for each hold, dependency, queue, schedule and lag, in this order', () => {
    const facts = {
      holds: [{ id: 'hld_1', scope: 'service' as const, reason: 'operator' as const, detail: 'an incident', since: NOW, until: null }],
      temporal: { pollers: pollers(null), schedules: [schedule] },
      lags: [{ what: 'alerts', waiting: 0, oldestMs: null }],
      underWay: { count: 1, oldestMs: 1_000 },
    };
    const stopped = '1, the oldest for 1 s: not settled before this is put right: workers of bill-service: none asks for work';
    const lines = (more: { dependencies?: Dependency[] }) =>
      serviceLines({ ...facts, ...more }, NOW).map(({ check, isFine, seen }) => [check, isFine, seen]);
    const ofDependency = ['Stripe', true, 'answers'];
    const others = [
      ['workers of bill-service', false, expect.stringMatching(/^none asks for work/)],
      ['schedule balance-sweep', true, 'last succeeded 1 minute ago'],
      ['alerts', true, 'nothing waits to be handed on'],
      ['alerts under way', false, stopped],
    ];
    const held = ['service', false, 'is held, nothing is charged: an incident (operator)'];
    expect(lines({ dependencies: [{ name: 'Stripe', advice: 'see that it is up', failure: null }] })).toEqual([
      held,
      ofDependency,
      ...others,
    ]);
    expect(lines({})).toEqual([held, ...others]);
  });

  test('has a schedule in its place where it is made, not paused, and on the queue of our workers', () => {
    const misplaced = [{ isMade: false }, { pausedFor: 'a reason' }, { pausedFor: '' }, { taskQueue: 'old' }];
    expect([{}, ...misplaced].map((facts) => isSchedulePlaced({ ...schedule, ...facts }))).toEqual([true, false, false, false, false]);
  });
});

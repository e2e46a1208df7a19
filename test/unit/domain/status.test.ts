/** How an organization and the service stand, in words that somebody can act on. */
import { describe, expect, test } from '@jest/globals';
import { parseQuota } from '../../../src/domain/money.ts';
import {
  balanceOf,
  isQuiet,
  lagLine,
  type OrganizationFacts,
  scheduleLine,
  serviceHoldLine,
  standingOf,
  temporalLines,
  workerLines,
} from '../../../src/domain/status.ts';

const NOW = new Date('2026-11-26T12:00:00Z');
const minutesAgo = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

const FINE: OrganizationFacts = {
  id: 'acme',
  isAutoRecharged: true,
  recharge: null,
  reversals: [],
  holds: [],
  refusals: [],
  drifts: [],
  nextDay: new Date('2026-11-26T23:00:00Z'),
  nextMonth: new Date('2026-11-30T23:00:00Z'),
};
const recharge = (status: 'charging' | 'processing' | 'charged' | 'needs_attention', underWaySince: Date | null = minutesAgo(1)) => ({
  id: 'rch_1',
  status,
  since: minutesAgo(1),
  underWaySince,
  why: status === 'needs_attention' ? 'max_budget is 25.00, expected 10.00 or 30.50' : null,
  amount: '20.50 USD',
});
const hold = (reason: 'declined' | 'disputed', until: Date | null = null) => ({
  id: 'hld_1',
  scope: 'organization' as const,
  reason,
  detail: 'dispute du_1 of recharge rch_1',
  since: minutesAgo(30),
  until,
});

describe('an organization', () => {
  test('of which nothing is known is ok', () => {
    expect(standingOf(FINE, NOW)).toEqual({ state: 'ok', since: null, why: null, next: null });
  });

  test.each<[string, Partial<OrganizationFacts>, object]>([
    [
      'a recharge that goes on',
      { recharge: recharge('charging') },
      { state: 'recharging', since: minutesAgo(1), why: '20.50 USD by rch_1 is charging' },
    ],
    [
      'a bank that takes days',
      { recharge: recharge('processing', null) },
      { state: 'recharging', next: expect.stringContaining('takes days') },
    ],
    [
      'a recharge that a person has to settle',
      { recharge: recharge('needs_attention', null) },
      {
        state: 'needs_person',
        why: '20.50 USD of rch_1: max_budget is 25.00, expected 10.00 or 30.50',
        next: expect.stringContaining('bill resolve rch_1 --grant | --refund | --accept "reason"'),
      },
    ],
    [
      'a recharge that is tried again and again for 15 minutes',
      { recharge: recharge('charged', minutesAgo(15)) },
      { state: 'needs_person', since: minutesAgo(15), why: expect.stringContaining('is charged, and is tried again and again') },
    ],
    [
      'a reversal that a person has to settle',
      { reversals: [{ id: 'du_1', since: minutesAgo(2), why: 'the team is gone' }] },
      { state: 'needs_person', why: 'du_1: the team is gone', next: expect.stringContaining('bill resolve du_1 --accept') },
    ],
    [
      'a hold',
      { holds: [hold('disputed')] },
      { state: 'held', since: minutesAgo(30), next: expect.stringContaining('bill release hld_1 "reason"') },
    ],
    [
      'a declined card',
      { holds: [hold('declined', minutesAgo(-15))] },
      { state: 'card_declined', next: expect.stringMatching(/^it ends at 2026-11-26 12:15 UTC, or sooner/) },
    ],
    [
      'a limit of the day',
      { refusals: [{ reason: 'daily_amount_reached', since: minutesAgo(3) }] },
      {
        state: 'limit_reached',
        since: minutesAgo(3),
        next: expect.stringMatching(/^it is charged again from 2026-11-26 23:00 UTC on; bill org set acme/),
      },
    ],
    [
      'a limit of the month',
      { refusals: [{ reason: 'monthly_limit_reached', since: minutesAgo(3) }] },
      { state: 'limit_reached', next: expect.stringMatching(/^it is charged again from 2026-11-30 23:00 UTC on/) },
    ],
    [
      'a customer that Stripe does not know',
      { refusals: [{ reason: 'customer_missing', since: minutesAgo(3) }] },
      { state: 'needs_person', next: 'bill org set acme --customer cus_…' },
    ],
    [
      'a team that LiteLLM does not have',
      { refusals: [{ reason: 'team_not_found', since: minutesAgo(3) }] },
      { state: 'litellm_differs', next: expect.stringContaining('bill org set acme --team') },
    ],
    [
      'a budget that somebody has edited',
      { drifts: [{ kind: 'budget_edited', subject: 'acme-team', ours: '30.50', theirs: '31.00', reason: null, at: minutesAgo(9) }] },
      {
        state: 'litellm_differs',
        since: minutesAgo(9),
        why: expect.stringContaining('(31.00, where 30.50 is expected)'),
        next: expect.stringContaining('"max_budget":30.5'),
      },
    ],
    ['no wish to be recharged', { isAutoRecharged: false }, { state: 'off', next: 'bill org set acme --auto-recharge on' }],
  ])('with %s says so, and what happens next', (_what, facts, standing) => {
    expect(standingOf({ ...FINE, ...facts }, NOW)).toMatchObject(standing);
  });

  test('says what most needs somebody, and of the same kind what has lasted longest', () => {
    const refusals = [{ reason: 'daily_limit_reached' as const, since: minutesAgo(60) }];
    const both = { ...FINE, refusals, recharge: recharge('needs_attention', null) };
    expect(standingOf(both, NOW).state).toBe('needs_person');
    const reversals = [
      { id: 'du_1', since: minutesAgo(2), why: null },
      { id: 'du_0', since: minutesAgo(5), why: null },
    ];
    expect(standingOf({ ...FINE, reversals }, NOW).why).toContain('du_0');
  });

  test('is nothing to act on where it goes on by itself or was turned off', () => {
    expect(['ok', 'recharging', 'off', 'held', 'needs_person'].filter((state) => isQuiet(state as 'ok'))).toEqual([
      'ok',
      'recharging',
      'off',
    ]);
  });

  test('has a balance where LiteLLM has shown one', () => {
    expect(balanceOf({ quota: parseQuota('30.50'), spend: parseQuota('28.20') })).toBe('2.30');
    expect(balanceOf({ quota: null, spend: parseQuota('28.20') })).toBeNull();
    expect(balanceOf(null)).toBeNull();
  });
});

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
    [{ waiting: 0, oldestMs: null }, true, 'nothing waits'],
    [{ waiting: 2, oldestMs: 30_000 }, true, '2 wait, the oldest for 30 s'],
    [{ waiting: 2, oldestMs: 30_001 }, false, '2 wait, the oldest for 30 s'],
  ])('hands on what arrives: %j', (lag, isFine, seen) => {
    expect(lagLine({ what: 'alerts', ...lag })).toMatchObject({ check: 'alerts', isFine, seen, next: isFine ? null : expect.any(String) });
  });

  test('says that it is held, and what releases it', () => {
    expect(serviceHoldLine({ ...hold('disputed'), scope: 'service', reason: 'operator', detail: 'an incident' })).toEqual({
      check: 'service',
      isFine: false,
      seen: 'is held, nothing is charged: an incident (operator)',
      next: 'a person releases it: bill release hld_1 "reason"',
    });
  });

  test('says why Temporal cannot be asked', () => {
    expect(temporalLines({ failure: 'no connection' }, NOW)).toMatchObject([{ check: 'Temporal', isFine: false, seen: 'no connection' }]);
    expect(temporalLines({ pollers: pollers(NOW), schedules: [schedule] }, NOW).map(({ isFine }) => isFine)).toEqual([true, true]);
  });
});

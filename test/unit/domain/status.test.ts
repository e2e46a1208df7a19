/** How an organization stands, in words that somebody can act on. */
import { describe, expect, test } from '@jest/globals';
import { parseQuota } from '../../../src/domain/money.ts';
import { balanceOf, isQuiet, type OrganizationFacts, type StandingDrift, standingOf } from '../../../src/domain/status.ts';
import { DRIFT_ADVICE, type DriftKind } from '../../../src/domain/sync.ts';

const NOW = new Date('2026-11-26T12:00:00Z');
const minutesAgo = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

const FINE: OrganizationFacts = {
  id: 'acme',
  stripeCustomerId: 'cus_acme',
  litellmTeamId: 'acme-team',
  isAutoRecharged: true,
  lowSince: null,
  isBlocked: false,
  isTeamAwaited: false,
  isUnused: false,
  limitsOfNothing: [],
  recharge: null,
  event: null,
  reversals: [],
  holds: [],
  refusals: [],
  limitsUsed: null,
  drifts: [],
  budgetExpected: null,
  gone: { left: null, lastBudget: null },
  nextDay: new Date('2026-11-26T23:00:00Z'),
  nextMonth: new Date('2026-11-30T23:00:00Z'),
};
const recharge = (status: 'charging' | 'processing' | 'charged' | 'needs_attention', underWaySince: Date | null = minutesAgo(1)) => ({
  id: 'rch_1',
  eventId: 'evt_1',
  status,
  since: minutesAgo(1),
  underWaySince,
  why: status === 'needs_attention' ? 'max_budget is 25.00, expected 10.00 or 30.50' : null,
  amount: '20.50 USD',
});
const hold = (reason: 'declined' | 'disputed' | 'card_refused' | 'budget_lowered' | 'three_failures', until: Date | null = null) => ({
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
        next: expect.stringContaining(
          'one of:\nbill resolve rch_1 --grant "reason"     # raise the quota by what is held\nbill resolve rch_1 --refund "reason"',
        ),
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
      'a hold and a low balance',
      { holds: [hold('disputed')], lowSince: minutesAgo(40) },
      {
        state: 'held',
        next: expect.stringMatching(/ "reason"\nthen, where its balance is still low: .* has it charged, or says why not$/),
      },
    ],
    [
      'a hold beside another',
      { holds: [hold('declined', minutesAgo(-15)), { ...hold('three_failures'), id: 'hld_2' }], lowSince: minutesAgo(40) },
      { state: 'card_declined', next: expect.stringMatching(/ again\nthen: three_failures stops it too: bill release hld_2 "reason"$/) },
    ],
    [
      'a declined card',
      { holds: [hold('declined', minutesAgo(-15))] },
      { state: 'card_declined', next: expect.stringMatching(/^it ends at 2026-11-26 12:15 UTC, or sooner/) },
    ],
    [
      'a card that is refused for good',
      { holds: [hold('card_refused')] },
      {
        state: 'card_declined',
        next: expect.stringMatching(/^one of:\ngive cus_acme another card at Stripe.*\nbill release hld_1 "reason" /),
      },
    ],
    [
      'a budget that was lowered',
      { holds: [hold('budget_lowered')], budgetExpected: parseQuota('30.50') },
      {
        state: 'held',
        next: expect.stringMatching(
          /^one of:\nbill org accept-budget acme "reason" .*\ncurl .*'\{"team_id":"acme-team","max_budget":30.5\}'/,
        ),
      },
    ],
    [
      'a budget that was lowered, of which a synchronisation has told',
      {
        holds: [hold('budget_lowered')],
        budgetExpected: parseQuota('30.50'),
        drifts: [
          { kind: 'budget_edited', subject: 'acme-team', ours: '30.50', theirs: '4.00', reason: null, hasFailed: false, at: minutesAgo(1) },
        ],
      },
      { state: 'held', next: expect.stringMatching(/a probe each minute sees it\nthen: bill sync --org acme --wait$/) },
    ],
    [
      'a balance that is low',
      { lowSince: minutesAgo(1) },
      { state: 'recharging', since: minutesAgo(1), next: 'the next sweep, within a minute, has it charged, or says why not' },
    ],
    [
      'a team that was made for it and nobody uses',
      { lowSince: minutesAgo(1), isUnused: true },
      { state: 'ok', why: expect.stringContaining('nothing is charged before its first call') },
    ],
    [
      'limits that leave nothing to charge',
      { lowSince: minutesAgo(1), limitsOfNothing: ['max_daily_recharges is 0'] },
      { state: 'limit_reached', why: 'max_daily_recharges is 0', next: expect.stringContaining('bill org set acme') },
    ],
    [
      'a block of ours',
      { isBlocked: true, lowSince: minutesAgo(1), refusals: [{ reason: 'team_blocked', since: minutesAgo(1) }] },
      { state: 'off', next: 'bill org set acme --blocked off' },
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
      {
        drifts: [
          {
            kind: 'budget_edited',
            subject: 'acme-team',
            ours: '30.50',
            theirs: '31.00',
            reason: null,
            hasFailed: false,
            at: minutesAgo(9),
          },
        ],
      },
      {
        state: 'litellm_differs',
        since: minutesAgo(9),
        why: expect.stringContaining('(31.00, where 30.50 is expected)'),
        next: expect.stringContaining('"max_budget":30.5'),
      },
    ],
    [
      'a run that fails and tries again',
      {
        recharge: {
          ...recharge('charged'),
          trouble: { step: 'updateKmsQuota', attempts: 7, reason: 'LiteLLM answered 500', nextAt: minutesAgo(-1) },
        },
      },
      {
        state: 'recharging',
        why: '20.50 USD by rch_1 is charged; updateKmsQuota has failed 7 times: LiteLLM answered 500',
        next: 'it is tried again at 2026-11-26 12:01:00 UTC',
      },
    ],
    [
      'an alert that is looked at',
      { event: { id: 'evt_1', teamId: 'acme-team', since: minutesAgo(14) } },
      { state: 'recharging', since: minutesAgo(14), why: 'nothing is decided on evt_1 yet', next: 'it goes on by itself' },
    ],
    [
      'an alert that nothing is decided on for 15 minutes',
      {
        event: {
          id: 'evt_1',
          teamId: 'acme-team',
          since: minutesAgo(15),
          trouble: { step: 'checkLimits', attempts: 1, reason: 'LiteLLM does not answer', nextAt: null },
        },
      },
      {
        state: 'needs_person',
        since: minutesAgo(15),
        why: expect.stringMatching(
          /^evt_1: the event has been open for 15 minutes.*; checkLimits has failed once: LiteLLM does not answer$/,
        ),
      },
    ],
    ['no wish to be recharged', { isAutoRecharged: false }, { state: 'off', next: 'bill org set acme --auto-recharge on' }],
  ])('with %s says so, and what happens next', (_what, facts, standing) => {
    expect(standingOf({ ...FINE, ...facts }, NOW)).toMatchObject(standing);
  });

  const drift = (kind: DriftKind, more: Partial<StandingDrift> = {}) => ({
    kind,
    subject: 'acme-team',
    ours: null,
    theirs: null,
    reason: null,
    hasFailed: false,
    at: minutesAgo(9),
    ...more,
  });
  const nextOn = (kind: DriftKind, more: Partial<StandingDrift> = {}) =>
    standingOf({ ...FINE, drifts: [drift(kind, more)], gone: { left: parseQuota('9.50'), lastBudget: parseQuota('30.50') } }, NOW).next;

  test('that differs in LiteLLM says why once, and what failed where that was tried', () => {
    const why = (more: Partial<StandingDrift>) => standingOf({ ...FINE, drifts: [drift('team_not_found', more)] }, NOW).why;
    expect(why({ reason: DRIFT_ADVICE.team_not_found })).toBe(`acme-team in LiteLLM: ${DRIFT_ADVICE.team_not_found}`);
    expect(why({ reason: null })).toBe(`acme-team in LiteLLM: ${DRIFT_ADVICE.team_not_found}`);
    const failed = { ...FINE, drifts: [drift('name_differs', { reason: 'LiteLLM answered 500', hasFailed: true })] };
    expect(standingOf(failed, NOW)).toMatchObject({
      why: 'acme-team in LiteLLM: the team in LiteLLM gets the name that it has here, which has failed: LiteLLM answered 500',
      next: 'bill sync --org acme --wait tries it again, and says what it meets',
    });
  });

  test.each<[DriftKind, Partial<StandingDrift>, string[]]>([
    ['team_not_found', {}, ['bill org set acme --team <id> ', 'bill org set acme --create-team ']],
    [
      'team_deleted',
      {},
      [
        'bill org set acme --team <id> ',
        `$KMS_BASE_URL/team/new"`,
        `'{"team_id":"acme-team","max_budget":9.5,"budget_duration":null}'`,
        'then: bill org accept-budget acme',
      ],
    ],
    ['block_differs', { theirs: 'blocked' }, ['bill org set acme --blocked on ', `'{"team_id":"acme-team","blocked":false}'`]],
    [
      'budget_edited',
      { ours: '30.50', theirs: '20.00' },
      [`'{"team_id":"acme-team","max_budget":30.5}'`, 'bill org accept-budget acme "reason" '],
    ],
    ['budget_unlimited', { ours: '30.50' }, [`'{"team_id":"acme-team","max_budget":30.5}'`]],
    ['budget_duration', {}, ['remove budget_duration of team acme-team in LiteLLM']],
    ['team_claimed', {}, ['bill org set acme --team acme-team']],
  ])('that differs by %s has the command that settles it', (kind, more, commands) => {
    for (const command of commands) expect(nextOn(kind, more)).toContain(command);
  });

  test('does not go on by itself where no run does', () => {
    const stop = 'workers of bill-service: none asks for work';
    const waiting = { ...FINE, event: { id: 'evt_1', teamId: 'acme-team', since: minutesAgo(1) } };
    for (const facts of [waiting, { ...FINE, recharge: recharge('charged') }, { ...FINE, lowSince: minutesAgo(1) }])
      expect(standingOf(facts, NOW, { stop, hold: null })).toMatchObject({
        state: 'recharging',
        next: `it goes on when this is put right: ${stop}`,
      });
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

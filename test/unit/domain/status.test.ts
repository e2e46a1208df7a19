/** How an organization stands, in words that somebody can act on: what goes on, what is low, limited, off, and what needs a person. */
import { describe, expect, test } from '@jest/globals';
import { parseQuota } from '../../../src/domain/money.ts';
import type { ToldRefusal } from '../../../src/domain/outbound-event.ts';
import {
  balanceOf,
  isQuiet,
  longStepText,
  ORGANIZATION_STATES,
  type OrganizationFacts,
  type OrganizationState,
  standingOf,
  troubleText,
} from '../../../src/domain/status.ts';
import { edited, FINE, hold, inWords, minutesAgo, NOW, recharge, settled } from '../status-facts.ts';

const LIMITS_USED = {
  daily_limit_reached: '5 of 5 today',
  daily_amount_reached: '61.50 of 80.00 USD today',
  monthly_limit_reached: '160.00 of 160.00 USD this month',
};

describe('an organization', () => {
  test('of which nothing is known is ok', () => {
    expect(standingOf(FINE, NOW)).toEqual({ state: 'ok', since: null, why: null, next: null });
  });

  const trouble = { step: 'updateKmsQuota', attempts: 7, reason: 'LiteLLM answered 500', nextAt: minutesAgo(-1) };

  test.each<[string, Partial<OrganizationFacts>, string]>([
    [
      'a recharge that goes on',
      { recharge: recharge('charging') },
      `
recharging since 11:59
20.50 USD by rch_1 is charging
→ it goes on by itself`,
    ],
    [
      'a bank that takes days',
      { recharge: recharge('processing', null) },
      `
recharging since 11:59
20.50 USD by rch_1 is processing
→ quota follows when the bank has settled it, which takes days`,
    ],
    [
      'a run that fails and tries again',
      { recharge: { ...recharge('charged'), trouble } },
      `
recharging since 11:59
20.50 USD by rch_1 is charged; updateKmsQuota has failed 7 times: LiteLLM answered 500
→ it is tried again at 2026-11-26 12:01:00 UTC`,
    ],
    [
      'a run that tries',
      { recharge: { ...recharge('charged'), trouble: { ...trouble, attempts: 1, nextAt: null } } },
      `
recharging since 11:59
20.50 USD by rch_1 is charged; updateKmsQuota has failed once: LiteLLM answered 500
→ it is being tried again`,
    ],
    [
      'a recharge that a person has to settle',
      { recharge: recharge('needs_attention', null) },
      settled(`
needs a person since 11:59
20.50 USD of rch_1: max_budget is 25.00, expected 10.00 or 30.50
→ nothing more is charged until it is settled, by one of:`),
    ],
    [
      'a recharge that a person has to settle, for no known reason',
      { recharge: { ...recharge('needs_attention', null), why: null } },
      settled(`
needs a person since 11:59
20.50 USD of rch_1: a person has to decide
→ nothing more is charged until it is settled, by one of:`),
    ],
    [
      'a recharge that is tried again and again for 15 minutes',
      { recharge: { ...recharge('charged', minutesAgo(15)), trouble } },
      settled(`
needs a person since 11:45
20.50 USD of rch_1 is charged, and is tried again and again; updateKmsQuota has failed 7 times: LiteLLM answered 500
→ bill doctor; or end it, by one of:`),
    ],
    [
      'one of which a reason is known',
      { recharge: { ...recharge('charged', minutesAgo(15)), why: 'Stripe is down' } },
      settled(`
needs a person since 11:45
20.50 USD of rch_1 is charged, and is tried again and again: Stripe is down
→ bill doctor; or end it, by one of:`),
    ],
    [
      'an alert that is looked at',
      { event: { id: 'evt_1', teamId: 'acme-team', since: minutesAgo(14) } },
      `
recharging since 11:46
nothing is decided on evt_1 yet
→ it goes on by itself`,
    ],
    [
      'an alert that nothing is decided on for 15 minutes',
      {
        event: { id: 'evt_1', teamId: 'acme-team', since: minutesAgo(15), trouble: { ...trouble, step: 'checkLimits', attempts: 1 } },
      },
      `
needs a person since 11:45
evt_1: the event has been open for 15 minutes, and team acme-team is neither charged nor refused; checkLimits has failed once: LiteLLM answered 500
→ bill doctor says whether LiteLLM answers, and what of the team cannot be read: then the run goes on; its last failure is in Temporal`,
    ],
    [
      'a reversal that a person has to settle',
      { reversals: [{ id: 'du_1', since: minutesAgo(2), why: 'the team is gone' }] },
      `
needs a person since 11:58
du_1: the team is gone
→ bill resolve du_1 --accept "reason", when max_budget in LiteLLM is right`,
    ],
    [
      'a reversal of which no reason is known',
      { reversals: [{ id: 'du_1', since: minutesAgo(2), why: null }] },
      `
needs a person since 11:58
du_1: its quota could not follow the money
→ bill resolve du_1 --accept "reason", when max_budget in LiteLLM is right`,
    ],
    [
      'a balance that is low',
      { lowSince: minutesAgo(1) },
      `
recharging since 11:59
its balance is at or below its minimum
→ the next sweep, within a minute, has it charged, or says why not`,
    ],
    [
      'a balance that is low, and a sweep that waits after what came to nothing',
      { lowSince: minutesAgo(1), sweepPause: { remainingMs: 14 * 60_000, failures: 2 } },
      `
recharging since 11:59
its balance is at or below its minimum
→ the sweep waits until 2026-11-26 12:14 UTC, because 2 in a row came to nothing; sooner: bill webhook send --team acme-team`,
    ],
    [
      'a team that is to be made',
      { lowSince: minutesAgo(1), isTeamAwaited: true },
      `
ok
the next synchronisation makes its team, with max_budget 0, where LiteLLM does not have it
→ bill sync --org acme --wait makes it now`,
    ],
    [
      'a team that was made for it and nobody uses',
      { lowSince: minutesAgo(1), isUnused: true },
      `
ok
its team was made for it, and nothing is charged before its first call or alert`,
    ],
    [
      'limits that leave nothing to charge',
      { lowSince: minutesAgo(1), limitsOfNothing: [{ why: 'max_daily_recharges is 0', flag: '--max-daily <n>' }] },
      `
limit reached since 11:10
max_daily_recharges is 0 (since its settings were last changed, or longer)
→ bill org set acme --max-daily <n>`,
    ],
    [
      'limits that leave nothing to charge, and an alert that they have refused',
      {
        limitsOfNothing: [{ why: 'max_daily_recharges is 0', flag: '--max-daily <n>' }],
        refusals: [
          { reason: 'daily_limit_reached', since: minutesAgo(3) },
          { reason: 'monthly_limit_reached', since: minutesAgo(3) },
        ],
      },
      `
limit reached since 11:10
max_daily_recharges is 0 (since its settings were last changed, or longer)
→ bill org set acme --max-daily <n>`,
    ],
    [
      'a max_charge that holds each charge',
      { limitsOfOneCharge: [{ why: 'max_charge is 10.00 USD', flag: '--max-charge <amount>' }] },
      `
limit reached since 11:10
max_charge is 10.00 USD (since its settings were last changed, or longer)
→ bill org set acme --max-charge <amount>`,
    ],
    [
      'a max_charge that would hold each charge, and the limit that refuses one now',
      {
        limitsOfOneCharge: [{ why: 'max_charge is 10.00 USD', flag: '--max-charge <amount>' }],
        refusals: [{ reason: 'daily_limit_reached', since: minutesAgo(3) }],
      },
      `
limit reached since 11:57
max_daily_recharges is used up for today
→ it is charged again from 2026-11-26 23:00 UTC on; bill org set acme --max-daily <n>, or wait for the next day`,
    ],
    [
      'a block of ours',
      { isBlocked: true, lowSince: minutesAgo(1), refusals: [{ reason: 'team_blocked', since: minutesAgo(1) }] },
      `
charging is off since 11:10
it is blocked, so LiteLLM refuses its calls and nothing is charged (since its settings were last changed, or longer)
→ bill org set acme --blocked off`,
    ],
    [
      'no wish to be recharged',
      { isAutoRecharged: false },
      `
charging is off since 11:10
auto-recharge is off for this organization: set auto_recharge_enabled to true (since its settings were last changed, or longer)
→ bill org set acme --auto-recharge on`,
    ],
    [
      'a limit of the day',
      { refusals: [{ reason: 'daily_amount_reached', since: minutesAgo(3) }], limitsUsed: LIMITS_USED },
      `
limit reached since 11:57
what is left of max_daily_amount does not bring the balance above the minimum: raise the limit, or wait for the next day (61.50 of 80.00 USD today)
→ it is charged again from 2026-11-26 23:00 UTC on; bill org set acme --max-daily-amount <amount>, or wait for the next day`,
    ],
    [
      'a limit of the month',
      { refusals: [{ reason: 'monthly_limit_reached', since: minutesAgo(3) }] },
      `
limit reached since 11:57
what is left of max_monthly_amount does not bring the balance above the minimum: raise the limit, or wait for the next month
→ it is charged again from 2026-11-30 23:00 UTC on; bill org set acme --max-monthly <amount>, or wait for the next month`,
    ],
    [
      'a customer that Stripe does not know',
      { refusals: [{ reason: 'customer_missing', since: minutesAgo(3) }], limitsUsed: LIMITS_USED },
      `
needs a person since 11:57
Stripe has no such customer: correct stripe_customer_id
→ bill org set acme --customer cus_…`,
    ],
  ])('with %s says so, and what happens next', (_what, facts, told) => {
    expect(`\n${inWords(standingOf({ ...FINE, ...facts }, NOW))}`).toBe(told);
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

  test('is charged for its low balance when the hold of the service ends, and where no worker is there, not before one is', () => {
    const low = { ...FINE, lowSince: minutesAgo(1) };
    const next = (obstacles: { stop: string | null; hold: string | null }) => standingOf(low, NOW, obstacles).next;
    expect(next({ stop: null, hold: 'the service is held' })).toBe('it goes on when this is put right: the service is held');
    expect(next({ stop: 'no worker', hold: 'the service is held' })).toBe('it goes on when this is put right: no worker');
  });

  test.each<[OrganizationState, ToldRefusal[]]>([
    ['off', ['auto_recharge_disabled']],
    ['limit_reached', ['daily_limit_reached', 'daily_amount_reached', 'monthly_limit_reached']],
    ['needs_person', ['refused_with_money_left', 'amount_too_large', 'no_payment_method', 'customer_missing', 'payment_unknown']],
    [
      'litellm_differs',
      ['spend_not_shown', 'team_not_found', 'team_blocked', 'unlimited_budget', 'budget_duration', 'budget_limits', 'soft_budget'],
    ],
  ])('is %s where it is refused for %j', (state, reasons) => {
    for (const reason of reasons)
      expect([reason, standingOf({ ...FINE, refusals: [{ reason, since: NOW }] }, NOW).state]).toEqual([reason, state]);
  });

  test('says what most needs somebody, and of the same kind what has lasted longest', () => {
    const refusals = [{ reason: 'daily_limit_reached' as const, since: minutesAgo(60) }];
    const stateOf = (facts: Partial<OrganizationFacts>) => standingOf({ ...FINE, ...facts }, NOW).state;
    expect(stateOf({ refusals, recharge: recharge('needs_attention', null) })).toBe('needs_person');
    expect(stateOf({ refusals, recharge: recharge('charging'), drifts: [edited] })).toBe('litellm_differs');
    expect(stateOf({ refusals, recharge: recharge('charging'), isAutoRecharged: false })).toBe('limit_reached');
    expect(stateOf({ holds: [hold('disputed')], drifts: [edited], isBlocked: true })).toBe('held');
    const reversals = [
      { id: 'du_1', since: minutesAgo(2), why: null },
      { id: 'du_0', since: minutesAgo(5), why: null },
    ];
    expect(standingOf({ ...FINE, reversals }, NOW).why).toContain('du_0');
    const limited = {
      ...FINE,
      limitsOfNothing: [{ why: 'max_daily_recharges is 0', flag: '--max-daily <n>' }],
      drifts: [{ ...edited, kind: 'name_differs' as const }],
    };
    expect(standingOf(limited, NOW).state).toBe('litellm_differs');
    const off = standingOf(
      { ...FINE, isAutoRecharged: false, refusals: [{ reason: 'auto_recharge_disabled', since: minutesAgo(60) }] },
      NOW,
    );
    expect(off.since).toEqual(minutesAgo(60));
  });

  test('is nothing to act on where it goes on by itself or was turned off', () => {
    expect(ORGANIZATION_STATES.filter(isQuiet)).toEqual(['recharging', 'off', 'ok']);
  });

  test('has a balance where LiteLLM has shown one', () => {
    expect(balanceOf({ quota: parseQuota('30.50'), spend: parseQuota('28.20') })).toBe('2.30');
    expect(balanceOf({ quota: null, spend: parseQuota('28.20') })).toBeNull();
    expect(balanceOf(null)).toBeNull();
  });
});

test.each([
  [{ step: 'updateKmsQuota', attempts: 1, reason: 'LiteLLM answered 500', nextAt: null }, 'once', 'it is being tried again'],
  [
    { step: 'updateKmsQuota', attempts: 7, reason: 'LiteLLM answered 500', nextAt: NOW },
    '7 times',
    'it is tried again at 2026-11-26 12:00:00 UTC',
  ],
])('the trouble of a run is what has failed, how often and why, and what happens next: %j', (trouble, often, next) => {
  expect(troubleText(trouble)).toBe(`updateKmsQuota has failed ${often}: LiteLLM answered 500; ${next}`);
});

test('a step that has been under way for five seconds is said to be, and one that has just begun is not', () => {
  const text = (seconds: number) => longStepText({ step: 'compareIntents', since: new Date(NOW.getTime() - seconds * 1_000) }, NOW);
  expect([text(0), text(4.999)]).toEqual([null, null]);
  expect(text(5)).toBe(
    'compareIntents has been under way since 2026-11-26 11:59:55 UTC: bill doctor says whether all that it needs answers',
  );
});

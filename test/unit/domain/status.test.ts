/** How an organization stands, in words that somebody can act on. */
import { describe, expect, test } from '@jest/globals';
import { CONFIRM_FIRST, HOLDS, lostDispute } from '../../../src/domain/hold.ts';
import { parseQuota } from '../../../src/domain/money.ts';
import type { ToldRefusal } from '../../../src/domain/outbound-event.ts';
import {
  balanceOf,
  isQuiet,
  longStepText,
  ORGANIZATION_STATES,
  type OrganizationFacts,
  type OrganizationState,
  STATE_NAMES,
  type Standing,
  type StandingDrift,
  standingOf,
  troubleText,
} from '../../../src/domain/status.ts';
import { DRIFT_ADVICE, type DriftKind } from '../../../src/domain/sync.ts';

const NOW = new Date('2026-11-26T12:00:00Z');
const minutesAgo = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000);

const FINE: OrganizationFacts = {
  id: 'acme',
  stripeCustomerId: 'cus_acme',
  litellmTeamId: 'acme-team',
  isAutoRecharged: true,
  lowSince: null,
  sweepPause: null,
  settingsAt: minutesAgo(50),
  isBlocked: false,
  isTeamAwaited: false,
  isUnused: false,
  limitsOfNothing: [],
  limitsOfOneCharge: [],
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
const LIMITS_USED = {
  daily_limit_reached: '5 of 5 today',
  daily_amount_reached: '61.50 of 80.00 USD today',
  monthly_limit_reached: '160.00 of 160.00 USD this month',
};
/** As the terminal shows it: the state, why, and what is next. */
function inWords({ state, since, why, next }: Standing): string {
  return [
    `${STATE_NAMES[state]}${since ? ` since ${since.toISOString().slice(11, 16)}` : ''}`,
    ...(why ? [why] : []),
    ...(next ? [`→ ${next}`] : []),
  ].join('\n');
}
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
  stops: null,
});

describe('an organization', () => {
  test('of which nothing is known is ok', () => {
    expect(standingOf(FINE, NOW)).toEqual({ state: 'ok', since: null, why: null, next: null });
  });

  const settled = (told: string) => `${told}
bill resolve rch_1 --grant "reason"     # raise the quota by what is held
bill resolve rch_1 --refund "reason"    # give back what is held
bill resolve rch_1 --accept "reason"    # it is right as it is`;
  const litellm = (path: string, body: string) =>
    `curl "$KMS_BASE_URL${path}" -H "Authorization: Bearer $KMS_API_KEY" -H "Content-Type: application/json" -d '${body}'`;

  /** A team that is gone, as it is shown. */
  const TEAM_GONE = `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":9.5,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill org accept-budget acme "reason"
then: bill sweep`;
  const restored = litellm('/team/update', '{"team_id":"acme-team","max_budget":30.5}');
  const trouble = { step: 'updateKmsQuota', attempts: 7, reason: 'LiteLLM answered 500', nextAt: minutesAgo(-1) };
  const drift = (kind: DriftKind, more: Partial<StandingDrift> = {}): StandingDrift => ({
    kind,
    subject: 'acme-team',
    ours: null,
    theirs: null,
    reason: null,
    hasFailed: false,
    at: minutesAgo(9),
    ...more,
  });
  const edited = drift('budget_edited', { ours: '30.50', theirs: '31.00' });

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
      'a hold',
      { holds: [hold('disputed')] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (disputed)
→ the dispute is won (evidence is given at Stripe), or a person releases it: bill release hld_1 "reason"`,
    ],
    [
      'a hold and a low balance',
      { holds: [hold('disputed')], lowSince: minutesAgo(40) },
      `
held since 11:30
dispute du_1 of recharge rch_1 (disputed)
→ the dispute is won (evidence is given at Stripe), or a person releases it: bill release hld_1 "reason"
then, where its balance is still low: the next sweep, within a minute, has it charged, or says why not`,
    ],
    [
      'a hold, a low balance and no wish to be recharged',
      { holds: [hold('disputed')], lowSince: minutesAgo(40), isAutoRecharged: false },
      `
held since 11:30
dispute du_1 of recharge rch_1 (disputed)
→ the dispute is won (evidence is given at Stripe), or a person releases it: bill release hld_1 "reason"`,
    ],
    [
      'a dispute that is lost',
      { holds: [{ ...hold('disputed'), detail: `dispute du_1 of recharge rch_1; ${lostDispute('du_1')}` }] },
      `
held since 11:30
dispute du_1 of recharge rch_1; du_1 is decided, and the money stays with the customer: only a person ends this hold (disputed)
→ a person releases it: bill release hld_1 "reason"`,
    ],
    [
      'a card whose bank wants the customer',
      { holds: [{ ...hold('declined'), detail: `the card was declined: ${CONFIRM_FIRST}` }] },
      `
card declined since 11:30
the card was declined: before it is asked again, the customer has to confirm it with the bank, for use without them (declined)
→ one of:
give cus_acme another card at Stripe, as its default: the hold ends by itself
bill release hld_1 "reason"    # the customer has confirmed it with the bank: the same card is asked again`,
    ],
    [
      'a refused card and a team that is gone',
      { holds: [hold('card_refused')], drifts: [drift('team_deleted')] },
      `
card declined since 11:30
dispute du_1 of recharge rch_1 (card_refused)
→ one of:
give cus_acme another card at Stripe, as its default: the hold ends by itself
bill release hld_1 "reason"    # the same card is asked again
then: LiteLLM differs: acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}`,
    ],
    [
      'money that waits, a hold, and limits of nothing',
      {
        recharge: recharge('needs_attention'),
        holds: [hold('disputed')],
        limitsOfNothing: [{ why: 'max_daily_recharges is 0', flag: '--max-daily <n>' }],
      },
      `
${settled(`needs a person since 11:59
20.50 USD of rch_1: max_budget is 25.00, expected 10.00 or 30.50
→ nothing more is charged until it is settled, by one of:`)}
then: held: dispute du_1 of recharge rch_1 (disputed)
then: limit reached: max_daily_recharges is 0 (since its settings were last changed, or longer)`,
    ],
    [
      'a hold beside two others',
      {
        holds: [hold('declined', minutesAgo(-15)), { ...hold('three_failures'), id: 'hld_2' }, { ...hold('card_refused'), id: 'hld_3' }],
        lowSince: minutesAgo(40),
      },
      `
card declined since 11:30
dispute du_1 of recharge rch_1 (declined)
→ it ends at 2026-11-26 12:15 UTC, or sooner: one of:
give cus_acme another card at Stripe, as its default: the hold ends by itself
bill release hld_1 "reason"    # the same card is asked again
then: three_failures stops it too: bill release hld_2 "reason"
then: card_refused stops it too: bill release hld_3 "reason"`,
    ],
    [
      'a card that is refused for good',
      { holds: [hold('card_refused')] },
      `
card declined since 11:30
dispute du_1 of recharge rch_1 (card_refused)
→ one of:
give cus_acme another card at Stripe, as its default: the hold ends by itself
bill release hld_1 "reason"    # the same card is asked again`,
    ],
    [
      'a card that others pay with too',
      { holds: [{ ...hold('card_refused'), scope: 'card', stops: { count: 3, ids: ['acme', 'globex'] } }] },
      `
card declined since 11:30
dispute du_1 of recharge rch_1; it stops 3 organizations: acme, globex and 1 more (card_refused)
→ one of:
give cus_acme another card at Stripe, as its default: the hold ends by itself
bill release hld_1 "reason"    # the same card is asked again`,
    ],
    [
      'a budget that was lowered',
      { holds: [hold('budget_lowered')], budgetExpected: parseQuota('30.50') },
      `
held since 11:30
dispute du_1 of recharge rch_1 (budget_lowered)
→ one of:
bill org accept-budget acme "reason"    # it was meant
${restored}    # it was not meant: a probe each minute sees it`,
    ],
    [
      'a dispute beside a budget that is known',
      { holds: [hold('disputed')], budgetExpected: parseQuota('30.50') },
      `
held since 11:30
dispute du_1 of recharge rch_1 (disputed)
→ the dispute is won (evidence is given at Stripe), or a person releases it: bill release hld_1 "reason"`,
    ],
    [
      'a budget that was lowered, of which no synchronisation has told yet',
      { holds: [hold('budget_lowered')], budgetExpected: parseQuota('30.50'), drifts: [drift('name_differs')] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (budget_lowered)
→ one of:
bill org accept-budget acme "reason"    # it was meant
${restored}    # it was not meant: a probe each minute sees it
then: LiteLLM differs: acme-team in LiteLLM: ${DRIFT_ADVICE.name_differs}`,
    ],
    [
      'a budget that was lowered, of which a synchronisation has told',
      {
        holds: [hold('budget_lowered')],
        budgetExpected: parseQuota('30.50'),
        drifts: [drift('name_differs'), edited],
      },
      `
held since 11:30
dispute du_1 of recharge rch_1 (budget_lowered)
→ one of:
bill org accept-budget acme "reason"    # it was meant
${restored}    # it was not meant: a probe each minute sees it
then: bill sync --org acme --wait
then: LiteLLM differs: acme-team in LiteLLM: ${DRIFT_ADVICE.name_differs}`,
    ],
    [
      'a budget that was lowered, where none is expected any more',
      { holds: [hold('budget_lowered')] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (budget_lowered)
→ ${HOLDS.budget_lowered.endedBy}: bill release hld_1 "reason"`,
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
    [
      'a team that is blocked in LiteLLM',
      { refusals: [{ reason: 'team_blocked', since: minutesAgo(3) }] },
      `
LiteLLM differs since 11:57
the team is blocked, by its setting here or in LiteLLM, so nothing is bought for it: unblock it
→ bill org set acme --blocked off, or unblock the team in LiteLLM`,
    ],
    [
      'a team that LiteLLM does not have, as an alert has found',
      { refusals: [{ reason: 'team_not_found', since: minutesAgo(3) }] },
      `
LiteLLM differs since 11:57
LiteLLM has no such team: create it or correct litellm_team_id
→ bill sync --org acme --wait says how to make the team; or bill org set acme --team <id>`,
    ],
    [
      'a team that LiteLLM does not have, as a synchronisation has found',
      { drifts: [drift('team_not_found')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_not_found}
→ one of:
bill org set acme --team <id>      # it is another team
bill org set acme --create-team    # it is to be made, with max_budget 0`,
    ],
    [
      'a team that is gone',
      { drifts: [drift('team_deleted')], gone: { left: parseQuota('9.50'), lastBudget: parseQuota('30.50') } },
      TEAM_GONE,
    ],
    [
      'a team that is gone, as a synchronisation has found: no figure beside those of the command',
      {
        drifts: [drift('team_deleted', { reason: 'make the team again: POST /team/new {"max_budget":30.5}' })],
        gone: { left: parseQuota('9.50'), lastBudget: parseQuota('30.50') },
      },
      TEAM_GONE,
    ],
    [
      'a team that is gone with all that was written',
      { drifts: [drift('team_deleted')], gone: { left: parseQuota('30.50'), lastBudget: parseQuota('30.50') } },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":30.5,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill sweep`,
    ],
    [
      'a team that is gone and was never written',
      { drifts: [drift('team_deleted')], gone: { left: parseQuota('9.50'), lastBudget: null } },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":9.5,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill sweep`,
    ],
    [
      'a team that is gone and was not seen for days',
      { drifts: [drift('team_deleted')], gone: { left: null, lastBudget: parseQuota('30.50') } },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":30.5,"budget_duration":null}')}    # it is made again, with what our last write left: take off what was spent of it since
then, where that is less: bill org accept-budget acme "reason"`,
    ],
    [
      'a team that is gone and of which nothing is known',
      { drifts: [drift('team_deleted')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_deleted}
→ one of:
bill org set acme --team <id>      # it is another team
${litellm('/team/new', '{"team_id":"acme-team","max_budget":0,"budget_duration":null}')}    # it is made again, with what was left when it was last seen: take off what was spent since
then: bill sweep`,
    ],
    [
      'a block of somebody else',
      { drifts: [drift('block_differs', { theirs: 'blocked' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.block_differs}
→ one of:
bill org set acme --blocked on    # it was meant
${litellm('/team/update', '{"team_id":"acme-team","blocked":false}')}    # it was not meant
then: bill sync --org acme --wait`,
    ],
    [
      'a block that is missing',
      { drifts: [drift('block_differs', { theirs: 'not blocked' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.block_differs}
→ bill sync --org acme --wait`,
    ],
    [
      'a budget that somebody has edited',
      { drifts: [edited] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_edited} (31.00, where 30.50 is expected)
→ one of:
bill org accept-budget acme "reason"    # it was meant
${restored}    # it was not meant
then: bill sync --org acme --wait`,
    ],
    [
      'no budget',
      { drifts: [drift('budget_unlimited', { ours: '30.50' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_unlimited}
→ ${restored}
then: bill sync --org acme --wait`,
    ],
    [
      'no budget, where none was ever known',
      { drifts: [drift('budget_unlimited')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_unlimited}
→ ${litellm('/team/update', '{"team_id":"acme-team","max_budget":"<dollars>"}')}
then: bill sync --org acme --wait`,
    ],
    [
      'a budget_duration',
      { drifts: [drift('budget_duration')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_duration}
→ remove budget_duration of team acme-team in LiteLLM, then: bill sync --org acme --wait`,
    ],
    [
      'budget_limits',
      { drifts: [drift('budget_limits')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.budget_limits}
→ remove budget_limits of team acme-team in LiteLLM, then: bill sync --org acme --wait`,
    ],
    [
      'a team that names it and is not its own',
      { drifts: [drift('team_claimed')] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.team_claimed}
→ take c_organization_id out of the metadata of team acme-team in LiteLLM, or bill org set acme --team acme-team; then bill sync`,
    ],
    [
      'a difference whose settling has failed',
      { drifts: [drift('name_differs', { reason: 'LiteLLM answered 500', hasFailed: true })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: ${DRIFT_ADVICE.name_differs}, which has failed: LiteLLM answered 500
→ bill sync --org acme --wait tries it again, and says what it meets`,
    ],
    [
      'a difference with advice of its own',
      { drifts: [drift('team_not_found', { reason: 'it has acme-prod: correct it' })] },
      `
LiteLLM differs since 11:51
acme-team in LiteLLM: it has acme-prod: correct it
→ one of:
bill org set acme --team <id>      # it is another team
bill org set acme --create-team    # it is to be made, with max_budget 0`,
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

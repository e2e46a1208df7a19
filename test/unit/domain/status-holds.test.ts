/** How an organization stands that a hold stops: what ends it, and what stops it besides. */
import { describe, expect, test } from '@jest/globals';
import { CONFIRM_FIRST, HOLDS, lostDispute } from '../../../src/domain/hold.ts';
import { parseQuota } from '../../../src/domain/money.ts';
import { type OrganizationFacts, standingOf } from '../../../src/domain/status.ts';
import { DRIFT_ADVICE } from '../../../src/domain/sync.ts';
import { drift, edited, FINE, hold, inWords, minutesAgo, NOW, recharge, restored, settled } from '../status-facts.ts';

describe('an organization', () => {
  test.each<[string, Partial<OrganizationFacts>, string]>([
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
      'a budget that was lowered, of which a synchronisation has told nothing else',
      { holds: [hold('budget_lowered')], budgetExpected: parseQuota('30.50'), drifts: [edited] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (budget_lowered)
→ one of:
bill org accept-budget acme "reason"    # it was meant
${restored}    # it was not meant: a probe each minute sees it
then: bill sync --org acme --wait`,
    ],
    [
      'another hold, and a budget that was edited',
      { holds: [hold('disputed')], budgetExpected: parseQuota('30.50'), drifts: [edited] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (disputed)
→ the dispute is won (evidence is given at Stripe), or a person releases it: bill release hld_1 "reason"
then: LiteLLM differs: acme-team in LiteLLM: ${DRIFT_ADVICE.budget_edited} (31.00, where 30.50 is expected)`,
    ],
    [
      'a dispute, and a card that is declined',
      { holds: [hold('declined'), { ...hold('disputed'), id: 'hld_2' }] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (disputed)
→ the dispute is won (evidence is given at Stripe), or a person releases it: bill release hld_2 "reason"
then: declined stops it too: bill release hld_1 "reason"`,
    ],
    [
      'money that waits for a person, and two differences',
      { recharge: recharge('needs_attention'), drifts: [drift('name_differs'), drift('budget_duration')] },
      `
${settled(`needs a person since 11:59
20.50 USD of rch_1: max_budget is 25.00, expected 10.00 or 30.50
→ nothing more is charged until it is settled, by one of:`)}
then: LiteLLM differs: acme-team in LiteLLM: ${DRIFT_ADVICE.name_differs}`,
    ],
    [
      'a budget that was lowered, where none is expected any more',
      { holds: [hold('budget_lowered')], drifts: [edited] },
      `
held since 11:30
dispute du_1 of recharge rch_1 (budget_lowered)
→ ${HOLDS.budget_lowered.endedBy}: bill release hld_1 "reason"
then: LiteLLM differs: acme-team in LiteLLM: ${DRIFT_ADVICE.budget_edited} (31.00, where 30.50 is expected)`,
    ],
  ])('with %s says so, and what happens next', (_what, facts, told) => {
    expect(`\n${inWords(standingOf({ ...FINE, ...facts }, NOW))}`).toBe(told);
  });
});

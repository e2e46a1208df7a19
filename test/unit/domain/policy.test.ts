/** Whether a recharge is due and of how much: the balance, the limits, and all that keeps a charge away. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type AppliedHold, describeHold } from '../../../src/domain/hold.ts';
import { decimalPlaces, MAX_CHARGE_MINOR, minorUnits, parseQuota, quotaBoughtBy } from '../../../src/domain/money.ts';
import {
  REFUSALS,
  type RechargeHistory,
  type RechargePolicy,
  type Refusal,
  unfitness,
  whyNoCard,
  whyRefused,
  withinLimits,
} from '../../../src/domain/policy.ts';
import { amounts, budget, budgetWithBalance, decide, history, policies, policy, refusalOf } from '../policy-facts.ts';

test('a team that is out of budget is brought back to the target by exactly what is charged', () => {
  expect(decide()).toEqual({
    kind: 'recharge',
    amount: 3050,
    quota: parseQuota('30.5'),
    balance: parseQuota('-0.5'),
    quotaBefore: budget.quota,
  });
});

describe('whatever the policy and the spend', () => {
  test('nothing is charged above the minimum', () => {
    fc.assert(
      fc.property(policies, amounts, fc.integer({ min: 1, max: 10_000_000_000 }), (anyPolicy, spend, above) => {
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(anyPolicy.minimumBalance + above, spend) });
        expect(refusalOf(decision)).toBe('above_minimum');
      }),
    );
  });

  test('a recharge leaves the balance at the target or above it by less than one step of the charge', () => {
    fc.assert(
      fc.property(policies, amounts, amounts, (anyPolicy, spend, below) => {
        const balance = anyPolicy.minimumBalance - below;
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(balance, spend) });
        if (decision.kind !== 'recharge') throw new Error(JSON.stringify(decision));

        const step = decimalPlaces(anyPolicy.currency) === 3 ? 10 : 1;
        const isMinimumCharge = anyPolicy.currency === 'usd' && decision.amount === 50;
        const atMost = isMinimumCharge ? 50 : step;
        const oneStepBuys = quotaBoughtBy(minorUnits(atMost), anyPolicy.currency, anyPolicy.quotaPerUnit) + 1;
        const excess = balance + decision.quota - anyPolicy.targetBalance;
        expect(excess).toBeGreaterThanOrEqual(0);
        expect(excess).toBeLessThanOrEqual(oneStepBuys);
      }),
    );
  });

  test('the quota is what the amount buys, no more and no less', () => {
    fc.assert(
      fc.property(policies, amounts, amounts, (anyPolicy, spend, below) => {
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(anyPolicy.minimumBalance - below, spend) });
        if (decision.kind !== 'recharge') throw new Error(JSON.stringify(decision));
        expect(decision.quota).toBe(quotaBoughtBy(decision.amount, anyPolicy.currency, anyPolicy.quotaPerUnit));
      }),
    );
  });

  test('the budget rises above the spend, or LiteLLM would go on refusing the team', () => {
    fc.assert(
      fc.property(policies, amounts, amounts, (anyPolicy, spend, below) => {
        const live = budgetWithBalance(anyPolicy.minimumBalance - below, spend);
        const decision = decide({ policy: anyPolicy, budget: live });
        if (decision.kind !== 'recharge') throw new Error(JSON.stringify(decision));
        expect((live.quota ?? 0) + decision.quota).toBeGreaterThan(live.spend);
      }),
    );
  });

  test('no charge is larger than Stripe takes: such a one is refused', () => {
    const spends = fc.oneof(fc.integer({ min: 0, max: 1_000_000_000_000 }), fc.integer({ min: 0, max: 4_000_000_000_000_000 }));
    fc.assert(
      fc.property(policies, spends, (anyPolicy, spend) => {
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(-spend, spend) });
        if (decision.kind !== 'recharge') expect(refusalOf(decision)).toBe('amount_too_large');
        else expect(decision.amount).toBeLessThanOrEqual(MAX_CHARGE_MINOR);
      }),
    );
  });
});

describe('the balance', () => {
  test('at exactly the minimum is topped up, a micro-dollar above it is not', () => {
    expect(decide({ budget: budgetWithBalance(10_000_000, 5_000_000) }).kind).toBe('recharge');
    expect(refusalOf(decide({ budget: budgetWithBalance(10_000_001, 5_000_000) }))).toBe('above_minimum');
  });

  test('is told with every refusal, except for a team that has no budget at all', () => {
    expect(decide({ policy: { ...policy, autoRechargeEnabled: false } })).toEqual({
      kind: 'refuse',
      refusal: 'auto_recharge_disabled',
      balance: parseQuota('-0.5'),
    });
    expect(decide({ budget: { ...budget, quota: null } })).toEqual({
      kind: 'refuse',
      refusal: 'unlimited_budget',
      balance: null,
    });
  });
});

describe('no charge is made', () => {
  test('while a hold applies: the oldest is named', () => {
    const hold: AppliedHold = { id: 'hld_1', scope: 'service', reason: 'operator', detail: 'maintenance', until: null };
    const held = { ...history, holds: [hold, { ...hold, id: 'hld_2' }] };
    expect(decide({ history: held })).toEqual({ kind: 'refuse', refusal: 'held', hold, balance: parseQuota('-0.5') });
  });
  test('for a hold only where there would be a charge', () => {
    const hold: AppliedHold = { id: 'hld_1', scope: 'service', reason: 'operator', detail: 'maintenance', until: null };
    const funded = { budget: budgetWithBalance(10_000_001, 5_000_000), history: { ...history, holds: [hold] } };
    expect(refusalOf(decide(funded))).toBe('above_minimum');
  });
  test('for a team that LiteLLM blocks', () => {
    expect(refusalOf(decide({ budget: { ...budget, blocked: true } }))).toBe('team_blocked');
  });
  test('for an organization that is blocked here, though LiteLLM does not block its team yet', () => {
    expect(refusalOf(decide({ policy: { ...policy, blocked: true } }))).toBe('team_blocked');
  });
  test('when auto-recharge is off', () => {
    expect(refusalOf(decide({ policy: { ...policy, autoRechargeEnabled: false } }))).toBe('auto_recharge_disabled');
  });
  test('for a team without a limit', () => {
    expect(refusalOf(decide({ budget: { ...budget, quota: null } }))).toBe('unlimited_budget');
  });
  test('for a team whose spend LiteLLM resets by itself', () => {
    expect(refusalOf(decide({ budget: { ...budget, budgetDuration: '30d' } }))).toBe('budget_duration');
  });
  test('for a team with budget windows', () => {
    expect(refusalOf(decide({ budget: { ...budget, hasBudgetLimits: true } }))).toBe('budget_limits');
  });
  test('while another recharge is open', () => {
    expect(refusalOf(decide({ history: { ...history, hasOpenRecharge: true } }))).toBe('recharge_open');
  });
  test("once the day's attempts are used up, and not one before", () => {
    expect(decide({ history: { ...history, attemptsToday: 2 } }).kind).toBe('recharge');
    expect(refusalOf(decide({ history: { ...history, attemptsToday: 3 } }))).toBe('daily_limit_reached');
    expect(refusalOf(decide({ policy: { ...policy, maxDailyRecharges: 0 } }))).toBe('daily_limit_reached');
  });
  test('for more than one charge can carry, and to the cent up to that', () => {
    const short = (dollars: string) => ({ ...budget, quota: parseQuota('0'), spend: parseQuota(dollars) });
    expect(decide({ budget: short('999969.99') })).toMatchObject({ kind: 'recharge', amount: MAX_CHARGE_MINOR });
    expect(refusalOf(decide({ budget: short('999970') }))).toBe('amount_too_large');
  });
  test("when LiteLLM would refuse the new budget, because the team's soft_budget is not below it", () => {
    // 100.00 + 30.50 is what max_budget would become.
    const softAt = (dollars: string) => decide({ budget: { ...budget, softBudget: parseQuota(dollars) } });
    expect(softAt('130.499999').kind).toBe('recharge');
    expect(refusalOf(softAt('130.50'))).toBe('soft_budget');
  });
  test('unless there is no soft_budget to stay above, however low the new budget is', () => {
    const corrected = { ...budget, quota: parseQuota('-140'), spend: parseQuota('-150') };
    expect(decide({ budget: corrected })).toMatchObject({ kind: 'recharge', quota: parseQuota('20') });
  });
});

describe('what the limits of a day and a month leave', () => {
  /** 30.50 are needed; more than 10.50 bring the balance of -0.50 above the minimum of 10.00. */
  const left = (day: number, month: number) =>
    decide({
      policy: { ...policy, maxDailyAmount: minorUnits(1_000 + day), maxMonthlyAmount: minorUnits(5_000 + month) },
      history: { ...history, chargedToday: minorUnits(1_000), chargedThisMonth: minorUnits(5_000) },
    });

  test('is charged to the cent', () => {
    expect(left(3_050, 3_050)).toMatchObject({ kind: 'recharge', amount: 3_050, quota: parseQuota('30.5') });
    expect(left(3_049, 9_999)).toMatchObject({ kind: 'recharge', amount: 3_049, quota: parseQuota('30.49') });
    expect(left(9_999, 3_048)).toMatchObject({ kind: 'recharge', amount: 3_048, quota: parseQuota('30.48') });
  });
  test('is charged as long as it brings the balance above the minimum', () => {
    expect(left(1_051, 1_052)).toMatchObject({ kind: 'recharge', amount: 1_051 });
    expect(refusalOf(left(1_050, 1_052))).toBe('daily_amount_reached');
    expect(refusalOf(left(1_052, 1_050))).toBe('monthly_limit_reached');
  });
  test('is the limit of the month where the next day would not help', () => {
    expect(refusalOf(left(100, 100))).toBe('monthly_limit_reached');
    expect(refusalOf(left(99, 100))).toBe('daily_amount_reached');
  });
  test('is nothing when more was charged than a limit that was lowered since', () => {
    expect(refusalOf(left(-500, 5_000))).toBe('daily_amount_reached');
    expect(refusalOf(left(5_000, -500))).toBe('monthly_limit_reached');
  });
  test('is not charged where Stripe takes no charge as small', () => {
    const cents = (amount: number) =>
      decide({
        policy: { ...policy, minimumBalance: parseQuota('0'), targetBalance: parseQuota('1'), maxDailyAmount: minorUnits(amount) },
        budget: budgetWithBalance(0, 5_000_000),
      });
    expect(cents(50)).toMatchObject({ kind: 'recharge', amount: 50 });
    expect(refusalOf(cents(49))).toBe('daily_amount_reached');
  });
});

describe('an amount that nobody meant', () => {
  const loop = { ...budget, spend: parseQuota('60100') };
  const limited = { ...policy, maxCharge: minorUnits(9_000) };

  test('is held, with the amount, the limit and what goes on', () => {
    expect(decide({ policy: limited, budget: loop })).toEqual({
      kind: 'hold',
      reason: 'runaway',
      amount: 6_003_000,
      balance: parseQuota('-60000'),
      detail:
        '60030.00 USD would bring the balance from -60000.00 to the target of 30.00, more than max_charge (90.00 USD): look at what was spent; after this hold is released, up to 60030.00 USD is charged once',
    });
  });
  test('is one above max_charge, and is never charged in part', () => {
    const at = (maxCharge: number) =>
      refusalOf(decide({ policy: { ...policy, maxCharge: minorUnits(maxCharge), maxDailyAmount: minorUnits(2_000) } }));
    expect(at(3_050)).toBe('recharge');
    expect(at(3_049)).toBe('hold');
  });
  test('is not held where it would be refused anyway', () => {
    expect(refusalOf(decide({ policy: limited, budget: loop, history: { ...history, attemptsToday: 3 } }))).toBe('daily_limit_reached');
    const more = { ...budget, spend: parseQuota('1000100') };
    expect(refusalOf(decide({ policy: limited, budget: more }))).toBe('amount_too_large');
  });

  describe('that a person has approved', () => {
    const approved = (amount: number, live = loop, anyPolicy: RechargePolicy = limited) =>
      decide({ policy: anyPolicy, budget: live, history: { ...history, approvedAmount: minorUnits(amount) } });

    test('is charged, above the limits of the day and the month too', () => {
      const tight = { ...limited, maxDailyAmount: minorUnits(20_000), maxMonthlyAmount: minorUnits(40_000) };
      expect(approved(6_003_000, loop, tight)).toMatchObject({ kind: 'recharge', amount: 6_003_000, quota: parseQuota('60030') });
    });
    test('is charged and no more, when more is needed meanwhile', () => {
      expect(approved(6_002_000)).toMatchObject({ kind: 'recharge', amount: 6_002_000 });
    });
    test('is held anew when it does not bring the balance above the minimum any more', () => {
      expect(approved(6_001_001)).toMatchObject({ kind: 'recharge', amount: 6_001_001 });
      expect(approved(6_001_000)).toMatchObject({ kind: 'hold', amount: 6_003_000 });
    });
    test('is not charged when less is needed', () => {
      expect(approved(6_003_000, budget)).toMatchObject({ kind: 'recharge', amount: 3_050 });
    });
  });
});

describe('many recharges in a row', () => {
  const WEEK_MS = 7 * 24 * 3_600_000;
  const inARow = (recent: RechargeHistory['recent'], approvedAmount: number | null = null) =>
    decide({ history: { ...history, recent, approvedAmount: approvedAmount === null ? null : minorUnits(approvedAmount) } });

  test('are held before the next charge, with what was seen', () => {
    expect(inARow({ lastHour: 5, busiestHourBefore: 1, firstAgoMs: WEEK_MS })).toEqual({
      kind: 'hold',
      reason: 'runaway',
      amount: 3_050,
      balance: parseQuota('-0.5'),
      detail:
        '5 recharges succeeded in the last hour, in no hour before more than 1; 30.50 USD would bring the balance from -0.50 to the target of 30.00: look at what was spent; after this hold is released, up to 30.50 USD is charged once',
    });
  });
  test('go on when a person has approved the next one', () => {
    expect(inARow({ lastHour: 5, busiestHourBefore: 1, firstAgoMs: WEEK_MS }, 3_050)).toMatchObject({ kind: 'recharge', amount: 3_050 });
  });
  test('are charged where they are normal', () => {
    expect(inARow({ lastHour: 6, busiestHourBefore: 2, firstAgoMs: WEEK_MS }).kind).toBe('recharge');
  });
});

describe('a last look before the card is charged', () => {
  const limited = { ...policy, maxCharge: minorUnits(3_050), maxDailyAmount: minorUnits(5_000), maxMonthlyAmount: minorUnits(6_000) };
  const within = (amount: number, counted: Partial<RechargeHistory> = {}) =>
    withinLimits(limited, { ...history, ...counted }, minorUnits(amount));

  test('finds an amount within each limit, to the cent', () => {
    expect(within(3_050)).toBe(true);
    expect(within(3_051)).toBe(false);
    expect(within(3_000, { chargedToday: minorUnits(2_000) })).toBe(true);
    expect(within(3_000, { chargedToday: minorUnits(2_001) })).toBe(false);
    expect(within(3_000, { chargedThisMonth: minorUnits(3_000) })).toBe(true);
    expect(within(3_000, { chargedThisMonth: minorUnits(3_001) })).toBe(false);
  });
  test('finds nothing within max_daily_recharges once it was lowered to the attempts before, whatever a person has approved', () => {
    const approvedAmount = minorUnits(9_000);
    expect(within(1_000, { attemptsToday: policy.maxDailyRecharges - 1, approvedAmount })).toBe(true);
    expect(within(1_000, { attemptsToday: policy.maxDailyRecharges, approvedAmount })).toBe(false);
  });
  test('finds what a person has approved, and no more than that', () => {
    expect(within(9_000, { approvedAmount: minorUnits(9_000) })).toBe(true);
    expect(within(9_001, { approvedAmount: minorUnits(9_000) })).toBe(false);
  });
  test('agrees with every decision on the same figures', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20_000 }), fc.nat(20_000), fc.nat(20_000), (most, today, month) => {
        const anyPolicy = {
          ...policy,
          maxCharge: minorUnits(most),
          maxDailyAmount: minorUnits(most),
          maxMonthlyAmount: minorUnits(2 * most),
        };
        const counted = { ...history, chargedToday: minorUnits(today), chargedThisMonth: minorUnits(month) };
        const decision = decide({ policy: anyPolicy, history: counted });
        if (decision.kind === 'recharge') expect(withinLimits(anyPolicy, counted, decision.amount)).toBe(true);
      }),
    );
  });
});

describe('whether a recharge could help a team at all', () => {
  test('is a matter of how LiteLLM limits it, not of its balance', () => {
    expect(unfitness(budget)).toBeNull();
    expect(unfitness({ ...budget, spend: parseQuota('0'), softBudget: parseQuota('1') })).toBeNull();
    expect(unfitness({ ...budget, quota: null })).toBe('unlimited_budget');
    expect(unfitness({ ...budget, budgetDuration: '30d' })).toBe('budget_duration');
    expect(unfitness({ ...budget, hasBudgetLimits: true })).toBe('budget_limits');
  });
  test('is what weighs most: no limit, then a limit that is set back, then further limits', () => {
    expect(unfitness({ ...budget, quota: null, budgetDuration: '30d', hasBudgetLimits: true })).toBe('unlimited_budget');
    expect(unfitness({ ...budget, budgetDuration: '30d', hasBudgetLimits: true })).toBe('budget_duration');
  });
});

describe('a refusal names the setting that an operator has to look at', () => {
  const names: Record<Refusal, RegExp> = {
    above_minimum: /above the minimum/,
    auto_recharge_disabled: /auto_recharge_enabled/,
    held: /hold applies: bill holds/,
    recharge_open: /not finished/,
    refused_with_money_left: /minimum_balance or target_balance/,
    spend_not_shown: /more spend than LiteLLM's database shows/,
    daily_amount_reached: /max_daily_amount/,
    daily_limit_reached: /max_daily_recharges/,
    monthly_limit_reached: /max_monthly_amount/,
    amount_too_large: /one charge.*99999999 minor units/,
    no_payment_method: /no card.*attach/,
    payment_unknown: /database does not know/,
    customer_missing: /stripe_customer_id/,
    team_not_found: /litellm_team_id/,
    team_blocked: /blocked, by its setting here or in LiteLLM.*unblock/,
    unlimited_budget: /max_budget.*without limit/,
    budget_duration: /budget_duration/,
    budget_limits: /budget_limits/,
    soft_budget: /soft_budget/,
  };
  test.each(Object.entries(REFUSALS) as [Refusal, string][])('%s', (refusal, text) => {
    expect(text).toMatch(names[refusal]);
  });

  test('and of a hold the hold itself, with what ends it', () => {
    const hold: AppliedHold = { id: 'hld_1', scope: 'service', reason: 'operator', detail: 'an incident', until: null };
    expect(whyRefused({ kind: 'refuse', refusal: 'held', hold, balance: null })).toBe(describeHold(hold));
    expect(whyRefused({ kind: 'refuse', refusal: 'team_blocked', balance: null })).toBe(REFUSALS.team_blocked);
  });

  test('and without a card what Stripe has instead of one', () => {
    const message = 'the customer has several cards and no default';
    expect(whyNoCard({ kind: 'no_payment_method', message })).toBe(
      `${message}: attach one, and make it the default where there are several`,
    );
  });
});

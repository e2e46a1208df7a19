import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { AppliedHold } from '../../../src/domain/hold.ts';
import { decimalPlaces, MAX_CHARGE_MINOR, minorUnits, parseQuota, quotaBoughtBy, quotaMicros } from '../../../src/domain/money.ts';
import {
  decideRecharge,
  type LiveBudget,
  type Occasion,
  REFUSALS,
  type RechargeFacts,
  type RechargeHistory,
  type RechargePolicy,
  type Refusal,
  spendIsStillFlushing,
  unfitness,
} from '../../../src/domain/policy.ts';
import { currencies, USD } from '../arbitraries.ts';

/** An organization at 10.00 of balance at least and 30.00 at best, its team just out of budget. */
const policy: RechargePolicy = {
  autoRechargeEnabled: true,
  minimumBalance: parseQuota('10'),
  targetBalance: parseQuota('30'),
  maxDailyRecharges: 3,
  maxMonthlyAmount: null,
  currency: USD,
  quotaPerUnit: parseQuota('1'),
};
const budget: LiveBudget = {
  quota: parseQuota('100'),
  spend: parseQuota('100.5'),
  softBudget: null,
  budgetDuration: null,
  hasBudgetLimits: false,
  blocked: false,
};
const history: RechargeHistory = {
  attemptsToday: 0,
  chargedThisMonth: minorUnits(0),
  hasOpenRecharge: false,
  holds: [],
};

const policies = fc
  .record({
    minimum: fc.integer({ min: 0, max: 1_000_000_000 }),
    above: fc.integer({ min: 1, max: 10_000_000_000 }),
    currency: currencies,
    quotaPerUnit: fc.integer({ min: 500_000, max: 100_000_000 }).map(quotaMicros),
  })
  .map(
    ({ minimum, above, ...rest }): RechargePolicy => ({
      ...policy,
      ...rest,
      minimumBalance: quotaMicros(minimum),
      targetBalance: quotaMicros(minimum + above),
    }),
  );
const amounts = fc.integer({ min: 0, max: 10_000_000_000 });

function budgetWithBalance(balance: number, spend: number): LiveBudget {
  return { ...budget, quota: quotaMicros(spend + balance), spend: quotaMicros(spend) };
}

/**
 * What is decided for an alert where nothing else is said: the team is just out of budget, and nothing speaks
 * against a charge.
 */
function decide(facts: Partial<RechargeFacts> = {}) {
  return decideRecharge({ policy, budget, history, occasion: { kind: 'alert' }, ...facts });
}

function refusalOf(decision: ReturnType<typeof decideRecharge>) {
  return decision.kind === 'refuse' ? decision.refusal : decision.kind;
}

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
        if (decision.kind === 'refuse') throw new Error(`refused: ${decision.refusal}`);

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
        if (decision.kind === 'refuse') throw new Error(`refused: ${decision.refusal}`);
        expect(decision.quota).toBe(quotaBoughtBy(decision.amount, anyPolicy.currency, anyPolicy.quotaPerUnit));
      }),
    );
  });

  test('the budget rises above the spend, or LiteLLM would go on refusing the team', () => {
    fc.assert(
      fc.property(policies, amounts, amounts, (anyPolicy, spend, below) => {
        const live = budgetWithBalance(anyPolicy.minimumBalance - below, spend);
        const decision = decide({ policy: anyPolicy, budget: live });
        if (decision.kind === 'refuse') throw new Error(`refused: ${decision.refusal}`);
        expect((live.quota ?? 0) + decision.quota).toBeGreaterThan(live.spend);
      }),
    );
  });

  test('no charge is larger than Stripe takes: such a one is refused', () => {
    const spends = fc.oneof(fc.integer({ min: 0, max: 1_000_000_000_000 }), fc.integer({ min: 0, max: 4_000_000_000_000_000 }));
    fc.assert(
      fc.property(policies, spends, (anyPolicy, spend) => {
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(-spend, spend) });
        if (decision.kind === 'refuse') expect(decision.refusal).toBe('amount_too_large');
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
  test("once the month's limit would be exceeded, and not for a charge that just fits", () => {
    const limited = { ...policy, maxMonthlyAmount: minorUnits(10_000) };
    expect(decide({ policy: limited, history: { ...history, chargedThisMonth: minorUnits(10_000 - 3_050) } }).kind).toBe('recharge');
    expect(refusalOf(decide({ policy: limited, history: { ...history, chargedThisMonth: minorUnits(10_000 - 3_049) } }))).toBe(
      'monthly_limit_reached',
    );
    expect(refusalOf(decide({ policy: { ...policy, maxMonthlyAmount: minorUnits(0) } }))).toBe('monthly_limit_reached');
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

describe('a sweep', () => {
  const ahead = (balance: string, spend: string, anyHistory = history) =>
    decide({
      budget: budgetWithBalance(parseQuota(balance), 0),
      history: anyHistory,
      occasion: { kind: 'sweep', expectedSpend: parseQuota(spend) },
    });

  test('recharges a balance above the minimum that will be there before the next sweep, from what it is now up to the target', () => {
    expect(ahead('15', '5')).toMatchObject({ kind: 'recharge', amount: 1500, quota: parseQuota('15'), balance: parseQuota('15') });
    expect(refusalOf(ahead('15', '4.999999'))).toBe('above_minimum');
  });
  test('does not charge ahead for less than a quarter of what lies between minimum and target', () => {
    expect(ahead('25', '1000').kind).toBe('recharge');
    expect(refusalOf(ahead('25.000001', '1000'))).toBe('above_minimum');
    expect(refusalOf(ahead('500', '1000'))).toBe('above_minimum');
  });
  test('that expects nothing decides as for an alert', () => {
    const balances = fc.integer({ min: -10_000_000_000, max: 10_000_000_000 });
    fc.assert(
      fc.property(policies, balances, amounts, (anyPolicy, balance, spend) => {
        const live = budgetWithBalance(balance, spend);
        const nothing: Occasion = { kind: 'sweep', expectedSpend: quotaMicros(0) };
        expect(decide({ policy: anyPolicy, budget: live, occasion: nothing })).toEqual(decide({ policy: anyPolicy, budget: live }));
      }),
    );
  });
  test('never takes a balance further above the target than an alert does, whatever it expects', () => {
    fc.assert(
      fc.property(policies, fc.integer({ min: 1, max: 10_000_000_000 }), amounts, (anyPolicy, above, expected) => {
        const occasion: Occasion = { kind: 'sweep', expectedSpend: quotaMicros(expected) };
        const decision = decide({ policy: anyPolicy, budget: budgetWithBalance(anyPolicy.minimumBalance + above, 0), occasion });
        if (decision.kind === 'refuse') return;
        expect(decision.balance).toBeLessThan(anyPolicy.targetBalance);
        const due = decide({ policy: { ...anyPolicy, minimumBalance: decision.balance }, budget: budgetWithBalance(decision.balance, 0) });
        expect(decision).toEqual({ ...due, quotaBefore: decision.quotaBefore });
      }),
    );
  });
});

describe('an alert that is ahead of the figures KMS shows', () => {
  const shown = { ...budget, quota: parseQuota('100'), spend: parseQuota('80') };
  const flushing = (alertSpend: string | null, live: LiveBudget = shown) =>
    spendIsStillFlushing(alertSpend === null ? null : parseQuota(alertSpend), live, policy.minimumBalance);

  test('is worth another look when its spend would put the balance at or below the minimum', () => {
    expect(flushing('100.000123')).toBe(true);
    expect(flushing('90')).toBe(true);
  });
  test('is believed by nobody when its spend would leave the balance above the minimum', () => {
    expect(flushing('89.999999')).toBe(false);
  });
  test('is not ahead when KMS shows as much spend, or more', () => {
    const flushed = { ...shown, spend: parseQuota('100') };
    expect(flushing('100', flushed)).toBe(false);
    expect(flushing('99', flushed)).toBe(false);
  });
  test('says nothing without a spend, or about a team without a limit', () => {
    expect(flushing(null)).toBe(false);
    expect(flushing(null, { ...shown, quota: parseQuota('5'), spend: parseQuota('-1') })).toBe(false);
    expect(flushing('100', { ...shown, quota: null })).toBe(false);
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
  test('is answered by what weighs most: no limit, then a limit that is set back, then further limits', () => {
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
    daily_limit_reached: /max_daily_recharges/,
    monthly_limit_reached: /max_monthly_amount/,
    amount_too_large: /one charge.*99999999 minor units/,
    no_payment_method: /no card.*attach/,
    customer_missing: /stripe_customer_id/,
    team_not_found: /litellm_team_id/,
    team_blocked: /blocked in LiteLLM.*unblock/,
    unlimited_budget: /max_budget.*without limit/,
    budget_duration: /budget_duration/,
    budget_limits: /budget_limits/,
    soft_budget: /soft_budget/,
  };
  test.each(Object.entries(REFUSALS) as [Refusal, string][])('%s', (refusal, text) => {
    expect(text).toMatch(names[refusal]);
  });
});

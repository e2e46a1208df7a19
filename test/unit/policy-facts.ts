/** An organization and what is known of it, for the tests of what is decided on a recharge. */
import fc from 'fast-check';
import { parseQuota, quotaMicros } from '../../src/domain/money.ts';
import {
  decideRecharge,
  type LiveBudget,
  type Occasion,
  type RechargeFacts,
  type RechargeHistory,
  type RechargePolicy,
} from '../../src/domain/policy.ts';
import { currencies, NO_HISTORY, NO_LIMITS, USD } from './arbitraries.ts';

/** An organization at 10.00 of balance at least and 30.00 at best, its team just out of budget. */
export const policy: RechargePolicy = {
  autoRechargeEnabled: true,
  blocked: false,
  minimumBalance: parseQuota('10'),
  targetBalance: parseQuota('30'),
  maxDailyRecharges: 3,
  ...NO_LIMITS,
  currency: USD,
  quotaPerUnit: parseQuota('1'),
};
export const budget: LiveBudget = {
  quota: parseQuota('100'),
  spend: parseQuota('100.5'),
  softBudget: null,
  budgetDuration: null,
  hasBudgetLimits: false,
  blocked: false,
};
export const history: RechargeHistory = NO_HISTORY;

export const policies = fc
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
export const amounts = fc.integer({ min: 0, max: 10_000_000_000 });

export function budgetWithBalance(balance: number, spend: number): LiveBudget {
  return { ...budget, quota: quotaMicros(spend + balance), spend: quotaMicros(spend) };
}

export const ALERT: Occasion = { kind: 'alert', isRefusal: false };
export const REFUSED_CALL: Occasion = { kind: 'alert', isRefusal: true };

/**
 * What is decided for an alert where nothing else is said: the team is just out of budget, and nothing speaks
 * against a charge.
 */
export function decide(facts: Partial<RechargeFacts> = {}) {
  return decideRecharge({ policy, budget, history, occasion: ALERT, ...facts });
}

export function refusalOf(decision: ReturnType<typeof decideRecharge>) {
  return decision.kind === 'refuse' ? decision.refusal : decision.kind;
}

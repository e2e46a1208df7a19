/**
 * When an organization is charged, and how much. Pure: every fact comes in, a decision goes out.
 */
import type { AppliedHold } from './hold.ts';
import { type Currency, chargeThatBuys, MAX_CHARGE_MINOR, type MinorUnits, type QuotaMicros, quotaBoughtBy, quotaMicros } from './money.ts';

export type RechargePolicy = {
  autoRechargeEnabled: boolean;
  /** A balance at or below this is topped up. */
  minimumBalance: QuotaMicros;
  /** The balance that a recharge restores. */
  targetBalance: QuotaMicros;
  /**
   * Attempts per calendar day in the organization's time zone. Declined ones count, or a dead card would be
   * tried all day.
   */
  maxDailyRecharges: number;
  /** The most that a calendar month in the organization's time zone may cost; null: no limit. */
  maxMonthlyAmount: MinorUnits | null;
  currency: Currency;
  /** Quota that one unit of the currency buys. */
  quotaPerUnit: QuotaMicros;
};

/** A team's budget as KMS shows it now. */
export type LiveBudget = {
  /** null: unlimited. */
  quota: QuotaMicros | null;
  spend: QuotaMicros;
  softBudget: QuotaMicros | null;
  /**
   * LiteLLM gives spent quota back every such period, which would hand out what was bought once again and
   * again.
   */
  budgetDuration: string | null;
  hasBudgetLimits: boolean;
  /** LiteLLM refuses every call of the team, whatever its balance. */
  blocked: boolean;
};

export const REFUSALS = {
  above_minimum: 'the balance is above the minimum',
  auto_recharge_disabled: 'auto-recharge is off for this organization: set auto_recharge_enabled to true',
  held: 'a hold applies: bill holds shows it, and what ends it',
  recharge_open: 'another recharge of this organization is not finished',
  daily_limit_reached: 'max_daily_recharges is used up for today',
  monthly_limit_reached: 'the charge would exceed max_monthly_amount: raise it, or wait for the next month',
  amount_too_large: `the amount would exceed what one charge can carry (${MAX_CHARGE_MINOR} minor units): raise the budget by hand once`,
  no_payment_method: 'the customer has no card that could be charged: attach one, and make it the default where there are several',
  customer_missing: 'Stripe has no such customer: correct stripe_customer_id',
  team_not_found: 'LiteLLM has no such team: create it or correct litellm_team_id',
  team_blocked: 'the team is blocked in LiteLLM, so it spends nothing: unblock it',
  unlimited_budget: 'the team has no max_budget in LiteLLM, so it can spend without limit: set one',
  budget_duration: 'the team has a budget_duration in LiteLLM, which gives spent quota back for free: remove it',
  budget_limits: 'the team has budget_limits in LiteLLM, which refuse whatever max_budget says: remove them',
  soft_budget: "the team's soft_budget in LiteLLM is not below what its max_budget would become: lower or remove it",
} as const;
export type Refusal = keyof typeof REFUSALS;

export type Decision =
  /** `quotaBefore`: the team's budget that this was decided on. */
  | { kind: 'recharge'; amount: MinorUnits; quota: QuotaMicros; balance: QuotaMicros; quotaBefore: QuotaMicros }
  | { kind: 'refuse'; refusal: Exclude<Refusal, 'held'>; balance: QuotaMicros | null }
  | { kind: 'refuse'; refusal: 'held'; hold: AppliedHold; balance: QuotaMicros | null };

/**
 * What was attempted today, what this month has cost or may yet, whether a recharge is open, and the holds that
 * apply, the oldest first: as they are under the organization's lock.
 */
export type RechargeHistory = {
  attemptsToday: number;
  chargedThisMonth: MinorUnits;
  hasOpenRecharge: boolean;
  holds: readonly AppliedHold[];
};

/**
 * What asks for the decision. For an alert, or a person, the balance counts as it is. The sweep looks ahead,
 * so that a team is recharged before it runs out.
 */
export type Occasion =
  | { kind: 'alert' }
  /** `expectedSpend`: from our own samples, never from an alert; see domain/forecast. */
  | { kind: 'sweep'; expectedSpend: QuotaMicros };

/** Everything that a decision depends on. */
export type RechargeFacts = { policy: RechargePolicy; budget: LiveBudget; history: RechargeHistory; occasion: Occasion };

/**
 * A charge ahead of need restores at least this share of what lies between minimum and target, so that
 * looking ahead splits one charge into four at most. A team that spends the other three quarters between two
 * sweeps has too low a target.
 */
const LEAST_SHARE_AHEAD = 1 / 4;

/** Why no recharge could help a team, whatever its balance; null when one can. */
export function unfitness({ quota, budgetDuration, hasBudgetLimits }: LiveBudget): Exclude<Refusal, 'held'> | null {
  if (quota === null) return 'unlimited_budget';
  if (budgetDuration !== null) return 'budget_duration';
  return hasBudgetLimits ? 'budget_limits' : null;
}

/** Decides on live state only; an alert is a hint to look, never a fact. */
export function decideRecharge({ policy, budget, history, occasion }: RechargeFacts): Decision {
  if (budget.quota === null) return { kind: 'refuse', refusal: 'unlimited_budget', balance: null };
  const balance = quotaMicros(budget.quota - budget.spend);
  const refuse = (refusal: Exclude<Refusal, 'held'>): Decision => ({ kind: 'refuse', refusal, balance });

  if (!policy.autoRechargeEnabled) return refuse('auto_recharge_disabled');
  if (balance > policy.minimumBalance && !isSpentSoon(policy, balance, occasion)) return refuse('above_minimum');
  const [hold] = history.holds;
  if (hold) return { kind: 'refuse', refusal: 'held', hold, balance };
  const unfit = unfitness(budget);
  if (unfit) return refuse(unfit);
  if (budget.blocked) return refuse('team_blocked');
  if (history.hasOpenRecharge) return refuse('recharge_open');
  if (history.attemptsToday >= policy.maxDailyRecharges) return refuse('daily_limit_reached');

  const amount = chargeThatBuys(quotaMicros(policy.targetBalance - balance), policy.currency, policy.quotaPerUnit);
  if (amount === undefined) return refuse('amount_too_large');
  if (policy.maxMonthlyAmount !== null && history.chargedThisMonth + amount > policy.maxMonthlyAmount)
    return refuse('monthly_limit_reached');
  const quota = quotaBoughtBy(amount, policy.currency, policy.quotaPerUnit);
  if (budget.softBudget !== null && budget.softBudget >= budget.quota + quota) return refuse('soft_budget');
  return { kind: 'recharge', amount, quota, balance, quotaBefore: budget.quota };
}

/**
 * Whether a sweep expects the balance to reach the minimum before the next one, with enough below the target
 * to be worth a charge.
 */
function isSpentSoon({ minimumBalance, targetBalance }: RechargePolicy, balance: QuotaMicros, occasion: Occasion): boolean {
  if (occasion.kind !== 'sweep' || balance - occasion.expectedSpend > minimumBalance) return false;
  return targetBalance - balance >= (targetBalance - minimumBalance) * LEAST_SHARE_AHEAD;
}

/**
 * LiteLLM flushes spend to the figures we read every 10 to 15 s, while an alert carries the live one. True
 * when the alert has seen more spend than KMS shows so far and that spend would put the balance at or below
 * the minimum: worth looking again.
 */
export function spendIsStillFlushing(alertSpend: QuotaMicros | null, budget: LiveBudget, minimumBalance: QuotaMicros): boolean {
  if (alertSpend === null || budget.quota === null) return false;
  return alertSpend > budget.spend && budget.quota - alertSpend <= minimumBalance;
}

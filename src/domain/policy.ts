/**
 * When an organization is charged, and how much. Pure: every fact comes in, a decision goes out.
 */
import { type AppliedHold, describeHold } from './hold.ts';
import type { Limits } from './limits.ts';
import {
  type Currency,
  chargeThatBuys,
  chargeWithin,
  formatQuota,
  MAX_CHARGE_MINOR,
  type MinorUnits,
  minorUnits,
  moneyText,
  type QuotaMicros,
  quotaBoughtBy,
  quotaMicros,
} from './money.ts';
import { isRunaway, type RecentRecharges } from './runaway.ts';

/** The limits are those that apply, defaults included; see limits.ts. */
export type RechargePolicy = Limits & {
  autoRechargeEnabled: boolean;
  /** LiteLLM is to refuse every call of the team, whether it does already or not. */
  blocked: boolean;
  /** A balance at or below this is topped up. */
  minimumBalance: QuotaMicros;
  /** The balance that a recharge restores. */
  targetBalance: QuotaMicros;
  /**
   * Attempts per calendar day in the organization's time zone. Declined ones count, or a dead card would be
   * tried all day.
   */
  maxDailyRecharges: number;
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
  refused_with_money_left:
    'LiteLLM refuses calls although the balance is above the minimum, because a call reserves more than is left: raise minimum_balance or target_balance',
  spend_not_shown:
    "the alert reports more spend than LiteLLM's database shows, which has money left: compare the two, and raise the budget by hand if calls are refused",
  auto_recharge_disabled: 'auto-recharge is off for this organization: set auto_recharge_enabled to true',
  held: 'a hold applies: bill holds shows it, and what ends it',
  recharge_open: 'another recharge of this organization is not finished',
  daily_limit_reached: 'max_daily_recharges is used up for today',
  daily_amount_reached:
    'what is left of max_daily_amount does not bring the balance above the minimum: raise the limit, or wait for the next day',
  monthly_limit_reached:
    'what is left of max_monthly_amount does not bring the balance above the minimum: raise the limit, or wait for the next month',
  amount_too_large: `the amount would exceed what one charge can carry (${MAX_CHARGE_MINOR} minor units): raise the budget by hand once`,
  no_payment_method: 'the customer has no card that could be charged: attach one, and make it the default where there are several',
  payment_unknown:
    'Stripe has taken money of this organization that the database does not know: it is entered again, and its run gives quota for it',
  customer_missing: 'Stripe has no such customer: correct stripe_customer_id',
  team_not_found: 'LiteLLM has no such team: create it or correct litellm_team_id',
  team_blocked: 'the team is blocked, by its setting here or in LiteLLM, so nothing is bought for it: unblock it',
  unlimited_budget: 'the team has no max_budget in LiteLLM, so it can spend without limit: set one',
  budget_duration: 'the team has a budget_duration in LiteLLM, which gives spent quota back for free: remove it',
  budget_limits: 'the team has budget_limits in LiteLLM, which refuse whatever max_budget says: remove them',
  soft_budget: "the team's soft_budget in LiteLLM is not below what its max_budget would become: lower or remove it",
} as const;
export type Refusal = keyof typeof REFUSALS;

export type Decision =
  /** `quotaBefore`: the team's budget that this was decided on. */
  | { kind: 'recharge'; amount: MinorUnits; quota: QuotaMicros; balance: QuotaMicros; quotaBefore: QuotaMicros }
  /** Nothing is charged before a person has looked. `amount`: what would be charged, and may be once approved. */
  | { kind: 'hold'; reason: 'runaway'; detail: string; amount: MinorUnits; balance: QuotaMicros }
  | { kind: 'refuse'; refusal: Exclude<Refusal, 'held'>; balance: QuotaMicros | null }
  | { kind: 'refuse'; refusal: 'held'; hold: AppliedHold; balance: QuotaMicros | null };

/** Why nothing is charged: the sentence of the refusal, or of the hold that applies. */
export function whyRefused(decision: Extract<Decision, { kind: 'refuse' }>): string {
  return decision.refusal === 'held' ? describeHold(decision.hold) : REFUSALS[decision.refusal];
}

/**
 * Why no card can be charged: what is wrong in the words of the look at Stripe, and what to change in those of the
 * refusal.
 */
export function whyNoCard({ kind, message }: { kind: 'customer_missing' | 'no_payment_method'; message: string }): string {
  return `${message}: ${REFUSALS[kind].replace(/[^:]*: /, '')}`;
}

/**
 * What was attempted and charged, and what may yet be: a reservation counts like a charge. Counted under the
 * organization's lock, its days and months in the organization's time zone. And the holds that apply, the
 * oldest first.
 */
export type RechargeHistory = {
  /** The organization's calendar day, such as `2026-11-26`. */
  today: string;
  attemptsToday: number;
  chargedToday: MinorUnits;
  chargedThisMonth: MinorUnits;
  hasOpenRecharge: boolean;
  holds: readonly AppliedHold[];
  recent: RecentRecharges;
  /**
   * The amount of a runaway hold that a person has released in the last APPROVAL_LASTS_MS, as long as no
   * recharge has used it; null: none.
   */
  approvedAmount: MinorUnits | null;
};

/** An approval is of the amount that the person has seen; a day later other figures apply. */
export const APPROVAL_LASTS_MS = 24 * 60 * 60_000;

/**
 * What asks for the decision. For an alert, or a person, the balance counts as it is. The sweep looks ahead,
 * so that a team is recharged before it runs out.
 */
export type Occasion =
  /** `isRefusal`: LiteLLM refuses calls on the budget that the team has now; see `isRefusedByReservation`. */
  | { kind: 'alert'; isRefusal: boolean }
  /** `expectedSpend`: from our own samples, never from an alert; see domain/forecast. */
  | { kind: 'sweep'; expectedSpend: QuotaMicros };

/** Everything that a decision depends on. */
/** The same without the holds: what an organization has tried and paid. */
export type PaidHistory = Omit<RechargeHistory, 'holds'>;

export type RechargeFacts = { policy: RechargePolicy; budget: LiveBudget; history: RechargeHistory; occasion: Occasion };

/**
 * A charge ahead of need restores at least this share of what lies between minimum and target, so that
 * looking ahead splits one charge into four at most. A team that spends the other three quarters between two
 * sweeps has too low a target.
 */
const LEAST_SHARE_AHEAD = 1 / 4;

/** Why no recharge could help a team, whatever its balance; null when one can. */
export function unfitness({
  quota,
  budgetDuration,
  hasBudgetLimits,
}: LiveBudget): 'unlimited_budget' | 'budget_duration' | 'budget_limits' | null {
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
  if (balance > policy.minimumBalance && !isDueAhead(policy, balance, occasion)) {
    // Stryker disable next-line ConditionalExpression: a sweep knows of no refusal.
    return refuse(occasion.kind === 'alert' && occasion.isRefusal ? 'refused_with_money_left' : 'above_minimum');
  }
  const [hold] = history.holds;
  if (hold) return { kind: 'refuse', refusal: 'held', hold, balance };
  const unfit = unfitness(budget);
  if (unfit) return refuse(unfit);
  if (policy.blocked || budget.blocked) return refuse('team_blocked');
  if (history.hasOpenRecharge) return refuse('recharge_open');
  if (history.attemptsToday >= policy.maxDailyRecharges) return refuse('daily_limit_reached');

  const needed = chargeThatBuys(quotaMicros(policy.targetBalance - balance), policy.currency, policy.quotaPerUnit);
  if (needed === undefined) return refuse('amount_too_large');
  const allowed = amountFor(needed, { policy, history, balance });
  if (typeof allowed === 'string') return refuse(allowed);
  if (typeof allowed === 'object') return { kind: 'hold', reason: 'runaway', ...allowed, balance };
  const amount = allowed;
  const quota = quotaBoughtBy(amount, policy.currency, policy.quotaPerUnit);
  if (budget.softBudget !== null && budget.softBudget >= budget.quota + quota) return refuse('soft_budget');
  return { kind: 'recharge', amount, quota, balance, quotaBefore: budget.quota };
}

type Needed = { policy: RechargePolicy; history: RechargeHistory; balance: QuotaMicros };
/** What is charged, the refusal, or the hold that opens instead. */
type Allowed = MinorUnits | Exclude<Refusal, 'held'> | { detail: string; amount: MinorUnits };

/**
 * How much of what is needed is charged. An approved amount is, above any limit of an amount, because a
 * person has seen that very amount. Without an approval a runaway is held. Else what the limits leave is
 * charged, if it brings the balance above the minimum.
 */
function amountFor(needed: MinorUnits, { policy, history, balance }: Needed): Allowed {
  const lifts = (amount: MinorUnits) => balance + quotaBoughtBy(amount, policy.currency, policy.quotaPerUnit) > policy.minimumBalance;
  const approved = minorUnits(Math.min(needed, history.approvedAmount ?? 0));
  if (approved > 0 && lifts(approved)) return approved;

  const runaway = runawayDetail(needed, { policy, history, balance });
  if (runaway) return { detail: runaway, amount: needed };

  const { amount: left, refusal } = leftOf(policy, history);
  const part = chargeWithin(minorUnits(Math.min(needed, left)), policy.currency);
  return part !== undefined && lifts(part) ? part : refusal;
}

/** Why the charge is held, for the person who releases it; null when it is in the organization's normal. */
function runawayDetail(needed: MinorUnits, { policy, history, balance }: Needed): string | null {
  const { currency, maxCharge, targetBalance } = policy;
  const money = (amount: MinorUnits) => moneyText(amount, currency);
  const shortage = `${money(needed)} would bring the balance from ${formatQuota(balance)} to the target of ${formatQuota(targetBalance)}`;
  const goesOn = `look at what was spent; after this hold is released, up to ${money(needed)} is charged once`;
  if (needed > maxCharge) return `${shortage}, more than max_charge (${money(maxCharge)}): ${goesOn}`;
  if (!isRunaway(history.recent)) return null;
  const { lastHour, busiestHourBefore } = history.recent;
  return `${lastHour} recharges succeeded in the last hour, in no hour before more than ${busiestHourBefore}; ${shortage}: ${goesOn}`;
}

/** What the day and the month leave, and the refusal for what is more. */
function leftOf(policy: RechargePolicy, history: PaidHistory): { amount: MinorUnits; refusal: Exclude<Refusal, 'held'> } {
  const day = Math.max(0, policy.maxDailyAmount - history.chargedToday);
  const month = Math.max(0, policy.maxMonthlyAmount - history.chargedThisMonth);
  // Where both leave the same, the next day helps nobody.
  return day < month
    ? { amount: minorUnits(day), refusal: 'daily_amount_reached' }
    : { amount: minorUnits(month), refusal: 'monthly_limit_reached' };
}

/**
 * Whether a reserved amount is still within the limits, for a last look before the card is charged. The
 * amount was counted under the lock when it was reserved, so no other recharge can have taken its place: only
 * a limit that was lowered since, that of the attempts too, or an approval that has lapsed, makes this false.
 *
 * @param history without the recharge itself; see `paidBy`.
 */
export function withinLimits(policy: RechargePolicy, history: PaidHistory, amount: MinorUnits): boolean {
  if (history.attemptsToday >= policy.maxDailyRecharges) return false;
  if (amount <= (history.approvedAmount ?? 0)) return true;
  return amount <= policy.maxCharge && amount <= leftOf(policy, history).amount;
}

/**
 * Whether a balance above the minimum is recharged all the same: a sweep expects it to reach the minimum
 * before the next one, or LiteLLM refuses calls already. Only with enough below the target to be worth a
 * charge.
 */
function isDueAhead({ minimumBalance, targetBalance }: RechargePolicy, balance: QuotaMicros, occasion: Occasion): boolean {
  const isNeeded = occasion.kind === 'sweep' ? balance - occasion.expectedSpend <= minimumBalance : occasion.isRefusal;
  return isNeeded && targetBalance - balance >= (targetBalance - minimumBalance) * LEAST_SHARE_AHEAD;
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

/** What an alert says of the team's budget; null where it holds no figure that can be one. */
export type AlertFigures = { spend: QuotaMicros | null; budget: QuotaMicros | null };

/**
 * Whether an alert of a refused call says that reservations use the team's present budget up: LiteLLM counts
 * what running calls may cost at most as spent, and reserves no more than is left, so it reports exactly the
 * budget. More than the budget is money that was spent and is still to be shown. A refusal on an earlier
 * budget was answered by the recharge since, and is no reason for another one.
 */
export function isRefusedByReservation({ spend, budget }: AlertFigures, { quota }: LiveBudget): boolean {
  return budget !== null && spend === budget && budget === quota;
}

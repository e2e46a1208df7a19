/** What a refusal comes from: what shows that it has passed, before the next recharge tries. */
import type { ToldRefusal } from './outbound-event.ts';

/** Refusals that a look at the team in LiteLLM disproves. */
export const BY_LITELLM = [
  'team_not_found',
  'team_blocked',
  'unlimited_budget',
  'budget_duration',
  'budget_limits',
] as const satisfies readonly ToldRefusal[];

/** Refusals that a look at the customer's card at Stripe disproves. */
export const BY_CARD = ['no_payment_method', 'customer_missing'] as const satisfies readonly ToldRefusal[];

const OF_AMOUNTS = ['daily_amount_reached', 'monthly_limit_reached', 'amount_too_large'] as const;

/** By setting of an organization, the refusals that a change of it may settle. */
export const REFUSALS_ABOUT = {
  name: [],
  stripeCustomerId: BY_CARD,
  litellmTeamId: [...BY_LITELLM, 'soft_budget', 'refused_with_money_left', 'spend_not_shown'],
  currency: OF_AMOUNTS,
  minimumBalance: ['refused_with_money_left', 'spend_not_shown', ...OF_AMOUNTS],
  targetBalance: ['refused_with_money_left', 'soft_budget', ...OF_AMOUNTS],
  quotaPerUnit: ['soft_budget', ...OF_AMOUNTS],
  autoRechargeEnabled: ['auto_recharge_disabled'],
  maxDailyRecharges: ['daily_limit_reached'],
  maxCharge: [],
  maxDailyAmount: ['daily_amount_reached'],
  maxMonthlyAmount: ['monthly_limit_reached'],
  timeZone: ['daily_limit_reached', 'daily_amount_reached', 'monthly_limit_reached'],
  blocked: ['team_blocked'],
  createTeam: ['team_not_found'],
} as const satisfies Record<string, readonly ToldRefusal[]>;

/**
 * What is told to whoever listens: the types of outbound events, and the facts that each carries.
 *
 * The names are those of the JSON that is posted. Money is a decimal string beside its currency, quota a
 * decimal string of LiteLLM dollars, a time RFC 3339 in UTC. Where somebody has to act, `action` says what to
 * do, with the command. docs/events.md has an example of each type.
 */
import type { Refusal } from './policy.ts';
import type { RechargeSource } from './recharge-source.ts';
import type { RechargeStatus } from './recharge-status.ts';
import type { ReversalKind } from './reversal.ts';

type RechargeFacts = {
  recharge_id: string;
  /** The inbox event that asked for the recharge. */
  event_id: string;
  litellm_team_id: string;
  source: RechargeSource;
  amount: string;
  currency: string;
  /** What the amount buys, in LiteLLM dollars. */
  quota: string;
  payment_intent_id: string | null;
  /** What happened, in words. */
  detail: string;
};

type Decline = { failure_code: string | null; decline_code: string | null };

type HoldFacts = {
  hold_id: string;
  scope: string;
  /** What it is on: the organization's id or the card's fingerprint; null for the service. */
  subject: string | null;
  /** One of the reasons of domain/hold, such as `raise_refused`. */
  reason: string;
  /** opened: what was seen. released: why it was released. */
  detail: string;
  /** Who or what opened it, or released it. */
  by: string;
};

type ReversalFacts = {
  reversal_id: string;
  kind: ReversalKind;
  recharge_id: string;
  litellm_team_id: string;
  amount: string;
  currency: string;
  /** What goes with the money, in LiteLLM dollars. */
  quota: string;
  detail: string;
};

/** By type, the facts of an event; `organization_id` comes to each of them. */
export type OutboundData = {
  'recharge.succeeded': RechargeFacts & { quota_before: string | null; quota_after: string | null };
  'recharge.declined': RechargeFacts & Decline & { action: string };
  'recharge.action_required': RechargeFacts & Decline & { action: string };
  'recharge.refunded': RechargeFacts & { refund_id: string | null };
  'recharge.needs_attention': RechargeFacts & { action: string };
  /** It has an intent, and has not settled for so long. */
  'recharge.overdue': RechargeFacts & { status: RechargeStatus; since: string; overdue_after: Overdue; action: string };
  /** `until`: when it ends by itself; null: when it is released. `action`: what releases it. */
  'hold.opened': HoldFacts & { until: string | null; action: string };
  'hold.released': HoldFacts;
  /** `used` and `allowed` are amounts of `currency`; they are counts where it is null. */
  'limit.reached': {
    /** The setting, such as `max_daily_amount`. */
    limit: string;
    percent: (typeof LIMIT_PERCENTS)[number];
    used: string;
    allowed: string;
    currency: string | null;
    /** The day or month in the organization's time zone: `2026-11-26`, `2026-11`. */
    period: string;
    action: string;
  };
  /** Nothing was charged, and why. Told once for an organization and reason, until that has passed. */
  'refusal.new': { reason: ToldRefusal; event_id: string; litellm_team_id: string | null; since: string; detail: string; action: string };
  'reversal.opened': ReversalFacts & { action: string };
  /** `outcome`: the quota has followed the money to the customer, or back from there. */
  'reversal.closed': ReversalFacts & { outcome: 'taken_back' | 'given_back' };
  /** Once for a fall: again when the balance has been above the minimum since. */
  'balance.low': { litellm_team_id: string; balance: string; minimum_balance: string; currency: 'usd'; auto_recharge_enabled: boolean };
  'drift.detected': {
    /** A kind of finding of a reconciliation, or of drift of a synchronisation. */
    kind: string;
    subject: string;
    seen: string;
    expected: string | null;
    action: string;
  };
};
export type OutboundType = keyof OutboundData;

/** Every type, in the order of docs/events.md. */
export const OUTBOUND_TYPES = [
  'recharge.succeeded',
  'recharge.declined',
  'recharge.action_required',
  'recharge.refunded',
  'recharge.needs_attention',
  'recharge.overdue',
  'hold.opened',
  'hold.released',
  'limit.reached',
  'refusal.new',
  'reversal.opened',
  'reversal.closed',
  'balance.low',
  'drift.detected',
] as const satisfies OutboundType[];

/** How long a recharge may have an intent and not be settled before that is told, and told again. */
export const OVERDUE_AFTER_MINUTES = { '15m': 15, '6h': 6 * 60 } as const;
export type Overdue = keyof typeof OVERDUE_AFTER_MINUTES;

/** A delivery is tried for so long, and an endpoint that only failed for so long is disabled. */
export const DELIVERY_DAYS = 3;
const RETRY_FIRST_MS = 5_000;
const RETRY_LAST_MS = 6 * 60 * 60 * 1000;

/** The pause before the next attempt: 5 s after the first failure, doubling to 6 h. */
export function retryDelayMs(failures: number): number {
  return Math.min(RETRY_FIRST_MS * 2 ** Math.max(0, failures - 1), RETRY_LAST_MS);
}

/** What share of a limit is told, in percent of it. */
export const LIMIT_PERCENTS = [80, 90, 100] as const;

/**
 * What a person may do about each refusal that is told. The others say that nothing is wrong, pass by
 * themselves, or are told by what they come from.
 */
const REFUSAL_ACTIONS = {
  auto_recharge_disabled: (id: string) => `bill org set ${id} --auto-recharge on`,
  refused_with_money_left: (id: string) => `bill org set ${id} --minimum <dollars>, above what one call reserves`,
  spend_not_shown: (id: string) =>
    `compare the alert with LiteLLM's /team/info, then raise max_budget by hand or bill org set ${id} --minimum <dollars>`,
  daily_limit_reached: (id: string) => `bill org set ${id} --max-daily <n>, or wait for the next day`,
  daily_amount_reached: (id: string) => `bill org set ${id} --max-daily-amount <amount>, or wait for the next day`,
  monthly_limit_reached: (id: string) => `bill org set ${id} --max-monthly <amount>, or wait for the next month`,
  amount_too_large: (id: string) => `raise max_budget in LiteLLM by hand once, or bill org set ${id} --target <dollars>`,
  no_payment_method: () => 'have the customer add a card, or name a default where there are several, at Stripe',
  customer_missing: (id: string) => `bill org set ${id} --customer cus_…`,
  team_not_found: (id: string) => `bill sync --org ${id} --wait says how to make the team; or bill org set ${id} --team <id>`,
  team_blocked: (id: string) => `bill org set ${id} --blocked off, or unblock the team in LiteLLM`,
  unlimited_budget: () => 'set max_budget of the team in LiteLLM',
  payment_unknown: () => 'was the database restored? bill reconcile --fix enters everything again that Stripe has taken since',
  budget_duration: () => 'remove budget_duration of the team in LiteLLM',
  budget_limits: () => 'remove budget_limits of the team in LiteLLM',
  soft_budget: () => 'lower or remove soft_budget of the team in LiteLLM',
} as const;
export type ToldRefusal = keyof typeof REFUSAL_ACTIONS;

/** Refusals that are not told: a hold tells of itself. */
type Untold = 'above_minimum' | 'recharge_open' | 'held';
// A refusal that is in neither of the two does not type-check.
REFUSAL_ACTIONS satisfies Record<Exclude<Refusal, Untold>, unknown>;

export function isToldRefusal(outcome: string): outcome is ToldRefusal {
  return Object.hasOwn(REFUSAL_ACTIONS, outcome);
}

/** What settles a refusal of the organization, with the command. */
export function actionOnRefusal(refusal: ToldRefusal, organizationId: string): string {
  return REFUSAL_ACTIONS[refusal](organizationId);
}

/** What settles a reversal that needs a person, with the command. */
export function actionOnReversal(reversalId: string): string {
  return `bill resolve ${reversalId} --accept "reason", when max_budget in LiteLLM is right`;
}

/** What settles a recharge that needs a person: a line for each command. */
export function actionOnRecharge(rechargeId: string): string {
  return [
    'one of:',
    `bill resolve ${rechargeId} --grant "reason"     # raise the quota by what is held`,
    `bill resolve ${rechargeId} --refund "reason"    # give back what is held`,
    `bill resolve ${rechargeId} --accept "reason"    # it is right as it is`,
  ].join('\n');
}

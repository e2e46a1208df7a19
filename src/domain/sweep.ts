/**
 * What a sweep does about one organization, from what it has read. The run of the event that it reports
 * decides again.
 */
import { type FailuresInARow, isCoolingDown } from './cool-down.ts';
import { SWEEP_EVENTS, type SweepEvent } from './crossing.ts';
import { endsWithCard } from './hold.ts';
import type { QuotaMicros } from './money.ts';
import { isToldRefusal, type ToldRefusal } from './outbound-event.ts';
import { type Decision, decideRecharge, type LiveBudget, type RechargeHistory, type RechargePolicy, unfitness } from './policy.ts';

export type SweepFacts = {
  policy: RechargePolicy;
  team: LiveBudget;
  history: RechargeHistory;
  hasOpenEvent: boolean;
  /** The sweep's own events since the last recharge that succeeded, none of which led to one. */
  fruitless: FailuresInARow;
  /** Within the forecast's horizon; see domain/forecast. */
  expectedSpend: QuotaMicros;
  /** The organization's setting: its team was made for it, instead of being one that somebody uses already. */
  createTeam: boolean;
  /** An alert, a person, or a recharge before this has asked for quota of this team. */
  wasAskedFor: boolean;
};

export type SweepDecision =
  | { kind: 'report'; eventType: SweepEvent; balance: QuotaMicros }
  /** A recharge would be refused, for what lasts until somebody acts or a limit begins anew. */
  | { kind: 'refused'; refusal: ToldRefusal }
  /** A recharge is due, but the sweep's last events have come to nothing. */
  | { kind: 'wait' }
  /** The balance is low, but the team was made for the organization and nobody has ever used it. */
  | { kind: 'unused' }
  | { kind: 'nothing' };

export function decideSweep(facts: SweepFacts): SweepDecision {
  const { policy, team, history, hasOpenEvent, fruitless, expectedSpend } = facts;
  if (hasOpenEvent) return { kind: 'nothing' };
  if (policy.blocked || !policy.autoRechargeEnabled) return { kind: 'nothing' };
  // At any balance.
  const unfit = team.blocked ? 'team_blocked' : unfitness(team);
  if (unfit) return { kind: 'refused', refusal: unfit };
  // Only Stripe knows whether the customer has another card by now, so the run looks at that.
  const holds = history.holds.filter(({ reason }) => !endsWithCard(reason));
  const decision = decideRecharge({ policy, budget: team, history: { ...history, holds }, occasion: { kind: 'sweep', expectedSpend } });
  // The run of the event opens a runaway hold, which keeps later sweeps from reporting it again.
  if (decision.kind === 'refuse') return refused(decision, policy);
  if (isUnused(facts)) return { kind: 'unused' };
  if (isCoolingDown(fruitless)) return { kind: 'wait' };
  const isLow = decision.balance <= policy.minimumBalance;
  return { kind: 'report', eventType: isLow ? SWEEP_EVENTS.low : SWEEP_EVENTS.forecast, balance: decision.balance };
}

/** A limit stands in the way of a balance that is low: a forecast may not come true. */
function refused({ refusal, balance }: Extract<Decision, { kind: 'refuse' }>, policy: RechargePolicy): SweepDecision {
  // Stryker disable next-line ConditionalExpression: without a balance the team is unfit, which is looked at before.
  const isLow = balance !== null && balance <= policy.minimumBalance;
  return isLow && isToldRefusal(refusal) ? { kind: 'refused', refusal } : { kind: 'nothing' };
}

/**
 * A mistake in a name can make a team that nobody uses, and nobody is charged for that one. LiteLLM lets the
 * first call of a team with a budget of 0 through, so a team that is used shows spend or sends an alert.
 */
export function isUnused({ createTeam, wasAskedFor, team }: Pick<SweepFacts, 'createTeam' | 'wasAskedFor' | 'team'>): boolean {
  return createTeam && !wasAskedFor && team.spend === 0;
}

/**
 * A crossing is one fall of one team's balance to or below its minimum, as one event reports it. An alert has
 * neither an id nor a time, and LiteLLM sends a copy from every worker process, so a crossing is recognised by
 * what the copies share: the team, the event and the budget that was crossed. Two events of one fall (`threshold_crossed`, then
 * `budget_crossed`) are two crossings; the second one finds the recharge open, or the balance restored.
 */
import { hash } from 'node:crypto';

/**
 * LiteLLM's events that say something about a team's own budget. Anything else at the same URL is not for us.
 */
const TEAM_BUDGET_EVENTS = ['budget_crossed', 'threshold_crossed', 'soft_budget_crossed', 'projected_limit_exceeded', 'max_budget_alert'];

/** LiteLLM sends it when it refuses a call because of the team's budget; the others come before. */
export function isRefusalEvent(eventType: string): boolean {
  return eventType === 'budget_crossed';
}

export type Crossing = {
  teamId: string;
  eventType: string;
  /**
   * The same for every copy of one crossing: a digest, so that its length has a bound whatever the alert
   * holds.
   */
  key: string;
};

/**
 * The crossing that an alert reports, or undefined for an alert that is not about a team's budget, or does not
 * say which team's.
 */
export function crossingOf(alert: Record<string, unknown>): Crossing | undefined {
  const eventType = teamBudgetEventOf(alert);
  const { team_id: teamId, max_budget: budget } = alert;
  if (eventType === undefined || typeof teamId !== 'string' || teamId === '') return undefined;
  return { teamId, eventType, key: crossingKey(teamId, eventType, budget) };
}

/** Whether an alert is about a team's budget, and does not say which team's: it cannot be one of LiteLLM's. */
export function lacksTeam(alert: Record<string, unknown>): boolean {
  return teamBudgetEventOf(alert) !== undefined && crossingOf(alert) === undefined;
}

/** Reads leniently: new fields, events and groups appear with every LiteLLM release. */
function teamBudgetEventOf({ event, event_group: group }: Record<string, unknown>): string | undefined {
  return group === 'team' ? TEAM_BUDGET_EVENTS.find((known) => known === event) : undefined;
}

/**
 * What the sweep reports: a balance at or below the minimum, or one that will be there before the next sweep.
 */
export const SWEEP_EVENTS = { low: 'balance_low', forecast: 'balance_forecast' } as const;
export type SweepEvent = (typeof SWEEP_EVENTS)[keyof typeof SWEEP_EVENTS];

/**
 * One event of a team's that sweeps have reported is open at a time, whatever it reports: the run looks at
 * everything.
 */
export function sweepCrossing(teamId: string, eventType: SweepEvent): Crossing {
  return { teamId, eventType, key: crossingKey(teamId, 'sweep', null) };
}

function crossingKey(teamId: string, event: string, budget: unknown): string {
  return hash('sha256', JSON.stringify([teamId, event, budget ?? null]), 'hex');
}

/**
 * How an event ended, as `webhook_event.outcome` has it. The ending of a recharge has one name: here, in
 * `recharge.status`, in the search attribute `RechargeStatus` and in the type of the outbound event.
 */
import { REFUSALS, type Refusal } from './policy.ts';

export const EVENT_OUTCOMES = [
  'succeeded',
  'declined',
  'action_required',
  'refunded',
  'needs_attention',
  'cancelled',
  'unknown_team',
  'ignored',
  'duplicate',
  ...(Object.keys(REFUSALS) as Refusal[]),
] as const;
export type EventOutcome = (typeof EVENT_OUTCOMES)[number];

const SUCCESSES: ReadonlySet<EventOutcome> = new Set(['succeeded', 'above_minimum', 'ignored', 'duplicate'] satisfies EventOutcome[]);

/** Whether it is the policy's word for why nothing is charged. */
export function isRefusal(outcome: EventOutcome): outcome is Refusal {
  return Object.hasOwn(REFUSALS, outcome);
}

/**
 * Whether what the event asked for has been taken care of: the quota was raised, or nothing needed to be
 * done.
 */
export function isSuccess(outcome: EventOutcome): boolean {
  return SUCCESSES.has(outcome);
}

/**
 * How an event ended, as `webhook_event.outcome` has it. The ending of a recharge has one name: here, in
 * `recharge.status`, in the search attribute `RechargeStatus` and in the type of the outbound event.
 */
import type { Refusal } from './policy.ts';

export type EventOutcome =
  | Refusal
  | 'succeeded'
  | 'declined'
  | 'action_required'
  | 'refunded'
  | 'needs_attention'
  | 'cancelled'
  | 'unknown_team'
  | 'ignored'
  | 'duplicate';

const SUCCESSES: ReadonlySet<EventOutcome> = new Set(['succeeded', 'above_minimum', 'ignored', 'duplicate'] satisfies EventOutcome[]);

/**
 * Whether what the event asked for has been taken care of: the quota was raised, or nothing needed to be
 * done.
 */
export function isSuccess(outcome: EventOutcome): boolean {
  return SUCCESSES.has(outcome);
}

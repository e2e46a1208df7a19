/** How an event ended, as `webhook_event.outcome` has it. */
import type { Refusal } from './policy.ts';

export type Outcome =
  | Refusal
  | 'recharged'
  | 'declined'
  | 'action_required'
  | 'refunded'
  | 'needs_attention'
  | 'cancelled'
  | 'unknown_team'
  | 'ignored'
  | 'duplicate';

const SUCCESSES: ReadonlySet<Outcome> = new Set(['recharged', 'above_minimum', 'ignored', 'duplicate'] satisfies Outcome[]);

/** Whether what the event asked for has been taken care of: the quota was raised, or nothing needed to be done. */
export function isSuccess(outcome: Outcome): boolean {
  return SUCCESSES.has(outcome);
}

/**
 * When a recharge that holds money, or may, has not settled for too long; and an event that nothing could be
 * decided on.
 */
import { type OutboundData, OVERDUE_AFTER_MINUTES, type Overdue } from './outbound-event.ts';
import type { RechargeStatus } from './recharge-status.ts';

/**
 * With an intent, a recharge does not stay in these: its run moves it on within seconds. `processing` is
 * none of them, because a bank takes days, nor is `needs_attention`, which is told when it begins.
 */
export const OVERDUE_STATUSES = ['charging', 'charged', 'refunding'] as const satisfies RechargeStatus[];

type Step = { at: string; status: RechargeStatus };

/**
 * Since when a recharge is under way, by its timeline: since its intent, or since a bank or a person was done
 * with it. `round` counts how often that began. undefined: it is not under way.
 */
export function underWaySince(timeline: readonly Step[]): { since: Date; round: number } | undefined {
  let began: Date | undefined;
  let round = 0;
  for (const { at, status } of timeline) {
    if (!isUnderWay(status)) began = undefined;
    else if (began === undefined) {
      began = new Date(at);
      round++;
    }
  }
  return began && { since: began, round };
}

function isUnderWay(status: RechargeStatus): boolean {
  return (OVERDUE_STATUSES as readonly RechargeStatus[]).includes(status);
}

/** Which of the two bounds it has passed, the longer one first; undefined: none. */
export function overdueAfter(since: Date, now: Date): Overdue | undefined {
  const minutes = (now.getTime() - since.getTime()) / 60_000;
  if (minutes >= OVERDUE_AFTER_MINUTES['6h']) return '6h';
  return minutes >= OVERDUE_AFTER_MINUTES['15m'] ? '15m' : undefined;
}

/** How long an event may be open without a recharge: looking at its team takes seconds, or minutes while spend flushes. */
export const UNDECIDED_AFTER_MS = OVERDUE_AFTER_MINUTES['15m'] * 60_000;

/** What is told of such an event. LiteLLM, or a part of its answer, has been missing since the event came. */
export function undecidedEvent({ eventId, teamId }: { eventId: string; teamId: string }): OutboundData['drift.detected'] {
  return {
    kind: 'event_undecided',
    subject: eventId,
    seen: `the event has been open for ${OVERDUE_AFTER_MINUTES['15m']} minutes, and team ${teamId} is neither charged nor refused`,
    expected: 'a recharge, or an outcome',
    action:
      'bill doctor says whether LiteLLM answers, and what of the team cannot be read: then the run goes on; its last failure is in Temporal',
  };
}

/**
 * What is wrong now, in the words of whoever has to act: the state of an organization, and of the service. Pure:
 * what is stored and what Temporal says come in, one answer for each goes out. `bill status`, `GET /api/v1/status`,
 * `bill doctor` and `/ready` all say what is decided here.
 */
import { ago, duration } from './elapsed.ts';
import { type AppliedHold, HOLDS, type HoldReason } from './hold.ts';
import { formatQuota, type QuotaMicros } from './money.ts';
import { actionOnRecharge, actionOnRefusal, actionOnReversal, type ToldRefusal } from './outbound-event.ts';
import { overdueAfter } from './overdue.ts';
import { REFUSALS } from './policy.ts';
import type { RechargeStatus } from './recharge-status.ts';
import { DRIFT_ADVICE, type DriftKind } from './sync.ts';

/** The states of an organization, the one that most needs somebody first. */
export const ORGANIZATION_STATES = [
  'needs_person',
  'held',
  'card_declined',
  'litellm_differs',
  'limit_reached',
  'recharging',
  'off',
  'ok',
] as const;
export type OrganizationState = (typeof ORGANIZATION_STATES)[number];

/** As people read them. */
export const STATE_NAMES: Readonly<Record<OrganizationState, string>> = {
  needs_person: 'needs a person',
  held: 'held',
  card_declined: 'card declined',
  litellm_differs: 'LiteLLM differs',
  limit_reached: 'limit reached',
  recharging: 'recharging',
  off: 'auto-recharge is off',
  ok: 'ok',
};

/** Whether nobody has to act: what goes on by itself, and what somebody has turned off, is no fault. */
export function isQuiet(state: OrganizationState): boolean {
  return state === 'ok' || state === 'recharging' || state === 'off';
}

/** `next`: what happens by itself, and when, or what a person does, with the command. */
export type Standing = { state: OrganizationState; since: Date | null; why: string | null; next: string | null };

/** A recharge that is not settled. `since`: when it came into its status; `underWaySince`: since when money may be held. */
export type OpenRecharge = {
  id: string;
  status: RechargeStatus;
  since: Date;
  underWaySince: Date | null;
  why: string | null;
  amount: string;
};
export type ParkedReversal = { id: string; since: Date; why: string | null };
export type StandingHold = AppliedHold & { since: Date };
export type StandingRefusal = { reason: ToldRefusal; since: Date };
/** A difference that the last synchronisation could not settle. */
export type StandingDrift = {
  kind: DriftKind;
  subject: string;
  ours: string | null;
  theirs: string | null;
  reason: string | null;
  at: Date;
};

/** Everything that says how an organization stands. */
export type OrganizationFacts = {
  id: string;
  isAutoRecharged: boolean;
  recharge: OpenRecharge | null;
  reversals: readonly ParkedReversal[];
  /** Its own, and those on the card of its last recharge. Those of the service are the service's. */
  holds: readonly StandingHold[];
  refusals: readonly StandingRefusal[];
  drifts: readonly StandingDrift[];
  /** When its next day and month begin, in its time zone. */
  nextDay: Date;
  nextMonth: Date;
};

const CARD_REASONS: readonly HoldReason[] = ['declined', 'card_refused', 'three_failures'];

/** What a refusal says of an organization; where several do, the order of ORGANIZATION_STATES decides. */
const REFUSAL_STATES: Readonly<Record<ToldRefusal, OrganizationState>> = {
  auto_recharge_disabled: 'off',
  refused_with_money_left: 'needs_person',
  spend_not_shown: 'litellm_differs',
  daily_limit_reached: 'limit_reached',
  daily_amount_reached: 'limit_reached',
  monthly_limit_reached: 'limit_reached',
  amount_too_large: 'needs_person',
  no_payment_method: 'needs_person',
  customer_missing: 'needs_person',
  team_not_found: 'litellm_differs',
  team_blocked: 'litellm_differs',
  unlimited_budget: 'litellm_differs',
  payment_unknown: 'needs_person',
  budget_duration: 'litellm_differs',
  budget_limits: 'litellm_differs',
  soft_budget: 'litellm_differs',
};

/**
 * How an organization stands: what most needs somebody, of all that there is.
 *
 * @param now when it is asked.
 */
export function standingOf(facts: OrganizationFacts, now: Date): Standing {
  const found = [...parked(facts, now), ...held(facts), ...refused(facts), ...differing(facts), ...underWay(facts)];
  const off: Standing = {
    state: 'off',
    since: null,
    why: REFUSALS.auto_recharge_disabled,
    next: actionOnRefusal('auto_recharge_disabled', facts.id),
  };
  if (!facts.isAutoRecharged) found.push(off);
  return found.toSorted(byUrgency)[0] ?? { state: 'ok', since: null, why: null, next: null };
}

function byUrgency(one: Standing, other: Standing): number {
  return ORGANIZATION_STATES.indexOf(one.state) - ORGANIZATION_STATES.indexOf(other.state) || timeOf(one) - timeOf(other);
}

function timeOf({ since }: Standing): number {
  return since?.getTime() ?? Number.POSITIVE_INFINITY;
}

function parked({ recharge, reversals }: OrganizationFacts, now: Date): Standing[] {
  const found = reversals.map(
    ({ id, since, why }): Standing => ({
      state: 'needs_person',
      since,
      why: `${id}: ${why ?? 'its quota could not follow the money'}`,
      next: actionOnReversal(id),
    }),
  );
  if (!recharge) return found;
  const { id, status, since, underWaySince, amount, why } = recharge;
  const settle = `nothing more is charged until it is settled: ${actionOnRecharge(id)}`;
  if (status === 'needs_attention') {
    return [...found, { state: 'needs_person', since, why: `${amount} of ${id}: ${why ?? 'a person has to decide'}`, next: settle }];
  }
  if (underWaySince === null || overdueAfter(underWaySince, now) === undefined) return found;
  const stuck = `${amount} of ${id} is ${status}, and is tried again and again${why ? `: ${why}` : ''}`;
  return [...found, { state: 'needs_person', since: underWaySince, why: stuck, next: `bill doctor; or ${actionOnRecharge(id)}` }];
}

function held({ holds }: OrganizationFacts): Standing[] {
  return holds.map(({ id, reason, detail, since, until }) => ({
    state: CARD_REASONS.includes(reason) ? 'card_declined' : 'held',
    since,
    why: `${detail} (${reason})`,
    next: `${until ? `it ends at ${shown(until)}, or sooner: ` : ''}${HOLDS[reason].endedBy}: ${releaseOf(id)}`,
  }));
}

/** The command that ends a hold. */
export function releaseOf(holdId: string): string {
  return `bill release ${holdId} "reason"`;
}

function refused({ id, refusals, nextDay, nextMonth }: OrganizationFacts): Standing[] {
  return refusals.map(({ reason, since }) => {
    const state = REFUSAL_STATES[reason];
    const ends = reason === 'monthly_limit_reached' ? nextMonth : nextDay;
    const action = actionOnRefusal(reason, id);
    return {
      state,
      since,
      why: REFUSALS[reason],
      next: state === 'limit_reached' ? `it is charged again from ${shown(ends)} on; ${action}` : action,
    };
  });
}

function differing({ drifts }: OrganizationFacts): Standing[] {
  return drifts.map(({ kind, subject, ours, theirs, reason, at }) => ({
    state: 'litellm_differs',
    since: at,
    why: `${subject} in LiteLLM: ${DRIFT_ADVICE[kind]}${figures(ours, theirs)}${reason ? `; ${reason}` : ''}`,
    next: kind === 'budget_edited' && ours !== null ? restoreBudget(subject, ours) : 'settle it in LiteLLM, then bill sync',
  }));
}

function figures(ours: string | null, theirs: string | null): string {
  return ours === null && theirs === null ? '' : ` (${theirs ?? 'nothing'}, where ${ours ?? 'nothing'} is expected)`;
}

function restoreBudget(teamId: string, ours: string): string {
  const body = JSON.stringify({ team_id: teamId, max_budget: Number(ours) });
  return `if it was not meant: curl "$KMS_BASE_URL/team/update" -H "Authorization: Bearer $KMS_API_KEY" -H "Content-Type: application/json" -d '${body}', then bill sync`;
}

function underWay({ recharge }: OrganizationFacts): Standing[] {
  if (!recharge || recharge.status === 'needs_attention') return [];
  const { id, status, since, amount } = recharge;
  const next = status === 'processing' ? 'quota follows when the bank has settled it, which takes days' : 'it goes on by itself';
  return [{ state: 'recharging', since, why: `${amount} by ${id} is ${status}`, next }];
}

function shown(time: Date): string {
  return `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** `2.30` below a budget; null: unlimited, or not seen yet. */
export function balanceOf(sample: { quota: QuotaMicros | null; spend: QuotaMicros } | null): string | null {
  return sample === null || sample.quota === null ? null : formatQuota((sample.quota - sample.spend) as QuotaMicros);
}

/** A worker asks for work at least once a minute. */
export const WORKER_GONE_MS = 90_000;
/** What has arrived starts its run within a second; after this long something stands in its way. */
const LAG_MS = 30_000;
/** A schedule whose last success is more than this many intervals ago has stopped working. */
const MISSED_INTERVALS = 3;
/** At least this long, so that one that has just been made is not reported. */
const LEAST_GRACE_MS = 5 * 60_000;

/** Who asks for work of one queue. `lastPollAt`: null where nobody has for minutes. */
export type Pollers = { taskQueue: string; count: number; lastPollAt: Date | null };

export type ScheduleFacts = {
  id: string;
  /** false: it is not there, and the rest says nothing. */
  isMade: boolean;
  pausedFor: string | null;
  /** Where its runs start, and where they should. */
  taskQueue: string;
  wantedTaskQueue: string;
  intervalMs: number;
  lastSuccessAt: Date | null;
  /** When it was made, or last changed. */
  changedAt: Date;
};

/** What waits to be handed on. `oldestMs`: null where nothing waits. */
export type Lag = { what: string; waiting: number; oldestMs: number | null };

/** Of Temporal: what it says, or why it cannot be asked. */
export type TemporalFacts = { pollers: readonly Pollers[]; schedules: readonly ScheduleFacts[] } | { failure: string };

/** One line about the service. `next`: null where nothing has to be done. */
export type ServiceLine = { check: string; isFine: boolean; seen: string; next: string | null };

export function workerLines(pollers: readonly Pollers[], now: Date): ServiceLine[] {
  return pollers.map(({ taskQueue, count, lastPollAt }) => {
    const check = `workers of ${taskQueue}`;
    if (lastPollAt && now.getTime() - lastPollAt.getTime() <= WORKER_GONE_MS)
      return { check, isFine: true, seen: `${count}, the last one asked ${ago(lastPollAt, now)}`, next: null };
    const seen = lastPollAt ? `the last one asked for work ${ago(lastPollAt, now)}` : 'none asks for work';
    return { check, isFine: false, seen: `${seen}: nothing is charged, swept or synchronised`, next: 'start one: bill worker' };
  });
}

/** Whether a schedule is there, not paused, and starts its runs where our workers poll. */
export function isSchedulePlaced({ isMade, pausedFor, taskQueue, wantedTaskQueue }: ScheduleFacts): boolean {
  return isMade && pausedFor === null && taskQueue === wantedTaskQueue;
}

export function scheduleLine(facts: ScheduleFacts, now: Date): ServiceLine {
  const { id, isMade, pausedFor, taskQueue, wantedTaskQueue, intervalMs, lastSuccessAt, changedAt } = facts;
  const line = (isFine: boolean, seen: string, next: string | null = null): ServiceLine => ({
    check: `schedule ${id}`,
    isFine,
    seen,
    next,
  });
  if (!isMade) return line(false, 'is missing', 'run: bill migrate');
  if (pausedFor !== null) {
    const unpause = `when the reason is gone: temporal schedule toggle --unpause --schedule-id ${id}`;
    return line(false, `is paused${pausedFor ? `: ${pausedFor}` : ''}`, unpause);
  }
  if (taskQueue !== wantedTaskQueue)
    return line(false, `starts its runs on ${taskQueue}, which our workers do not poll`, 'run: bill migrate');
  const grace = Math.max(MISSED_INTERVALS * intervalMs, LEAST_GRACE_MS);
  const isRecent = (at: Date) => now.getTime() - at.getTime() <= grace;
  if (lastSuccessAt && isRecent(lastSuccessAt)) return line(true, `last succeeded ${ago(lastSuccessAt, now)}`);
  if (!lastSuccessAt && isRecent(changedAt)) return line(true, 'has not succeeded yet: it is new');
  const seen = lastSuccessAt ? `last succeeded ${ago(lastSuccessAt, now)}` : 'has not succeeded in its latest runs';
  return line(false, seen, 'look at its runs in the Temporal Web UI, and whether a worker runs');
}

export function lagLine({ what, waiting, oldestMs }: Lag): ServiceLine {
  if (oldestMs === null) return { check: what, isFine: true, seen: 'nothing waits', next: null };
  const isFine = oldestMs <= LAG_MS;
  const next = isFine ? null : 'bill doctor says what cannot be reached; bill serve hands on what waits';
  return { check: what, isFine, seen: `${waiting} wait, the oldest for ${duration(oldestMs)}`, next };
}

export function serviceHoldLine({ id, reason, detail }: StandingHold): ServiceLine {
  return {
    check: 'service',
    isFine: false,
    seen: `is held, nothing is charged: ${detail} (${reason})`,
    next: `${HOLDS[reason].endedBy}: ${releaseOf(id)}`,
  };
}

/** What the service itself is judged by. `holds`: those of the service. */
export type ServiceFacts = { holds: readonly StandingHold[]; temporal: TemporalFacts; lags: readonly Lag[] };

export function serviceLines({ holds, temporal, lags }: ServiceFacts, now: Date): ServiceLine[] {
  return [...holds.map(serviceHoldLine), ...temporalLines(temporal, now), ...lags.map(lagLine)];
}

/** Of Temporal and its queues and schedules; one line where it cannot be asked. */
export function temporalLines(facts: TemporalFacts, now: Date): ServiceLine[] {
  if ('failure' in facts) {
    const next = 'set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, or start it: what arrives is kept meanwhile';
    return [{ check: 'Temporal', isFine: false, seen: facts.failure, next }];
  }
  return [...workerLines(facts.pollers, now), ...facts.schedules.map((schedule) => scheduleLine(schedule, now))];
}

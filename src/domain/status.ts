/**
 * What is wrong now, in the words of whoever has to act: the state of an organization, and of the service. Pure:
 * what is stored and what Temporal says come in, one answer for each goes out. `bill status`, `GET /api/v1/status`,
 * `bill doctor` and `/ready` all say what is decided here.
 */
import { ago, duration } from './elapsed.ts';
import { type AppliedHold, HOLDS, type HoldReason } from './hold.ts';
import { litellmCall } from './litellm-call.ts';
import { dollarsFromQuota, formatQuota, type QuotaMicros } from './money.ts';
import { actionOnRecharge, actionOnRefusal, actionOnReversal, type ToldRefusal } from './outbound-event.ts';
import { overdueAfter, UNDECIDED_AFTER_MS, undecidedEvent } from './overdue.ts';
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
  off: 'charging is off',
  ok: 'ok',
};

/** Whether nobody has to act: what goes on by itself, and what somebody has turned off, is no fault. */
export function isQuiet(state: OrganizationState): boolean {
  return state === 'ok' || state === 'recharging' || state === 'off';
}

/** `next`: what happens by itself, and when, or what a person does, with the command. */
export type Standing = { state: OrganizationState; since: Date | null; why: string | null; next: string | null };

/** What a run has failed with, and is about to try again. `nextAt`: null while it tries. */
export type RunTrouble = { step: string; attempts: number; reason: string; nextAt: Date | null };

/** An event that nothing is decided on yet. */
export type OpenEvent = { id: string; teamId: string; since: Date; trouble?: RunTrouble | undefined };

/** A recharge that is not settled. `since`: when it came into its status; `underWaySince`: since when money may be held. */
export type OpenRecharge = {
  id: string;
  eventId: string;
  status: RechargeStatus;
  since: Date;
  underWaySince: Date | null;
  why: string | null;
  amount: string;
  trouble?: RunTrouble | undefined;
};
export type ParkedReversal = { id: string; since: Date; why: string | null };
export type StandingHold = AppliedHold & { since: Date };
export type StandingRefusal = { reason: ToldRefusal; since: Date };
/** A difference that the last synchronisation could not settle, or a team that the sweep has found gone. */
export type StandingDrift = {
  kind: DriftKind;
  subject: string;
  ours: string | null;
  theirs: string | null;
  /** What a person should do, where that takes more than DRIFT_ADVICE knows, or why settling it has failed. */
  reason: string | null;
  hasFailed: boolean;
  at: Date;
};

/** Everything that says how an organization stands. */
export type OrganizationFacts = {
  id: string;
  stripeCustomerId: string;
  litellmTeamId: string;
  isAutoRecharged: boolean;
  /** Since when its balance is at or below the minimum, as far as that was seen; null: it is not. */
  lowSince: Date | null;
  /** Here, by its setting. */
  isBlocked: boolean;
  /** Its team was made for it, and nobody has used it. */
  isUnused: boolean;
  /** The limits that leave nothing to charge, each with what to change. */
  limitsOfNothing: readonly string[];
  recharge: OpenRecharge | null;
  /** The oldest that has no recharge. */
  event: OpenEvent | null;
  reversals: readonly ParkedReversal[];
  /** Its own, and those on the card of its last recharge. Those of the service are the service's. */
  holds: readonly StandingHold[];
  refusals: readonly StandingRefusal[];
  drifts: readonly StandingDrift[];
  /** Where somebody has lowered the budget, what it was; null: it is as expected, or nothing is known. */
  budgetExpected: QuotaMicros | null;
  /** Of a team that is gone: what was left of it when it was last seen, and what our last write left. null: not known. */
  gone: { left: QuotaMicros | null; lastBudget: QuotaMicros | null };
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

/** What is known of the service: what keeps every run from going on, such as no worker, and what holds every charge. */
export type Obstacles = { stop: string | null; hold: string | null };
const NONE: Obstacles = { stop: null, hold: null };

/**
 * How an organization stands: what most needs somebody, of all that there is.
 *
 * @param now when it is asked.
 */
export function standingOf(facts: OrganizationFacts, now: Date, obstacles = NONE): Standing {
  const found = [
    ...parked(facts, now),
    ...undecided(facts, now),
    ...held(facts),
    ...refused(facts),
    ...differing(facts),
    ...limited(facts),
    ...underWay(facts, { now, stop: obstacles.stop }),
  ];
  const { id, isAutoRecharged, isBlocked } = facts;
  const off = (why: string, next: string): Standing => ({ state: 'off', since: null, why, next });
  if (!isAutoRecharged) found.push(off(REFUSALS.auto_recharge_disabled, actionOnRefusal('auto_recharge_disabled', id)));
  if (isBlocked) found.push(off('it is blocked, so LiteLLM refuses its calls and nothing is charged', `bill org set ${id} --blocked off`));
  return found.toSorted(byUrgency)[0] ?? unremarkable(facts, obstacles);
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
  const settle = `nothing more is charged until it is settled, by ${actionOnRecharge(id)}`;
  if (status === 'needs_attention') {
    return [...found, { state: 'needs_person', since, why: `${amount} of ${id}: ${why ?? 'a person has to decide'}`, next: settle }];
  }
  if (underWaySince === null || overdueAfter(underWaySince, now) === undefined) return found;
  const stuck = withTrouble(`${amount} of ${id} is ${status}, and is tried again and again${why ? `: ${why}` : ''}`, recharge.trouble);
  return [
    ...found,
    { state: 'needs_person', since: underWaySince, why: stuck, next: `bill doctor; or end it, by ${actionOnRecharge(id)}` },
  ];
}

/** Nobody has to act. One whose balance is low is about to be charged, which nobody should learn from the card. */
function unremarkable({ lowSince, isUnused }: OrganizationFacts, { stop, hold }: Obstacles): Standing {
  const fine = { state: 'ok', since: null, next: null } as const;
  if (isUnused) return { ...fine, why: 'its team was made for it, and nothing is charged before its first call or alert' };
  if (lowSince === null) return { ...fine, why: null };
  const obstacle = stop ?? hold;
  const next = obstacle === null ? 'the next sweep, within a minute, has it charged, or says why not' : goesOn(undefined, obstacle);
  return { state: 'recharging', since: lowSince, why: 'its balance is at or below its minimum', next };
}

function held(facts: OrganizationFacts): Standing[] {
  const { holds, lowSince, isAutoRecharged } = facts;
  const then = lowSince && isAutoRecharged ? '\nthen: its balance is low, so it is charged within a minute' : '';
  return holds.map(({ id, reason, detail, since, until }) => ({
    state: CARD_REASONS.includes(reason) ? 'card_declined' : 'held',
    since,
    why: `${detail} (${reason})`,
    next: `${until ? `it ends at ${shown(until)}, or sooner: ` : ''}${endOf({ id, reason }, facts)}${then}`,
  }));
}

/** What ends a hold, to be pasted where it is a command. */
function endOf({ id, reason }: Pick<StandingHold, 'id' | 'reason'>, organization: OrganizationFacts): string {
  const { id: organizationId, stripeCustomerId, litellmTeamId, budgetExpected } = organization;
  if (reason === 'budget_lowered' && budgetExpected !== null) {
    const restore = litellmCall('/team/update', { team_id: litellmTeamId, max_budget: dollars(budgetExpected) });
    return `one of:\n${acceptBudget(organizationId)}    # it was meant\n${restore}    # it was not meant: a probe each minute sees it`;
  }
  if (CARD_REASONS.includes(reason)) {
    return `one of:\ngive ${stripeCustomerId} another card at Stripe, as its default: the hold ends by itself\n${releaseOf(id)}    # the same card is asked again`;
  }
  return `${HOLDS[reason].endedBy}: ${releaseOf(id)}`;
}

/** Settings under which no recharge is possible, whatever the balance. */
function limited({ id, limitsOfNothing }: OrganizationFacts): Standing[] {
  return limitsOfNothing.map((why) => ({ state: 'limit_reached', since: null, why, next: `change it: bill org set ${id}` }));
}

/** The command that ends a hold. */
export function releaseOf(holdId: string): string {
  return `bill release ${holdId} "reason"`;
}

function refused({ id, refusals, isBlocked, nextDay, nextMonth }: OrganizationFacts): Standing[] {
  const meant: ToldRefusal | null = isBlocked ? 'team_blocked' : null;
  return refusals
    .filter(({ reason }) => reason !== meant)
    .map(({ reason, since }) => {
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

function differing({ id, drifts, gone }: OrganizationFacts): Standing[] {
  return drifts.map((drift) => ({
    state: 'litellm_differs',
    since: drift.at,
    why: `${drift.subject} in LiteLLM: ${whyOf(drift)}${figures(drift)}`,
    next: NEXT_ON_DRIFT[drift.kind]?.(drift, { id, gone }) ?? `bill sync --org ${id} --wait tries it again, and says what it meets`,
  }));
}

/** The advice, and what was tried and has failed. */
function whyOf({ kind, reason, hasFailed }: StandingDrift): string {
  if (reason === null) return DRIFT_ADVICE[kind];
  return hasFailed ? `${DRIFT_ADVICE[kind]}, which has failed: ${reason}` : reason;
}

function figures({ kind, ours, theirs }: StandingDrift): string {
  return kind !== 'budget_edited' ? '' : ` (${theirs ?? 'nothing'}, where ${ours ?? 'nothing'} is expected)`;
}

/** What settles a difference that the synchronisation does not settle, to be pasted where it is a command. */
const NEXT_ON_DRIFT: Partial<Record<DriftKind, (drift: StandingDrift, organization: Pick<OrganizationFacts, 'id' | 'gone'>) => string>> = {
  team_not_found: (_drift, { id }) =>
    `one of:\nbill org set ${id} --team <id>      # it is another team\nbill org set ${id} --create-team    # it is to be made, with max_budget 0`,
  team_deleted: ({ subject }, { id, gone }) =>
    `one of:\nbill org set ${id} --team <id>      # it is another team\n${madeAgain(id, subject, gone)}`,
  block_differs: ({ subject, theirs }, { id }) =>
    theirs === 'blocked'
      ? `one of:\nbill org set ${id} --blocked on    # it was meant\n${litellmCall('/team/update', { team_id: subject, blocked: false })}    # it was not meant\nthen: bill sync --org ${id} --wait`
      : `bill sync --org ${id} --wait`,
  budget_edited: ({ subject, ours }, { id }) => {
    const restore = litellmCall('/team/update', { team_id: subject, max_budget: Number(ours) });
    return `one of:\n${acceptBudget(id)}    # it was meant\n${restore}    # it was not meant\nthen: bill sync --org ${id} --wait`;
  },
  budget_unlimited: ({ subject, ours }, { id }) =>
    `${litellmCall('/team/update', { team_id: subject, max_budget: ours === null ? '<dollars>' : Number(ours) })}\nthen: bill sync --org ${id} --wait`,
  budget_duration: ({ subject }, { id }) => `remove budget_duration of team ${subject} in LiteLLM, then: bill sync --org ${id} --wait`,
  budget_limits: ({ subject }, { id }) => `remove budget_limits of team ${subject} in LiteLLM, then: bill sync --org ${id} --wait`,
  team_claimed: ({ subject }, { id }) =>
    `take c_organization_id out of the metadata of team ${subject} in LiteLLM, or bill org set ${id} --team ${subject}; then bill sync`,
};

/**
 * LiteLLM counts the spend of a team that is made again from 0. So it gets what was left of it, which a person accepts
 * where our last write had left more: with all of that, what was spent would be given a second time.
 */
function madeAgain(organizationId: string, teamId: string, { left, lastBudget }: OrganizationFacts['gone']): string {
  const call = (budget: QuotaMicros | null) =>
    litellmCall('/team/new', { team_id: teamId, max_budget: dollars(budget), budget_duration: null });
  if (left === null && lastBudget !== null) {
    return `${call(lastBudget)}    # it is made again, with what our last write left: take off what was spent of it since\nthen, where that is less: ${acceptBudget(organizationId)}`;
  }
  const accept = lastBudget !== null && lastBudget !== left ? `\nthen: ${acceptBudget(organizationId)}` : '';
  return `${call(left)}    # it is made again, with what was left of it${accept}\nthen: bill sweep`;
}

function acceptBudget(organizationId: string): string {
  return `bill org accept-budget ${organizationId} "reason"`;
}

/** A team of which nothing is known begins with none. */
function dollars(quota: QuotaMicros | null): number {
  return quota === null ? 0 : dollarsFromQuota(quota);
}

/** An event that has been open for so long has met what no retry has ended. */
function undecided({ event }: OrganizationFacts, now: Date): Standing[] {
  if (!event || now.getTime() - event.since.getTime() < UNDECIDED_AFTER_MS) return [];
  const { seen, action } = undecidedEvent({ eventId: event.id, teamId: event.teamId });
  return [{ state: 'needs_person', since: event.since, why: `${event.id}: ${withTrouble(seen, event.trouble)}`, next: action }];
}

function underWay({ recharge, event }: OrganizationFacts, { now, stop }: { now: Date; stop: string | null }): Standing[] {
  const found: Standing[] = [];
  if (recharge && recharge.status !== 'needs_attention') {
    const { id, status, since, amount, trouble } = recharge;
    const why = withTrouble(`${amount} by ${id} is ${status}`, trouble);
    const next = status === 'processing' ? 'quota follows when the bank has settled it, which takes days' : goesOn(trouble, stop);
    found.push({ state: 'recharging', since, why, next });
  }
  if (event && now.getTime() - event.since.getTime() < UNDECIDED_AFTER_MS) {
    const { id, since, trouble } = event;
    found.push({ state: 'recharging', since, why: withTrouble(`nothing is decided on ${id} yet`, trouble), next: goesOn(trouble, stop) });
  }
  return found;
}

/** What happens to a run by itself. */
export function goesOn(trouble: RunTrouble | undefined, stop: string | null): string {
  if (stop !== null) return `it goes on when this is put right: ${stop}`;
  if (trouble === undefined) return 'it goes on by itself';
  return trouble.nextAt === null ? 'it is being tried again' : `it is tried again at ${shownToTheSecond(trouble.nextAt)}`;
}

/** `what`, and what its run fails with. */
export function withTrouble(what: string, trouble: RunTrouble | undefined): string {
  if (trouble === undefined) return what;
  const { step, attempts, reason } = trouble;
  return `${what}; ${step} has failed ${attempts === 1 ? 'once' : `${attempts} times`}: ${reason}`;
}

function shownToTheSecond(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
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

/** Who asks for work of one queue: `count` in the last WORKER_GONE_MS. `lastPollAt`: null where nobody has for minutes. */
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

/** @param lastWorkAt when a worker has last ended a run of ours, where that is known: Temporal forgets who polls in minutes. */
export function workerLines(pollers: readonly Pollers[], now: Date, lastWorkAt: Date | null = null): ServiceLine[] {
  return pollers.map(({ taskQueue, count, lastPollAt }) => {
    const check = `workers of ${taskQueue}`;
    if (isPolled(lastPollAt, now)) return { check, isFine: true, seen: `${count}, the last one asked ${ago(lastPollAt, now)}`, next: null };
    const since = lastWorkAt ? `, and the last scheduled run ended ${ago(lastWorkAt, now)}` : '';
    const seen = lastPollAt ? `the last one asked for work ${ago(lastPollAt, now)}` : `none asks for work${since}`;
    return { check, isFine: false, seen: `${seen}: nothing is charged, swept or synchronised`, next: 'start one: bill worker' };
  });
}

/** Whether a schedule is there, not paused, and starts its runs where our workers poll. */
export function isSchedulePlaced({ isMade, pausedFor, taskQueue, wantedTaskQueue }: ScheduleFacts): boolean {
  return isMade && pausedFor === null && taskQueue === wantedTaskQueue;
}

function isPolled(lastPollAt: Date | null, now: Date): lastPollAt is Date {
  return lastPollAt !== null && now.getTime() - lastPollAt.getTime() <= WORKER_GONE_MS;
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
  if (oldestMs === null) return { check: what, isFine: true, seen: 'nothing waits to be handed on', next: null };
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

/** A system that charges or quota depend on. `failure`: why it cannot be used now; null: it can. */
export type Dependency = { name: keyof typeof DEPENDENCIES; failure: string | null };

/** What to look at where one does not answer. */
const DEPENDENCIES = {
  LiteLLM: 'is it up, and is KMS_BASE_URL where it is? What needs it is tried again by itself: bill doctor says more',
  Stripe:
    'is STRIPE_SECRET_KEY right, and does status.stripe.com say something? What needs it is tried again by itself: bill doctor says more',
} as const;

export function dependencyLine({ name, failure }: Dependency): ServiceLine {
  if (failure === null) return { check: name, isFine: true, seen: 'answers', next: null };
  return { check: name, isFine: false, seen: failure, next: DEPENDENCIES[name] };
}

/** Events that were handed to their runs and are not settled, without those whose payment a bank is processing. */
export type RunsUnderWay = { count: number; oldestMs: number | null };

/**
 * One run that is tried again and again is its organization's; only what stops every run is the service's.
 *
 * @param stop what keeps every run from going on; null: nothing that is known.
 */
export function underWayLine({ count, oldestMs }: RunsUnderWay, stop: string | null): ServiceLine {
  const check = 'alerts under way';
  if (oldestMs === null) return { check, isFine: true, seen: 'none', next: null };
  const seen = `${count}, the oldest for ${duration(oldestMs)}`;
  if (stop === null) return { check, isFine: true, seen, next: null };
  return { check, isFine: false, seen: `${seen}: not settled before this is put right: ${stop}`, next: null };
}

/**
 * What the service itself is judged by. `holds`: those of the service. `dependencies`: left out where they are told
 * of elsewhere, as in `/ready`.
 */
export type ServiceFacts = {
  holds: readonly StandingHold[];
  temporal: TemporalFacts;
  lags: readonly Lag[];
  underWay: RunsUnderWay;
  dependencies?: readonly Dependency[];
};

export function serviceLines(facts: ServiceFacts, now: Date): ServiceLine[] {
  const { holds, temporal, lags, underWay: runs, dependencies = [] } = facts;
  return [
    ...holds.map(serviceHoldLine),
    ...dependencies.map(dependencyLine),
    ...temporalLines(temporal, now),
    ...lags.map(lagLine),
    underWayLine(runs, stopOf(facts, now)),
  ];
}

/** What keeps every run from going on: Temporal, or that no worker asks for its tasks. null: nothing that is known. */
export function stopOf({ temporal }: Pick<ServiceFacts, 'temporal'>, now: Date): string | null {
  const [queue, ...others] = temporalLines('failure' in temporal ? temporal : { ...temporal, schedules: [] }, now);
  const gone = [queue, ...others].find((line) => line && !line.isFine);
  return gone ? `${gone.check}: ${gone.seen.replace(/: nothing is charged.*/, '')}` : null;
}

/** Of Temporal and its queues and schedules; one line where it cannot be asked. */
export function temporalLines(facts: TemporalFacts, now: Date): ServiceLine[] {
  if ('failure' in facts) {
    const next = 'set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, or start it: what arrives is kept meanwhile';
    return [{ check: 'Temporal', isFine: false, seen: facts.failure, next }];
  }
  const ends = facts.schedules.flatMap(({ lastSuccessAt }) => lastSuccessAt?.getTime() ?? []);
  const lastWorkAt = ends.length > 0 ? new Date(Math.max(...ends)) : null;
  return [...workerLines(facts.pollers, now, lastWorkAt), ...facts.schedules.map((schedule) => scheduleLine(schedule, now))];
}

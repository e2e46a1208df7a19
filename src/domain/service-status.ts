/**
 * How the service itself stands, a line for each thing that it needs. Pure: what is stored and what Temporal says come in.
 * `bill status`, `GET /api/v1/status`, `bill doctor` and `/ready` all say what is decided here.
 */
import { ago, duration } from './elapsed.ts';
import { endedBy } from './hold.ts';
import { releaseOf, type StandingHold } from './status.ts';

/** A worker asks for work at least once a minute. */
export const WORKER_GONE_MS = 90_000;
/** What has arrived starts its run within a second; after this long something stands in its way. */
const LAG_MS = 30_000;
/** A schedule whose last success is more than this many intervals ago has stopped working. */
const MISSED_INTERVALS = 3;
/** At least this long, so that one that has just been made is not reported. */
const LEAST_GRACE_MS = 5 * 60_000;

/** What each of our queues holds, and what does not happen while nobody asks for it. */
const LEFT_UNDONE = {
  workflows: 'nothing is charged, swept or synchronised',
  charges: 'nothing is charged',
  bulk: 'nothing is swept, synchronised or reconciled',
} as const;

/** Who asks for work of one queue: `count` in the last WORKER_GONE_MS. `lastPollAt`: null where nobody has for minutes. */
export type Pollers = { taskQueue: string; work: keyof typeof LEFT_UNDONE; count: number; lastPollAt: Date | null };

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
  /** What the last run since has failed with, or one fails with now; null: none has failed, or that is not known. */
  lastFailure: string | null;
  /** When it was made, or last changed. */
  changedAt: Date;
};

/** What waits to be handed on. `oldestMs`: null where nothing waits. */
export type Lag = { what: string; waiting: number; oldestMs: number | null };

/** Of Temporal: what it says, or why it cannot be asked. `since`: since when that was seen, where it was. */
export type TemporalFacts = { pollers: readonly Pollers[]; schedules: readonly ScheduleFacts[] } | { failure: string; since?: Date };

/** One line about the service. `next`: null where nothing has to be done. */
export type ServiceLine = { check: string; isFine: boolean; seen: string; next: string | null };

/** @param lastWorkAt when a worker has last ended a run of ours, where that is known: Temporal forgets who polls in minutes. */
export function workerLines(pollers: readonly Pollers[], now: Date, lastWorkAt: Date | null = null): ServiceLine[] {
  return pollers.map(({ taskQueue, work, count, lastPollAt }) => {
    const check = `workers of ${taskQueue}`;
    if (isPolled(lastPollAt, now)) return { check, isFine: true, seen: `${count}, the last one asked ${ago(lastPollAt, now)}`, next: null };
    const since = lastWorkAt ? `, and the last scheduled run ended ${ago(lastWorkAt, now)}` : '';
    const seen = lastPollAt ? `the last one asked for work ${ago(lastPollAt, now)}` : `none asks for work${since}`;
    return { check, isFine: false, seen: `${seen}: ${LEFT_UNDONE[work]}`, next: 'start one: bill worker' };
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
  const { id, isMade, pausedFor, taskQueue, wantedTaskQueue, intervalMs, lastSuccessAt, lastFailure, changedAt } = facts;
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
  return line(
    false,
    lastFailure === null ? seen : `${seen}; ${lastFailure}`,
    'look at its runs in the Temporal Web UI, and whether a worker runs',
  );
}

export function lagLine({ what, waiting, oldestMs }: Lag): ServiceLine {
  if (oldestMs === null) return { check: what, isFine: true, seen: 'nothing waits to be handed on', next: null };
  const isFine = oldestMs <= LAG_MS;
  const next = isFine ? null : 'bill doctor says what cannot be reached; bill serve hands on what waits';
  return { check: what, isFine, seen: `${waiting} wait, the oldest for ${duration(oldestMs)}`, next };
}

/** It stops everybody. */
type ServiceHold = Omit<StandingHold, 'stops'>;

export function serviceHoldLine(hold: ServiceHold): ServiceLine {
  const { id, reason, detail } = hold;
  return {
    check: 'service',
    isFine: false,
    seen: `is held, nothing is charged: ${detail} (${reason})`,
    next: `${endedBy(hold)}: ${releaseOf(id)}`,
  };
}

/** Of what was seen failing: nobody may have looked before. */
export function seenSince(failure: string, since: Date, now: Date): string {
  return `${failure}; since ${since.toISOString().slice(0, 19).replace('T', ' ')} UTC (${ago(since, now)}), or longer`;
}

/** A system that charges or quota depend on. `failure`: why it cannot be used now; null: it can. `advice`: what to look at then. */
export type Dependency = { name: 'LiteLLM' | 'Stripe'; failure: string | null; advice: string };

export function dependencyLine({ name, failure, advice }: Dependency): ServiceLine {
  if (failure === null) return { check: name, isFine: true, seen: 'answers', next: null };
  const next = `${advice}. What needs it is tried again by itself: bill doctor says more`;
  return { check: name, isFine: false, seen: failure, next };
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
  holds: readonly ServiceHold[];
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
  // Stryker disable next-line StringLiteral: a failure stays one, with schedules beside it or without.
  const [queue, ...others] = temporalLines('failure' in temporal ? { failure: temporal.failure } : { ...temporal, schedules: [] }, now);
  const gone = [queue, ...others].find((line) => line && !line.isFine);
  if (!gone) return null;
  const seen = gone.seen.replace(/: nothing is .*/, '');
  // What cannot be reached is named by its failure.
  return seen.startsWith(`${gone.check} `) ? seen : `${gone.check}: ${seen}`;
}

/** Of Temporal and its queues and schedules; one line where it cannot be asked. */
export function temporalLines(facts: TemporalFacts, now: Date): ServiceLine[] {
  if ('failure' in facts) {
    const next = 'set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, or start it: what arrives is kept meanwhile';
    const seen = facts.since ? seenSince(facts.failure, facts.since, now) : facts.failure;
    return [{ check: 'Temporal', isFine: false, seen, next }];
  }
  const ends = facts.schedules.flatMap(({ lastSuccessAt }) => lastSuccessAt?.getTime() ?? []);
  const lastWorkAt = ends.length > 0 ? new Date(Math.max(...ends)) : null;
  return [...workerLines(facts.pollers, now, lastWorkAt), ...facts.schedules.map((schedule) => scheduleLine(schedule, now))];
}

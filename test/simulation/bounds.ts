/**
 * What must be true of series of charges: the bounds of harm, and that whoever has to act is told. Each returns
 * what is not. Times are the run's; see Clock.
 */
import type { AttemptFact, Facts, HoldFact, Judged, RechargeFact, ReversalFact } from './facts.ts';
import { OPERATOR } from './operator.ts';
import type { Run } from './run.ts';

type Bound = (facts: Facts, run: Run) => string[];

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const DAY_MS = 24 * 60 * MINUTE_MS;

/**
 * A hold that is opened after our last look at holds and before Stripe has the confirm stops nothing any more.
 * That moment is a few milliseconds, on a machine that has time.
 */
const SINCE_THE_LOOK_MS = 3 * SECOND_MS;
/** Of two clocks that are read one after the other. */
const CLOCKS_MS = 2 * SECOND_MS;
const MAX_FAILED_ATTEMPTS = 13;
const EPSILON = 1e-7;

/** When a hold applied. */
function spanOf({ since, until, releasedAt }: HoldFact, { clock }: Run): { from: number; to: number } {
  const ends = [until, releasedAt].filter((at) => at !== null).map((at) => clock.ofStored(at));
  return { from: clock.ofStored(since), to: Math.min(Number.POSITIVE_INFINITY, ...ends) };
}

const nothingIsChargedUnderAHold: Bound = ({ attempts, holds }, run) =>
  attempts.flatMap(({ at, rechargeId }) => {
    const asked = run.clock.of(at);
    return holds
      .filter(({ reason }) => reason !== 'key_refused') // Stripe takes no confirm with such a key
      .filter((hold) => {
        const { from, to } = spanOf(hold, run);
        return asked > from + SINCE_THE_LOOK_MS + run.deeds.slowestCallMs && asked + SECOND_MS < to;
      })
      .map(({ id, reason }) => `recharge ${rechargeId} asked the card under hold ${id} (${reason})`);
  });

/** The look at holds and the reservation are made under one lock. */
const nothingIsReservedUnderAHold: Bound = ({ recharges, holds }, run) =>
  recharges.flatMap(({ id: rechargeId, createdAt, timeline }) => {
    // One that the database had lost is entered again, and was reserved long before.
    if (timeline[0]?.restored) return [];
    const reserved = run.clock.ofStored(createdAt);
    return holds
      .filter(({ scope }) => scope !== 'card') // only Stripe knows the card
      .filter((hold) => {
        const { from, to } = spanOf(hold, run);
        return reserved > from + SINCE_THE_LOOK_MS && reserved < to;
      })
      .map(({ id, reason }) => `recharge ${rechargeId} was reserved under hold ${id} (${reason})`);
  });

/** By its setting, which no hold shows. */
const nothingIsChargedWhileOff: Bound = ({ attempts }, { deeds: { off, slowestCallMs } }) =>
  attempts
    .filter(({ at }) => off.some(({ from, to }) => at > from + SINCE_THE_LOOK_MS + slowestCallMs && at + SECOND_MS < to))
    .map(({ rechargeId }) => `recharge ${rechargeId} asked the card while auto-recharge was off`);

/** Whoever disputes a charge, or was refunded by hand, is not charged again before a person has looked. */
const whatIsReturnedIsHeld: Bound = ({ reversals, holds }) =>
  reversals
    .filter(({ quota }) => quota > 0)
    .flatMap(({ id, kind, status, createdAt }) => {
      const reason = kind === 'dispute' ? 'disputed' : 'operator';
      const ofIt = holds.filter(
        ({ scope, reason: other, since, releasedAt }) =>
          scope === 'organization' &&
          other === reason &&
          since.getTime() < createdAt.getTime() + CLOCKS_MS &&
          (releasedAt === null || releasedAt > createdAt),
      );
      if (ofIt.length === 0) return [`nothing holds the organization for ${kind} ${id}`];
      const stands = ofIt.some(({ releasedAt, releasedBy }) => releasedAt === null || releasedBy === OPERATOR);
      return kind === 'dispute' && status === 'taken_back' && !stands ? [`the hold for dispute ${id} has ended, and it is not won`] : [];
    });

/** Only where the card's network was really asked. */
const whatIsCountedWasAsked: Bound = ({ attempts, failuresCounted }) => {
  const asked = attempts.filter(({ status }) => status === 'failed').map(({ rechargeId }) => rechargeId);
  return [
    ...failuresCounted.filter((id) => !asked.includes(id)).map((id) => `a failed attempt is counted that no network was asked for: ${id}`),
    ...asked.filter((id) => !failuresCounted.includes(id)).map((id) => `a failed attempt is not counted: ${id}`),
  ];
};

/** What a person released a runaway hold for, each used once. */
const noChargeIsAboveTheMost: Bound = ({ attempts, recharges, holds }, run) => {
  const most = cents(run.schedule.start.maxCharge);
  const approvals = holds.filter(({ reason, releasedBy }) => reason === 'runaway' && releasedBy !== null);
  return attempts
    .filter(({ amount }) => amount > most)
    .flatMap(({ rechargeId, amount }) => {
      const reserved = reservedAt(rechargeId, recharges, run);
      const position = approvals.findIndex(
        (hold) => hold.amount !== null && hold.amount >= amount && hold.releasedAt && run.clock.ofStored(hold.releasedAt) <= reserved,
      );
      if (position === -1) return [`recharge ${rechargeId} asked for ${amount} at once, where ${most} is the most (cents)`];
      approvals.splice(position, 1);
      return [];
    });
};

/** A person who has seen an amount is above the limits of a day and a month. */
const amountsAreWithinTheLimits: Bound = ({ charges, recharges, holds }, run) => {
  if (holds.some(({ reason, releasedBy }) => reason === 'runaway' && releasedBy !== null)) return [];
  const { maxDailyAmount, maxMonthlyAmount } = run.schedule.start;
  const kept = charges
    .filter(({ captured, refunded }) => captured > refunded)
    .map(({ rechargeId, captured }) => ({ at: reservedAt(rechargeId, recharges, run), captured, seen: seenAt(rechargeId, recharges) }));
  return kept.flatMap(({ at, seen }) =>
    (
      [
        ['day', beginningOfDay(seen), cents(maxDailyAmount)],
        ['month', beginningOfMonth(seen), cents(maxMonthlyAmount)],
      ] as const
    ).flatMap(([period, beginning, most]) => {
      const from = at - (seen - beginning);
      const sum = kept.filter((other) => other.at >= from && other.at <= at).reduce((total, { captured }) => total + captured, 0);
      return sum > most ? [`charged ${sum} in a ${period} that allows ${most} (cents)`] : [];
    }),
  );
};

const attemptsOfADayAreWithinTheLimit: Bound = ({ recharges }, run) => {
  const attempted = recharges
    .filter(({ status }) => status !== 'cancelled')
    .map((recharge) => ({ at: run.clock.ofStored(recharge.createdAt), seen: seenAt(recharge.id, recharges) }));
  return attempted.flatMap(({ at, seen }) => {
    const from = at - (seen - beginningOfDay(seen));
    const count = attempted.filter((other) => other.at >= from && other.at <= at).length;
    return count > run.deeds.most.daily ? [`${count} attempts in a day that allows ${run.deeds.most.daily}`] : [];
  });
};

/** Who charges on a budget below what the last recharge left, lets the customer pay for it twice. */
const nothingIsPaidForTwice: Bound = ({ recharges, holds, reversals }, { deeds }) => {
  // A restored database numbers no longer in the order of the budgets; what Stripe keeps is judged all the same.
  if (deeds.restored.some(({ database }) => database)) return [];
  const accepted = holds.filter(({ reason, releasedBy }) => reason === 'budget_lowered' && releasedBy !== null && releasedBy !== 'probe');
  return recharges.flatMap((recharge, position) => {
    const last = recharges.slice(0, position).findLast(({ status }) => status === 'succeeded');
    if (!last?.quotaAfter || recharge.quotaBefore === null || recharge.quotaBefore > last.quotaAfter - EPSILON) return [];
    // A reversal has written what is left since: before the recharge was reserved, or while its charge waited.
    if (reversals.some(({ createdAt }) => createdAt > last.createdAt && createdAt < movedLastAt(recharge))) return [];
    const { quotaBefore } = recharge;
    const isAccepted = accepted.some(
      ({ since, releasedAt, quota }) =>
        releasedAt && releasedAt <= recharge.createdAt && since >= last.createdAt && quota !== null && quotaBefore > quota - EPSILON,
    );
    return isAccepted ? [] : [`recharge ${recharge.id} was reserved on a budget of ${quotaBefore}, where ${last.quotaAfter} was paid for`];
  });
};

/** Statuses that are told. */
const TOLD = ['succeeded', 'declined', 'action_required', 'refunded', 'needs_attention'];

const everythingIsToldOnce: Bound = ({ recharges, holds, reversals, told }) => {
  const ofRecharges = recharges.flatMap(({ id, timeline }) => {
    const arrivals = timeline.filter(({ status }, step) => TOLD.includes(status) && timeline[step - 1]?.status !== status);
    const times = new Map<string, number>();
    return arrivals.map(({ status }) => {
      const time = (times.get(status) ?? 0) + 1;
      times.set(status, time);
      return `recharge/${id}/${status}${time > 1 ? `/${time}` : ''}`;
    });
  });
  const ofHolds = holds.flatMap(({ id, detail, openedBy, releasedAt, releasedBy }) => [
    `hold/${id}/opened`,
    ...openersAfterTheFirst(openedBy, reversals).map((opener) => `hold/${id}/opened/${opener}`),
    ...reversals.filter((reversal) => detail.includes(`${reversal.id} is decided`)).map((lost) => `hold/${id}/opened/${lost.id}/decided`),
    ...(releasedAt && releasedBy !== 'the simulation' ? [`hold/${id}/released`] : []),
  ]);
  const ofReversals = reversals.flatMap(({ id, status, quota, takenAfter }) => {
    const isTaken = status === 'taken_back' || (status === 'given_back' && takenAfter !== null);
    const steps = ['opened', ...(isTaken ? ['taken_back'] : []), ...(status === 'given_back' ? ['given_back'] : [])];
    return quota > 0 ? steps.map((step) => `reversal/${id}/${step}`) : [];
  });
  const expected = [...ofRecharges, ...ofHolds, ...ofReversals];
  const about = told.filter((key) => /^(recharge|hold)\//.test(key) && !key.includes('/overdue/'));
  return [
    ...expected.filter((key) => !told.includes(key)).map((key) => `not told: ${key}`),
    ...about.filter((key) => !expected.includes(key)).map((key) => `told, and not so: ${key}`),
    ...told.filter((key, position) => told.indexOf(key) !== position).map((key) => `told twice: ${key}`),
  ];
};

/** The first may be a person, whose name may hold spaces; added are refunds and disputes. */
function openersAfterTheFirst(openedBy: string, reversals: ReversalFact[]): string[] {
  const [, ...added] = openedBy.split(' ');
  return added.filter((opener) => reversals.some(({ id }) => id === opener));
}

/** Bounds that hold for each organization. */
export const BOUNDS: readonly Bound[] = [
  nothingIsChargedUnderAHold,
  nothingIsReservedUnderAHold,
  nothingIsChargedWhileOff,
  whatIsReturnedIsHeld,
  whatIsCountedWasAsked,
  noChargeIsAboveTheMost,
  amountsAreWithinTheLimits,
  attemptsOfADayAreWithinTheLimit,
  nothingIsPaidForTwice,
  everythingIsToldOnce,
];

/** Whatever is not as it must be of the organizations of a run together. */
export function judgeTogether(judged: readonly Judged[]): string[] {
  return [...cardsAreSpared(judged), ...raisesAreRefusedToOne(judged)];
}

/** Of each card, whoever's organization: each failed attempt at its step, and 13 in 30 days at most. */
function cardsAreSpared(judged: readonly Judged[]): string[] {
  return [...Map.groupBy(judged, ({ run }) => run.fingerprint).values()].flatMap((sharing) => {
    const attempts = sharing
      .flatMap(({ run, facts }) => facts.attempts.map((attempt) => ({ ...attempt, at: endOf(attempt, facts.recharges, run) })))
      .toSorted((a, b) => a.at - b.at);
    return [...stepsOf(attempts), ...windowsOf(attempts)];
  });
}

/** A success counts from when it is recorded: a bank takes its time. */
function endOf({ rechargeId, at, status }: AttemptFact, recharges: RechargeFact[], run: Run): number {
  const recorded = recharges.find(({ id }) => id === rechargeId)?.timeline.find((step) => step.status === 'charged')?.at;
  return run.clock.of(status === 'failed' || !recorded ? at : new Date(recorded).getTime());
}

/** A pause after each failure, 15 minutes that double up to a week. */
function stepsOf(attempts: readonly AttemptFact[]): string[] {
  let inARow = 0;
  let last = Number.NEGATIVE_INFINITY;
  return attempts.flatMap(({ status, at, rechargeId }) => {
    if (status !== 'failed') inARow = 0;
    if (status !== 'failed') return [];
    const pause = inARow === 0 ? 0 : Math.min(15 * MINUTE_MS * 2 ** (inARow - 1), 7 * DAY_MS);
    const waited = at - last;
    inARow++;
    last = at;
    return waited + CLOCKS_MS < pause
      ? [`recharge ${rechargeId} asked a card ${minutes(waited)} after its ${inARow - 1}. failure in a row, instead of ${minutes(pause)}`]
      : [];
  });
}

function windowsOf(attempts: readonly AttemptFact[]): string[] {
  const failed = attempts.filter(({ status }) => status === 'failed');
  return failed.flatMap(({ at }) => {
    const count = failed.filter((other) => other.at <= at && other.at > at - 30 * DAY_MS + CLOCKS_MS).length;
    return count > MAX_FAILED_ATTEMPTS ? [`a card has failed ${count} times in 30 days`] : [];
  });
}

/** While LiteLLM takes no raise, one charge is in vain, of one organization or of all, and one more for each release. */
function raisesAreRefusedToOne(judged: readonly Judged[]): string[] {
  const periods = judged.flatMap(({ run }) => run.deeds.refusals.map((refusal) => ({ ...refusal, run })));
  return periods.flatMap(({ of, from, to, run }) => {
    const concerned = of === 'everybody' ? judged : judged.filter((each) => each.run === run);
    const within = (at: number) => at >= from && at < to;
    const inVain = concerned.flatMap(({ facts }) => facts.charges).filter(({ at, refunded }) => refunded > 0 && within(at)).length;
    const holds = concerned
      .flatMap(({ facts }) => facts.holds)
      .filter(({ reason, releasedBy }) => reason === 'raise_refused' && releasedBy === OPERATOR);
    const [begun, ended] = [run.clock.of(from), run.clock.of(Math.min(to, Date.now()))];
    const released = new Set(
      holds
        .filter(({ releasedAt }) => releasedAt && run.clock.ofStored(releasedAt) > begun && run.clock.ofStored(releasedAt) < ended)
        .map(({ id }) => id),
    ).size;
    const most = 1 + released;
    return inVain > most ? [`${inVain} charges in vain while LiteLLM takes no raise of ${of}, instead of ${most} at most`] : [];
  });
}

function reservedAt(rechargeId: string, recharges: RechargeFact[], { clock }: Run): number {
  const recharge = recharges.find(({ id }) => id === rechargeId);
  return recharge ? clock.ofStored(recharge.createdAt) : Number.NEGATIVE_INFINITY;
}

/** When it was reserved, by the clock on the wall: the service had the days and months of that one. */
function seenAt(rechargeId: string, recharges: RechargeFact[]): number {
  return new Date(recharges.find(({ id }) => id === rechargeId)?.timeline[0]?.at ?? Number.NaN).getTime();
}

/** As `createdAt`: time that is made to pass moves what is stored, and leaves the timeline as it is. */
function movedLastAt({ createdAt, timeline }: RechargeFact): Date {
  const [first, last] = [timeline[0], timeline.at(-1)];
  const took = first && last ? Date.parse(last.at) - Date.parse(first.at) : 0;
  return new Date(createdAt.getTime() + took);
}

function beginningOfDay(instant: number): number {
  return instant - (instant % DAY_MS);
}

function beginningOfMonth(instant: number): number {
  const at = new Date(instant);
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth());
}

function cents(dollars: number): number {
  return Math.round(dollars * 100);
}

function minutes(ms: number): string {
  return `${(ms / MINUTE_MS).toFixed(1)} min`;
}

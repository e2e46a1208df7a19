/**
 * How an organization stands, in the words of whoever has to act. Pure: what is stored comes in, one answer goes out.
 * `bill status`, `GET /api/v1/status`, `bill org` and `bill doctor` all say what is decided here. Of the service itself:
 * service-status.ts.
 */
import { type AppliedHold, CONFIRM_FIRST, endedBy, endsWithCard, type Stopped, seenOf } from './hold.ts';
import { isOfLimit, type LimitsUsed } from './limits.ts';
import { litellmCall } from './litellm-call.ts';
import { dollarsFromQuota, formatQuota, type QuotaMicros, quotaMicros } from './money.ts';
import { actionOnRecharge, actionOnRefusal, actionOnReversal, type ToldRefusal } from './outbound-event.ts';
import { overdueAfter, UNDECIDED_AFTER_MS, undecidedEvent } from './overdue.ts';
import { REFUSALS } from './policy.ts';
import type { RechargeStatus } from './recharge-status.ts';
import type { LimitInTheWay } from './settings-warnings.ts';
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

const OF_HOLDS: readonly OrganizationState[] = ['held', 'card_declined'];

/** Whether nobody has to act: what goes on by itself, and what somebody has turned off, is no fault. */
export function isQuiet(state: OrganizationState): boolean {
  return state === 'ok' || state === 'recharging' || state === 'off';
}

/** `next`: what happens by itself, and when, or what a person does, with the command. */
export type Standing = { state: OrganizationState; since: Date | null; why: string | null; next: string | null };

/** What a run has failed with, and is about to try again. `nextAt`: null while it tries. */
export type RunTrouble = { step: string; attempts: number; reason: string; nextAt: Date | null };

/** What a run does now. */
export type RunStep = { step: string; since: Date };

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
/** `stops`: of a hold on a card. */
export type StandingHold = AppliedHold & { since: Date; stops: Stopped | null };
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
  /** The sweep leaves it alone so long still, after so many events that came to nothing; null: it does not. */
  sweepPause: { remainingMs: number; failures: number } | null;
  /** When its settings were last changed: which of them, nobody has stored. */
  settingsAt: Date;
  /** Here, by its setting. */
  isBlocked: boolean;
  /** Its team is to be made for it, and no synchronisation has done so. */
  isTeamAwaited: boolean;
  /** Its team was made for it, and nobody has used it. */
  isUnused: boolean;
  /** The limits that leave nothing to charge, each with what to change. */
  limitsOfNothing: readonly LimitInTheWay[];
  /** Those that stop every recharge of a balance at its minimum, each with what to change. */
  limitsOfOneCharge: readonly LimitInTheWay[];
  recharge: OpenRecharge | null;
  /** The oldest that has no recharge. */
  event: OpenEvent | null;
  reversals: readonly ParkedReversal[];
  /** Its own, and those on the card of its last recharge. Those of the service are the service's. */
  holds: readonly StandingHold[];
  refusals: readonly StandingRefusal[];
  /** Of one that a limit refuses; null: none does. */
  limitsUsed: LimitsUsed | null;
  drifts: readonly StandingDrift[];
  /** Where somebody has lowered the budget, what it was; null: it is as expected, or nothing is known. */
  budgetExpected: QuotaMicros | null;
  /** Of a team that is gone: what was left of it when it was last seen, and what our last write left. null: not known. */
  gone: { left: QuotaMicros | null; lastBudget: QuotaMicros | null };
  /** When its next day and month begin, in its time zone. */
  nextDay: Date;
  nextMonth: Date;
};

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
 * How an organization stands: what most needs somebody, of all that there is, and behind its `next` what else needs somebody.
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
    ...underWay(facts, obstacles.stop),
  ];
  const { id, isAutoRecharged, isBlocked } = facts;
  const off = (why: string, next: string): Standing => ({ state: 'off', since: null, why, next });
  if (!isAutoRecharged) found.push(off(REFUSALS.auto_recharge_disabled, actionOnRefusal('auto_recharge_disabled', id)));
  if (isBlocked) found.push(off('it is blocked, so LiteLLM refuses its calls and nothing is charged', `bill org set ${id} --blocked off`));
  const [first, ...others] = found.toSorted(byUrgency).map((standing) => (standing.since ? standing : bySetting(facts, standing)));
  return first ? withOthers(first, others) : unremarkable(facts, obstacles, now);
}

/** Names one of each other state: what is put right alone would else leave a cause that nobody was told of. */
function withOthers(first: Standing, others: readonly Standing[]): Standing {
  const named = new Set<OrganizationState>([first.state]);
  // A hold names those beside it.
  if (OF_HOLDS.includes(first.state)) for (const state of OF_HOLDS) named.add(state);
  const lines: string[] = [];
  for (const { state, why } of others) {
    if (isQuiet(state) || named.has(state)) continue;
    named.add(state);
    lines.push(`then: ${STATE_NAMES[state]}: ${why}`);
  }
  return { ...first, next: [first.next, ...lines].join('\n') };
}

function byUrgency(one: Standing, other: Standing): number {
  return ORGANIZATION_STATES.indexOf(one.state) - ORGANIZATION_STATES.indexOf(other.state) || timeOf(one) - timeOf(other);
}

/** A setting has none of its own: what has happened comes before it. */
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
function unremarkable(
  { id, litellmTeamId, lowSince, sweepPause, isTeamAwaited, isUnused }: OrganizationFacts,
  { stop, hold }: Obstacles,
  now: Date,
): Standing {
  const fine = { state: 'ok', since: null, next: null } as const;
  if (isTeamAwaited) {
    const why = 'the next synchronisation makes its team, with max_budget 0, where LiteLLM does not have it';
    return { ...fine, why, next: `bill sync --org ${id} --wait makes it now` };
  }
  if (isUnused) return { ...fine, why: 'its team was made for it, and nothing is charged before its first call or alert' };
  if (lowSince === null) return { ...fine, why: null };
  const obstacle = stop ?? hold;
  const bySweep = sweepPause
    ? `the sweep waits until ${shown(new Date(now.getTime() + sweepPause.remainingMs))}, because ${sweepPause.failures} in a row came to nothing; sooner: bill webhook send --team ${litellmTeamId}`
    : 'the next sweep, within a minute, has it charged, or says why not';
  const next = obstacle === null ? bySweep : goesOn(undefined, obstacle);
  return { state: 'recharging', since: lowSince, why: 'its balance is at or below its minimum', next };
}

function held(facts: OrganizationFacts): Standing[] {
  const { holds } = facts;
  return holds.map((hold) => ({
    state: endsWithCard(hold.reason) ? 'card_declined' : 'held',
    since: hold.since,
    why: `${seenOf(hold)} (${hold.reason})`,
    next: `${hold.until ? `it ends at ${shown(hold.until)}, or sooner: ` : ''}${endOf(hold, facts)}${afterwards(hold, facts)}`,
  }));
}

/** What follows when a hold has ended: another may stand beside it, and limits are counted only when all have ended. */
function afterwards({ id: ended }: StandingHold, { holds, lowSince, isAutoRecharged }: OrganizationFacts): string {
  const others = holds.filter(({ id }) => id !== ended);
  if (others.length > 0) return others.map(({ id, reason }) => `\nthen: ${reason} stops it too: ${releaseOf(id)}`).join('');
  return lowSince && isAutoRecharged
    ? '\nthen, where its balance is still low: the next sweep, within a minute, has it charged, or says why not'
    : '';
}

/** What ends a hold, to be pasted where it is a command. */
function endOf(hold: StandingHold, organization: OrganizationFacts): string {
  const { id, reason, detail } = hold;
  const { id: organizationId, stripeCustomerId, litellmTeamId, budgetExpected, drifts } = organization;
  if (reason === 'budget_lowered' && budgetExpected !== null) {
    const restore = litellmCall('/team/update', { team_id: litellmTeamId, max_budget: dollars(budgetExpected) });
    const isTold = drifts.some(({ kind }) => kind === 'budget_edited');
    const sync = isTold ? `\nthen: bill sync --org ${organizationId} --wait` : '';
    return `one of:\n${acceptBudget(organizationId)}    # it was meant\n${restore}    # it was not meant: a probe each minute sees it${sync}`;
  }
  if (endsWithCard(reason)) {
    const first = detail.includes(CONFIRM_FIRST) ? 'the customer has confirmed it with the bank: ' : '';
    return `one of:\ngive ${stripeCustomerId} another card at Stripe, as its default: the hold ends by itself\n${releaseOf(id)}    # ${first}the same card is asked again`;
  }
  return `${endedBy(hold)}: ${releaseOf(id)}`;
}

/** What a setting leads to has been so since the last change at least, which may have been of another one. */
function bySetting({ settingsAt }: OrganizationFacts, { why, ...standing }: Standing): Standing {
  return { ...standing, since: settingsAt, why: `${why} (since its settings were last changed, or longer)` };
}

/** Settings under which no recharge is possible, or each is held. */
function limited({ id, limitsOfNothing, limitsOfOneCharge }: OrganizationFacts): Standing[] {
  return [...limitsOfNothing, ...limitsOfOneCharge].map(({ why, flag }) => ({
    state: 'limit_reached',
    since: null,
    why,
    next: `bill org set ${id} ${flag}`,
  }));
}

/** The command that ends a hold. */
export function releaseOf(holdId: string): string {
  return `bill release ${holdId} "reason"`;
}

/** What a limit of nothing refuses ends with no day: `limited` says what to change. */
function refused({ id, refusals, limitsUsed, limitsOfNothing, isBlocked, nextDay, nextMonth }: OrganizationFacts): Standing[] {
  const meant: ToldRefusal | null = isBlocked ? 'team_blocked' : null;
  return refusals
    .filter(({ reason }) => reason !== meant && !(limitsOfNothing.length > 0 && isOfLimit(reason)))
    .map(({ reason, since }) => {
      const state = REFUSAL_STATES[reason];
      const ends = reason === 'monthly_limit_reached' ? nextMonth : nextDay;
      const action = actionOnRefusal(reason, id);
      const used = isOfLimit(reason) ? limitsUsed?.[reason] : undefined;
      return {
        state,
        since,
        why: `${REFUSALS[reason]}${used ? ` (${used})` : ''}`,
        next: state === 'limit_reached' ? `it is charged again from ${shown(ends)} on; ${action}` : action,
      };
    });
}

/** A budget that was edited is said by the hold that it has made, where there is one. */
function differing({ id, drifts, gone, holds, budgetExpected }: OrganizationFacts): Standing[] {
  const isHeldForIt = budgetExpected !== null && holds.some(({ reason }) => reason === 'budget_lowered');
  const told = drifts.filter(({ kind }) => !(isHeldForIt && kind === 'budget_edited'));
  return told.map((drift) => ({
    state: 'litellm_differs',
    since: drift.at,
    why: `${drift.subject} in LiteLLM: ${whyOf(drift)}${figures(drift)}`,
    next: NEXT_ON_DRIFT[drift.kind]?.(drift, { id, gone }) ?? `bill sync --org ${id} --wait tries it again, and says what it meets`,
  }));
}

/** The advice, and what was tried and has failed. How a deleted team is made again is a command, with the balance known by now. */
function whyOf({ kind, reason, hasFailed }: StandingDrift): string {
  if (reason === null || kind === 'team_deleted') return DRIFT_ADVICE[kind];
  return hasFailed ? `${DRIFT_ADVICE[kind]}, which has failed: ${reason}` : reason;
}

function figures({ kind, ours, theirs }: StandingDrift): string {
  return kind !== 'budget_edited' ? '' : ` (${theirs}, where ${ours} is expected)`;
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
  return `${call(left)}    # it is made again, with what was left when it was last seen: take off what was spent since${accept}\nthen: bill sweep`;
}

function acceptBudget(organizationId: string): string {
  return `bill org accept-budget ${organizationId} "reason"`;
}

/** A team of which nothing is known begins with none. */
function dollars(quota: QuotaMicros | null): number {
  return dollarsFromQuota(quota ?? quotaMicros(0));
}

/** An event that has been open for so long has met what no retry has ended. */
function undecided({ event }: OrganizationFacts, now: Date): Standing[] {
  if (!event || now.getTime() - event.since.getTime() < UNDECIDED_AFTER_MS) return [];
  const { seen, action } = undecidedEvent({ eventId: event.id, teamId: event.teamId });
  return [{ state: 'needs_person', since: event.since, why: `${event.id}: ${withTrouble(seen, event.trouble)}`, next: action }];
}

/** What waits for a person comes before it. */
function underWay({ recharge, event }: OrganizationFacts, stop: string | null): Standing[] {
  const found: Standing[] = [];
  if (recharge) {
    const { id, status, since, amount, trouble } = recharge;
    const why = withTrouble(`${amount} by ${id} is ${status}`, trouble);
    const next = status === 'processing' ? 'quota follows when the bank has settled it, which takes days' : goesOn(trouble, stop);
    found.push({ state: 'recharging', since, why, next });
  }
  if (event) {
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
  return `${what}; ${failureOf(trouble)}`;
}

function failureOf({ step, attempts, reason }: RunTrouble): string {
  return `${step} has failed ${attempts === 1 ? 'once' : `${attempts} times`}: ${reason}`;
}

/** What a run has failed with, and what happens next to it. */
export function troubleText(trouble: RunTrouble): string {
  return `${failureOf(trouble)}; ${goesOn(trouble, null)}`;
}

/** A step takes seconds where nothing hangs and there is not much to do, and fails by itself only after half a minute. */
const LONG_STEP_MS = 5_000;

/** What is said of a step that takes long and has not failed yet; null of one that does not take long. */
export function longStepText({ step, since }: RunStep, now: Date): string | null {
  if (now.getTime() - since.getTime() < LONG_STEP_MS) return null;
  return `${step} has been under way since ${shownToTheSecond(since)}: bill doctor says whether all that it needs answers`;
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

/**
 * Stories of what others do to a recharge: a restore, money that goes back, a call that hangs, an edit in between. A run
 * plays one of them, or what scenarios.ts and draw.ts have.
 */
import type { Random } from './random.ts';
import { AFTER_THE_LOOK_MS, AT_THE_GATE, AT_THE_GATE_MS, alert, REST, type Scenario } from './scenarios.ts';
import type { CallName, Step } from './schedule.ts';

/** Longer than a refund waits for a write of the budget that nobody has answered. */
const LONG_REST: Step = { kind: 'rest', ms: 100_000 };
/** Events of Stripe arrive within, and what they start has begun. */
const HEARD_MS = 1_500;
/** Longer than a LiteLLM that reads from a replica is believed to be behind the last raise. */
const NOT_STALE: Step = { kind: 'time', minutes: 10 };

/** About a quarter of the runs play one. */
export function drawAccident(random: Random): Scenario | undefined {
  return random.weighted<() => Scenario | undefined>([
    [100, () => undefined],
    [6, () => drawRestore(random)],
    [2, () => drawHiddenPayment(random)],
    [3, () => drawRestoredLitellm(random)],
    [3, () => drawRestoreBeforeReturn(random)],
    [6, () => drawReturnedMoney(random)],
    [4, () => drawReturnMeanwhile(random)],
    [2, () => drawChangedAmount(random)],
    [3, () => drawSynchronisation(random)],
    [2, () => drawHang(random)],
    [1, () => drawLateWrite(random)],
    [2, () => drawOldRead(random)],
    [2, () => drawSwitchedOff(random)],
    [2, () => drawEditAtTheWrite(random)],
  ])();
}

function decisionOf(random: Random): 'grant' | 'refund' {
  return random.pick(['grant', 'refund'] as const);
}

function crossAgain(random: Random): Step[] {
  return [{ kind: 'use up', over: random.pick([0, 0.5]) }, alert(random), REST];
}

/** The database, LiteLLM with it or not, is as it was before a charge, or in the middle of it. */
function drawRestore(random: Random): Scenario {
  const what = random.pick(['the database', 'both', 'both'] as const);
  const steps: Step[] = [];
  const refuses = random.chance(0.2);
  const isMidway = random.chance(0.3);
  if (refuses) steps.push({ kind: 'refuse raises', of: 'the team' });
  if (isMidway) {
    const status = random.pick(['reserved', 'charging', 'charged'] as const);
    steps.push({ kind: 'gate', call: GATE_OF[status] }, alert(random), { kind: 'until', status, ms: AT_THE_GATE_MS });
    steps.push({ kind: 'back up' }, { kind: 'open the gate' }, REST);
  } else {
    steps.push({ kind: 'back up' }, alert(random), REST);
    if (random.chance(0.3)) steps.push({ kind: 'return money', by: random.pick(['a refund', 'a dispute'] as const) }, REST);
    else if (random.chance(0.4)) steps.push(...crossAgain(random));
  }
  if (refuses) steps.push({ kind: 'take raises' });
  if (random.chance(0.4)) steps.push({ kind: 'prune keys' });
  const decision = decisionOf(random);
  // What LiteLLM shows was paid for, and by more than one payment where a person is asked.
  steps.push({ kind: 'restore', what, parked: what === 'the database' ? 'accept' : decision });
  // What was under way has no run any more: until it has one, its event takes every alert for a copy.
  if (isMidway) steps.push({ kind: 'reconcile' }, REST);
  const looks: Step[][] = [[alert(random), REST], [{ kind: 'reconcile' }, REST], [{ kind: 'sweep' }, REST], crossAgain(random)];
  for (let more = random.between(1, 3); more > 0; more--) steps.push(...random.pick(looks));
  return { start: { spend: random.pick([9.5, 10]) }, steps };
}

/**
 * The database, LiteLLM with it or not, is as it was between a grant and the return of its money, or between that and
 * the money's coming again.
 */
function drawRestoreBeforeReturn(random: Random): Scenario {
  const by = random.pick(['a refund', 'a refund of a part', 'a dispute', 'a dispute'] as const);
  const goes: Step[] = [{ kind: 'return money', by }, REST];
  const comes: Step[] = [{ kind: 'decide', as: 'won' }, REST];
  const backUp: Step = { kind: 'back up' };
  const steps: Step[] = [alert(random), REST];
  steps.push(...(by === 'a dispute' && random.chance(0.4) ? [...goes, backUp, ...comes] : [backUp, ...goes]));
  steps.push({ kind: 'restore', what: random.pick(['the database', 'both'] as const), parked: 'accept' });
  if (random.chance(0.5)) steps.push(alert(random), REST);
  if (random.chance(0.5)) steps.push({ kind: 'reconcile' }, REST);
  return { start: { spend: 10 }, steps };
}

/** Where a recharge waits in a status. */
const GATE_OF = { reserved: 'read the customer', charging: 'confirm the intent', charged: 'write the budget' } as const;

/** Both are restored, and right after that Stripe does not list what the database has lost. */
function drawHiddenPayment(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'back up' }, alert(random), REST, { kind: 'restore', what: 'both', parked: decisionOf(random) }];
  steps.push({ kind: 'hide payments' }, alert(random), REST, { kind: 'show payments' });
  steps.push(random.chance(0.5) ? { kind: 'reconcile' } : alert(random), REST);
  return { start: { spend: 10 }, steps };
}

/** LiteLLM has lost raises that the database knows of. A person accepts that, or does not. */
function drawRestoredLitellm(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'back up' }, alert(random), REST];
  if (random.chance(0.5)) steps.push(...crossAgain(random));
  steps.push(NOT_STALE, { kind: 'restore', what: 'LiteLLM', parked: 'refund' });
  steps.push(random.chance(0.3) ? { kind: 'sweep' } : alert(random), REST);
  if (random.chance(0.4)) steps.push({ kind: 'use up', over: 0.5 }, alert(random), REST);
  if (random.chance(0.5)) steps.push({ kind: 'release', reasons: ['budget_lowered'] }, alert(random), REST);
  return { start: { spend: 10 }, steps };
}

/** A payment goes back by refunds and disputes that others make, and may come again. */
function drawReturnedMoney(random: Random): Scenario {
  const are = random.pick(['delivered', 'delivered', 'lost', 'doubled', 'late'] as const);
  const steps: Step[] = [{ kind: 'Stripe events', are }, alert(random), REST];
  if (random.chance(0.4)) steps.push({ kind: 'edit budget', by: -random.pick([3, 15, 15]) });
  for (let returns = random.pick([1, 2, 2]); returns > 0; returns--) {
    steps.push({ kind: 'return money', by: random.pick(['a refund', 'a refund of a part', 'a refund of a part', 'a dispute'] as const) });
    if (random.chance(0.6)) steps.push(REST);
  }
  if (random.chance(0.6)) steps.push({ kind: 'decide', as: random.pick(['won', 'won', 'lost'] as const) }, REST);
  if (random.chance(0.5)) steps.push(alert(random), REST);
  if (random.chance(0.4)) steps.push({ kind: 'release', reasons: ['operator', 'disputed'] }, alert(random), REST);
  if (are === 'lost' && random.chance(0.5)) steps.push({ kind: 'reconcile' }, REST);
  return { steps };
}

/** Money goes back while a recharge waits at one of its calls: that recharge's own, or that of the one before. */
function drawReturnMeanwhile(random: Random): Scenario {
  const by = random.pick(['a refund', 'a refund of a part', 'a dispute'] as const);
  const steps: Step[] = [];
  const isOwn = random.chance(0.4);
  if (!isOwn) steps.push(alert(random), REST, { kind: 'use up', over: 0.5 });
  const call: CallName = isOwn ? 'write the budget' : random.pick(['write the budget', 'create the intent', 'confirm the intent'] as const);
  const isCaptured = !isOwn && call === 'write the budget';
  steps.push({ kind: 'gate', call }, alert(random), AT_THE_GATE);
  steps.push({ kind: 'return money', by, ...(isCaptured && { before: 1 as const }) }, { kind: 'pause', ms: HEARD_MS });
  steps.push({ kind: 'open the gate' }, REST);
  if (random.chance(0.3)) steps.push({ kind: 'decide', as: 'won' }, REST);
  return { start: { spend: 10 }, steps };
}

/** Stripe captures another amount than was asked for; a person decides. */
function drawChangedAmount(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'gate', call: 'confirm the intent' }, alert(random), AT_THE_GATE];
  steps.push({ kind: 'change the amount', by: random.pick([-500, -50, 600]) }, { kind: 'open the gate' }, REST);
  if (random.chance(0.7)) steps.push({ kind: 'resolve', by: decisionOf(random) }, REST);
  return { start: { spend: 10 }, steps };
}

/** Synchronisations, two at once, before a recharge and while it goes through its steps. */
function drawSynchronisation(random: Random): Scenario {
  const steps: Step[] = [];
  if (random.chance(0.5)) steps.push({ kind: 'synchronise', times: random.pick([1, 2]) }, { kind: 'pause', ms: 400 });
  const gate: Step = { kind: 'gate', call: random.pick(['confirm the intent', 'write the budget'] as const) };
  steps.push(gate, alert(random), AT_THE_GATE, { kind: 'synchronise', times: 2 }, { kind: 'pause', ms: 700 });
  steps.push({ kind: 'open the gate' }, REST);
  if (random.chance(0.5)) steps.push({ kind: 'synchronise', times: 2 }, ...crossAgain(random));
  return { steps };
}

/** Stripe or LiteLLM takes a call and answers it long after our deadline; whatever is tried again waits too. */
function drawHang(random: Random): Scenario {
  const call = random.pick([
    'read the team',
    'read the customer',
    'list the payments',
    'create the intent',
    'confirm the intent',
    'write the budget',
  ] as const);
  const gate: Step = { kind: 'gate', call, when: random.pick(['before', 'after'] as const) };
  const steps: Step[] = [gate, alert(random), AT_THE_GATE, { kind: 'pause', ms: random.pick([17_000, 27_000]) }];
  if (random.chance(0.5)) steps.push(alert(random));
  steps.push({ kind: 'open the gate' }, LONG_REST);
  return { steps };
}

/** A write of the budget hangs, the next one is refused, and then the first one is carried out. */
function drawLateWrite(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'gate', call: 'write the budget', once: true }, alert(random), AT_THE_GATE];
  steps.push({ kind: 'refuse raises', of: 'the team' }, { kind: 'pause', ms: 19_000 }, { kind: 'take raises' });
  steps.push({ kind: 'pause', ms: random.pick([500, 5_000]) }, { kind: 'open the gate' }, LONG_REST);
  return { steps };
}

/**
 * One run has read the balance before another one's recharge, and decides after it. It reads twice: within the workflow
 * task, which waits two seconds, and then in an activity, whose answer it decides on.
 */
function drawOldRead(random: Random): Scenario {
  const ms = random.pick([8_000, 10_000]);
  const slow: Step = { kind: 'fault', call: 'read the team', when: 'after', what: 'delay', skip: 0, times: 2, ms };
  const first: Step = { kind: 'alert', event: 'threshold_crossed', proof: 'token', copies: 1, tells: 'what is so' };
  const second: Step = { ...first, event: 'budget_crossed' };
  return { start: { spend: 10 }, steps: [slow, first, AT_THE_GATE, { kind: 'pause', ms: 4_000 }, second, REST] };
}

/** Auto-recharge is turned off while a charge waits at one of its calls. */
function drawSwitchedOff(random: Random): Scenario {
  const call = random.pick(['read the team', 'read the customer', 'create the intent', 'create the intent'] as const);
  const steps: Step[] = [{ kind: 'gate', call }, alert(random), AT_THE_GATE];
  steps.push({ kind: 'settings', change: { auto_recharge_enabled: false } }, { kind: 'pause', ms: AFTER_THE_LOOK_MS });
  steps.push({ kind: 'open the gate' }, REST, alert(random), REST);
  if (random.chance(0.6)) steps.push({ kind: 'settings', change: { auto_recharge_enabled: true } }, alert(random), REST);
  return { steps };
}

/** Somebody edits the budget after our write of it and before we read it back. */
function drawEditAtTheWrite(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'gate', call: 'write the budget', when: 'after' }, alert(random), AT_THE_GATE];
  steps.push({ kind: 'edit budget', by: random.pick([5, -1.5]) }, { kind: 'open the gate' }, REST);
  return { start: { spend: 10 }, steps };
}

/**
 * Draws schedules. They depend on nothing but the seed and the number of the run, so that they can be drawn
 * again.
 */
import { drawAccident } from './accidents.ts';
import { Random } from './random.ts';
import { drawScenario } from './scenarios.ts';
import {
  type ActivityName,
  CALLS,
  CARD_BEHAVIOURS,
  type CallName,
  type CardBehaviour,
  type Misfortune,
  playsAlone,
  type Schedule,
  type SettingsChange,
  type Step,
  type StepOf,
} from './schedule.ts';

/** Above every shortage that a schedule makes. */
const NO_LIMIT = 99_999;

/** Of the source that accidents are drawn from. Any number: with this one the first runs of seed 1 hold each of them. */
const ACCIDENTS = 0x3eaf4;

/** How much of the whole environment's misfortune there is: a run in so many brings some, 0 for none. */
export type Roughness = { disturbEvery: number; restarts: boolean };

export function drawSchedule(seed: number, run: number, { disturbEvery, restarts }: Roughness): Schedule {
  const random = new Random(seed, run);
  const start = {
    budget: 10,
    spend: random.pick([8, 9.5, 10, 10.5, 13.25]),
    minimum: 2,
    target: random.pick([12, 20, 27.77]),
    maxDailyRecharges: random.pick([10, 10, 10, 10, 2, 1]),
    maxCharge: NO_LIMIT,
    maxDailyAmount: NO_LIMIT,
    maxMonthlyAmount: NO_LIMIT,
  };
  // Drawn from sources of their own, so that a run has the same steps otherwise.
  const story = drawScenario(new Random(seed ^ 0xb0, run), run);
  const scenario = story && playsAlone(story) ? story : (drawAccident(new Random(seed ^ ACCIDENTS, run)) ?? story);
  const disturbance = new Random(seed ^ 0x5eed, run);
  const schedule: Schedule = scenario
    ? { ...scenario, start: { ...start, maxDailyRecharges: 10, ...scenario.start } }
    : { start, steps: drawRounds(random) };
  if (scenario && !playsAlone(schedule) && random.chance(0.3)) {
    schedule.steps.unshift(random.chance(0.5) ? drawMishap(random) : drawFault(random));
  }
  if (disturbEvery > 0 && !playsAlone(schedule) && disturbance.chance(1 / disturbEvery)) {
    const firstAlert = schedule.steps.findIndex(({ kind }) => kind === 'alert');
    schedule.steps.splice(Math.max(0, firstAlert) + disturbance.between(0, 2), 0, ...drawDisturbance(disturbance, restarts));
  }
  return schedule;
}

function drawRounds(random: Random): Step[] {
  const steps: Step[] = [];
  for (let rounds = random.pick([1, 1, 1, 2, 2, 3]); rounds > 0; rounds--) {
    steps.push(...drawRound(random));
    if (random.chance(0.5)) steps.push({ kind: 'rest', ms: 15_000 });
    if (rounds > 1) steps.push({ kind: 'use up', over: random.pick([0, 0.5, 1.25]) });
  }
  return steps;
}

/** One crossing: what is going to go wrong, the alerts of it, and what else happens meanwhile. */
function drawRound(random: Random): Step[] {
  const armed: Step[] = [];
  for (let faults = random.pick([0, 1, 1, 1, 2, 2, 3]); faults > 0; faults--) armed.push(drawFault(random));
  if (random.chance(0.55)) armed.push(drawMishap(random));

  const happenings: Step[][] = [[drawAlert(random)]];
  for (let more = random.pick([0, 1, 1, 2, 2, 3]); more > 0; more--) happenings.push(drawHappening(random));
  const steps = happenings.flatMap((happening): Step[] => (random.chance(0.5) ? [...happening, drawPause(random)] : happening));

  if (random.chance(0.1)) return [...armed, ...drawTeamDeletion(random)];
  if (random.chance(0.1)) return [...armed, ...drawAgedRetry(random), ...steps];
  return [...armed, ...steps];
}

function drawPause(random: Random): Step {
  return { kind: 'pause', ms: random.pick([5, 20, 60, 120, 250, 400, 700]) };
}

/** The moment for something that matters most while a recharge is on its way. */
function drawMoment(random: Random): Step[] {
  if (random.chance(0.3)) return [];
  const moment: Step = { kind: 'until', status: random.pick(['reserved', 'charging', 'charged']), ms: 4_000 };
  return random.chance(0.4) ? [moment, drawPause(random)] : [moment];
}

function drawAlert(random: Random): Step {
  return {
    kind: 'alert',
    event: random.weighted([
      [6, 'budget_crossed'],
      [3, 'threshold_crossed'],
      [1, 'max_budget_alert'],
    ]),
    proof: random.pick(['Standard Webhooks', 'Standard Webhooks', 'X-LiteLLM-Signature', 'token']),
    copies: random.weighted([
      [6, 1],
      [2, 2],
      [2, 4],
      [1, 10],
    ]),
    tells: random.weighted([
      [90, 'what is so'],
      [12, 'the first budget'],
      [1, 'spend to come'],
    ]),
  };
}

function drawHappening(random: Random): Step[] {
  const happening = random.weighted<() => Step[]>([
    [9, () => [drawAlert(random)]],
    [4, () => [{ kind: 'replay', times: random.pick([1, 3]) }]],
    [1, () => [{ kind: 'conflict' }]],
    [3, () => [{ kind: 'spend', dollars: random.pick([0.01, 1.5, 9, 25]) }]],
    [3, () => [{ kind: 'settings', change: drawSettings(random) }]],
    [1, () => [{ kind: 'suspend' }]],
    [1, () => [{ kind: 'resume' }]],
    [1, () => [...drawMoment(random), { kind: 'hold', scope: 'organization' }]],
    [1, () => [{ kind: 'release', reasons: ['operator', 'three_failures', 'budget_lowered'] }]],
    [1, () => [{ kind: 'sweep' }]],
    [1, () => [{ kind: 'time', minutes: random.pick([16, 31, 24 * 60]) }]],
    [3, () => [{ kind: 'card', behaves: random.pick(Object.keys(CARD_BEHAVIOURS) as CardBehaviour[]) }]],
    [3, () => [...drawMoment(random), { kind: 'edit budget', by: random.pick([5, 5, 5, -1.5, -1.5, 'unlimited']) }]],
    [6, () => [...drawMoment(random), { kind: 'cancel' }]],
    [1, () => [{ kind: 'prune keys' }]],
  ]);
  return happening();
}

function drawSettings(random: Random): SettingsChange {
  return random.pick<SettingsChange>([
    { target_balance: '40.00' },
    { target_balance: '6.00' },
    { minimum_balance: '3.50' },
    { quota_per_unit: '1.25' },
    { max_daily_recharges: 1 },
    { max_daily_recharges: 12 },
    { auto_recharge_enabled: false },
    { auto_recharge_enabled: true },
  ]);
}

/** Those that every recharge makes, and some that only a declined or repeated one does. */
const COMMON_CALLS: CallName[] = [
  'read the customer',
  'create the intent',
  'create the intent',
  'confirm the intent',
  'confirm the intent',
  'read the intent',
  'cancel the intent',
  'read the team',
  'write the budget',
  'write the budget',
];

/** A fault that strikes the first call. */
const DULL = { kind: 'fault', skip: 0, ms: 0 } as const;

function drawFault(random: Random, call: CallName = random.pick(COMMON_CALLS)): StepOf<'fault'> {
  const { server, method } = CALLS[call];
  const what = random.weighted<Misfortune>([
    [4, '500'],
    [server === 'stripe' && method === 'POST' ? 4 : 0, 'saved 500'],
    [2, '409'],
    [2, '429'],
    [2, 'HTML'],
    [3, 'half an answer'],
    [4, 'reset'],
    [4, 'delay'],
    [0.12, 'hang'],
  ]);
  return {
    kind: 'fault',
    call,
    // These two are said before anything has run.
    when: what === '409' || what === '429' ? 'before' : random.pick(['before', 'after', 'after']),
    what,
    skip: random.weighted([
      [4, 0],
      [2, 1],
    ]),
    // stripe-node itself sends once more after a reset.
    times: what === 'hang' ? 1 : what === 'reset' && server === 'stripe' ? 2 : random.pick([1, 1, 2]),
    ms: random.pick([50, 200, 400, 900]),
  };
}

function drawMishap(random: Random): StepOf<'mishap'> {
  return {
    kind: 'mishap',
    activity: random.weighted([
      [2, 'checkLimits'],
      [1, 'releaseReservation'],
      [4, 'chargeStripe'],
      [3, 'recordRecharge'],
      [4, 'updateKmsQuota'],
      [3, 'closeEvent'],
    ]),
    point: random.pick(['before', 'first commit', 'second commit', 'first transaction', 'first transaction', 'after']),
    skip: random.weighted([
      [4, 0],
      [1, 1],
    ]),
    ending: 'throws',
  };
}

/** LiteLLM does not take the budget while the team is being deleted, so the charge has to be given back. */
function drawTeamDeletion(random: Random): Step[] {
  const refusal: Step = { ...DULL, call: 'write the budget', when: random.pick(['before', 'after']), what: '500', times: 3 };
  const onTheWay: Step[] = [
    ...(random.chance(0.7) ? [drawFault(random, 'refund')] : []),
    ...(random.chance(0.3) ? [drawFault(random, 'look for a refund')] : []),
    ...(random.chance(0.3) ? [drawFault(random, 'ask for readiness')] : []),
    ...(random.chance(0.5) ? [{ ...drawMishap(random), activity: 'refundCharge' } as const] : []),
  ];
  const moment: Step = { kind: 'until', status: random.pick(['charged', 'charged', 'charged', 'reserved']), ms: 8_000 };
  return [refusal, ...onTheWay, drawAlert(random), moment, { kind: 'delete team' }];
}

/**
 * The answer to a confirm or a creation is lost, and Stripe has forgotten the key by the time that we ask
 * again.
 */
function drawAgedRetry(random: Random): Step[] {
  const call = random.pick(['confirm the intent', 'create the intent'] as const);
  const lost: Step = { ...DULL, call, when: 'after', what: 'reset', times: 2 };
  return [lost, drawAlert(random), { kind: 'until struck', ms: 8_000 }, { kind: 'prune keys' }];
}

function drawDisturbance(random: Random, restarts: boolean): Step[] {
  const disturbance = random.weighted<() => Step>([
    [4, () => ({ ...drawMishap(random), activity: random.pick(DIED_IN), skip: 0, ending: 'dies' })],
    [3, () => ({ ...drawFault(random, random.pick(KILLED_IN)), what: 'hang', skip: 0, times: 1, kills: true })],
    [2, () => ({ kind: 'disturb', what: 'kill the worker', afterMs: random.between(0, 1_200) })],
    [2, () => ({ kind: 'kill the API', ms: random.between(0, 25) })],
    [restarts ? 2 : 0, () => ({ kind: 'disturb', what: 'restart PostgreSQL', afterMs: random.between(0, 1_200) })],
    [restarts ? 1 : 0, () => ({ kind: 'disturb', what: 'restart Temporal', afterMs: random.between(0, 1_200) })],
  ]);
  return [disturbance()];
}

const DIED_IN: ActivityName[] = ['checkLimits', 'chargeStripe', 'recordRecharge', 'updateKmsQuota', 'closeEvent'];
const KILLED_IN: CallName[] = ['confirm the intent', 'write the budget', 'create the intent', 'read the team'];

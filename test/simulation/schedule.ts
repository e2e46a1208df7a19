/**
 * What happens to one organization in one run: a list of steps that depends on nothing but the seed and the
 * number of the run, so that it can be drawn again, read aloud, and cut down to the steps that matter.
 */
import { Random } from './random.ts';

/** A call of ours to Stripe or LiteLLM that can meet a fault. */
export const CALLS = {
  'read the customer': { server: 'stripe', method: 'GET', path: '/v1/customers/*' },
  'create the intent': { server: 'stripe', method: 'POST', path: '/v1/payment_intents' },
  'confirm the intent': { server: 'stripe', method: 'POST', path: '/v1/payment_intents/*/confirm' },
  'read the intent': { server: 'stripe', method: 'GET', path: '/v1/payment_intents/*' },
  'cancel the intent': { server: 'stripe', method: 'POST', path: '/v1/payment_intents/*/cancel' },
  'look for a refund': { server: 'stripe', method: 'GET', path: '/v1/refunds' },
  refund: { server: 'stripe', method: 'POST', path: '/v1/refunds' },
  'read the team': { server: 'litellm', method: 'GET', path: '/team/info' },
  'write the budget': { server: 'litellm', method: 'POST', path: '/team/update' },
  'ask for readiness': { server: 'litellm', method: 'GET', path: '/health/readiness' },
} as const;
export type CallName = keyof typeof CALLS;

/** What comes back instead of the answer. */
export const MISFORTUNES = ['500', 'saved 500', '409', '429', 'HTML', 'half an answer', 'reset', 'delay', 'hang'] as const;
export type Misfortune = (typeof MISFORTUNES)[number];

export const ACTIVITIES = [
  'checkLimits',
  'releaseReservation',
  'chargeStripe',
  'recordRecharge',
  'updateKmsQuota',
  'refundCharge',
  'closeEvent',
] as const;
export type ActivityName = (typeof ACTIVITIES)[number];

/**
 * Where in an activity it goes wrong: before its work, right after one of its commits, or after all of it.
 */
export type MishapPoint = 'before' | 'first commit' | 'second commit' | 'after';

export type AlertProof = 'Standard Webhooks' | 'X-LiteLLM-Signature' | 'token';

export type Step =
  | { kind: 'pause'; ms: number }
  /** Until nothing of this organization is open any more, or for so long. */
  | { kind: 'rest'; ms: number }
  /** Until a recharge is in this status, or for so long: to strike at a known moment. */
  | { kind: 'until'; status: 'reserved' | 'charging' | 'charged'; ms: number }
  /** Until the fault that was armed last has struck, or for so long. */
  | { kind: 'until struck'; ms: number }
  | { kind: 'alert'; event: string; proof: AlertProof; copies: number; tells: 'what is so' | 'the first budget' | 'spend to come' }
  /** The last signed delivery once more, under its webhook-id. */
  | { kind: 'replay'; times: number }
  /** The webhook-id of the last signed delivery with another body. */
  | { kind: 'conflict' }
  /** Spends what is left of the budget and so much more; the team has crossed then. */
  | { kind: 'use up'; over: number }
  | { kind: 'spend'; dollars: number }
  | { kind: 'settings'; change: SettingsChange }
  | { kind: 'suspend' }
  | { kind: 'resume' }
  | { kind: 'card'; behaves: CardBehaviour }
  /** Somebody else raises or lowers the budget in LiteLLM, or takes it away. */
  | { kind: 'edit budget'; by: number | 'unlimited' }
  | { kind: 'delete team' }
  /** An operator cancels the workflow of the latest event. */
  | { kind: 'cancel' }
  /** Stripe forgets its idempotency keys, as it may after a day. */
  | { kind: 'prune keys' }
  | { kind: 'fault'; call: CallName; when: 'before' | 'after'; what: Misfortune; skip: number; times: number; ms: number; kills?: true }
  | { kind: 'mishap'; activity: ActivityName; point: MishapPoint; skip: number; ending: 'throws' | 'dies' }
  /** Befalls the whole environment so long after this point, whatever is being done by then. */
  | { kind: 'disturb'; what: Disturbance; afterMs: number }
  /** So long after alerts were sent to it: before the commit, after it, or after the answer. */
  | { kind: 'kill the API'; ms: number };

export type StepOf<K extends Step['kind']> = Extract<Step, { kind: K }>;

export const DISTURBANCES = ['kill the worker', 'kill the API', 'restart PostgreSQL', 'restart Temporal'] as const;
export type Disturbance = (typeof DISTURBANCES)[number];

export type SettingsChange = Partial<{
  target_balance: string;
  minimum_balance: string;
  quota_per_unit: string;
  max_daily_recharges: number;
  auto_recharge_enabled: boolean;
}>;

export const CARD_BEHAVIOURS = {
  'pays again': 'pm_card_visa',
  'is declined': 'pm_card_chargeDeclined',
  'is reported lost': 'pm_card_chargeDeclinedLostCard',
  'has expired': 'pm_card_chargeDeclinedExpiredCard',
  'wants the cardholder': 'pm_card_authenticationRequired',
  'has become a bank account, which settles later': 'pm_usBankAccount',
} as const;
export type CardBehaviour = keyof typeof CARD_BEHAVIOURS;

export type Schedule = {
  /** The organization as it begins, in dollars. */
  start: { budget: number; spend: number; minimum: number; target: number; maxDailyRecharges: number };
  steps: Step[];
};

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
  };
  const steps: Step[] = [];
  for (let rounds = random.pick([1, 1, 1, 2, 2, 3]); rounds > 0; rounds--) {
    steps.push(...drawRound(random));
    if (random.chance(0.5)) steps.push({ kind: 'rest', ms: 15_000 });
    if (rounds > 1) steps.push({ kind: 'use up', over: random.pick([0, 0.5, 1.25]) });
  }
  // Drawn from a source of its own, so that a run has the same steps otherwise, however rough the world is.
  const disturbance = new Random(seed ^ 0x5eed, run);
  if (disturbEvery > 0 && disturbance.chance(1 / disturbEvery)) {
    const firstAlert = steps.findIndex(({ kind }) => kind === 'alert');
    steps.splice(firstAlert + disturbance.between(0, 2), 0, ...drawDisturbance(disturbance, restarts));
  }
  return { start, steps };
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
    point: random.pick(['before', 'first commit', 'second commit', 'after']),
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

/** The step in words. */
export function describe(step: Step): string {
  switch (step.kind) {
    case 'pause':
      return `${step.ms} ms pass`;
    case 'rest':
      return `everything is settled, or ${step.ms / 1000} s pass`;
    case 'until':
      return `a recharge is ${step.status}, or ${step.ms / 1000} s pass`;
    case 'until struck':
      return `the last armed fault strikes, or ${step.ms / 1000} s pass`;
    case 'alert': {
      const times = step.copies > 1 ? `${step.copies} copies of ` : '';
      return `LiteLLM sends ${times}${step.event}, by ${step.proof}, telling of ${step.tells}`;
    }
    case 'replay':
      return `the last signed delivery comes again${step.times > 1 ? `, ${step.times} times at once` : ''}`;
    case 'conflict':
      return 'the last webhook-id comes with another body';
    case 'use up':
      return `the team uses up its budget${step.over ? ` and ${step.over} more` : ''}`;
    case 'spend':
      return `the team spends ${step.dollars}`;
    case 'settings':
      return `an operator sets ${JSON.stringify(step.change)}`;
    case 'suspend':
      return 'an operator suspends the organization';
    case 'resume':
      return 'an operator resumes the organization';
    case 'card':
      return `the card ${step.behaves}`;
    case 'edit budget':
      return step.by === 'unlimited' ? 'somebody else makes the team unlimited' : `somebody else changes the budget by ${step.by}`;
    case 'delete team':
      return 'somebody deletes the team in LiteLLM';
    case 'cancel':
      return 'an operator cancels the workflow of the latest event';
    case 'prune keys':
      return 'Stripe forgets its idempotency keys';
    case 'fault': {
      const which = step.skip ? `after ${step.skip} that passes, ` : '';
      const repeated = step.times > 1 ? `, ${step.times} times` : '';
      const what = step.what === 'delay' ? `a delay of ${step.ms} ms` : step.what;
      return `armed: "${step.call}" meets, ${which}${what} ${step.when} its effect${repeated}${step.kills ? ', and the worker is killed in it' : ''}`;
    }
    case 'mishap': {
      const where = step.point.endsWith('commit') ? `right after its ${step.point}` : `${step.point} its work`;
      const which = step.skip ? `, after ${step.skip} that passes` : '';
      return `armed: ${step.activity} ${step.ending === 'dies' ? 'takes the worker with it' : 'fails'} ${where}${which}`;
    }
    case 'disturb':
      return `${step.what}, ${step.afterMs} ms from now`;
    case 'kill the API':
      return `the API is killed ${step.ms} ms after alerts were sent to it`;
  }
}

/**
 * Stories in which a series of charges would do harm: what the bounds of the service are for. A run plays one
 * of them, or what schedule.ts draws.
 */
import type { Random } from './random.ts';
import type { Others, Start, Step } from './schedule.ts';

/** What a scenario says of a schedule; the rest is drawn as for any other. */
export type Scenario = { start?: Partial<Start>; others?: Others; steps: Step[] };

/** A story that is about a call waits for it: a busy machine comes to it late. */
export const AT_THE_GATE_MS = 60_000;
export const AT_THE_GATE: Step = { kind: 'until struck', ms: AT_THE_GATE_MS };
/** Longer than an oracle grants to a charge that has looked before a hold was opened. */
export const AFTER_THE_LOOK_MS = 4_000;
/** Ends as soon as all is settled; on a busy machine what comes next would else come too early. */
export const REST: Step = { kind: 'rest', ms: 60_000 };

/** These runs have the whole service to themselves. They are few: nobody else plays meanwhile. */
const ALONE = [
  { every: 100, from: 28, draw: drawForbiddenRaises },
  { every: 400, from: 5, draw: drawWrongMode },
  { every: 400, from: 205, draw: drawKillSwitch },
];

/** About a third of the runs play one. */
export function drawScenario(random: Random, run: number): Scenario | undefined {
  const alone = ALONE.find(({ every, from }) => run % every === from);
  if (alone) return alone.draw(random);
  return random.weighted<() => Scenario | undefined>([
    [64, () => undefined],
    [10, () => drawSharedCard(random)],
    [6, () => drawLateHold(random)],
    [8, () => drawLoweredBudget(random)],
    [4, () => drawRefusedRaises(random)],
    [4, () => drawRunaway(random)],
    [2, () => drawAmounts(random)],
    [0.5, () => drawCardSeries(random)],
    [0.5, () => drawRechargeSeries(random)],
  ])();
}

export function alert(random: Random): Step {
  return {
    kind: 'alert',
    event: random.pick(['budget_crossed', 'budget_crossed', 'threshold_crossed']),
    proof: random.pick(['Standard Webhooks', 'X-LiteLLM-Signature', 'token']),
    copies: random.pick([1, 1, 1, 3]),
    tells: 'what is so',
  };
}

function everybody(step: Step): Step {
  return { kind: 'everybody', step };
}

/** Two organizations pay with one card, which goes bad: whose attempt it is makes no difference. */
function drawSharedCard(random: Random): Scenario {
  const steps: Step[] = [
    { kind: 'card', behaves: random.pick(['is declined', 'is declined', 'is declined', 'wants the cardholder', 'is reported lost']) },
  ];
  let isOthersTurn = random.chance(0.5);
  for (let rounds = random.between(2, 4); rounds > 0; rounds--) {
    const one = alert(random);
    steps.push(random.chance(0.5) ? everybody(one) : isOthersTurn ? { kind: 'other', step: one } : one, REST);
    isOthersTurn = !isOthersTurn;
    if (rounds > 1) steps.push({ kind: 'time', minutes: random.pick([5, 14, 16, 16, 16, 31, 61]) });
  }
  if (random.chance(0.4)) {
    steps.push({ kind: 'card', behaves: 'pays again' }, { kind: 'time', minutes: 8 * 24 * 60 }, everybody(alert(random)), REST);
  }
  return { others: { count: 1, share: 'a card' }, steps };
}

/** A month of a card that is declined each time that it may be tried, with a good day now and then. */
function drawCardSeries(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'card', behaves: 'is declined' }];
  let inARow = 0;
  for (let rounds = 18; rounds > 0; rounds--) {
    const isGood = random.chance(0.15);
    if (isGood) steps.push({ kind: 'card', behaves: 'pays again' });
    steps.push(everybody(alert(random)), REST, { kind: 'release', reasons: ['three_failures'] });
    if (isGood) steps.push({ kind: 'card', behaves: 'is declined' }, everybody({ kind: 'use up', over: 0.5 }));
    inARow = isGood ? 0 : inARow + 1;
    const pause = inARow === 0 ? 1 : Math.min(15 * 2 ** (inARow - 1), 7 * 24 * 60);
    steps.push({ kind: 'time', minutes: Math.max(1, pause + random.pick([1, 1, 1, -2, 600])) });
  }
  return { start: { maxDailyRecharges: 50 }, others: { count: 1, share: 'a card' }, steps };
}

/** Somebody stops the charges while one is on its way, or waits at one of its calls. */
function drawLateHold(random: Random): Scenario {
  const call = random.pick(['read the team', 'read the customer', 'create the intent', 'create the intent'] as const);
  const steps: Step[] = [
    { kind: 'gate', call },
    alert(random),
    AT_THE_GATE,
    random.chance(0.7) ? { kind: 'hold', scope: 'organization' } : { kind: 'suspend' },
    { kind: 'pause', ms: AFTER_THE_LOOK_MS },
    { kind: 'open the gate' },
    REST,
  ];
  if (random.chance(0.5)) steps.push(alert(random), REST);
  if (random.chance(0.3)) steps.push({ kind: 'sweep' });
  if (random.chance(0.7))
    steps.push({ kind: 'release', reasons: ['operator'] }, random.chance(0.3) ? { kind: 'sweep' } : alert(random), REST);
  return { steps };
}

/** Somebody takes away in LiteLLM what was paid for; a person accepts it, or puts it back. */
function drawLoweredBudget(random: Random): Scenario {
  const by = random.pick([3, 8, 11.5]);
  const steps: Step[] = [alert(random), REST, { kind: 'edit budget', by: -by }];
  if (random.chance(0.7)) steps.push({ kind: 'use up', over: random.pick([0, 0.5]) });
  steps.push(random.chance(0.3) ? { kind: 'sweep' } : alert(random), REST);
  if (random.chance(0.3)) steps.push({ kind: 'edit budget', by }, { kind: 'sweep' });
  else if (random.chance(0.6)) steps.push({ kind: 'release', reasons: ['budget_lowered'] });
  steps.push({ kind: 'use up', over: 0.25 }, alert(random), REST);
  return { start: { spend: 10 }, steps };
}

/** LiteLLM takes no raise of this team: a cap of its LiteLLM organization, say. */
function drawRefusedRaises(random: Random): Scenario {
  const steps: Step[] = [{ kind: 'refuse raises', of: 'the team' }, alert(random), REST, alert(random), REST];
  if (random.chance(0.3)) steps.push({ kind: 'sweep' }, REST);
  if (random.chance(0.7)) steps.push({ kind: 'take raises' }, { kind: 'release', reasons: ['raise_refused'] }, alert(random), REST);
  return { steps };
}

/** A loop spends thousands at once. */
function drawRunaway(random: Random): Scenario {
  const target = random.pick([12, 20]);
  const steps: Step[] = [{ kind: 'spend', dollars: random.pick([90, 1_000, 60_000]) }, alert(random), REST];
  if (random.chance(0.4)) steps.push(random.chance(0.5) ? { kind: 'sweep' } : alert(random), REST);
  if (random.chance(0.5)) {
    if (random.chance(0.3)) steps.push({ kind: 'spend', dollars: 100 });
    steps.push({ kind: 'release', reasons: ['runaway'] }, random.chance(0.3) ? { kind: 'sweep' } : alert(random), REST);
    if (random.chance(0.5)) steps.push({ kind: 'spend', dollars: 500 }, alert(random), REST);
  }
  return { start: { target, maxCharge: 3 * target }, steps };
}

/** More is spent in a day than may be charged in a day, or in a month. */
function drawAmounts(random: Random): Scenario {
  const steps: Step[] = [];
  for (let rounds = random.between(2, 4); rounds > 0; rounds--) {
    steps.push(alert(random), REST, { kind: 'use up', over: random.pick([0, 1.25]) });
    if (random.chance(0.3)) steps.push({ kind: 'time', minutes: random.pick([60, 24 * 60]) });
  }
  const limit = random.pick([25, 45]);
  return { start: { target: 20, ...(random.chance(0.5) ? { maxDailyAmount: limit } : { maxMonthlyAmount: limit }) }, steps };
}

/** Recharge after recharge, where one a week is normal. */
function drawRechargeSeries(random: Random): Scenario {
  const steps: Step[] = [alert(random), REST, { kind: 'time', minutes: 9 * 24 * 60 }];
  for (let rounds = 7; rounds > 0; rounds--) steps.push({ kind: 'use up', over: 0 }, alert(random), REST);
  if (random.chance(0.5)) steps.push({ kind: 'release', reasons: ['runaway'] }, alert(random), REST);
  return { start: { maxDailyRecharges: 50 }, steps };
}

const CROWD: Others = { count: 3, share: 'the service' };
/** Whatever other runs have shown of LiteLLM is forgotten by then. */
const QUIET: Step = { kind: 'time', minutes: 60 };

/** LiteLLM lets the key read and not raise, with everybody's balance low. */
function drawForbiddenRaises(random: Random): Scenario {
  const steps: Step[] = [QUIET, { kind: 'refuse raises', of: 'everybody' }, everybody(alert(random)), REST];
  if (random.chance(0.5)) steps.push({ kind: 'sweep' });
  steps.push(everybody(alert(random)), REST, { kind: 'take raises' });
  steps.push(random.chance(0.5) ? { kind: 'sweep' } : { kind: 'release', reasons: ['raise_refused'] }, everybody(alert(random)), REST);
  return { start: { spend: 10 }, others: CROWD, steps };
}

/** The Stripe key is of the other mode: Stripe knows none of the customers. */
function drawWrongMode(random: Random): Scenario {
  return {
    start: { spend: 10 },
    others: CROWD,
    steps: [
      QUIET,
      { kind: 'wrong mode' },
      everybody(alert(random)),
      REST,
      everybody(alert(random)),
      REST,
      { kind: 'right mode' },
      { kind: 'sweep' },
      everybody(alert(random)),
      REST,
    ],
  };
}

/** The kill switch, while everybody is being recharged. */
function drawKillSwitch(random: Random): Scenario {
  const steps: Step[] = [everybody(alert(random))];
  if (random.chance(0.7)) steps.push({ kind: 'until', status: random.pick(['reserved', 'charging', 'charged']), ms: 4_000 });
  steps.push({ kind: 'hold', scope: 'service' }, REST, everybody({ kind: 'use up', over: 0.5 }));
  steps.push({ kind: 'pause', ms: AFTER_THE_LOOK_MS }, everybody(alert(random)), { kind: 'sweep' }, REST);
  steps.push({ kind: 'release', reasons: ['operator'] }, everybody(alert(random)), REST);
  return { others: CROWD, steps };
}

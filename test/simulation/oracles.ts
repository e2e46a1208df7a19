/**
 * What must be true of every organization when everything has settled, whatever happened to it. Each answers
 * what is not.
 */
import { BOUNDS } from './bounds.ts';
import type { BudgetWrite, Facts, TransferFact } from './facts.ts';
import type { Run } from './run.ts';

type Oracle = (facts: Facts, run: Run) => string[];

const AT_REST = ['succeeded', 'refunded', 'declined', 'action_required', 'cancelled', 'needs_attention'];
/** A tenth of a micro-dollar: LiteLLM counts in doubles. */
const EPSILON = 1e-7;
/**
 * What Stripe takes at least, and a cent of rounding, in quota at the cheapest price that a schedule sets.
 */
const SMALLEST_CHARGE_BUYS = 0.65;

const oneCapturedChargeARecharge: Oracle = ({ charges, recharges }) => [
  ...recharges.flatMap(({ id }) => {
    const captured = charges.filter(({ rechargeId }) => rechargeId === id).length;
    return captured > 1 ? [`recharge ${id} was charged ${captured} times`] : [];
  }),
  ...charges.flatMap(({ rechargeId, intentId }) => {
    const recharge = recharges.find(({ id }) => id === rechargeId);
    if (!recharge) return [`the captured charge of ${intentId} belongs to no recharge (${rechargeId})`];
    return recharge.intentId === intentId ? [] : [`${intentId} was captured, while recharge ${rechargeId} has stored ${recharge.intentId}`];
  }),
];

const capturedIsGrantedOrHeld: Oracle = ({ charges, recharges, transfers }) => {
  const kept = sum(charges, ({ captured, refunded }) => captured - refunded);
  const granted = sum(
    transfers.filter(({ kind }) => kind === 'grant'),
    ({ amount }) => amount,
  );
  const held = sum(
    recharges.filter(({ status }) => status === 'needs_attention'),
    ({ id }) => prepaidOf(id, transfers),
  );
  return kept === granted + held
    ? []
    : [`Stripe keeps ${kept}, but ${granted} is granted and ${held} held by what needs attention (cents)`];
};

const nothingIsPrepaidAtRest: Oracle = ({ recharges, transfers }) =>
  recharges
    .filter(({ id, status }) => status !== 'needs_attention' && prepaidOf(id, transfers) !== 0)
    .map(({ id, status }) => `recharge ${id} is ${status} and holds ${prepaidOf(id, transfers)} cents as prepaid`);

const theLedgerTellsTheStatus: Oracle = ({ recharges, transfers }) =>
  recharges.flatMap(({ id, status }) => {
    const kinds = transfers.filter(({ rechargeId }) => rechargeId === id).map(({ kind }) => kind);
    const expected = { succeeded: 'charge,grant', refunded: 'charge,refund', declined: '', action_required: '', cancelled: '' }[status];
    return expected === undefined || kinds.join() === expected
      ? []
      : [`recharge ${id} is ${status}, its ledger says ${kinds.join() || 'nothing'}`];
  });

/**
 * The budget is where it began, plus what was granted, plus what somebody else has added: no write doubled,
 * none lost.
 */
const theBudgetIsWhatWasGranted: Oracle = (facts, run) => {
  const { team, recharges, transfers } = facts;
  if (!team) return run.teamDeleted ? [] : ['the team is gone'];
  if (run.edits.includes(null)) return [];
  const { others, ours } = splitWrites(team.budgetWrites, run.edits);
  const granted = sum(
    transfers.filter(({ kind }) => kind === 'grant'),
    ({ quota }) => quota,
  );
  // A parked recharge may have written before somebody else did; a person will see both values.
  const parked = sum(
    recharges.filter(
      ({ status, quotaAfter }) => status === 'needs_attention' && ours.some(({ max_budget }) => same(max_budget, quotaAfter)),
    ),
    ({ quota }) => quota,
  );
  const lost = sum(unpreventablyLost(facts, run), ({ undone }) => undone);
  const expected = run.schedule.start.budget + granted + parked + sum(others, change) + lost;
  return same(team.max_budget, expected)
    ? []
    : [
        `max_budget is ${team.max_budget}, expected ${expected}: ${run.schedule.start.budget} + ${granted} granted + edits ${run.edits.join(', ') || 'none'}`,
      ];
};

/**
 * Edits of somebody else that our write has undone without a fault of ours: they came between our read and
 * our write, and LiteLLM has no compare-and-set. `undone` is what that took away again.
 */
export function unpreventablyLost({ team, recharges, kmsRequests }: Facts, run: Run): { undone: number }[] {
  const { ours } = splitWrites(team?.budgetWrites ?? [], run.edits);
  return ours.flatMap(({ before, max_budget }) => {
    const recharge = recharges.find(({ quotaAfter }) => same(quotaAfter, max_budget));
    if (!recharge || same(before, recharge.quotaBefore) || same(before, recharge.quotaAfter)) return [];
    const write = kmsRequests.findLastIndex(({ detail }) => budgetIn(detail) === max_budget);
    const edit = kmsRequests.findLastIndex(({ detail }) => budgetIn(detail) === before);
    const read = kmsRequests.findLastIndex(({ method }, position) => method === 'GET' && position < write);
    return read < edit && edit < write ? [{ undone: (recharge.quotaBefore ?? 0) - (before ?? 0) }] : [];
  });
}

const everyEventHasAnOutcome: Oracle = ({ events }) =>
  events.filter(({ processed, outcome }) => !processed || !outcome).map(({ id }) => `event ${id} is not processed`);

const everyAnsweredAlertIsStored: Oracle = ({ events }, { answers }) => {
  const byWebhookId = new Map<string, string>();
  return answers.flatMap(({ webhookId, status, eventId }) => {
    if (status === 409 && webhookId) return [];
    if (status !== 200 || !eventId) return [`an alert was answered ${status}`];
    if (!events.some(({ id }) => id === eventId)) return [`alert ${eventId} was answered 200 and is not stored`];
    const first = webhookId && byWebhookId.get(webhookId);
    if (webhookId) byWebhookId.set(webhookId, eventId);
    return first && first !== eventId ? [`webhook-id ${webhookId} has become two events, ${first} and ${eventId}`] : [];
  });
};

/** Copies of a crossing that is open start nothing. */
const oneOpenEventACrossing: Oracle = ({ events }) => {
  const started = events.filter(({ duplicateOf, crossing }) => !duplicateOf && crossing);
  return started.flatMap((event) =>
    started
      .filter(
        ({ id, crossing, receivedAt }) =>
          id > event.id && crossing === event.crossing && event.processedAt && receivedAt < event.processedAt,
      )
      .map(({ id }) => `events ${event.id} and ${id} of one crossing were open at once`),
  );
};

const theOutcomeTellsTheRecharge: Oracle = ({ events, recharges }) =>
  recharges.flatMap(({ id, eventId, status, failureCode }) => {
    const outcome = events.find((event) => event.id === eventId)?.outcome;
    // One that was called off before the card was asked has told why.
    return outcome === status || (status === 'cancelled' && outcome === failureCode)
      ? []
      : [`recharge ${id} is ${status}, its event says ${outcome}`];
  });

const everyRechargeIsAtRest: Oracle = ({ recharges }) =>
  recharges.filter(({ status }) => !AT_REST.includes(status)).map(({ id, status }) => `recharge ${id} is left ${status}`);

/** A person is asked only about what somebody else has done. */
const attentionHasAReason: Oracle = ({ recharges }, { edits }) =>
  edits.length > 0
    ? []
    : recharges
        .filter(({ status }) => status === 'needs_attention')
        .map(({ id, failure }) => `recharge ${id} needs attention although nobody else did anything: ${failure}`);

const noIntentIsLeftToConfirm: Oracle = ({ recharges, intents }) =>
  recharges
    .filter(({ status, intentId }) => intentId && ['declined', 'action_required', 'cancelled'].includes(status))
    .flatMap(({ id, intentId, status }) => {
      const intent = intents.find((candidate) => candidate.id === intentId);
      return intent && intent.status !== 'canceled' ? [`recharge ${id} is ${status}, but ${intent.id} is ${intent.status}`] : [];
    });

/** What a sweep charges ahead of a crossing is bounded by the target. */
const chargedOncePerCrossing: Oracle = ({ charges, recharges, events }, { crossings }) => {
  const ahead = events.filter(({ eventType }) => eventType === 'balance_forecast').map(({ id }) => id);
  const atCrossings = recharges.filter(({ eventId }) => !ahead.includes(eventId)).map(({ id }) => id);
  const kept = charges.filter(({ rechargeId, captured, refunded }) => captured > refunded && atCrossings.includes(rechargeId)).length;
  return kept > crossings ? [`charged ${kept} times for at most ${crossings} crossings`] : [];
};

/**
 * Whoever pays gets up to the target, and not beyond: the trace that two recharges for one shortage leave.
 */
const theBalanceIsNotAboveTheTarget: Oracle = ({ team, transfers }, { most, edits, schedule }) => {
  if (!team || team.max_budget === null || edits.includes(null) || !transfers.some(({ kind }) => kind === 'grant')) return [];
  const given = sum(schedule.steps, (step) => (step.kind === 'edit budget' && typeof step.by === 'number' ? Math.max(0, step.by) : 0));
  const highest = Math.max(most.target + SMALLEST_CHARGE_BUYS, schedule.start.budget - schedule.start.spend) + given;
  const balance = team.max_budget - team.spend;
  return balance > highest ? [`the balance is ${balance}, while the target was at most ${most.target}`] : [];
};

const theLedgerIsWhole: Oracle = ({ chainFaults }) => chainFaults;

const nothingRuns: Oracle = ({ running }) => running.map((id) => `workflow ${id} is still running`);

const ORACLES: Oracle[] = [
  oneCapturedChargeARecharge,
  capturedIsGrantedOrHeld,
  nothingIsPrepaidAtRest,
  theLedgerTellsTheStatus,
  theLedgerIsWhole,
  theBudgetIsWhatWasGranted,
  everyEventHasAnOutcome,
  everyAnsweredAlertIsStored,
  oneOpenEventACrossing,
  theOutcomeTellsTheRecharge,
  everyRechargeIsAtRest,
  attentionHasAReason,
  noIntentIsLeftToConfirm,
  chargedOncePerCrossing,
  theBalanceIsNotAboveTheTarget,
  nothingRuns,
];

/** Everything that is not as it must be, each in a sentence. */
export function judge(facts: Facts, run: Run): string[] {
  return [...ORACLES, ...BOUNDS].flatMap((oracle) => oracle(facts, run));
}

function prepaidOf(rechargeId: string, transfers: TransferFact[]): number {
  return sum(
    transfers.filter((transfer) => transfer.rechargeId === rechargeId),
    ({ kind, amount }) => (kind === 'charge' ? amount : -amount),
  );
}

/**
 * The first write is the team's beginning. The writes of somebody else are those whose value we know, in
 * their order: one of ours may have written before what somebody else restores later.
 */
function splitWrites([, ...writes]: BudgetWrite[], edits: (number | null)[]): { others: BudgetWrite[]; ours: BudgetWrite[] } {
  const left = [...edits];
  const [others, ours]: [BudgetWrite[], BudgetWrite[]] = [[], []];
  for (const write of writes) {
    const [next] = left;
    const isOthers = next !== undefined && same(next, write.max_budget);
    (isOthers ? others : ours).push(write);
    if (isOthers) left.shift();
  }
  return { others, ours };
}

function change({ before, max_budget }: BudgetWrite): number {
  return (max_budget ?? 0) - (before ?? 0);
}

function budgetIn(body: string): number | null | undefined {
  return body.startsWith('{') ? JSON.parse(body).max_budget : undefined;
}

function same(a: number | null | undefined, b: number | null | undefined): boolean {
  return typeof a === 'number' && typeof b === 'number' ? Math.abs(a - b) < EPSILON : a === b;
}

function sum<T>(list: T[], value: (item: T) => number): number {
  return list.reduce((total, item) => total + value(item), 0);
}

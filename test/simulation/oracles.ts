/**
 * What must be true of every organization when everything has settled, whatever happened to it. Each returns
 * what is not.
 */
import { ACCOUNTS } from '../../src/domain/ledger.ts';
import { BOUNDS } from './bounds.ts';
import type { BudgetWrite, Facts, TransferFact } from './facts.ts';
import type { Run } from './run.ts';

type Oracle = (facts: Facts, run: Run) => string[];

const SETTLED = ['succeeded', 'refunded', 'declined', 'action_required', 'cancelled', 'needs_attention'];
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
  const kept = sum(charges, ({ captured, refunded, disputed }) => Math.max(0, captured - refunded - disputed));
  const granted = grantedBy(transfers, ({ amount }) => amount);
  const held = sum(
    recharges.filter(({ status }) => status === 'needs_attention'),
    ({ id }) => prepaidOf(id, transfers),
  );
  return kept === granted + held
    ? []
    : [`Stripe keeps ${kept}, but ${granted} is granted and ${held} held by what needs attention (cents)`];
};

const nothingIsPrepaidWhenSettled: Oracle = ({ recharges, transfers }) =>
  recharges
    .filter(({ id, status }) => status !== 'needs_attention' && prepaidOf(id, transfers) !== 0)
    .map(({ id, status }) => `recharge ${id} is ${status} and holds ${prepaidOf(id, transfers)} cents as prepaid`);

const theLedgerTellsTheStatus: Oracle = ({ recharges, transfers, reversals }) => {
  const isReversals = (reference: string) => reversals.some(({ id }) => id === reference);
  return recharges.flatMap(({ id, status }) => {
    const kinds = transfers.filter(({ rechargeId, reference }) => rechargeId === id && !isReversals(reference)).map(({ kind }) => kind);
    const expected = { succeeded: 'charge,grant', refunded: 'charge,refund', declined: '', action_required: '', cancelled: '' }[status];
    // One that was refunded in parts has a transfer for each.
    const said = kinds.filter((kind, position) => kind !== kinds[position - 1]).join();
    return expected === undefined || said === expected ? [] : [`recharge ${id} is ${status}, its ledger says ${kinds.join() || 'nothing'}`];
  });
};

/**
 * The budget is where it began, plus what was granted, plus what somebody else has added: no write doubled,
 * none lost.
 */
const theBudgetIsWhatWasGranted: Oracle = (facts, run) => {
  const { team, recharges, transfers } = facts;
  if (!team) return run.deeds.teamDeleted ? [] : ['the team is gone'];
  if (run.deeds.edits.includes(null)) return [];
  const { others, ours } = splitWrites(team.budgetWrites, run.deeds.edits);
  const granted = grantedBy(transfers, ({ quota }) => quota);
  // A parked recharge may have written before somebody else did; a person will see both values.
  const parked = sum(
    recharges.filter(
      ({ status, quotaAfter }) => status === 'needs_attention' && ours.some(({ max_budget }) => same(max_budget, quotaAfter)),
    ),
    ({ quota }) => quota,
  );
  const lost = sum(unpreventablyLost(facts, run), ({ undone }) => undone);
  // A restore of both begins anew, with what was granted by then.
  const begun = run.deeds.restored.findLast(({ both }) => both)?.both ?? { budget: run.schedule.start.budget, granted: 0, edits: 0 };
  const expected = begun.budget + granted - begun.granted + parked + sum(others.slice(begun.edits), change) + lost;
  return same(team.max_budget, expected)
    ? []
    : [
        `max_budget is ${team.max_budget}, expected ${expected}: ${begun.budget} + ${granted - begun.granted} granted + edits ${run.deeds.edits.join(', ') || 'none'}`,
      ];
};

/** No synchronisation, and nothing else of ours, writes a budget that no recharge or reversal has planned. */
const everyWriteIsPlanned: Oracle = ({ team, recharges, reversals }, { deeds, schedule }) => {
  // A person's decision, and a restored database, plan anew.
  if (deeds.restored.length > 0 || schedule.steps.some(({ kind }) => kind === 'resolve')) return [];
  const planned = [
    // A refund writes the budget from before, where a write of ours may have raised it.
    ...recharges.flatMap(({ status, quotaBefore, quotaAfter }) => [
      quotaAfter,
      ...(status === 'refunded' || status === 'needs_attention' ? [quotaBefore] : []),
    ]),
    ...reversals.flatMap(({ takenBefore, takenAfter, givenBefore, givenAfter }) => [takenBefore, takenAfter, givenBefore, givenAfter]),
  ];
  return splitWrites(team?.budgetWrites ?? [], deeds.edits)
    .ours.filter(({ max_budget }) => max_budget === null || !planned.some((budget) => same(budget, max_budget)))
    .map(({ before, max_budget }) => `max_budget was written from ${before} to ${max_budget}, which nothing has planned`);
};

/** What LiteLLM has lost of what was paid for is told: by a hold, or by reconciliation. */
const whatIsLostIsTold: Oracle = ({ team, recharges, holds }, { deeds }) => {
  const last = recharges.findLast(({ status }) => status === 'succeeded');
  if (!team || !last || !deeds.restored.some(({ litellm, database }) => litellm && !database)) return [];
  const isLower = team.max_budget !== null && last.quotaAfter !== null && team.max_budget < last.quotaAfter - EPSILON;
  const isTold = holds.some(({ reason }) => reason === 'budget_lowered') || deeds.findings.includes('budget_differs');
  return isLower && !isTold ? [`max_budget is ${team.max_budget}, where ${last.quotaAfter} was paid for, and nobody is told`] : [];
};

/** The quota is where the money is, or a person has to see to it. */
const theQuotaFollowsTheMoney: Oracle = ({ recharges, reversals }, { deeds }) =>
  deeds.returned.flatMap(({ id, kind, intentId, isGone }) => {
    const recharge = recharges.find((each) => each.intentId === intentId);
    const last = reversals.findLast((reversal) => reversal.id.split('.', 1)[0] === id);
    if (recharge?.status === 'needs_attention' || last?.status === 'needs_attention') return [];
    if (recharge?.status === 'refunded' && kind === 'refund') return [];
    const isFollowed = isGone ? last?.status === 'taken_back' : !last || last.status === 'given_back';
    return isFollowed
      ? []
      : [`the money of ${kind} ${id} ${isGone ? 'has gone' : 'has come back'}, and its quota is ${last?.status ?? 'as before'}`];
  });

/** Never more is taken back than was granted, and what is given back is what was taken. */
const takenIsWhatWasGranted: Oracle = ({ transfers, reversals }) => [
  ...[...Map.groupBy(transfers, ({ rechargeId }) => rechargeId)].flatMap(([id, ofOne]) => {
    const left = grantedBy(ofOne, ({ quota }) => quota);
    return left < -EPSILON ? [`of recharge ${id} ${-left} more is taken back than was granted`] : [];
  }),
  ...reversals.flatMap(({ id, quota, takenBefore, takenAfter, givenBefore, givenAfter }) => {
    const taken = (takenBefore ?? 0) - (takenAfter ?? 0);
    const given = (givenAfter ?? 0) - (givenBefore ?? 0);
    if (taken > quota + EPSILON) return [`reversal ${id} has taken ${taken}, of ${quota}`];
    return givenAfter === null || Math.abs(given - taken) < EPSILON ? [] : [`reversal ${id} has taken ${taken} and given back ${given}`];
  }),
];

/** A person is asked only where somebody else has edited the budget, or no quota was left to take. */
const everyReversalIsSettled: Oracle = ({ reversals }, { deeds }) =>
  reversals.flatMap(({ id, status, quota }) => {
    if (status === 'taken_back' || status === 'given_back') return [];
    if (status === 'needs_attention' && (quota === 0 || deeds.edits.length > 0)) return [];
    return [`reversal ${id} is left ${status}`];
  });

/**
 * Edits of somebody else that our write has undone without a fault of ours: they came between our read and
 * our write, and LiteLLM has no compare-and-set. `undone` is what that took away again.
 */
export function unpreventablyLost({ team, recharges, kmsRequests }: Facts, run: Run): { undone: number }[] {
  const { ours } = splitWrites(team?.budgetWrites ?? [], run.deeds.edits);
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

const everyAnsweredAlertIsStored: Oracle = ({ events }, { deeds: { answers } }) => {
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

const everyRechargeIsSettled: Oracle = ({ recharges }) =>
  recharges.filter(({ status }) => !SETTLED.includes(status)).map(({ id, status }) => `recharge ${id} is left ${status}`);

/** A person is asked only about what somebody else has done. */
const attentionHasAReason: Oracle = ({ recharges }, { deeds: { edits, amountChanged } }) =>
  edits.length > 0 || amountChanged
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
const chargedOncePerCrossing: Oracle = ({ charges, recharges, events }, { deeds: { crossings } }) => {
  const ahead = events.filter(({ eventType }) => eventType === 'balance_forecast').map(({ id }) => id);
  const atCrossings = recharges.filter(({ eventId }) => !ahead.includes(eventId)).map(({ id }) => id);
  const kept = charges.filter(({ rechargeId, captured, refunded }) => captured > refunded && atCrossings.includes(rechargeId)).length;
  return kept > crossings ? [`charged ${kept} times for at most ${crossings} crossings`] : [];
};

/**
 * Whoever pays gets up to the target, and not beyond: the trace that two recharges for one shortage leave.
 */
const theBalanceIsNotAboveTheTarget: Oracle = ({ team, transfers }, { deeds, schedule }) => {
  const { most, edits, given, granted } = deeds;
  if (!team || team.max_budget === null || edits.includes(null) || !transfers.some(({ kind }) => kind === 'grant')) return [];
  const highest = Math.max(most.target + SMALLEST_CHARGE_BUYS, schedule.start.budget - schedule.start.spend) + given + granted;
  const balance = team.max_budget - team.spend;
  return balance > highest ? [`the balance is ${balance}, while the target was at most ${most.target}`] : [];
};

const theLedgerIsWhole: Oracle = ({ chainFaults }) => chainFaults;

const nothingRuns: Oracle = ({ running }) => running.map((id) => `workflow ${id} is still running`);

const ORACLES: Oracle[] = [
  oneCapturedChargeARecharge,
  capturedIsGrantedOrHeld,
  nothingIsPrepaidWhenSettled,
  theLedgerTellsTheStatus,
  theLedgerIsWhole,
  theBudgetIsWhatWasGranted,
  everyWriteIsPlanned,
  whatIsLostIsTold,
  theQuotaFollowsTheMoney,
  takenIsWhatWasGranted,
  everyReversalIsSettled,
  everyEventHasAnOutcome,
  everyAnsweredAlertIsStored,
  oneOpenEventACrossing,
  theOutcomeTellsTheRecharge,
  everyRechargeIsSettled,
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
    ({ kind, amount }) => {
      const { creditAccount, debitAccount } = ACCOUNTS[kind];
      return creditAccount === 'prepaid' ? amount : debitAccount === 'prepaid' ? -amount : 0;
    },
  );
}

/** What is granted and was not taken back. */
function grantedBy(transfers: TransferFact[], value: (transfer: TransferFact) => number): number {
  return sum(transfers, (transfer) => {
    const { creditAccount, debitAccount } = ACCOUNTS[transfer.kind];
    return creditAccount === 'granted' ? value(transfer) : debitAccount === 'granted' ? -value(transfer) : 0;
  });
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

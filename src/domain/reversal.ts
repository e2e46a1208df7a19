/**
 * Reversals: money of a recharge that goes back to the customer without us, by a refund made elsewhere or by
 * a dispute, and the quota that follows it. Pure: what Stripe shows and what is known here come in, what has
 * to be done goes out.
 *
 *   open ─▶ taken_back ─▶ given_back    the money has come back: a dispute is won, a refund fails
 *    ├──────────────────▶ given_back    it came back before anything was taken: dismissed
 *    └─▶ needs_attention                from taken_back too: a person decides,
 *          └─▶ taken_back, given_back   and accepts it as it is
 *
 * `given_back` ends a reversal. Money that goes once more is the next reversal of the same refund or dispute,
 * `du_1.2` after `du_1`: the ledger takes one transfer of each kind and reference, so each time that money
 * goes has its own.
 *
 * A reversal whose quota is zero found nothing left to take. When the recharge has quota to take later on, it
 * opens anew. When its money comes back, it is over without a write.
 */
import { type MinorUnits, minorUnits, type Purchase, type QuotaMicros, quotaFor, quotaMicros } from './money.ts';
import { isOpen, type RechargeStatus } from './recharge-status.ts';

export const REVERSAL_KINDS = ['refund', 'dispute'] as const;
export type ReversalKind = (typeof REVERSAL_KINDS)[number];

export const REVERSAL_STATUSES = ['open', 'taken_back', 'given_back', 'needs_attention'] as const;
export type ReversalStatus = (typeof REVERSAL_STATUSES)[number];

/** Our write of the budget is recorded: it was the last word on the quota until another one. */
export const WRITTEN_REVERSAL_STATUSES = ['taken_back', 'given_back'] as const satisfies ReversalStatus[];
/** A write of the budget is to come, or a person has to decide on it. */
export const UNSETTLED_REVERSAL_STATUSES = ['open', 'needs_attention'] as const satisfies ReversalStatus[];

/** Where each status may lead; PostgreSQL makes a move only from the status that it starts from. */
export const REVERSAL_MOVES = {
  open: ['taken_back', 'given_back', 'needs_attention'],
  // Without quota it opens anew once the recharge has been granted.
  taken_back: ['given_back', 'needs_attention', 'open'],
  given_back: [],
  needs_attention: ['taken_back', 'given_back', 'open'],
} as const satisfies Record<ReversalStatus, readonly ReversalStatus[]>;

/** A move of REVERSAL_MOVES; any other does not type-check. */
export type ReversalMove = { [From in ReversalStatus]: { from: From; to: (typeof REVERSAL_MOVES)[From][number] } }[ReversalStatus];

/** A refund or dispute of a recharge's payment, as Stripe has it now. */
export type ReturnedMoney = {
  /** Stripe's id of the refund or dispute. */
  id: string;
  kind: ReversalKind;
  /** 0: Stripe does not say how much. */
  amountMinor: MinorUnits;
  /** A dispute may be in another one than the payment, such as the account's. Null: Stripe does not say. */
  currency: string | null;
  /** The customer has it, or will have it unless something changes. */
  isGone: boolean;
  /** Final, unless an event weeks later says otherwise. */
  isFinal: boolean;
  /** The bank only asks, and no money has moved; it may become a dispute under the same id. */
  isInquiry: boolean;
  /** Why, in Stripe's word; null where it gives none. */
  reason?: string | null;
  /** The recharge that has asked for this refund itself; null for what was made elsewhere. */
  rechargeId: string | null;
};

/** What is decided on of a recharge. */
export type ReversedRecharge = Purchase & {
  id: string;
  currency: string;
  status: RechargeStatus;
  /** The refund that we have asked for. */
  refundId?: string | null | undefined;
};

/** What is decided on of a reversal. `quota`: what its amount has paid for, which is to be taken back. */
export type KnownReversal = {
  id: string;
  status: ReversalStatus;
  amountMinor: MinorUnits;
  quota: QuotaMicros;
  /** It has claimed the organization's budget: its write has begun, and is not recorded. */
  isWriting?: boolean;
  /** No reversal of its own: it went back as a part of a recharge that was given back whole, and is in the ledger as that. */
  isPart?: boolean;
};

/** A reversal to enter, or one without quota that opens anew. */
export type OpenedReversal = KnownReversal & {
  kind: ReversalKind;
  /** `taken_back`: a part of a whole that went back, and whose money has come again. */
  status: ReversalStatus;
  /** Why, in Stripe's word. */
  reason?: string | null;
};

/** `dismiss`: the money came back, and its quota was not taken. */
export type ReversalStep = 'take_back' | 'give_back' | 'dismiss';

export type ReversalDecision = {
  open: OpenedReversal[];
  /** What follows, in this order. */
  steps: { reversalId: string; step: ReversalStep; amountMinor: MinorUnits }[];
  /** What a person has to settle. */
  parked: string[];
  /** Nothing more is to be expected from Stripe unless an event says so. */
  isFinal: boolean;
};

/**
 * What has to be done about the refunds and disputes of a recharge. The order of `moneys` and of `all`
 * makes no difference; looking again when nothing has changed decides nothing new.
 *
 * - Never more is taken than was granted: a reversal holds its part from its opening until it is given back,
 *   and another one takes of the rest only. Where the rest is too small because of money that may come back
 *   (a pending refund fails where a dispute has taken the money), the other waits for it. Where nothing is
 *   left at all, a person decides.
 * - A write that has begun comes first, also where the money has moved on since: whoever began it has claimed
 *   the budget, so no other step can run before it is recorded.
 * - Giving back comes before taking, so that no take is cut short by a budget that is about to rise.
 * - Refunds that the recharge has asked for itself are no reversals.
 * - A refund that went back as a part of the whole is none either, until its money comes again when the rest has been
 *   granted: nobody else would give its quota then.
 *
 * @param moneys every refund and dispute of the recharge's intent.
 * @param all every reversal of the recharge, and the parts of one that was given back whole.
 */
export function decideReversals(
  found: ReversedRecharge,
  moneys: readonly ReturnedMoney[],
  all: readonly KnownReversal[],
): ReversalDecision {
  // Whether it is granted is decided first, by its run or by a person.
  if (isOpen(found.status)) return { open: [], steps: [], parked: [], isFinal: moneys.length === 0 };
  const known = all.filter(({ isPart }) => !isPart);
  const parts = returnedParts(found, moneys, all);
  const recharge = parts.reduce(withPart, found);
  const opened: OpenedReversal[] = [...parts];
  const hasReversal = (money: ReturnedMoney) => lastOf(money.id, [...known, ...opened]) !== undefined;
  const isOther = (money: ReturnedMoney) => hasReversal(money) || (!isOurs(recharge, money) && !partOfWhole(money, all));
  const others = moneys.filter(isOther).sort(byKindThenId);
  let isWaiting = false;
  for (const money of others) {
    const opening = openingOf(recharge, money, { known, opened, others });
    if (opening === 'wait') isWaiting = true;
    else if (opening) opened.push({ ...opening, ...(money.reason && { reason: money.reason }) });
  }
  // One that opens anew stands for itself as it is then.
  const standing = [...known.filter(({ id }) => !opened.some((other) => other.id === id)), ...opened].sort(byId);
  const steps = standing.flatMap((reversal) => {
    const { id: reversalId, amountMinor, isWriting = false } = reversal;
    const step = stepFor(reversal, isMoneyGone(reversal, others));
    return step ? [{ reversalId, step, amountMinor, turn: isWriting ? 0 : step === 'take_back' ? 2 : 1 }] : [];
  });
  return {
    open: opened,
    steps: steps.toSorted((a, b) => a.turn - b.turn).map(({ turn: _turn, ...step }) => step),
    parked: standing.filter(({ status }) => status === 'needs_attention').map(({ id }) => id),
    isFinal: !isWaiting && others.every(({ isFinal }) => isFinal),
  };
}

/** Parts of a recharge that went back whole, whose money has come again since the rest was granted. */
function returnedParts({ status }: ReversedRecharge, moneys: readonly ReturnedMoney[], all: readonly KnownReversal[]): OpenedReversal[] {
  if (status !== 'succeeded') return [];
  return moneys.flatMap((money) => {
    const part = money.isGone ? undefined : partOfWhole(money, all);
    return part ? [{ id: part.id, kind: money.kind, amountMinor: part.amountMinor, quota: part.quota, status: 'taken_back' }] : [];
  });
}

/** The recharge is of the part again, and a reversal holds that until its quota is given. */
function withPart(recharge: ReversedRecharge, { amountMinor, quota }: KnownReversal): ReversedRecharge {
  return {
    ...recharge,
    amountMinor: minorUnits(recharge.amountMinor + amountMinor),
    quotaGranted: quotaMicros(recharge.quotaGranted + quota),
  };
}

/**
 * What has to be opened for one refund or dispute. `last` is its newest reversal.
 *
 *   the money is here      no reversal yet, recharge granted: `given_back` at once, so that a person sees it
 *                          else: nothing
 *   it is gone             `last` holds quota: nothing, its steps follow
 *                          `last` found no quota before, and there is some now: it reopens
 *                          other reversals leave too little, and may give it back: wait
 *                          none, or `last` was given back: a new one, parked where no quota is left or
 *                          Stripe does not say how much
 */
function openingOf(
  recharge: ReversedRecharge,
  money: ReturnedMoney,
  { known, opened, others }: { known: readonly KnownReversal[]; opened: readonly KnownReversal[]; others: readonly ReturnedMoney[] },
): OpenedReversal | 'wait' | undefined {
  const { id: moneyId, kind, isGone, isInquiry } = money;
  const last = lastOf(moneyId, [...known, ...opened]);
  const said = partOf(recharge, money);
  // Where Stripe does not say how much, it may be all of it, and a person looks.
  const whole = said ?? recharge.amountMinor;
  if (!isGone) {
    // It went and came back before we looked: nothing to take, and still a reason for a person to look.
    const isNews = !last && !isInquiry && recharge.status === 'succeeded';
    return isNews ? { id: moneyId, kind, amountMinor: whole, quota: quotaMicros(0), status: 'given_back' } : undefined;
  }
  if (isPartOfRefund(recharge, { kind, isGone })) return undefined;
  const isOver = last?.status === 'given_back';
  if (last && !isOver && last.quota > 0) return undefined;
  const holders = [...known, ...opened].filter(holdsQuota);
  const rest = restOf(recharge, holders);
  const amountMinor = minorUnits(Math.min(whole, rest));
  const quota = said === undefined ? quotaMicros(0) : quotaFor(amountMinor, recharge);
  if (last && !isOver) return quota > 0 ? { id: last.id, kind, amountMinor, quota, status: 'open' } : undefined;
  if (whole > rest && holders.some((holder) => mayComeBack(holder, others))) return 'wait';
  const id = last ? nextOccurrence(last.id) : moneyId;
  return quota > 0 ? { id, kind, amountMinor, quota, status: 'open' } : { id, kind, amountMinor: whole, quota, status: 'needs_attention' };
}

function stepFor({ status, quota, isWriting }: KnownReversal, isGone: boolean): ReversalStep | undefined {
  if (status === 'open') return isGone ? 'take_back' : 'dismiss';
  // Nothing was taken.
  if (status === 'taken_back' && quota === 0) return isGone ? undefined : 'dismiss';
  // A giving back that has begun is finished, and the next look takes again.
  if (status === 'taken_back' && (!isGone || isWriting)) return 'give_back';
  return undefined;
}

/**
 * How much of the payment a refund or dispute is. In another currency it is the whole: nobody tells us which rate
 * the bank has used, and most disputes are about all of it. Undefined where Stripe does not say how much.
 */
function partOf(
  { amountMinor: whole, currency }: ReversedRecharge,
  money: Pick<ReturnedMoney, 'amountMinor' | 'currency'>,
): MinorUnits | undefined {
  if (money.amountMinor === 0 || money.currency === null) return undefined;
  return money.currency === currency ? money.amountMinor : whole;
}

/** Of the refunds that Stripe shows, those that the recharge has asked for. */
function isOurs({ id, refundId }: ReversedRecharge, money: ReturnedMoney): boolean {
  return money.id === refundId || money.rechargeId === id;
}

/** The recharge is of what is left beside such a part, so the part is no business of its reversals. */
function partOfWhole({ id }: Pick<ReturnedMoney, 'id'>, known: readonly KnownReversal[]): KnownReversal | undefined {
  return known.find((each) => each.isPart && each.id === id);
}

/** All that was held has gone back, a refund that was made elsewhere before with it: see domain/refund. */
function isPartOfRefund({ status }: ReversedRecharge, { kind, isGone }: Pick<ReturnedMoney, 'kind' | 'isGone'>): boolean {
  return status === 'refunded' && kind === 'refund' && isGone;
}

/** Refunds first: one that fails makes room for a dispute, a dispute never for a refund. */
function byKindThenId(a: ReturnedMoney, b: ReturnedMoney): number {
  return REVERSAL_KINDS.indexOf(a.kind) - REVERSAL_KINDS.indexOf(b.kind) || byId(a, b);
}

function byId(a: { id: string }, b: { id: string }): number {
  // Stryker disable next-line EqualityOperator: no two of a list have one id.
  return a.id < b.id ? -1 : 1;
}

/** It has its part of the recharge until it is given back, whatever its money does meanwhile. */
function holdsQuota({ status, quota }: KnownReversal): boolean {
  return status !== 'given_back' && quota > 0;
}

/** What of a recharge is granted and not held by a reversal, in minor units. */
function restOf(recharge: ReversedRecharge, holders: readonly KnownReversal[]): MinorUnits {
  if (recharge.status !== 'succeeded') return minorUnits(0);
  return minorUnits(Math.max(0, recharge.amountMinor - holders.reduce((sum, { amountMinor }) => sum + amountMinor, 0)));
}

/** What of the quota would be taken for so much money now. */
function quotaToTake(recharge: ReversedRecharge, amountMinor: MinorUnits | undefined, known: readonly KnownReversal[]): QuotaMicros {
  if (amountMinor === undefined) return quotaMicros(0);
  return quotaFor(minorUnits(Math.min(amountMinor, restOf(recharge, known.filter(holdsQuota)))), recharge);
}

function mayComeBack({ id }: KnownReversal, moneys: readonly ReturnedMoney[]): boolean {
  return moneys.some((money) => money.id === stripeIdOf(id) && !(money.isGone && money.isFinal));
}

/**
 * Whether the customer has a reversal's money now. Only Stripe can say that money came back: a refund or
 * dispute that it does not list has not, so no quota is given back for it.
 */
export function isMoneyGone({ id }: Pick<KnownReversal, 'id'>, moneys: readonly ReturnedMoney[]): boolean {
  return moneys.find((money) => money.id === stripeIdOf(id))?.isGone ?? true;
}

/**
 * Whether the quota has followed a refund or dispute to where its money is now, or a person has to see to it.
 */
export function isFollowed(
  recharge: ReversedRecharge,
  money: Pick<ReturnedMoney, 'id' | 'kind' | 'isGone' | 'amountMinor' | 'currency'>,
  known: readonly KnownReversal[],
): boolean {
  const { id, kind, isGone } = money;
  if (recharge.refundId === id) return recharge.status !== 'refunded' || isGone;
  if (partOfWhole(money, known)) return isGone || isOpen(recharge.status);
  if (isPartOfRefund(recharge, { kind, isGone })) return true;
  const last = lastOf(id, known);
  // It found no quota to take, and there is some now.
  if (isGone && last?.quota === 0 && quotaToTake(recharge, partOf(recharge, money), known) > 0) return false;
  switch (last?.status) {
    case undefined:
      return !isGone;
    case 'open':
      return false;
    case 'taken_back':
      return isGone && !last.isWriting;
    case 'given_back':
      return !isGone;
    case 'needs_attention':
      return true;
  }
}

/**
 * Whether a run has to look at what Stripe shows of a recharge's money: something follows from it, or what it shows
 * may still change.
 *
 * A refund that the recharge has asked for is seen to by its own run, or by the person who settles it, for as long
 * as it is open. While its run records the refund, a failure may come between its last look and that record: nobody
 * else would follow it then.
 */
export function isToBeFollowed(recharge: ReversedRecharge, moneys: readonly ReturnedMoney[], known: readonly KnownReversal[]): boolean {
  if (isOpen(recharge.status)) {
    return moneys.some((money) => !isOurs(recharge, money) || (recharge.status === 'refunding' && !money.isGone));
  }
  if (failedRefundOf(recharge, moneys, known)) return true;
  const { open, steps, isFinal } = decideReversals(recharge, moneys, known);
  return open.length > 0 || steps.length > 0 || !isFinal;
}

/** The refund that the recharge has asked for, or a part made elsewhere, if its money came back after it was recorded. */
export function failedRefundOf<Money extends ReturnedMoney>(
  recharge: ReversedRecharge,
  moneys: readonly Money[],
  known: readonly KnownReversal[],
): Money | undefined {
  if (recharge.status !== 'refunded') return undefined;
  return moneys.find((money) => !money.isGone && (money.id === recharge.refundId || partOfWhole(money, known)));
}

/** The last reversal of a refund or dispute. */
function lastOf<Known extends KnownReversal>(moneyId: string, known: readonly Known[]): Known | undefined {
  const occurrences = known.filter(({ id }) => stripeIdOf(id) === moneyId);
  return occurrences.toSorted((one, other) => occurrenceOf(one.id) - occurrenceOf(other.id)).at(-1);
}

/** Stripe's id in a reversal's: `du_1` of `du_1` and of `du_1.2`. Stripe's own ids have no dot. */
function stripeIdOf(reversalId: string): string {
  return reversalId.split('.', 1)[0] ?? reversalId;
}

/** Which time it is that the money goes, counted from 1. */
function occurrenceOf(reversalId: string): number {
  return Number(reversalId.split('.')[1] ?? 1);
}

/** The id for the next time: `du_1.2` after `du_1`, then `du_1.3`. */
function nextOccurrence(reversalId: string): string {
  return `${stripeIdOf(reversalId)}.${occurrenceOf(reversalId) + 1}`;
}

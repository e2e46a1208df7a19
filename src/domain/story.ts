/**
 * What has become of a recharge, in words: each step with its time, how it stands now, and the command that settles it
 * where a person has to.
 */
import { endedBy, type HoldReason } from './hold.ts';
import { type Currency, formatQuota, type MinorUnits, moneyText, type QuotaMicros } from './money.ts';
import { actionOnRecharge, actionOnReversal } from './outbound-event.ts';
import { overdueAfter, underWaySince } from './overdue.ts';
import type { RechargeStatus } from './recharge-status.ts';
import type { ReversalKind, ReversalStatus } from './reversal.ts';
import { goesOn, type RunTrouble, releaseOf, withTrouble } from './status.ts';

/** One step of a timeline; which facts it has depends on the step. */
type Step = { at: string; status: RechargeStatus; [fact: string]: string | number | null };

type Quota = QuotaMicros | null | undefined;

/** A recharge, as far as its story needs it. */
export type ToldRecharge = {
  id: string;
  status: RechargeStatus;
  amountMinor: MinorUnits;
  currency: Currency;
  balanceSeen: QuotaMicros;
  quotaBefore?: Quota;
  quotaAfter?: Quota;
  paymentIntentId?: string | null | undefined;
  refundId?: string | null | undefined;
  failureMessage?: string | null | undefined;
  timeline: readonly Step[];
};

export type ToldReversal = {
  id: string;
  kind: ReversalKind;
  status: ReversalStatus;
  amountMinor: MinorUnits;
  currency: Currency;
  quota: QuotaMicros;
  takenBefore?: Quota;
  takenAfter?: Quota;
  givenBefore?: Quota;
  givenAfter?: Quota;
  failureMessage?: string | null | undefined;
  /** When the quota was taken; null: it was not. */
  takenAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
};

export type ToldHold = {
  id: string;
  reason: HoldReason;
  detail: string;
  /** The ids of what has opened it, one behind the other. */
  openedBy: string;
  since: Date;
  releasedAt?: Date | null | undefined;
  releasedBy?: string | null | undefined;
  releaseReason?: string | null | undefined;
};

/** What keeps the run of a recharge from going on: what it fails with, and what stops every run. */
export type Hindrance = { trouble: RunTrouble | undefined; stop: string | null };

/** What asked for the recharge. */
export type ToldEvent = { id: string; source: string; eventType: string; receivedAt: Date };

export type Story = {
  /** How it stands. */
  summary: string;
  /** What a person does; null where nothing has to be done. */
  next: string | null;
  /** In the order of time. */
  steps: { at: Date; what: string }[];
};

/**
 * @param facts the recharge's event, reversals, and the holds that it has opened; of one that is under way, what hinders it.
 * @param now when it is asked.
 */
export function storyOf(
  recharge: ToldRecharge,
  facts: { event: ToldEvent | null; reversals: readonly ToldReversal[]; holds: readonly ToldHold[]; hindrance?: Hindrance | undefined },
  now: Date,
): Story {
  const { event, reversals, holds, hindrance } = facts;
  const steps = [
    ...(event ? [{ at: event.receivedAt, what: eventText(event) }] : []),
    ...recharge.timeline.map((step) => ({ at: timeOf(step), what: stepText(recharge, step) })),
    ...reversals.flatMap(reversalSteps),
    ...holds.flatMap((hold) => holdSteps(hold, reversals)),
  ];
  return {
    summary: [withTrouble(summaryOf(recharge), hindrance?.trouble), ...reversals.map(reversalSummary)].join('; '),
    next: nextOf(recharge, facts, now),
    steps: steps.toSorted((one, other) => one.at.getTime() - other.at.getTime()),
  };
}

/** Stripe's clock says when money was captured; ours, when that was recorded. */
function timeOf({ at, captured_at: capturedAt }: Step): Date {
  const captured = typeof capturedAt === 'string' ? new Date(capturedAt) : undefined;
  return captured && !Number.isNaN(captured.getTime()) ? captured : new Date(at);
}

function eventText({ id, source, eventType }: ToldEvent): string {
  const from = source === 'sweep' ? 'the sweep reported' : 'LiteLLM reported';
  return eventType === 'restored' ? `it was entered again as ${id}: the database had lost it` : `${from} ${eventType} (${id})`;
}

/** A step of a recharge in words. */
export function stepText(recharge: ToldRecharge, step: Step): string {
  const { amountMinor, currency, balanceSeen, paymentIntentId, quotaBefore, quotaAfter, failureMessage, refundId } = recharge;
  const amount = moneyText(amountMinor, currency);
  if (step['resolution']) return `${step['by']} decided to ${step['resolution']} ${step['reversal'] ?? 'it'}: ${step['reason']}`;
  switch (step.status) {
    case 'reserved':
      return `the balance was ${formatQuota(balanceSeen)}: ${amount} was reserved`;
    case 'charging':
      return `PaymentIntent ${step['payment_intent'] ?? paymentIntentId} ${step['restored'] ? 'was found again' : 'was made, and the card asked'}`;
    case 'processing':
      return 'the bank is processing the payment';
    case 'charged':
      return `${amount} was captured by ${paymentIntentId}`;
    case 'succeeded':
      return `the budget was raised from ${quotaText(quotaBefore)} to ${quotaText(quotaAfter)}`;
    case 'declined':
    case 'action_required':
      return `the card was not charged: ${withoutStop(failureMessage ?? 'no reason was given')} (${step['code'] ?? step.status})`;
    case 'refunding':
      return `the money goes back: ${step['reason']}`;
    case 'refunded':
      return `${step['amount'] ? `${step['amount']} ${currency.toUpperCase()}` : amount} was refunded by ${step['refund'] ?? refundId}`;
    case 'cancelled':
      return `nothing was charged: ${step['reason'] ?? 'it was cancelled'}`;
    case 'needs_attention':
      return `a person has to decide: ${step['reason'] ?? failureMessage}`;
  }
}

function reversalSteps(reversal: ToldReversal): Story['steps'] {
  const { id, kind, status, amountMinor, currency, failureMessage, takenAt, createdAt, updatedAt } = reversal;
  const steps = [{ at: createdAt, what: `${kind} ${id}: ${moneyText(amountMinor, currency)} went back to the customer` }];
  const moved = (verb: string, before: Quota, after: Quota) =>
    `${id}: quota was ${verb}${before === null || before === undefined ? '' : `, the budget went from ${quotaText(before)} to ${quotaText(after)}`}`;
  if (takenAt) steps.push({ at: takenAt, what: moved('taken', reversal.takenBefore, reversal.takenAfter) });
  if (status === 'given_back') steps.push({ at: updatedAt, what: moved('given back', reversal.givenBefore, reversal.givenAfter) });
  if (status === 'needs_attention') steps.push({ at: updatedAt, what: `${id}: a person has to decide: ${failureMessage}` });
  return steps;
}

/** The transaction that enters a reversal and opens its hold begins before both: the hold is of the reversal's time. */
function holdSteps(hold: ToldHold, reversals: readonly ToldReversal[]): Story['steps'] {
  const { id, reason, detail, since, openedBy, releasedAt, releasedBy, releaseReason } = hold;
  const opener = reversals.find((reversal) => openedBy.split(' ').includes(reversal.id));
  const began = Math.max(since.getTime(), opener?.createdAt.getTime() ?? 0);
  const opened = { at: new Date(began), what: `hold ${id} (${reason}) began: ${detail}` };
  return releasedAt
    ? [opened, { at: releasedAt, what: `hold ${id} ended, by ${releasedBy}${releaseReason ? `: ${releaseReason}` : ''}` }]
    : [opened];
}

/** What a person has decided last on the recharge itself. */
function decisionOn({ timeline }: ToldRecharge): { resolution: unknown; text: string } | undefined {
  const step = timeline.findLast((each) => each['resolution'] && !each['reversal']);
  return step && { resolution: step['resolution'], text: `as ${step['by']} decided: ${step['reason']}` };
}

function summaryOf(recharge: ToldRecharge): string {
  const { status, amountMinor, currency, quotaBefore, quotaAfter, failureMessage, refundId } = recharge;
  const amount = moneyText(amountMinor, currency);
  const decision = decisionOn(recharge);
  switch (status) {
    case 'succeeded':
      if (decision?.resolution === 'accept') return `${amount} was paid, and counts as granted, ${decision.text}`;
      return `${amount} was paid, and the budget raised from ${quotaText(quotaBefore)} to ${quotaText(quotaAfter)}`;
    case 'refunded':
      if (decision?.resolution === 'refund') return `${amount} was paid, and refunded by ${refundId}, ${decision.text}`;
      return `${amount} was paid, and refunded by ${refundId}: ${failureMessage ?? 'the budget could not be raised'}`;
    case 'declined':
    case 'action_required':
      return `${amount} was not paid: ${withoutStop(failureMessage ?? status)}`;
    case 'cancelled':
      return `nothing was charged: ${failureMessage ?? 'it was cancelled'}`;
    case 'needs_attention':
      return `${amount} waits for a person: ${failureMessage}`;
    case 'refunding':
      return refundId
        ? `${amount} goes back to the customer by ${refundId}, which Stripe or the bank has not settled yet`
        : `${amount} is to go back to the customer, and Stripe has not been asked yet`;
    default:
      return `${amount} is under way: ${status}`;
  }
}

function reversalSummary({ id, kind, status }: ToldReversal): string {
  const ends: Record<ReversalStatus, string> = {
    open: 'its quota is about to follow',
    taken_back: 'its quota has followed',
    given_back: 'the money has come back, and the quota with it',
    needs_attention: 'a person has to decide about its quota',
  };
  return `${kind} ${id} took money back: ${ends[status]}`;
}

type StoryFacts = { reversals: readonly ToldReversal[]; holds: readonly ToldHold[]; hindrance?: Hindrance | undefined };

function nextOf({ id, status, timeline }: ToldRecharge, { reversals, holds, hindrance }: StoryFacts, now: Date): string | null {
  const parked = reversals.find((reversal) => reversal.status === 'needs_attention');
  if (parked) return actionOnReversal(parked.id);
  if (status === 'needs_attention') return actionOnRecharge(id);
  const underWay = underWaySince(timeline);
  if (underWay && overdueAfter(underWay.since, now)) return `bill doctor; or end it, by ${actionOnRecharge(id)}`;
  if (hindrance) return goesOn(hindrance.trouble, hindrance.stop);
  const hold = holds.find(({ releasedAt }) => !releasedAt);
  return hold ? `${hold.id} (${hold.reason}) stops further charges; ${endedBy(hold)}: ${releaseOf(hold.id)}` : null;
}

/** Stripe ends its sentences; ours go on. */
function withoutStop(sentence: string): string {
  return sentence.replace(/\.$/, '');
}

function quotaText(quota: Quota): string {
  return quota === null || quota === undefined ? 'unknown' : formatQuota(quota);
}

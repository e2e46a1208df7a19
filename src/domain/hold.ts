/**
 * A hold stops charges: while one applies, nothing new is charged, and what is taken already goes on to its
 * end. Everything that stops charges for longer than one look is a hold, so there is one place to look, one
 * refusal and one list.
 */
import { formatQuota, type QuotaMicros } from './money.ts';
import { shortList } from './short-list.ts';

export const HOLD_SCOPES = ['service', 'organization', 'card'] as const;
export type HoldScope = (typeof HOLD_SCOPES)[number];

type Rule = {
  scopes: readonly HoldScope[];
  /** When it is opened. */
  openedWhen: string;
  /** What ends it, in words for whoever has to act. */
  endedBy: string;
  /** Whether the customer ends it by another card. */
  endsWithCard?: true;
  /** Whether who releases it approves the amount, or the budget, that it shows. */
  isApproval?: true;
};

/**
 * Every reason for a hold. docs/policy.md has the same table, and a test compares the two. The table `hold`
 * checks the reasons, so a new one needs a migration.
 */
export const HOLDS = {
  operator: {
    scopes: ['service', 'organization'],
    openedWhen: 'a person opens it; without an organization it is the kill switch of the service',
    endedBy: 'a person releases it',
  },
  raise_refused: {
    scopes: ['service', 'organization'],
    openedWhen: 'LiteLLM refuses to raise a budget that was paid for: with 403 for the service, else for the organization',
    endedBy: 'for the service, a probe that LiteLLM lets through; else a person releases it when LiteLLM takes the raise',
  },
  declined: {
    scopes: ['card'],
    openedWhen: "the card's network has declined it, or wants the customer present",
    endedBy: 'the customer names another card, a payment succeeds, or a person releases it',
    endsWithCard: true,
  },
  card_refused: {
    scopes: ['card'],
    openedWhen: "the card's network has declined it for good",
    endedBy: 'the customer names another card or renews this one, or a person releases it',
    endsWithCard: true,
  },
  three_failures: {
    scopes: ['organization'],
    openedWhen: 'three attempts in a row have failed',
    endedBy: 'the customer names another card, or a person releases it',
    endsWithCard: true,
  },
  disputed: {
    scopes: ['organization'],
    openedWhen: 'the customer disputes a charge',
    endedBy: 'the dispute is won (evidence is given at Stripe), or a person releases it',
  },
  fraud_warning: {
    scopes: ['organization'],
    openedWhen: "Stripe passes on the card issuer's warning that a charge is fraudulent",
    endedBy: 'a person releases it, when the charge and the card have been looked at',
  },
  runaway: {
    scopes: ['organization'],
    openedWhen: "one charge above max_charge, or recharges far above the organization's own normal",
    endedBy: 'a person releases it: then what was shown is charged',
    isApproval: true,
  },
  budget_lowered: {
    scopes: ['organization'],
    openedWhen: 'the budget in LiteLLM is below what the last recharge or reversal left',
    endedBy: 'a person restores the budget in LiteLLM, or accepts it: `bill org accept-budget`, or releases the hold',
    isApproval: true,
  },
  key_refused: {
    scopes: ['service'],
    openedWhen: 'Stripe or LiteLLM refuses our key, or Stripe knows none of our customers',
    endedBy: 'the key is put right: a probe each minute notices it',
  },
} as const satisfies Record<string, Rule>;

export type HoldReason = keyof typeof HOLDS;
export const HOLD_REASONS = Object.keys(HOLDS) as HoldReason[];

/** A hold as its rules need it. */
export type AppliedHold = {
  id: string;
  scope: HoldScope;
  reason: HoldReason;
  /** What was seen, in words. */
  detail: string;
  /** When it ends by itself; null: it does not. */
  until: Date | null;
};

/** The organizations that a hold on a card stops: how many they are, and some of their ids. */
export type Stopped = { count: number; ids: readonly string[] };

/** What was seen, and of a hold on a card whom it stops. */
export function seenOf({ detail, stops }: { detail: string; stops: Stopped | null }): string {
  if (stops === null) return detail;
  const { count, ids } = stops;
  return `${detail}; it stops ${count === 1 ? `${ids[0]} alone` : `${count} organizations: ${shortList(ids, count)}`}`;
}

/** What is added to the hold of a dispute that is decided against us. */
export function lostDispute(disputeId: string): string {
  return `${disputeId} is decided, and the money stays with the customer: ${ONLY_A_PERSON}`;
}
const ONLY_A_PERSON = 'only a person ends this hold';

/** What ends it, in words: the hold of a dispute that is lost waits for no winning. */
export function endedBy({ reason, detail }: Pick<AppliedHold, 'reason' | 'detail'>): string {
  return detail.includes(ONLY_A_PERSON) ? 'a person releases it' : HOLDS[reason].endedBy;
}

/** What has to be done before a card is asked again whose bank wants the customer. Another card needs nothing of it. */
export const CONFIRM_FIRST = 'before it is asked again, the customer has to confirm it with the bank, for use without them';

/** Whether a hold of this reason ends when the customer names another card: worth asking Stripe for it. */
export function endsWithCard(reason: HoldReason): boolean {
  return (HOLDS[reason] as Rule).endsWithCard === true;
}

/** What resuming an organization ends. Whoever approves an amount or a budget has seen it, and names the hold that shows it. */
export const RESUMED_REASONS = HOLD_REASONS.filter((reason) => (HOLDS[reason] as Rule).isApproval !== true);

/**
 * Whether a hold stops a charge that was reserved before it. A refused key does not: the charge's own next
 * call to Stripe is the best probe of it, and takes nothing while the key is refused.
 */
export function stopsReserved({ reason }: AppliedHold): boolean {
  return reason !== 'key_refused';
}

/** Such as `held (declined): insufficient_funds; it ends at 2026-11-26T12:15:00.000Z: … (hld_…)`. */
export function describeHold(hold: AppliedHold): string {
  const { id, reason, detail, until } = hold;
  const end = until === null ? endedBy(hold) : `it ends at ${until.toISOString()}, or sooner: ${endedBy(hold)}`;
  return `held (${reason}): ${detail}; ${end} (${id})`;
}

/**
 * What is seen where a team's budget is below what our last write left, in words; null where it is not.
 *
 * @param expected null: not known, as while a write is under way.
 */
export function loweredBudget({
  teamId,
  shown,
  expected,
}: {
  teamId: string;
  shown: QuotaMicros | null;
  expected: QuotaMicros | null;
}): string | null {
  if (expected === null || shown === null || shown >= expected) return null;
  const [now, left] = [formatQuota(shown), formatQuota(expected)];
  return `max_budget of team ${teamId} is ${now}, our last write left ${left}: restore it in LiteLLM, or release this hold to go on from ${now}`;
}

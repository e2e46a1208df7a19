/**
 * What attempts on a card lead to. Only those count that the card's network was asked for, whoever's
 * organization and whatever source: networks count by card.
 *
 * Stripe advises eight retries at most, and Visa counts fifteen attempts per card in 30 days. Pauses that
 * double from 15 minutes to a week make thirteen attempts in 30 days.
 * https://docs.stripe.com/declines/card#retries
 */
import type { DeclineKind } from './decline.ts';
import type { HoldReason } from './hold.ts';

/** The most failed attempts of one card within ATTEMPTS_WINDOW_MS. */
export const MAX_FAILED_ATTEMPTS = 13;
export const ATTEMPTS_WINDOW_MS = 30 * 24 * 60 * 60_000;

/** So many failures in a row of an organization, with whatever card, and a person or a new card is needed. */
export const FAILURES_IN_A_ROW = 3;

const FIRST_PAUSE_MS = 15 * 60_000;
const LAST_PAUSE_MS = 7 * 24 * 60 * 60_000;

/** How long to wait after that many failures in a row, in milliseconds. */
export function pauseAfter(failures: number): number {
  return failures === 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LAST_PAUSE_MS);
}

/** Failures as they were before this one; what happened before a success counts for the window only. */
export type FailuresBefore = {
  /** Of the card since it last succeeded. */
  cardInARow: number;
  /** Of the card within the window, and how long ago the oldest of them was. */
  cardInWindow: number;
  oldestInWindowAgoMs: number | null;
  /** Of the organization since its last success, its last other card and the last release by a person. */
  organizationInARow: number;
};

/** A hold that an attempt opens. `forMs` null: it does not end by itself. */
export type HoldToOpen = { reason: Extract<HoldReason, 'declined' | 'card_refused' | 'three_failures'>; forMs: number | null };

/** The holds after one more failed attempt. */
export function holdsAfterFailure(kind: DeclineKind, before: FailuresBefore): HoldToOpen[] {
  const ofCard: HoldToOpen = kind === 'hard' ? { reason: 'card_refused', forMs: null } : { reason: 'declined', forMs: pauseOf(before) };
  const isThird = before.organizationInARow + 1 >= FAILURES_IN_A_ROW;
  return isThird ? [ofCard, { reason: 'three_failures', forMs: null }] : [ofCard];
}

function pauseOf(before: FailuresBefore): number {
  return Math.max(pauseAfter(before.cardInARow + 1), waitForWindow({ ...before, cardInWindow: before.cardInWindow + 1 }));
}

/** How long until the oldest failure has left a window that is full, in milliseconds; 0 while there is room. */
export function waitForWindow({ cardInWindow, oldestInWindowAgoMs }: Pick<FailuresBefore, 'cardInWindow' | 'oldestInWindowAgoMs'>): number {
  if (cardInWindow < MAX_FAILED_ATTEMPTS) return 0;
  return Math.max(0, ATTEMPTS_WINDOW_MS - (oldestInWindowAgoMs ?? 0));
}

/** What was done to an organization in a run, as far as whoever judges it has to know. */

/** What the API said to an alert. */
export type AlertAnswer = { webhookId: string | null; status: number; eventId: string | undefined; receipt: string | undefined };

/** A refund or dispute that others have made at Stripe, in cents. `isGone`: the customer has the money now. */
export type Returned = { id: string; kind: 'refund' | 'dispute'; intentId: string; amount: number; isGone: boolean };

/** A time on the wall, in milliseconds; `to` is infinite until it has ended. */
export type Span = { from: number; to: number };

/**
 * `database`, `litellm`: what was restored to an earlier moment. `parked`: what a person does with what is parked by it.
 * `both`: where both were, the budget and the quota granted as they are again, and how many budgets others had written.
 */
export type Restored = {
  at: number;
  database: boolean;
  litellm: boolean;
  parked: 'grant' | 'refund' | 'accept';
  both?: { budget: number; granted: number; edits: number } | undefined;
};

export class Deeds {
  readonly answers: AlertAnswer[] = [];
  /** The budgets that somebody else has written, a restored LiteLLM too, in order; null is unlimited. */
  readonly edits: (number | null)[] = [];
  /** Dollars of balance that somebody else has added: a raised budget, spend that a restored LiteLLM has forgotten. */
  given = 0;
  /** Dollars of quota that a person has granted, of what was parked. */
  granted = 0;
  teamDeleted = false;
  /** How often the balance may have fallen below the minimum. */
  crossings = 1;
  /** The most that was ever allowed, whatever the settings became later. */
  readonly most: { target: number; minimum: number; daily: number };
  /** When LiteLLM took no raise, of the team or of anybody. */
  readonly refusals: (Span & { of: 'the team' | 'everybody' })[] = [];
  /** When auto-recharge was off by its setting. */
  readonly off: Span[] = [];
  /** Whether a call of ours to Stripe may reach it later than it was sent, by as much. */
  slowestCallMs = 0;
  readonly returned: Returned[] = [];
  readonly restored: Restored[] = [];
  /** Somebody has changed the amount of an intent at Stripe. */
  amountChanged = false;
  /** Some of Stripe's events have not reached the service. */
  eventsLost = false;
  /** Kinds of what the last reconciliation has found of the organization. */
  findings: string[] = [];

  constructor(most: { target: number; minimum: number; daily: number }) {
    this.most = most;
  }

  /** Whether only a reconciliation makes everything known again. */
  get needsReconciliation(): boolean {
    return this.eventsLost || this.restored.length > 0;
  }
}

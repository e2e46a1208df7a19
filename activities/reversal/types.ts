/** What the activities of a reversal take and return: JSON that stays in workflow history. */

export type ReversalRef = { reversalId: string };

export type ReversalStep = ReversalRef & { step: 'take_back' | 'give_back' | 'never_mind'; amountMinor: number };

/**
 * `parked`: what a person has to settle. `isFinal`: nothing more is to be expected from Stripe unless an event says so.
 */
export type ReversalsResult = { steps: ReversalStep[]; parked: string[]; isFinal: boolean };

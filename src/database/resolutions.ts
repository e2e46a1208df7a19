/**
 * A person settles a recharge that needs attention: who, when and why stay in its timeline, and the ledger
 * follows.
 */
import { minorUnits } from '../domain/money.ts';
import { LATE_MOVES } from '../domain/recharge-status.ts';
import { destinationOf, type ResolutionRequest } from '../domain/resolution.ts';
import type { EntityManager } from './database.ts';
import { Recharge } from './entities.ts';
import * as ledger from './ledger.ts';
import * as recharges from './recharges.ts';

/** The recharge needs no attention, or the resolution is not possible; the message says what is. */
export class NotResolvableError extends Error {
  override name = 'NotResolvableError';
}

/**
 * Moves a recharge from `needs_attention` to where the resolution takes it. `grant` and `refund` continue in
 * a workflow; `accept` is final.
 *
 * @throws NotResolvableError
 */
export async function begin(em: EntityManager, recharge: Recharge, { resolution, by, reason }: ResolutionRequest): Promise<Recharge> {
  if (recharge.status !== 'needs_attention')
    throw new NotResolvableError(`recharge ${recharge.id} is ${recharge.status}: nothing is to be settled`);
  const held = await ledger.heldFor(em, recharge.id);
  const to = destinationOf(resolution, held > 0);
  if (!to) throw new NotResolvableError(`nothing is held for recharge ${recharge.id} that could be given on or back: accept it`);
  return em.transactional(async (tx) => {
    // The quota is planned anew: the person decided on what LiteLLM shows now. A failed refund is not the one
    // that is asked for now, and Stripe remembers it under its idempotency key.
    const fresh = { quotaBefore: null, quotaAfter: null, refundId: null, keysSpent: recharge.keysSpent + 1 };
    await tx.nativeUpdate(Recharge, { id: recharge.id, status: 'needs_attention' }, fresh);
    const portion = { reference: '', amountMinor: minorUnits(held), quotaMicros: recharge.quotaGranted };
    return recharges.move(tx, recharge, {
      to,
      from: LATE_MOVES.resolve.from,
      facts: { resolution, by, reason },
      ...(to === 'succeeded' && { transfer: 'grant', portion }),
    });
  });
}

/**
 * A person settles a recharge: who, when and why stay in its timeline, and the ledger follows.
 */
import { type EntityData, LockMode, raw } from '@mikro-orm/core';
import { type MinorUnits, minorUnits, quotaFor } from '../domain/money.ts';
import { LATE_MOVES } from '../domain/recharge-status.ts';
import { type Destination, destinationOf, type Resolution, type ResolutionRequest, resolutionsOf } from '../domain/resolution.ts';
import type { EntityManager } from './database.ts';
import { Organization, Recharge } from './entities.ts';
import * as ledger from './ledger.ts';
import * as quotaWrites from './quota-writes.ts';
import * as recharges from './recharges.ts';

/** The resolution is not possible as the recharge is now; the message says why. */
export class NotResolvableError extends Error {
  override name = 'NotResolvableError';
}

/**
 * Takes a person's decision. From then on no step of a run starts that goes against it: each of them starts from
 * a status that the recharge has left, or sees that a write of the budget has to be looked at first. `grant` and
 * `refund` continue in a run; `accept` is final, but for money that is on its way back.
 *
 * @param recharge as it was when the person, and whoever asked Stripe about it, looked.
 * @param captured what Stripe has captured for it, where the ledger has no money of it; else 0.
 * @throws NotResolvableError
 */
export async function begin(
  em: EntityManager,
  recharge: Recharge,
  { resolution, by, reason, captured }: ResolutionRequest & { captured: MinorUnits },
): Promise<Recharge> {
  return em.transactional(async (tx) => {
    // Always the organization's lock first. The recharge's own keeps a write of the budget from beginning.
    await tx.findOneOrFail(Organization, recharge.organizationId, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const current = await tx.findOneOrFail(Recharge, recharge.id, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (current.status !== recharge.status)
      throw new NotResolvableError(`recharge ${recharge.id} was ${recharge.status} and is ${current.status} now: look at it again`);
    const held = await ledger.heldFor(tx, recharge.id);
    const isMoneyHeld = held > 0 || captured > 0;
    const to = destinationOf(resolution, { status: current.status, isMoneyHeld });
    if (!to) throw new NotResolvableError(whyNot(current, isMoneyHeld));
    if (captured > 0 && resolution === 'accept')
      throw new NotResolvableError(
        `Stripe has captured the money of recharge ${recharge.id}: ${current.status === 'needs_attention' ? 'grant or refund it' : LEAVE_TO_RUN}`,
      );
    if (!waitsForWrite(current, to, resolution) && (await quotaWrites.mayTakeEffectFor(tx, current)))
      throw new NotResolvableError(`a write of the budget of ${current.litellmTeamId} may still take effect: try again in a minute`);
    await tx.nativeUpdate(Recharge, { id: recharge.id }, preparation(current, to, resolution));
    return recharges.move(tx, current, {
      to,
      from: LATE_MOVES.resolve.from,
      facts: { resolution, by, reason },
      ...transferOf(current, { to, held: minorUnits(held), captured }),
    });
  });
}

const LEAVE_TO_RUN = 'its run enters it, and then it can be granted or refunded';

/** Granting compares the budgets by itself, and a refund waits until no write can take effect. */
function waitsForWrite({ status }: Recharge, to: Destination, resolution: Resolution): boolean {
  return (status === 'charged' && to !== 'succeeded') || (status === 'refunding' && resolution === 'refund');
}

function preparation({ status, keysSpent }: Recharge, to: Destination, resolution: Resolution): EntityData<Recharge> {
  // The quota is planned anew: the person decided on what LiteLLM shows now.
  const planAnew = { quotaBefore: null, quotaAfter: null, writeUntil: null };
  switch (status) {
    case 'needs_attention':
      // A failed refund is not the one that is asked for now, and Stripe remembers it under its idempotency key.
      return { ...planAnew, refundId: null, keysSpent: keysSpent + 1 };
    case 'charged':
      if (to === 'succeeded') return planAnew;
      // A run may be about to refund, or a process of the version before to write: the budget is looked at first.
      return { writeUntil: raw('coalesce(write_until, clock_timestamp())') } as unknown as EntityData<Recharge>;
    case 'refunding':
      return resolution === 'accept' ? { writeUntil: null } : {};
    default:
      return {};
  }
}

/** Two transfers are never due at once: what is captured and not entered is entered before it goes on. */
function transferOf(
  recharge: Recharge,
  { to, held, captured }: { to: Destination; held: MinorUnits; captured: MinorUnits },
): Pick<recharges.Move, 'transfer' | 'portions' | 'captured'> {
  if (to === 'succeeded')
    return { transfer: 'grant', portions: [{ reference: '', amountMinor: held, quotaMicros: quotaFor(held, recharge) }] };
  return captured > 0 ? { transfer: 'charge', captured } : {};
}

function whyNot({ id, status }: Recharge, isMoneyHeld: boolean): string {
  const possible = resolutionsOf(status, isMoneyHeld);
  if (possible.length === 0) return `recharge ${id} is ${status}: there is nothing to settle`;
  const money = status === 'refunding' ? 'its money may be on its way back' : 'nothing is held that could be given on or back';
  return `recharge ${id} is ${status}, and ${money}: only ${possible.join(' or ')} is possible`;
}

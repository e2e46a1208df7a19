/**
 * Reservations: an amount that is frozen and counted against the limits before the card is charged, and its end when
 * the card is not.
 */
import { LockMode, type RequiredEntityData } from '@mikro-orm/core';
import type { Card } from '../domain/card.ts';
import { describeHold } from '../domain/hold.ts';
import { quotaMicros } from '../domain/money.ts';
import { type Decision, REFUSALS, type RechargeHistory, type RechargePolicy, type Refusal } from '../domain/policy.ts';
import { whyRefusedUnder } from '../domain/settings-warnings.ts';
import * as cardHolds from './card-holds.ts';
import { now, statementTime } from './clock.ts';
import type { EntityManager } from './database.ts';
import { Organization, Recharge, WebhookEvent } from './entities.ts';
import * as holds from './holds.ts';
import { newId } from './ids.ts';
import { tellLimits } from './limit-events.ts';
import { policyOf } from './organizations.ts';
import { isTurn } from './raise-turns.ts';
import { historyOf } from './recharge-history.ts';
import { findByEvent, move, timelineOf } from './recharges.ts';

export type Reservation =
  | { kind: 'reserved'; recharge: Recharge }
  | { kind: 'refused'; refusal: Refusal; reason: string }
  | { kind: 'stale' }
  /** One recharge of the service goes first; see raise-turns.ts. */
  | { kind: 'not_its_turn' }
  | { kind: 'event_closed' };

/**
 * Decides under the organization's lock and, when the decision is to recharge, reserves it: the amount is
 * frozen, and no other recharge of the organization can begin. An event that has a recharge already gets that
 * one.
 *
 * @param seenVersion the organization's version from before its balance was read. The result is `stale` when
 *   a recharge was settled since, because `decide` then has an old balance.
 * @param seenTeamId the LiteLLM team whose balance was read. `stale` too when the organization has another one by now.
 * @param card the card that the customer has now, where it was asked for: what another card ends is released.
 */
export async function reserve(
  em: EntityManager,
  event: Pick<WebhookEvent, 'id' | 'source'>,
  {
    organizationId,
    seenVersion,
    seenTeamId,
    card,
    decide,
  }: {
    organizationId: string;
    seenVersion: number;
    seenTeamId: string;
    card?: Card | undefined;
    decide: (policy: RechargePolicy, history: RechargeHistory) => Decision;
  },
): Promise<Reservation> {
  return em.transactional(async (tx) => {
    const organization = await tx.findOneOrFail(Organization, organizationId, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const existing = await tx.findOne(Recharge, { eventId: event.id });
    if (existing) return { kind: 'reserved', recharge: existing };
    const { processed } = await tx.findOneOrFail(WebhookEvent, event.id, { lockMode: LockMode.PESSIMISTIC_READ });
    if (processed) return { kind: 'event_closed' };
    if (organization.version !== seenVersion) return { kind: 'stale' };
    if (organization.litellmTeamId !== seenTeamId) return { kind: 'stale' };

    if (card) await cardHolds.releaseForChangedCard(tx, organization.id, card);
    const policy = policyOf(organization);
    const history = await historyOf(tx, organization.id, { card });
    const decision = decide(policy, history);
    if (decision.kind === 'refuse') return { kind: 'refused', refusal: decision.refusal, reason: whyRefusedUnder(policy, decision) };
    if (decision.kind === 'hold') return { kind: 'refused', refusal: 'held', reason: await holdRunaway(tx, organization.id, decision) };
    if (!(await isTurn(tx))) return { kind: 'not_its_turn' };

    const id = newId('rch');
    // The decision was made on a budget that LiteLLM has just shown.
    await tx.nativeUpdate(Organization, organizationId, { litellmSeenAt: now() });
    await tx.insert(Recharge, {
      id,
      eventId: event.id,
      organizationId,
      litellmTeamId: organization.litellmTeamId,
      source: event.source,
      status: 'reserved',
      stripeCustomerId: organization.stripeCustomerId,
      amountMinor: decision.amount,
      currency: organization.currency,
      quotaGranted: decision.quota,
      balanceSeen: decision.balance,
      quotaBefore: decision.quotaBefore,
      quotaAfter: quotaMicros(decision.quotaBefore + decision.quota),
      keysSpent: 0,
      timeline: timelineOf({ status: 'reserved' }),
      // The clock by which the days of the daily limit are computed. Under the lock, and so after whatever was decided
      // on: an approval is used up by what was reserved since it was given.
      createdAt: statementTime(),
      updatedAt: statementTime(),
    } as unknown as RequiredEntityData<Recharge>);
    await tellLimits(tx, organizationId, { policy, history, amount: decision.amount });
    return { kind: 'reserved', recharge: await tx.findOneOrFail(Recharge, id) };
  });
}

/**
 * Cancels what is reserved for an event. For the transaction that closes it: it keeps the organization's lock, under
 * which `reserve` decides, so an attempt that Temporal has given up reserves before this, or finds the event closed.
 *
 * @param refusal what its run was refused for; undefined: the run itself was cancelled.
 * @returns the event's recharge as it is now; null: none, as where a restored database has forgotten the event.
 */
export async function cancelReservation(
  tx: EntityManager,
  eventId: string,
  { refusal, reason }: { refusal?: Refusal; reason: string },
): Promise<Recharge | null> {
  const { organizationId } = (await tx.findOne(WebhookEvent, eventId)) ?? {};
  if (organizationId) await tx.findOne(Organization, organizationId, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const recharge = await findByEvent(tx, eventId);
  if (recharge?.status !== 'reserved') return recharge;
  const changes = refusal ? { failureCode: refusal, failureMessage: reason } : {};
  return move(tx, recharge, { to: 'cancelled', changes, facts: { reason } });
}

/** Opens the hold that the decision asks for, and returns it in words. */
async function holdRunaway(
  tx: EntityManager,
  organizationId: string,
  { reason, detail, amount }: Extract<Decision, { kind: 'hold' }>,
): Promise<string> {
  const hold = { scope: 'organization', subject: organizationId, reason, detail } as const;
  await holds.open(tx, { ...hold, openedBy: 'checkLimits', organizationId, amountMinor: amount });
  const opened = (await holds.applyingTo(tx, organizationId)).find((each) => each.reason === reason);
  return opened ? describeHold(opened) : REFUSALS.held;
}

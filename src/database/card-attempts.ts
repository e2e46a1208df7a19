/**
 * Attempts on cards, counted by card whoever's organization it was. An attempt is entered before the card's
 * network is asked, so that two at a time are noticed, and ended by what came of it.
 */
import { ATTEMPTS_WINDOW_MS, type FailuresBefore, holdsAfterFailure, pauseAfter, waitForWindow } from '../domain/attempts.ts';
import { type Card, holdSubjectOf } from '../domain/card.ts';
import type { DeclineKind } from '../domain/decline.ts';
import { type AppliedHold, CONFIRM_FIRST, type HoldReason, stopsReserved } from '../domain/hold.ts';
import { QUOTA_DUE_STATUSES } from '../domain/recharge-status.ts';
import type { EntityManager } from './database.ts';
import type { Recharge } from './entities.ts';
import * as holds from './holds.ts';
import { sqlList } from './sql.ts';

const FAILED_OUTCOMES = ['soft', 'hard', 'authentication_required'] as const satisfies DeclineKind[];

/** A recharge in one of these may be asking the card's network right now. */
const ASKING_STATUSES = QUOTA_DUE_STATUSES.filter((status) => status === 'reserved' || status === 'charging');

export type Begun =
  | { kind: 'begun' }
  | { kind: 'held'; hold: AppliedHold }
  /** Another recharge is asking the same card's network: what comes of that decides. */
  | { kind: 'busy'; rechargeId: string };

/**
 * Enters the attempt, unless a hold applies by now, the card was asked too often in vain, or it is being charged
 * for somebody else. Idempotent: called again before every confirm of the recharge.
 */
export async function begin(em: EntityManager, recharge: Pick<Recharge, 'id' | 'organizationId'>, card: Card): Promise<Begun> {
  return em.transactional(async (tx) => {
    // One at a time for each card, whoever's workers they are.
    await tx.execute('select pg_advisory_xact_lock(hashtextextended(?, 0))', [card.fingerprint]);
    await holdIfWindowIsFull(tx, recharge, card);
    const [hold] = (await holds.applyingTo(tx, recharge.organizationId, card)).filter(stopsReserved);
    if (hold) return { kind: 'held', hold };
    const [other] = await tx.execute<{ id: string }[]>(
      `select a.recharge_id as id from card_attempt a join recharge r on r.id = a.recharge_id
       where a.fingerprint = ? and a.outcome is null and a.recharge_id <> ? and r.status in (${sqlList(ASKING_STATUSES)}) limit 1`,
      [card.fingerprint, recharge.id],
    );
    if (other) return { kind: 'busy', rechargeId: other.id };
    await tx.execute(
      // An attempt before this one may have begun with another card, and been given up before that card was asked.
      `insert into card_attempt (recharge_id, organization_id, fingerprint) values (?, ?, ?)
       on conflict (recharge_id) do update set fingerprint = excluded.fingerprint, begun_at = excluded.begun_at
         where card_attempt.outcome is null and card_attempt.fingerprint <> excluded.fingerprint`,
      [recharge.id, recharge.organizationId, card.fingerprint],
    );
    return { kind: 'begun' };
  });
}

/** An attempt that was entered so long ago is looked at anew. */
const STANDS_FOR_MS = 5_000;

/**
 * Whether the recharge's attempt on this card was entered moments ago, and no hold applies by now: while it is entered
 * nobody else begins one on the card.
 */
export async function stands(
  em: EntityManager,
  { id, organizationId }: Pick<Recharge, 'id' | 'organizationId'>,
  card: Card,
): Promise<boolean> {
  const rows = await em.execute(
    `select from card_attempt a where a.recharge_id = ? and a.fingerprint = ? and a.outcome is null
       and a.begun_at > now() - ? * interval '1 millisecond'
       and not exists (
         select from hold where released_at is null and (until is null or until > now())
           and (scope = 'service' or scope = 'organization' and subject = ? or scope = 'card' and subject in (?, ?)))`,
    [id, card.fingerprint, STANDS_FOR_MS, organizationId, holdSubjectOf(card), card.id],
  );
  return rows.length > 0;
}

/** Whoever has released the hold of the last failure, or saved the card anew: a network counts by the card. */
async function holdIfWindowIsFull(tx: EntityManager, recharge: Pick<Recharge, 'id' | 'organizationId'>, card: Card): Promise<void> {
  const before = await failuresBefore(tx, recharge.organizationId, card);
  const forMs = waitForWindow(before);
  if (forMs === 0) return;
  const detail = `the card was declined ${before.cardInWindow} times in 30 days, as often as it may be asked in vain, so it was not asked for ${namesOf(recharge)}`;
  await openOnCard(tx, recharge, card, { reason: 'declined', detail, forMs });
}

async function openOnCard(
  tx: EntityManager,
  { id, organizationId }: Pick<Recharge, 'id' | 'organizationId'>,
  card: Card,
  hold: { reason: HoldReason; detail: string; forMs: number | null },
): Promise<void> {
  await holds.open(tx, { scope: 'card', subject: holdSubjectOf(card), ...hold, openedBy: id, organizationId, cardId: card.id });
}

/** Whose attempt it is: the hold on its card stops others too. */
function namesOf({ id, organizationId }: Pick<Recharge, 'id' | 'organizationId'>): string {
  return `${organizationId} (${id})`;
}

/** The card's network has let the payment through: whatever the failures before it have led to ends. */
export async function succeed(tx: EntityManager, recharge: Recharge): Promise<void> {
  await end(tx, recharge.id, 'succeeded');
  const release = { by: recharge.id, reason: 'a payment has succeeded' };
  const { organizationId } = recharge;
  const card = cardOf(recharge);
  const ofCard = card ? [{ scope: 'card', subject: holdSubjectOf(card), reasons: ['declined', 'card_refused'] } as const] : [];
  await holds.releaseEachOf(
    tx,
    [
      { scope: 'organization', subject: organizationId, reasons: ['three_failures'] },
      { scope: 'service', subject: 'stripe', reasons: ['key_refused'] },
      ...ofCard,
    ],
    release,
  );
}

/** The card's network has declined: opens the holds that follow. */
export async function fail(tx: EntityManager, recharge: Recharge, { kind, code }: { kind: DeclineKind; code: string }): Promise<void> {
  const card = cardOf(recharge);
  if (!card) return;
  const before = await failuresBefore(tx, recharge.organizationId, card);
  if (!(await end(tx, recharge.id, kind))) return;
  for (const { reason, forMs } of holdsAfterFailure(kind, before)) {
    if (reason === 'three_failures') await holdOrganization(tx, recharge, card, code);
    else
      await openOnCard(tx, recharge, card, {
        reason,
        detail: `the card was declined with ${code} at the attempt of ${namesOf(recharge)}${kind === 'authentication_required' ? `: ${CONFIRM_FIRST}` : ''}`,
        forMs,
      });
  }
}

async function holdOrganization(tx: EntityManager, { id, organizationId }: Recharge, card: Card, code: string): Promise<void> {
  await holds.open(tx, {
    scope: 'organization',
    subject: organizationId,
    reason: 'three_failures',
    detail: `three attempts in a row have failed, the last one with ${code}`,
    openedBy: id,
    organizationId,
    cardId: card.id,
  });
}

/**
 * Stripe's own rules have stopped the payment: no attempt on the card, but no reason either to try again with
 * every alert.
 */
export async function pause(tx: EntityManager, recharge: Recharge, code: string): Promise<void> {
  await forget(tx, recharge.id);
  const card = cardOf(recharge);
  const detail = `Stripe has blocked the payment of ${namesOf(recharge)} (${code})`;
  if (card) await openOnCard(tx, recharge, card, { reason: 'declined', detail, forMs: pauseAfter(1) });
}

/** No network was asked after all. */
export async function forget(tx: EntityManager, rechargeId: string): Promise<void> {
  await tx.execute('delete from card_attempt where recharge_id = ? and outcome is null', [rechargeId]);
}

async function end(tx: EntityManager, rechargeId: string, outcome: 'succeeded' | DeclineKind): Promise<boolean> {
  const ended = await tx.execute(
    'update card_attempt set outcome = ?, ended_at = clock_timestamp() where recharge_id = ? and outcome is null returning recharge_id',
    [outcome, rechargeId],
  );
  return ended.length > 0;
}

async function failuresBefore(tx: EntityManager, organizationId: string, { fingerprint }: Card): Promise<FailuresBefore> {
  const failed = `outcome in (${sqlList(FAILED_OUTCOMES)})`;
  const [row] = await tx.execute<{ card: number; recent: number; oldest_ago_ms: number | null; organization: number }[]>(
    `select
       (select count(*)::integer from card_attempt where fingerprint = ? and ${failed} and ended_at > coalesce(
          (select max(ended_at) from card_attempt where fingerprint = ? and outcome = 'succeeded'), '-infinity')) as card,
       recent.count as recent, recent.oldest_ago_ms,
       (select count(*)::integer from card_attempt where organization_id = ? and ${failed} and ended_at > greatest(
          (select max(ended_at) from card_attempt where organization_id = ? and outcome = 'succeeded'),
          (select max(released_at) from hold where organization_id = ? and reason = 'three_failures'), '-infinity')) as organization
     from (select count(*)::integer as count, (extract(epoch from now() - min(ended_at)) * 1000)::float as oldest_ago_ms
           from card_attempt where fingerprint = ? and ${failed} and ended_at > now() - ? * interval '1 millisecond') recent`,
    [fingerprint, fingerprint, organizationId, organizationId, organizationId, fingerprint, ATTEMPTS_WINDOW_MS],
  );
  return {
    cardInARow: row?.card ?? 0,
    cardInWindow: row?.recent ?? 0,
    oldestInWindowAgoMs: row?.oldest_ago_ms ?? null,
    organizationInARow: row?.organization ?? 0,
  };
}

/**
 * The card that a recharge is to be charged with; null before one is chosen. One that was chosen before
 * fingerprints were noted is only the same as itself.
 */
export function cardOf({ paymentMethodId, cardFingerprint, cardExpiry }: Recharge): Card | null {
  if (!paymentMethodId) return null;
  return { id: paymentMethodId, fingerprint: cardFingerprint ?? paymentMethodId, expiry: cardExpiry ?? '' };
}

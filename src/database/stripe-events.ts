/** Stripe's events, stored before they are answered. Each only says that an object is worth a look. */
import type { OpaqueStripeEvent, StripeNotice } from '../domain/stripe-notice.ts';
import type { EntityManager } from './database.ts';
import { StripeEvent } from './entities.ts';
import { type Claim, claimRows, type Inbox, markDone, releaseRow } from './lease.ts';

const INBOX: Inbox = {
  table: 'stripe_event',
  doneAt: 'handled_at',
  pending: 'handled_at is null',
  orderBy: 'received_at',
  columns: `id, type, object_id as "objectId", payment_intent_id as "paymentIntentId", charge_id as "chargeId", customer_id as "customerId"`,
};

/**
 * Stores an event, once. False when it is stored already, or when another event of the same object and type
 * is still waiting, claimed by nobody: the look that it causes will be after this.
 */
export async function receive(em: EntityManager, notice: StripeNotice): Promise<boolean> {
  const { id, type, objectId, paymentIntentId, chargeId, customerId } = notice;
  const rows = await em.execute(
    `insert into stripe_event (id, type, object_id, payment_intent_id, charge_id, customer_id) values (?, ?, ?, ?, ?, ?)
     on conflict do nothing returning id`,
    [id, type, objectId, paymentIntentId, chargeId, customerId],
  );
  return rows.length === 1;
}

/** Stores an event that does not hold what it is about, once: nothing follows it. */
export async function ignore(em: EntityManager, { id, type }: OpaqueStripeEvent): Promise<void> {
  await em.execute(
    'insert into stripe_event (id, type, object_id, handled_at, is_ignored) values (?, ?, ?, now(), true) on conflict do nothing',
    [id, type, id],
  );
}

/** Claims events that are not handled; see lease.ts. */
export async function claim(em: EntityManager, claim: Claim): Promise<StripeNotice[]> {
  return claimRows<StripeNotice>(em, INBOX, claim);
}

export async function markHandled(em: EntityManager, id: string): Promise<number | undefined> {
  return markDone(em, INBOX, id);
}

/** Releases a claim in `delayMs`. */
export async function releaseClaim(em: EntityManager, id: string, delayMs: number): Promise<void> {
  await releaseRow(em, INBOX, { id, delayMs });
}

/** How many events of the last day did not hold what they are about. */
export async function countIgnored(em: EntityManager): Promise<number> {
  const [row] = await em.execute<{ ignored: string }[]>(
    "select count(*) as ignored from stripe_event where is_ignored and received_at > now() - interval '1 day'",
  );
  return Number(row?.ignored);
}

/** When the last of Stripe's events arrived; null when none ever did. */
export async function lastReceivedAt(em: EntityManager): Promise<Date | null> {
  const [last] = await em.find(StripeEvent, {}, { orderBy: { receivedAt: 'desc' }, limit: 1 });
  return last?.receivedAt ?? null;
}

/** Stripe's events, stored before they are answered. Each only says that an object is worth looking at. */
import type { EntityManager } from './database.ts';
import { StripeEvent } from './entities.ts';

export type Notice = { id: string; type: string; objectId: string; paymentIntentId: string | null };

/**
 * Stores an event, once. False when it is known, or when another event of the same object and type is still waiting, taken
 * up by nobody: the look that it causes will be after this.
 */
export async function receive(em: EntityManager, { id, type, objectId, paymentIntentId }: Notice): Promise<boolean> {
  const rows = await em.execute(
    'insert into stripe_event (id, type, object_id, payment_intent_id) values (?, ?, ?, ?) on conflict do nothing returning id',
    [id, type, objectId, paymentIntentId],
  );
  return rows.length === 1;
}

/** Takes up to `limit` unhandled events for `leaseMs`, as `webhookEvents.claimForDispatch` does. */
export async function claim(em: EntityManager, limit: number, leaseMs: number): Promise<Notice[]> {
  return em.execute<Notice[]>(
    `update stripe_event set claimed_until = now() + ? * interval '1 millisecond', dispatch_attempts = dispatch_attempts + 1
     where id in (
       select id from stripe_event where handled_at is null and (claimed_until is null or claimed_until < now())
       order by received_at limit ? for update skip locked)
     returning id, type, object_id as "objectId", payment_intent_id as "paymentIntentId"`,
    [leaseMs, limit],
  );
}

/** When the last of Stripe's events arrived; null when none ever did. */
export async function lastReceivedAt(em: EntityManager): Promise<Date | null> {
  const [last] = await em.find(StripeEvent, {}, { orderBy: { receivedAt: 'desc' }, limit: 1 });
  return last?.receivedAt ?? null;
}

export async function markHandled(em: EntityManager, id: string): Promise<void> {
  await em.execute('update stripe_event set handled_at = now(), claimed_until = null where id = ? and handled_at is null', [id]);
}

/** Gives a claim back, to be taken again after `delayMs`. */
export async function release(em: EntityManager, id: string, delayMs: number): Promise<void> {
  await em.execute(`update stripe_event set claimed_until = now() + ? * interval '1 millisecond' where id = ? and handled_at is null`, [
    delayMs,
    id,
  ]);
}

/**
 * Leases on the rows of an inbox table. A dispatcher claims a row for a while, and marks it as done when it
 * was handled. The lease of a dispatcher that died ends by itself, and any other claims the row again.
 */
import type { EntityManager } from './database.ts';

/** Names in SQL text, so constants of the program only. */
export type Inbox = Readonly<{
  table: 'webhook_event' | 'stripe_event';
  /** Set when the row was handled; null until then. */
  doneAt: 'dispatched_at' | 'handled_at';
  /** The rows that are still to be handled: the condition of the table's partial index. */
  pending: 'not processed and dispatched_at is null' | 'handled_at is null';
  /** The oldest first. */
  orderBy: 'id' | 'received_at';
  /** What the dispatcher gets of a row. */
  columns: string;
}>;

/** `limit` rows at most, for `leaseMs`. `except`: their ids are left to other dispatchers. */
export type Claim = { limit: number; leaseMs: number; except?: readonly string[] };

/**
 * Claims pending rows: until the lease ends no other dispatcher gets them. One that is locked is left to its claimer. Materialized: a plan may run a subquery of the update once for each row, and each
 * run claims up to the limit.
 */
export async function claimRows<Row>(
  em: EntityManager,
  { table, pending, orderBy, columns }: Inbox,
  { limit, leaseMs, except = [] }: Claim,
): Promise<Row[]> {
  return em.execute<Row[]>(
    `with claimable as materialized (
       select id as claimable_id from ${table} where ${pending} and (claimed_until is null or claimed_until < now())
         and id not in (select jsonb_array_elements_text(?::jsonb))
       order by ${orderBy} limit ? for update skip locked)
     update ${table} set claimed_until = now() + ? * interval '1 millisecond', dispatch_attempts = dispatch_attempts + 1
     from claimable where id = claimable_id
     returning ${columns}`,
    [JSON.stringify(except), limit, leaseMs],
  );
}

/**
 * Ends the lease for good. The first time stands.
 *
 * @returns the seconds from the receipt of the row until now; undefined where it was done before.
 */
export async function markDone(em: EntityManager, { table, doneAt }: Inbox, id: string): Promise<number | undefined> {
  const [done] = await em.execute<{ seconds: number }[]>(
    `update ${table} set ${doneAt} = now(), claimed_until = null where id = ? and ${doneAt} is null
     returning extract(epoch from now() - received_at)::float as seconds`,
    [id],
  );
  return done?.seconds;
}

/** Ends the lease in `delayMs`: then the row can be claimed again. */
export async function releaseRow(
  em: EntityManager,
  { table, doneAt }: Inbox,
  { id, delayMs }: { id: string; delayMs: number },
): Promise<void> {
  await em.execute(`update ${table} set claimed_until = now() + ? * interval '1 millisecond' where id = ? and ${doneAt} is null`, [
    delayMs,
    id,
  ]);
}

/**
 * Deliveries of outbound events: one event for one endpoint. A dispatcher claims one for a while, like a row
 * of the inbox; the claim of a dispatcher that died ends by itself.
 */
import { DELIVERY_DAYS, type OutboundType, retryDelayMs } from '../domain/outbound-event.ts';
import type { EntityManager } from './database.ts';
import { type DeliveryAttempt, OutboundDelivery } from './entities.ts';
import * as endpoints from './outbound-endpoints.ts';

/**
 * Deliveries to one endpoint at the same time, all dispatchers together; one while it fails. The endpoints
 * together have fewer than a dispatcher handles, so dead ones never hold up the others.
 */
export const MAX_UNDER_WAY_EACH = 4;
/** Attempts that are kept of a delivery: three days of them, and of some more. */
const MAX_LOG = 40;

export type DueDelivery = {
  id: string;
  attempts: number;
  eventId: string;
  type: OutboundType;
  data: Record<string, unknown>;
  createdAt: Date;
  endpointId: string;
  url: string;
  /** null: the one of the environment. */
  secret: string | null;
  /** Of the event that it comes from, where that was traced. */
  traceparent: string | null;
};

/**
 * Enters the deliveries of up to `limit` new events: one for each endpoint that is enabled and takes the
 * type. One statement, so an event is routed with all its deliveries or not yet.
 */
export async function route(em: EntityManager, limit: number): Promise<void> {
  await em.execute(
    `with fresh as materialized (
       select id from outbound_event where routed_at is null order by id limit ? for update skip locked),
     routed as (
       update outbound_event v set routed_at = now() from fresh where v.id = fresh.id returning v.id, v.type)
     insert into outbound_delivery (id, event_id, endpoint_id, retry_until)
     select 'obd_' || replace(gen_random_uuid()::text, '-', ''), routed.id, e.id, now() + ? * interval '1 day'
     from routed join outbound_endpoint e on e.disabled_at is null and (e.types is null or routed.type = any (e.types))
     on conflict (event_id, endpoint_id) do nothing`,
    [limit, DELIVERY_DAYS],
  );
}

/**
 * Claims up to `limit` deliveries that are due, for `leaseMs`, of each endpoint as many as it may have. Materialized:
 * a plan may run a subquery of the update once for each row, and each run claims up to the limit.
 */
export async function claim(em: EntityManager, limit: number, leaseMs: number): Promise<DueDelivery[]> {
  const rows = await em.execute<DueDelivery[]>(
    `with claimable as materialized (
       select due.id from outbound_endpoint o cross join lateral (
         select p.id from outbound_delivery p
         where p.endpoint_id = o.id and p.delivered_at is null and p.given_up_at is null
           and p.due_at <= now() and (p.claimed_until is null or p.claimed_until < now())
         order by p.due_at
         limit greatest(0, (case when o.failing_since is null then ? else 1 end) - (
           select count(*) from outbound_delivery b
           where b.endpoint_id = o.id and b.delivered_at is null and b.given_up_at is null and b.claimed_until > now()))
         for update skip locked) due
       where o.disabled_at is null limit ?)
     update outbound_delivery d set claimed_until = now() + ? * interval '1 millisecond'
     from claimable c, outbound_event v, outbound_endpoint e
     where d.id = c.id and v.id = d.event_id and e.id = d.endpoint_id
     returning d.id, d.attempts, v.id as "eventId", v.type, v.data, v.created_at as "createdAt",
       e.id as "endpointId", e.url, e.secret,
       (select w.traceparent from webhook_event w where w.id = coalesce(v.data ->> 'event_id',
         (select r.event_id from recharge r where r.id = v.data ->> 'recharge_id'))) as traceparent`,
    [MAX_UNDER_WAY_EACH, limit, leaseMs],
  );
  return rows.map((row) => ({ ...row, createdAt: new Date(row.createdAt) }));
}

export type Attempted = Pick<DueDelivery, 'id' | 'endpointId' | 'attempts'> & { attempt: DeliveryAttempt };

/** The receiver has taken the event. */
export async function recordDelivered(em: EntityManager, { id, endpointId, attempt }: Attempted): Promise<void> {
  await em.transactional(async (tx) => {
    await endpoints.noteSuccess(tx, endpointId);
    await record(tx, id, attempt, 'delivered_at = now(), last_error = null');
  });
}

/**
 * The attempt has failed: the next one is later each time, the last one when the days are over. Returns why
 * the endpoint is disabled, when it is disabled by this.
 */
export async function recordFailed(em: EntityManager, { id, endpointId, attempts, attempt }: Attempted): Promise<string | undefined> {
  return em.transactional(async (tx) => {
    const disabledReason = await endpoints.noteFailure(tx, endpointId, attempt.status);
    await record(
      tx,
      id,
      attempt,
      `last_error = ?, given_up_at = case when retry_until <= now() then now() end,
       due_at = least(now() + ? * interval '1 millisecond', retry_until)`,
      [attempt.error, retryDelayMs(attempts + 1)],
    );
    return disabledReason;
  });
}

/** @param changes SQL text, a constant of the program. A delivery that ended meanwhile stays as it is. */
async function record(tx: EntityManager, id: string, attempt: DeliveryAttempt, changes: string, values: unknown[] = []): Promise<void> {
  await tx.execute(
    `update outbound_delivery set attempts = attempts + 1, claimed_until = null, last_status = ?,
       log = (case when jsonb_array_length(log) >= ? then log - 0 else log end) || ?::jsonb, ${changes}
     where id = ? and delivered_at is null and given_up_at is null`,
    [attempt.status, MAX_LOG, JSON.stringify([attempt]), ...values, id],
  );
}

/** Ends the claim in `delayMs`, without an attempt. */
export async function releaseClaim(em: EntityManager, id: string, delayMs: number): Promise<void> {
  await em.execute(
    `update outbound_delivery set claimed_until = null, due_at = now() + ? * interval '1 millisecond'
     where id = ? and delivered_at is null and given_up_at is null`,
    [delayMs, id],
  );
}

/**
 * Sends an event again, to every endpoint that is enabled and takes its type, also where it was delivered.
 * Returns how many these are.
 */
export async function resend(em: EntityManager, eventId: string): Promise<number> {
  const rows = await em.execute(
    `insert into outbound_delivery (id, event_id, endpoint_id, retry_until)
     select 'obd_' || replace(gen_random_uuid()::text, '-', ''), v.id, e.id, now() + ? * interval '1 day'
     from outbound_event v join outbound_endpoint e on e.disabled_at is null and (e.types is null or v.type = any (e.types))
     where v.id = ?
     on conflict (event_id, endpoint_id) do update set retry_until = excluded.retry_until, due_at = now(), attempts = 0,
       claimed_until = null, delivered_at = null, given_up_at = null
     returning id`,
    [DELIVERY_DAYS, eventId],
  );
  return rows.length;
}

/** By event, in the order of endpoints. */
export async function ofEvents(em: EntityManager, eventIds: readonly string[]): Promise<Map<string, OutboundDelivery[]>> {
  const rows = await em.find(OutboundDelivery, { eventId: { $in: [...eventIds] } }, { orderBy: { endpointId: 'asc' } });
  return Map.groupBy(rows, ({ eventId }) => eventId);
}

/**
 * Which holds stop which organizations, as far as the database knows: Stripe is not asked which card a customer has now.
 * A hold on a card stops whoever was to be charged with it last, and whoever has the customer of the organization whose
 * attempt has led to it, but for one that was to be charged with another card since.
 */
import type { Stopped } from '../domain/hold.ts';
import type { StandingHold } from '../domain/status.ts';
import type { EntityManager } from './database.ts';

/** More are counted. */
const MAX_NAMED = 5;

type Stop = Omit<StandingHold, 'stops'> & { organization: string };

/** The open holds on each: its own, and those on its card. The oldest first; none: no entry. */
export async function standingOn(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, StandingHold[]>> {
  const stops = await stopsOf(em, organizationIds);
  const stopped = await stoppedBy(
    em,
    stops.map(({ id }) => id),
  );
  const holds = stops.map((stop) => ({ ...stop, stops: stopped.get(stop.id) ?? null }));
  return Map.groupBy(holds, ({ organization }) => organization);
}

/** Whom each of the holds stops that is open and on a card. Another hold has no entry. */
export async function stoppedBy(em: EntityManager, holdIds: readonly string[]): Promise<Map<string, Stopped>> {
  if (holdIds.length === 0) return new Map();
  const rows = await em.execute<{ id: string }[]>(
    `with open as (
       select subject, organization_id from hold
       where id in (select jsonb_array_elements_text(?::jsonb)) and scope = 'card' and released_at is null)
     select a.organization_id as id from open join card_attempt a on a.fingerprint = split_part(open.subject, ' ', 1)
     union select same.c_organization_id from open
       join organization_balance_config own on own.c_organization_id = open.organization_id
       join organization_balance_config same on same.stripe_customer_id = own.stripe_customer_id`,
    [JSON.stringify([...new Set(holdIds)])],
  );
  const candidates = rows.map(({ id }) => id);
  const byHold = Map.groupBy(await stopsOf(em, candidates), ({ id }) => id);
  return new Map(
    [...byHold].flatMap(([id, stops]) => {
      const ids = stops.map(({ organization }) => organization).toSorted();
      return stops[0]?.scope === 'card' ? [[id, { count: ids.length, ids: ids.slice(0, MAX_NAMED) }] as const] : [];
    }),
  );
}

async function stopsOf(em: EntityManager, organizationIds: readonly string[]): Promise<Stop[]> {
  if (organizationIds.length === 0) return [];
  const rows = await em.execute<(Omit<Stop, 'since' | 'until'> & { since: string; until: string | null })[]>(
    `select o.c_organization_id as organization, h.id, h.scope, h.reason, h.detail, h.since, h.until
     from organization_balance_config o
     left join lateral (
       select concat_ws(' ', card_fingerprint, nullif(card_expiry, '')) as card, payment_method_id, created_at from recharge
       where organization_id = o.c_organization_id and payment_method_id is not null order by created_at desc limit 1) last on true
     cross join lateral (
       select array(select c_organization_id from organization_balance_config where stripe_customer_id = o.stripe_customer_id) as ids
     ) of_customer
     join hold h on h.scope = 'organization' and h.subject = o.c_organization_id
       or h.scope = 'card' and (h.subject in (last.card, last.payment_method_id)
         or h.organization_id = any (of_customer.ids) and (last.created_at is null or last.created_at < h.since))
     where o.c_organization_id in (select jsonb_array_elements_text(?::jsonb))
       and h.released_at is null and (h.until is null or h.until > now())
     order by h.since, h.id`,
    [JSON.stringify(organizationIds)],
  );
  return rows.map(({ since, until, ...hold }) => ({
    ...hold,
    since: new Date(since),
    until: until === null ? null : new Date(until),
  }));
}

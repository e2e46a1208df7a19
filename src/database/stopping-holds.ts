/**
 * Which holds stop which organizations, as far as the database knows: Stripe is not asked which card a customer has now.
 * A hold on a card stops whoever was to be charged with it last, and whoever has the customer of the organization whose
 * attempt has led to it, but for one that was to be charged with another card since, or whose customer has another one.
 * Of an organization that has another customer now the card of the one before says nothing.
 */
import type { Stopped } from '../domain/hold.ts';
import type { StandingHold } from '../domain/status.ts';
import type { EntityManager } from './database.ts';

/** More are counted. */
const MAX_NAMED = 5;

type Row = Omit<StandingHold, 'stops' | 'since' | 'until'> & { organization: string; since: string; until: string | null };

/** The open holds on each: its own, and those on its card. The oldest first; none: no entry. */
export async function standingOn(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, StandingHold[]>> {
  if (organizationIds.length === 0) return new Map();
  const rows = await em.execute<Row[]>(`${stopsOf('select jsonb_array_elements_text(?::jsonb)')} order by h.since, h.id`, [
    JSON.stringify(organizationIds),
  ]);
  const stopped = await stoppedBy(
    em,
    rows.map(({ id }) => id),
  );
  const holds = rows.map(({ since, until, ...hold }) => ({
    ...hold,
    since: new Date(since),
    until: until === null ? null : new Date(until),
    stops: stopped.get(hold.id) ?? null,
  }));
  return Map.groupBy(holds, ({ organization }) => organization);
}

/** Whom each of the holds stops that is open and on a card. Another hold has no entry. */
export async function stoppedBy(em: EntityManager, holdIds: readonly string[]): Promise<Map<string, Stopped>> {
  if (holdIds.length === 0) return new Map();
  const rows = await em.execute<{ id: string; count: number; ids: string[] }[]>(
    `with open as (
       select id, subject, organization_id from hold
       where id in (select jsonb_array_elements_text(?::jsonb)) and scope = 'card' and released_at is null),
     candidate as (
       select a.organization_id as id from open join card_attempt a on a.fingerprint = split_part(open.subject, ' ', 1)
       union select r.organization_id from open join recharge r on r.card_fingerprint = split_part(open.subject, ' ', 1)
         where r.status = 'cancelled'
       union select same.c_organization_id from open
         join organization_balance_config own on own.c_organization_id = open.organization_id
         join organization_balance_config same on same.stripe_customer_id = own.stripe_customer_id)
     select id, count(*)::int as count, (array_agg(organization order by organization))[:${MAX_NAMED}] as ids
     from (${stopsOf('select id from candidate')}) stop
     where id in (select id from open) group by id`,
    [JSON.stringify([...new Set(holdIds)])],
  );
  return new Map(rows.map(({ id, count, ids }) => [id, { count, ids }]));
}

/**
 * SQL for each open hold and each organization that it stops. The holds on cards are looked up once for a customer, which
 * thousands of organizations may share.
 *
 * @param ids SQL for the ids of the organizations.
 */
function stopsOf(ids: string): string {
  const isOpen = 'h.released_at is null and (h.until is null or h.until > now())';
  const columns = 'h.id, h.scope, h.reason, h.detail, h.since, h.until';
  return `
    with o as materialized (
      select c_organization_id as id, stripe_customer_id as customer from organization_balance_config where c_organization_id in (${ids})),
    of_customer as materialized (
      select ${columns}, own.stripe_customer_id as customer
      from (select distinct customer from o) paying
      join organization_balance_config own on own.stripe_customer_id = paying.customer
      join hold h on h.organization_id = own.c_organization_id and h.scope = 'card' and ${isOpen}
      left join recharge attempt on attempt.id = h.opened_by
      where attempt.id is null or attempt.stripe_customer_id = paying.customer)
    select o.id as organization, ${columns}
    from o
    left join lateral (
      select concat_ws(' ', card_fingerprint, nullif(card_expiry, '')) as card, payment_method_id, created_at, stripe_customer_id
      from recharge where organization_id = o.id and payment_method_id is not null order by created_at desc limit 1) last
      on last.stripe_customer_id = o.customer
    cross join lateral (
      select ${columns} from hold h where h.scope = 'organization' and h.subject = o.id and ${isOpen}
      union select ${columns} from hold h where h.scope = 'card' and h.subject in (last.card, last.payment_method_id) and ${isOpen}
      union select ${columns} from of_customer h
        where h.customer = o.customer and (last.created_at is null or last.created_at < h.since)) h
    where not exists (select from card_replaced r where r.hold_id = h.id and r.organization_id = o.id)`;
}

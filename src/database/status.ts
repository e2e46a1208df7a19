/** How organizations stand, as domain/status judges it, and what waits to be handed on. */
import { moneyText, parseQuota, type QuotaMicros } from '../domain/money.ts';
import { isToldRefusal } from '../domain/outbound-event.ts';
import { underWaySince } from '../domain/overdue.ts';
import { OPEN_STATUSES } from '../domain/recharge-status.ts';
import { UNSETTLED_REVERSAL_STATUSES } from '../domain/reversal.ts';
import type { Lag, OpenRecharge, OrganizationFacts, ServiceFacts, StandingDrift, StandingHold } from '../domain/status.ts';
import type { EntityManager } from './database.ts';
import { Recharge, Reversal } from './entities.ts';
import { list as listHolds } from './holds.ts';
import { sqlList } from './sql.ts';

/** An organization with what is known of its balance: what the last sweep has seen, and when. */
export type SeenOrganization = OrganizationFacts & { balance: { quota: QuotaMicros | null; spend: QuotaMicros; at: Date } | null };

/** Of a synchronisation, what it could not settle. */
export const UNSETTLED_OUTCOMES = ['needs_person', 'failed'] as const;
/** The last synchronisations of everything began no longer ago than this, or none has run for hours. */
const DRIFT_WINDOW = '6 hours';

/** More are in the list of holds. */
const MAX_SERVICE_HOLDS = 20;

/** What anything at all may be said of. Ordered by id, behind `after`. */
const CONCERNED = `
  select c_organization_id as id from organization_balance_config where not auto_recharge_enabled
  union select organization_id from hold where released_at is null and organization_id is not null
  union select organization_id from refusal
  union select organization_id from recharge where status in (${sqlList(OPEN_STATUSES)})
  union select organization_id from reversal where status in (${sqlList(UNSETTLED_REVERSAL_STATUSES)})
  union select i.organization_id from sync_item i join sync_run s on s.id = i.run_id
    where s.started_at > now() - interval '${DRIFT_WINDOW}' and not s.dry_run and s.status = 'succeeded'
      and i.outcome in (${sqlList(UNSETTLED_OUTCOMES)}) and i.organization_id is not null`;

/**
 * A page of organizations in the order of their ids.
 *
 * @param wanted `concerned`: those of which something may have to be said; `all` of them; or one, by its id.
 */
export async function organizationFacts(
  em: EntityManager,
  wanted: 'concerned' | 'all' | { id: string },
  { limit, after = '' }: { limit: number; after?: string | undefined },
): Promise<{ data: SeenOrganization[]; next: string | null }> {
  const source = wanted === 'concerned' ? CONCERNED : 'select c_organization_id as id from organization_balance_config';
  const [condition, value] = typeof wanted === 'object' ? ['id = ?', wanted.id] : ['id > ?', after];
  const rows = await em.execute<{ id: string }[]>(
    `select c.id from (${source}) c join organization_balance_config o on o.c_organization_id = c.id where c.${condition} order by c.id limit ?`,
    [value, limit + 1],
  );
  const ids = rows.slice(0, limit).map(({ id }) => id);
  return { data: await factsOf(em, ids), next: rows.length > limit ? (ids.at(-1) ?? null) : null };
}

/** How many organizations there are. */
export async function countOrganizations(em: EntityManager): Promise<number> {
  return Number((await em.execute<{ count: string }[]>('select count(*) as count from organization_balance_config'))[0]?.count ?? 0);
}

/** Of these organizations, those that there are. */
export async function factsOf(em: EntityManager, ids: readonly string[]): Promise<SeenOrganization[]> {
  if (ids.length === 0) return [];
  const own = { organizationId: { $in: [...ids] } };
  const open = await em.find(Recharge, { ...own, status: { $in: [...OPEN_STATUSES] } }, { orderBy: { createdAt: 'asc' } });
  const parked = await em.find(Reversal, { ...own, status: 'needs_attention' }, { orderBy: { createdAt: 'asc' } });
  const [holds, refusals, drifts, others] = [
    await holdsOf(em, ids),
    await refusalsOf(em, ids),
    await driftsOf(em, ids),
    await restOf(em, ids),
  ];
  return ids.flatMap((id): SeenOrganization[] => {
    const rest = others.get(id);
    if (!rest) return [];
    const recharge = open.find(({ organizationId }) => organizationId === id);
    return [
      {
        id,
        ...rest,
        recharge: recharge ? openRecharge(recharge) : null,
        reversals: parked
          .filter(({ organizationId }) => organizationId === id)
          .map(({ id: reversalId, updatedAt, failureMessage }) => ({ id: reversalId, since: updatedAt, why: failureMessage ?? null })),
        holds: holds.get(id) ?? [],
        refusals: refusals.get(id) ?? [],
        drifts: drifts.get(id) ?? [],
      },
    ];
  });
}

function openRecharge({ id, status, timeline, updatedAt, amountMinor, currency, failureMessage }: Recharge): OpenRecharge {
  return {
    id,
    status,
    since: new Date(timeline.at(-1)?.at ?? updatedAt),
    underWaySince: underWaySince(timeline)?.since ?? null,
    why: failureMessage ?? null,
    amount: moneyText(amountMinor, currency),
  };
}

/** The holds on each: its own, and those on the card of its last recharge. */
async function holdsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, StandingHold[]>> {
  const rows = await em.execute<
    (Pick<StandingHold, 'id' | 'scope' | 'reason' | 'detail'> & { organization: string; since: string; until: string | null })[]
  >(
    `select o.id as organization, h.id, h.scope, h.reason, h.detail, h.since, h.until
     from jsonb_array_elements_text(?::jsonb) o (id)
     left join lateral (
       select concat_ws(' ', card_fingerprint, nullif(card_expiry, '')) as card, payment_method_id from recharge
       where organization_id = o.id and payment_method_id is not null order by created_at desc limit 1) last on true
     join hold h on h.scope = 'organization' and h.subject = o.id
       or h.scope = 'card' and (h.subject in (last.card, last.payment_method_id) or last.card is null and h.organization_id = o.id)
     where h.released_at is null and (h.until is null or h.until > now())
     order by h.since, h.id`,
    [JSON.stringify(ids)],
  );
  const holds = rows.map(({ since, until, ...hold }) => ({
    ...hold,
    since: new Date(since),
    until: until === null ? null : new Date(until),
  }));
  return Map.groupBy(holds, ({ organization }) => organization);
}

async function refusalsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, OrganizationFacts['refusals'][number][]>> {
  const rows = await em.execute<{ organization: string; reason: string; since: string }[]>(
    `select organization_id as organization, reason, since from refusal
     where organization_id in (select jsonb_array_elements_text(?::jsonb)) order by since`,
    [JSON.stringify(ids)],
  );
  const told = rows.flatMap(({ organization, reason, since }) =>
    isToldRefusal(reason) ? [{ organization, reason, since: new Date(since) }] : [],
  );
  return Map.groupBy(told, ({ organization }) => organization);
}

/** What the last synchronisation of each could not settle, and since when that has been so. */
async function driftsOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, StandingDrift[]>> {
  const rows = await em.execute<(Omit<StandingDrift, 'at'> & { organization: string; at: string })[]>(
    `select o.id as organization, i.kind, i.subject, i.ours, i.theirs, i.reason,
       (select min(e.at) from sync_item e where e.organization_id = i.organization_id and e.kind = i.kind and e.subject = i.subject
          and e.theirs is not distinct from i.theirs) as at
     from jsonb_array_elements_text(?::jsonb) o (id)
     join lateral (
       select id from sync_run s where s.status = 'succeeded' and not s.dry_run and s.started_at > now() - interval '${DRIFT_WINDOW}'
         and (s.organization_ids is null or s.organization_ids @> to_jsonb(o.id)) order by s.id desc limit 1) run on true
     join sync_item i on i.run_id = run.id and i.organization_id = o.id and i.outcome in (${sqlList(UNSETTLED_OUTCOMES)})
     order by i.at`,
    [JSON.stringify(ids)],
  );
  return Map.groupBy(
    rows.map((row) => ({ ...row, at: new Date(row.at) })),
    ({ organization }) => organization,
  );
}

type Rest = Pick<SeenOrganization, 'isAutoRecharged' | 'balance' | 'nextDay' | 'nextMonth'>;
type RestRow = Record<'id' | 'next_day' | 'next_month', string> & {
  auto: boolean;
  quota: string | null;
  spend: string | null;
  at: string | null;
};

/** SQL for the beginning of the next day or month in the zone of `o`: a day in which clocks are changed is none of 24 hours. */
function beginningOfNext(unit: 'day' | 'month'): string {
  return `(date_trunc('${unit}', now() at time zone o.zone) + interval '1 ${unit}') at time zone o.zone`;
}

async function restOf(em: EntityManager, ids: readonly string[]): Promise<Map<string, Rest>> {
  const rows = await em.execute<RestRow[]>(
    `select o.id, o.auto, ${beginningOfNext('day')} as next_day,
       ${beginningOfNext('month')} as next_month, b.quota::text as quota, b.spend::text as spend, b.at
     from (
       select c_organization_id as id, auto_recharge_enabled as auto, known_time_zone(time_zone) as zone from organization_balance_config
       where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) offset 0) o
     left join lateral (select quota, spend, at from balance_sample where organization_id = o.id order by at desc limit 1) b on true`,
    [JSON.stringify(ids)],
  );
  return new Map(
    rows.map(({ id, auto, next_day: nextDay, next_month: nextMonth, quota, spend, at }) => [
      id,
      {
        isAutoRecharged: auto,
        nextDay: new Date(nextDay),
        nextMonth: new Date(nextMonth),
        balance:
          at === null || spend === null
            ? null
            : { quota: quota === null ? null : parseQuota(quota), spend: parseQuota(spend), at: new Date(at) },
      },
    ]),
  );
}

/** What the database tells of the service itself. */
export async function serviceFacts(em: EntityManager): Promise<Pick<ServiceFacts, 'holds' | 'lags'>> {
  const { data } = await listHolds(em, { scope: 'service', isOpen: true }, { limit: MAX_SERVICE_HOLDS, cursor: undefined });
  return { holds: data.map((hold) => ({ ...hold, until: hold.until ?? null })), lags: await lags(em) };
}

/** What has arrived and waits to be handed on, by the inboxes of LiteLLM and Stripe and by the outbox. */
export async function lags(em: EntityManager): Promise<Lag[]> {
  const rows = await em.execute<{ what: string; waiting: string; oldest: number | null }[]>(
    `select 'alerts' as what, count(*) as waiting, (extract(epoch from now() - min(received_at)) * 1000)::float as oldest
       from webhook_event where dispatched_at is null and not processed
     union all select 'events of Stripe', count(*), (extract(epoch from now() - min(received_at)) * 1000)::float
       from stripe_event where handled_at is null
     union all select 'outbound events', count(*), (extract(epoch from now() - min(created_at)) * 1000)::float
       from outbound_event where routed_at is null`,
  );
  return rows.map(({ what, waiting, oldest }) => ({ what, waiting: Number(waiting), oldestMs: oldest }));
}

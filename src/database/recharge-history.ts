/**
 * What organizations have tried and paid, as their limits count it: by PostgreSQL's clock and time zones,
 * whatever a worker's clock says. A zone that PostgreSQL does not know counts as UTC.
 */

import type { Card } from '../domain/card.ts';
import { minorUnits } from '../domain/money.ts';
import { APPROVAL_LASTS_MS, type PaidHistory, type RechargeHistory } from '../domain/policy.ts';
import { ATTEMPTED_STATUSES, CHARGED_STATUSES, NOT_CHARGED_STATUSES, OPEN_STATUSES } from '../domain/recharge-status.ts';
import { SERIES } from '../domain/runaway.ts';
import type { EntityManager } from './database.ts';
import * as holds from './holds.ts';
import { sqlList } from './sql.ts';

/**
 * SQL for the beginning of the day or month in which `instant` lies, in a time zone.
 *
 * @param zone SQL for its IANA name.
 */
export function beginningOf(unit: 'day' | 'month', zone: string, instant = 'now()'): string {
  return midnight(`date_trunc('${unit}', ${instant} at time zone ${zone})`, zone);
}

/**
 * SQL for the instant at which a day begins in a time zone. Where clocks go back over midnight it comes twice, and
 * PostgreSQL takes the second one: for an hour the day would not have begun yet. What is a second before it is not in doubt.
 *
 * @param local SQL for its midnight, as clocks there show it.
 */
export function midnight(local: string, zone: string): string {
  return `((${local} - interval '1 second') at time zone ${zone} + interval '1 second')`;
}

/**
 * The history of one organization. Its limits hold only where the caller has locked the organization.
 *
 * @param card where it is known; its holds apply too then.
 * @throws when it is not found.
 */
export async function historyOf(
  tx: EntityManager,
  organizationId: string,
  { card }: { card?: Card | undefined } = {},
): Promise<RechargeHistory> {
  return { ...(await paidBy(tx, organizationId)), holds: await holds.applyingTo(tx, organizationId, card) };
}

/**
 * The same without the holds.
 *
 * @param except a recharge that is left out, as if it had never been reserved: what `withinLimits` looks at.
 * @throws when it is not found.
 */
export async function paidBy(em: EntityManager, organizationId: string, { except }: { except?: string } = {}): Promise<PaidHistory> {
  const history = (await paidByEach(em, [organizationId], { except })).get(organizationId);
  if (!history) throw new Error(`organization ${organizationId} is not in the database`);
  return history;
}

/** By organization: its history, with the holds that apply whatever its card. */
export async function historiesOf(em: EntityManager, organizationIds: readonly string[]): Promise<Map<string, RechargeHistory>> {
  const histories = await paidByEach(em, organizationIds);
  const held = await holds.applyingToEach(em, organizationIds);
  return new Map([...histories].map(([id, history]) => [id, { ...history, holds: held.get(id) ?? [] }]));
}

type HistoryRow = {
  id: string;
  today: string;
  attempts: number;
  charged_today: string;
  charged_this_month: string;
  open: boolean;
  first_ago_ms: number | null;
  last_hour: number;
  busiest_hour_before: number;
  approved: string | null;
};

/**
 * By organization: the attempts of its calendar day, what its calendar day and month have cost or may still
 * cost, whether a recharge is open, how often it was recharged lately, and what a person has approved. Which
 * statuses count for what is in domain/recharge-status.
 *
 * Only a person releases a runaway hold: the series of the last hour begins anew then, and the amount of the
 * hold is approved until a recharge that may have been charged uses it. The busiest hour is computed only for
 * a series that could be above it: each hour that ends with a recharge that succeeded, of the 30 days before
 * the last hour.
 */
export async function paidByEach(
  em: EntityManager,
  organizationIds: readonly string[],
  { except }: { except?: string | undefined } = {},
): Promise<Map<string, PaidHistory>> {
  const rows = await em.execute<HistoryRow[]>(
    `with recharge as not materialized (select * from recharge where id is distinct from ?),
     -- Materialized: the zone is looked up once for an organization, and not for each of its recharges.
     organization as materialized (
       select c_organization_id, currency, to_char(now() at time zone zone, 'YYYY-MM-DD') as today,
         ${beginningOf('day', 'zone')} as day, ${beginningOf('month', 'zone')} as month
       from (
         select c_organization_id, currency, known_time_zone(time_zone) as zone from organization_balance_config
         where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) offset 0) zoned)
     select o.c_organization_id as id, o.today,
       day.attempts, day.charged as charged_today, month.charged as charged_this_month, open.open,
       first.ago_ms as first_ago_ms, hour.count as last_hour,
       case when hour.count < ? then 0 else (
         select coalesce(max(ending.count), 0)::integer from (
           select count(*) over (order by r.created_at range between interval '1 hour' preceding and current row) as count
           from recharge r
           where r.organization_id = o.c_organization_id and r.status = 'succeeded'
             and r.created_at between now() - interval '30 days 1 hour' and now() - interval '1 hour') ending) end as busiest_hour_before,
       case when not exists (
         select from recharge r where r.organization_id = o.c_organization_id and r.created_at >= release.at
           and r.status not in (${sqlList(NOT_CHARGED_STATUSES)})) then release.amount_minor end as approved
     from organization o,
     lateral (
       select count(*) filter (where r.status in (${sqlList(ATTEMPTED_STATUSES)}))::integer as attempts,
         coalesce(sum(r.amount_minor) filter (where r.currency = o.currency and r.status in (${sqlList(CHARGED_STATUSES)})), 0) as charged
       from recharge r
       where r.organization_id = o.c_organization_id and r.created_at >= o.day) day,
     lateral (
       select coalesce(sum(r.amount_minor), 0) as charged from recharge r
       where r.organization_id = o.c_organization_id and r.currency = o.currency
         and r.status in (${sqlList(CHARGED_STATUSES)})
         and r.created_at >= o.month) month,
     lateral (
       select exists (select from recharge r where r.organization_id = o.c_organization_id
         and r.status in (${sqlList(OPEN_STATUSES)}))) open (open),
     lateral (
       select (extract(epoch from now() - min(r.created_at)) * 1000)::float as ago_ms
       from recharge r where r.organization_id = o.c_organization_id) first,
     lateral (
       select max(h.released_at) as at, (array_agg(h.amount_minor order by h.released_at desc))[1] as amount_minor
       from hold h
       where h.organization_id = o.c_organization_id and h.reason = 'runaway'
         and h.released_at > now() - ? * interval '1 millisecond') release,
     lateral (
       select count(*)::integer as count from recharge r
       where r.organization_id = o.c_organization_id and r.status = 'succeeded'
         and r.created_at > greatest(now() - interval '1 hour', release.at)) hour`,
    [except ?? null, JSON.stringify(organizationIds), SERIES, APPROVAL_LASTS_MS],
  );
  return new Map(
    rows.map((row) => [
      row.id,
      {
        today: row.today,
        attemptsToday: row.attempts,
        chargedToday: minorUnits(Number(row.charged_today)),
        chargedThisMonth: minorUnits(Number(row.charged_this_month)),
        hasOpenRecharge: row.open,
        recent: { lastHour: row.last_hour, busiestHourBefore: row.busiest_hour_before, firstAgoMs: row.first_ago_ms },
        approvedAmount: row.approved === null ? null : minorUnits(Number(row.approved)),
      },
    ]),
  );
}

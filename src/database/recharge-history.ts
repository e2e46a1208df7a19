/**
 * What organizations have tried and paid, as their limits count it: by PostgreSQL's clock and time zones,
 * whatever a worker's clock says.
 */
import { minorUnits } from '../domain/money.ts';
import type { RechargeHistory } from '../domain/policy.ts';
import { ATTEMPTED_STATUSES, CHARGED_STATUSES, FAILED_STATUSES, OPEN_STATUSES } from '../domain/recharge-status.ts';
import { SERIES } from '../domain/runaway.ts';
import type { EntityManager } from './database.ts';
import { sqlList } from './sql.ts';

/**
 * SQL for the beginning of the day or month in which `instant` lies, in a time zone.
 *
 * @param zone SQL for its IANA name.
 */
export function beginningOf(unit: 'day' | 'month', zone: string, instant = 'now()'): string {
  return `date_trunc('${unit}', ${instant} at time zone ${zone}) at time zone ${zone}`;
}

/**
 * The history of one organization. Its limits hold only where the caller has locked the organization.
 *
 * @param except a recharge that is left out, as if it had never been reserved: what `withinLimits` looks at.
 * @throws when it is not found.
 */
export async function historyOf(tx: EntityManager, organizationId: string, { except }: { except?: string } = {}): Promise<RechargeHistory> {
  const history = (await historiesOf(tx, [organizationId], { except })).get(organizationId);
  if (!history) throw new Error(`organization ${organizationId} is not in the database`);
  return history;
}

type HistoryRow = {
  id: string;
  today: string;
  attempts: number;
  charged_today: string;
  charged_this_month: string;
  open: boolean;
  failures: number;
  failed_ago_ms: number | null;
  first_ago_ms: number | null;
  last_hour: number;
  busiest_hour_before: number;
};

/**
 * By organization: the attempts of its calendar day, what its calendar day and month have cost or may still
 * cost, whether a recharge is open, the failures since its last success, and how often it was recharged
 * lately, whoever asked for them. Which statuses count for what is in domain/recharge-status.
 *
 * The busiest hour is computed only for a series that could be above it: each hour that ends with a recharge
 * that succeeded, of the 30 days before the last hour.
 */
export async function historiesOf(
  em: EntityManager,
  organizationIds: readonly string[],
  { except }: { except?: string | undefined } = {},
): Promise<Map<string, RechargeHistory>> {
  const rows = await em.execute<HistoryRow[]>(
    `with recharge as not materialized (select * from recharge where id is distinct from ?)
     select o.c_organization_id as id, to_char(now() at time zone o.time_zone, 'YYYY-MM-DD') as today,
       day.attempts, day.charged as charged_today, month.charged as charged_this_month, open.open,
       failed.failures, failed.failed_ago_ms, first.ago_ms as first_ago_ms, hour.count as last_hour,
       case when hour.count < ? then 0 else (
         select coalesce(max(ending.count), 0)::integer from (
           select count(*) over (order by r.created_at range between interval '1 hour' preceding and current row) as count
           from recharge r
           where r.organization_id = o.c_organization_id and r.status = 'succeeded'
             and r.created_at between now() - interval '30 days 1 hour' and now() - interval '1 hour') ending) end as busiest_hour_before
     from organization_balance_config o,
     lateral (
       select count(*) filter (where r.status in (${sqlList(ATTEMPTED_STATUSES)}))::integer as attempts,
         coalesce(sum(r.amount_minor) filter (where r.currency = o.currency and r.status in (${sqlList(CHARGED_STATUSES)})), 0) as charged
       from recharge r
       where r.organization_id = o.c_organization_id and r.created_at >= ${beginningOf('day', 'o.time_zone')}) day,
     lateral (
       select coalesce(sum(r.amount_minor), 0) as charged from recharge r
       where r.organization_id = o.c_organization_id and r.currency = o.currency
         and r.status in (${sqlList(CHARGED_STATUSES)})
         and r.created_at >= ${beginningOf('month', 'o.time_zone')}) month,
     lateral (
       select exists (select from recharge r where r.organization_id = o.c_organization_id
         and r.status in (${sqlList(OPEN_STATUSES)}))) open (open),
     lateral (
       select count(*)::integer as failures, (extract(epoch from now() - max(r.updated_at)) * 1000)::float as failed_ago_ms
       from recharge r
       where r.organization_id = o.c_organization_id and r.status in (${sqlList(FAILED_STATUSES)})
         and r.created_at > coalesce(
           (select s.created_at from recharge s where s.organization_id = o.c_organization_id and s.status = 'succeeded'
            order by s.created_at desc limit 1), '-infinity')) failed,
     lateral (
       select (extract(epoch from now() - min(r.created_at)) * 1000)::float as ago_ms
       from recharge r where r.organization_id = o.c_organization_id) first,
     lateral (
       select count(*)::integer as count from recharge r
       where r.organization_id = o.c_organization_id and r.status = 'succeeded'
         and r.created_at > now() - interval '1 hour') hour
     where o.c_organization_id in (select jsonb_array_elements_text(?::jsonb))`,
    [except ?? null, SERIES, JSON.stringify(organizationIds)],
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
        failures: { count: row.failures, lastAgoMs: row.failed_ago_ms },
        recent: { lastHour: row.last_hour, busiestHourBefore: row.busiest_hour_before, firstAgoMs: row.first_ago_ms },
        approvedAmount: null,
      },
    ]),
  );
}

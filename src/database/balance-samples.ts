/**
 * The balances that sweeps have seen. One row for one figure: while nothing is spent or raised, the newest
 * row only moves on in time, so that an idle team costs one row.
 */
import type { SpendSample } from '../domain/forecast.ts';
import { formatQuota, formatQuotaOrNull, parseQuota, type QuotaMicros } from '../domain/money.ts';
import type { EntityManager } from './database.ts';

export type BalanceSeen = { organizationId: string; litellmTeamId: string; quota: QuotaMicros | null; spend: QuotaMicros };

/**
 * Stores the balances as just seen. Concurrent sweeps may store one figure twice, which changes no forecast.
 * They lock rows in one order, so that no two wait for each other. One of a team that the organization had before is left
 * out: it was seen before the organization got another, whose spend has nothing to do with it.
 */
export async function record(em: EntityManager, balances: readonly BalanceSeen[]): Promise<void> {
  await em.execute(
    `with seen as (
       select s.*, last.id as last_id, last.quota is not distinct from s.quota and last.spend = s.spend as unchanged
       from jsonb_to_recordset(?::jsonb) as s(organization_id text, litellm_team_id text, quota numeric, spend numeric)
       join organization_balance_config o on o.c_organization_id = s.organization_id and o.litellm_team_id = s.litellm_team_id
       left join lateral (
         select * from balance_sample b where b.organization_id = s.organization_id order by b.at desc limit 1
       ) last on true),
     kept as (
       select id from balance_sample where id in (select last_id from seen where unchanged) order by id for update),
     moved as (
       update balance_sample b set at = now() from kept where b.id = kept.id)
     insert into balance_sample (organization_id, at, quota, spend)
       select organization_id, now(), quota, spend from seen where unchanged is not true order by organization_id`,
    [
      JSON.stringify(
        balances.map(({ organizationId, litellmTeamId, quota, spend }) => ({
          organization_id: organizationId,
          litellm_team_id: litellmTeamId,
          quota: formatQuotaOrNull(quota),
          spend: formatQuota(spend),
        })),
      ),
    ],
  );
}

/** The samples of the last `windowMs`, by organization. One without samples has no entry. */
export async function recent(em: EntityManager, organizationIds: readonly string[], windowMs: number): Promise<Map<string, SpendSample[]>> {
  const rows = await em.execute<{ id: string; ago_ms: number; spend: string }[]>(
    `select organization_id as id, (extract(epoch from now() - at) * 1000)::float as ago_ms, spend::text as spend from balance_sample
     where organization_id in (select jsonb_array_elements_text(?::jsonb)) and at > now() - ? * interval '1 millisecond'`,
    [JSON.stringify(organizationIds), windowMs],
  );
  const samples = Map.groupBy(rows, ({ id }) => id);
  return new Map([...samples].map(([id, seen]) => [id, seen.map(({ ago_ms: agoMs, spend }) => ({ agoMs, spend: parseQuota(spend) }))]));
}

/** The organization has another team: what was seen of the one before says nothing of it. */
export async function forget(em: EntityManager, organizationId: string): Promise<void> {
  await em.execute('delete from balance_sample where organization_id = ?', [organizationId]);
}

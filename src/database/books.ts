/**
 * Whether the books are settled. Then no account holds money in between: what was captured has become quota or
 * went back, and with it what Stripe has is what was granted. What is not settled waits for a run or a person.
 */
import { type Currency, type MinorUnits, minorUnits, parseQuota, type QuotaMicros } from '../domain/money.ts';
import { OPEN_STATUSES, type RechargeStatus } from '../domain/recharge-status.ts';
import type { EntityManager } from './database.ts';
import { sqlList } from './sql.ts';

/** More than a person reads at once; the next look finds the rest. */
export const LIMIT = 200;
/** How long two recharges are compared with each other. */
const OVERLAPS_FOR = '7 days';

/** What is on `prepaid` for a recharge: positive is held, negative was given without being paid. */
export const HELD = `sum(case when t.credit_account = 'prepaid' then t.amount_minor when t.debit_account = 'prepaid' then -t.amount_minor else 0 end)`;

export type Unbalanced = { organizationId: string; currency: Currency; held: MinorUnits; since: Date; rechargeIds: string[] };

/** Money of settled recharges of these organizations that is held all the same, or was given without being paid. */
export async function unbalanced(em: EntityManager, organizationIds: readonly string[]): Promise<Unbalanced[]> {
  const rows = await em.execute<{ organization_id: string; currency: Currency; held: string; since: string; ids: string[] }[]>(
    `select u.organization_id, u.currency, sum(u.held) as held, min(u.since) as since, array_agg(r.id order by r.id) as ids
     from (
       select t.organization_id, t.currency, t.recharge_id, ${HELD} as held, max(t.created_at) as since
       from ledger_transfer t where t.organization_id in (select jsonb_array_elements_text(?::jsonb))
       group by t.organization_id, t.currency, t.recharge_id having ${HELD} <> 0) u
     join recharge r on r.id = u.recharge_id
     where r.status not in (${sqlList(OPEN_STATUSES)})
     group by u.organization_id, u.currency order by u.organization_id limit ${LIMIT}`,
    [JSON.stringify(organizationIds)],
  );
  return rows.map(({ organization_id: organizationId, currency, held, since, ids: rechargeIds }) => ({
    organizationId,
    currency,
    held: minorUnits(Number(held)),
    since: new Date(since),
    rechargeIds,
  }));
}

export type Unsettled = {
  id: string;
  organizationId: string;
  status: RechargeStatus;
  currency: Currency;
  held: MinorUnits;
  since: Date;
  reason: string | null;
};

/** Open recharges that have an intent or wait for a person, oldest first, with what is held for each. */
export async function unsettled(em: EntityManager): Promise<Unsettled[]> {
  const rows = await em.execute<
    (Omit<Unsettled, 'held' | 'since' | 'organizationId'> & Record<'organization_id' | 'held' | 'since', string>)[]
  >(
    `select r.id, r.organization_id, r.status, r.currency, r.failure_message as reason, r.timeline->-1->>'at' as since,
       (select coalesce(${HELD}, 0) from ledger_transfer t where t.recharge_id = r.id) as held
     from recharge r
     where r.status in (${sqlList(OPEN_STATUSES)}) and (r.payment_intent_id is not null or r.status = 'needs_attention')
     order by r.id limit ${LIMIT}`,
  );
  return rows.map(({ organization_id: organizationId, held, since, ...row }) => ({
    ...row,
    organizationId,
    held: minorUnits(Number(held)),
    since: new Date(since),
  }));
}

export type Overlap = {
  organizationId: string;
  teamId: string;
  /** The later one, and the one that has made the step before. */
  steps: [Step, Step];
};
type Step = { rechargeId: string; before: QuotaMicros; after: QuotaMicros };

/**
 * Two recharges of one team that were both granted on one step of its budget, of the last OVERLAPS_FOR. Where
 * something has lowered the budget in between, a step is made twice rightly: a reversal, a person who accepted a
 * lower budget or who has granted by hand.
 */
export async function overlaps(em: EntityManager): Promise<Overlap[]> {
  const rows = await em.execute<
    Record<'organization_id' | 'team_id' | 'id' | 'before' | 'after' | 'first_id' | 'first_before' | 'first_after', string>[]
  >(
    `select r.organization_id, r.litellm_team_id as team_id, r.id, r.quota_before::text as before, r.quota_after::text as after,
       f.id as first_id, f.quota_before::text as first_before, f.quota_after::text as first_after
     from recharge r join recharge f on f.organization_id = r.organization_id and f.litellm_team_id = r.litellm_team_id and f.id <> r.id
       and f.status = 'succeeded' and f.updated_at <= r.updated_at and f.quota_before < r.quota_after and f.quota_after > r.quota_before
       and f.updated_at > now() - interval '${OVERLAPS_FOR}'
     where r.status = 'succeeded' and r.updated_at > now() - interval '${OVERLAPS_FOR}' and not r.timeline @> '[{"resolution": "grant"}]'
       and not exists (select from reversal v where v.organization_id = r.organization_id and v.updated_at >= f.updated_at)
       and not exists (select from hold h where h.organization_id = r.organization_id and h.reason = 'budget_lowered' and h.released_at >= f.updated_at)
       and not exists (select from accepted_budget b where b.organization_id = r.organization_id and b.at >= f.updated_at)
     order by r.id limit ${LIMIT}`,
  );
  return rows.map((row) => ({
    organizationId: row.organization_id,
    teamId: row.team_id,
    steps: [
      { rechargeId: row.id, before: parseQuota(row.before), after: parseQuota(row.after) },
      { rechargeId: row.first_id, before: parseQuota(row.first_before), after: parseQuota(row.first_after) },
    ],
  }));
}

/**
 * The write of a recharge's quota to LiteLLM, as others have to know of it: planned before it is sent, and under
 * way until its outcome was seen. A person may decide otherwise meanwhile.
 */
import { formatQuota, parseQuota, type QuotaMicros, quotaMicros } from '../domain/money.ts';
import * as budgets from './budgets.ts';
import type { EntityManager } from './database.ts';
import { Recharge } from './entities.ts';
import { get, UnexpectedStatusError } from './recharges.ts';

/**
 * How long a write of the budget may take effect after it was planned. An attempt ends within a minute, and with
 * it the last of its calls.
 */
const WRITE_WINDOW_S = 60;

/** `until`, `previousUntil`: when this write, and the one before it, can take effect no more; as PostgreSQL writes it. */
export type PlannedWrite = { before: QuotaMicros; after: QuotaMicros; until: string; previousUntil: string | null };

/**
 * The budgets before and after the quota write. Both were stored when the amount was decided. A person's
 * resolution clears them: then `live`, and `live` plus the granted quota, are stored now. Every retry gets
 * the same two values.
 *
 * One statement also notes that a write is under way: whoever moves the recharge away from `charged` before it
 * has kept the write from being made, and whoever does so after it can see that one was.
 *
 * @throws UnexpectedStatusError when the recharge is not `charged` any more.
 */
export async function plan(em: EntityManager, recharge: Recharge, live: QuotaMicros): Promise<PlannedWrite> {
  const after = quotaMicros(live + recharge.quotaGranted);
  const [planned] = await em.execute<{ before: string; after: string; until: string; previous: string | null }[]>(
    `update recharge r set quota_before = coalesce(r.quota_before, ?), quota_after = coalesce(r.quota_after, ?),
         write_until = clock_timestamp() + ? * interval '1 second'
     from (select id, write_until from recharge where id = ? for update) last
     where r.id = last.id and r.status = 'charged'
     returning r.quota_before::text as before, r.quota_after::text as after, r.write_until::text as until, last.write_until::text as previous`,
    [formatQuota(live), formatQuota(after), WRITE_WINDOW_S, recharge.id],
  );
  // Another attempt may have settled the recharge while this one was delayed.
  if (!planned) throw new UnexpectedStatusError(recharge.id, 'succeeded', (await get(em, recharge.id)).status);
  return {
    before: parseQuota(planned.before),
    after: parseQuota(planned.after),
    until: planned.until,
    previousUntil: planned.previous,
  };
}

/**
 * Another recharge of the team that was granted on a step of the budget that overlaps this one's, as no two do that
 * follow each other; the latest of them. undefined when there is none, or when a write of this recharge was begun:
 * that explains what LiteLLM shows.
 */
export async function unwrittenOverlap(
  em: EntityManager,
  { id }: Pick<Recharge, 'id'>,
): Promise<{ id: string; before: QuotaMicros; after: QuotaMicros } | undefined> {
  const [row] = await em.execute<{ id: string; before: string; after: string }[]>(
    `select o.id, o.quota_before::text as before, o.quota_after::text as after
     from recharge r join recharge o on o.organization_id = r.organization_id and o.litellm_team_id = r.litellm_team_id and o.id <> r.id
       and o.status = 'succeeded' and o.quota_before < r.quota_after and o.quota_after > r.quota_before
     where r.id = ? and r.write_until is null
     order by o.updated_at desc limit 1`,
    [id],
  );
  return row && { id: row.id, before: parseQuota(row.before), after: parseQuota(row.after) };
}

/**
 * A planned write is over: LiteLLM has answered it, or it was never sent. What it did is still to be seen. A write
 * of another attempt may be under way all the same.
 */
export async function noteOver(em: EntityManager, { id }: Recharge, { until, previousUntil }: PlannedWrite): Promise<void> {
  await em.execute(
    'update recharge set write_until = greatest(?::timestamptz, clock_timestamp()) where id = ? and write_until = ?::timestamptz',
    [previousUntil, id, until],
  );
}

/** A planned write that is over was seen to have changed nothing. */
export async function noteWithoutEffect(em: EntityManager, { id }: Recharge, { previousUntil }: PlannedWrite): Promise<void> {
  await em.execute('update recharge set write_until = ?::timestamptz where id = ? and write_until <= clock_timestamp()', [
    previousUntil,
    id,
  ]);
}

/**
 * How many milliseconds longer a write of the recharge's budget may take effect: 0 when it is over and its outcome
 * still to be seen, null when there is none.
 */
export async function mayTakeEffectFor(em: EntityManager, { id }: Pick<Recharge, 'id'>): Promise<number | null> {
  const [row] = await em.execute<{ left: number | null }[]>(
    `select greatest(0, ceil(extract(epoch from write_until - clock_timestamp()) * 1000))::float as left
     from recharge where id = ? and write_until is not null`,
    [id],
  );
  return row?.left ?? null;
}

/** A refund no longer waits for a write of the budget: it is as it was before, so others may change it. */
export async function noteUnchanged(em: EntityManager, { id, organizationId }: Recharge): Promise<void> {
  await em.transactional(async (tx) => {
    await budgets.lock(tx, organizationId);
    const isRefunding = (await tx.nativeUpdate(Recharge, { id, status: 'refunding' }, { writeUntil: null })) === 1;
    if (isRefunding) await budgets.release(tx, organizationId, id);
  });
}

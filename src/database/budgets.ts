/** The budgets of LiteLLM teams as we know them: which one LiteLLM should show, and who may write it. */
import { parseQuota, type QuotaMicros } from '../domain/money.ts';
import { OPEN_STATUSES } from '../domain/recharge-status.ts';
import { UNSETTLED_REVERSAL_STATUSES, WRITTEN_REVERSAL_STATUSES } from '../domain/reversal.ts';
import type { EntityManager } from './database.ts';
import { Organization } from './entities.ts';
import { ofLitellmTeams } from './organizations.ts';
import { sqlList } from './sql.ts';

/**
 * The budget that LiteLLM should show for each organization: what our last change left, or the one that a person has
 * accepted since; releasing the hold on a lowered one accepts it too. An organization has no entry when there was no change,
 * or while one is under way.
 */
export async function expected(em: EntityManager, ids: readonly string[]): Promise<Map<string, QuotaMicros>> {
  const budgets = await left(em, ids);
  if (budgets.size === 0) return budgets;
  const accepted = await em.execute<{ id: string; quota: string; by_release: boolean }[]>(
    `select distinct on (a.id) a.id, a.quota::text as quota, a.by_release from (
       select organization_id as id, null as team, quota, since, released_at as at, true as by_release from hold
       where organization_id in (select jsonb_array_elements_text(?::jsonb)) and reason = 'budget_lowered' and quota is not null and released_at is not null and released_by <> 'probe'
       union all select b.organization_id, b.litellm_team_id, b.quota, b.at, b.at, false from accepted_budget b
         join organization_balance_config o on o.c_organization_id = b.organization_id and o.litellm_team_id = b.litellm_team_id
         where b.organization_id in (select jsonb_array_elements_text(?::jsonb))) a
     where a.since > coalesce(greatest(
         (select max(updated_at) from recharge r
          where r.organization_id = a.id and r.status = 'succeeded' and r.litellm_team_id = coalesce(a.team, r.litellm_team_id)),
         (select max(updated_at) from reversal v
          where v.organization_id = a.id and ${HAS_CHANGED} and v.litellm_team_id = coalesce(a.team, v.litellm_team_id))), '-infinity')
     order by a.id, a.at desc`,
    [JSON.stringify([...budgets.keys()]), JSON.stringify([...budgets.keys()])],
  );
  for (const { id, quota, by_release: isByRelease } of accepted) {
    const [budget, ofLast] = [parseQuota(quota), budgets.get(id)];
    // A hold does not say of which team it was: of a former one, it may be above what the present one was left.
    if (!isByRelease || (ofLast !== undefined && budget < ofLast)) budgets.set(id, budget);
  }
  return budgets;
}

/** Of one organization. null: not known, or a change is under way. */
export async function expectedOf(em: EntityManager, id: string): Promise<QuotaMicros | null> {
  return (await expected(em, [id])).get(id) ?? null;
}

/**
 * The budget that our last change left for each organization's LiteLLM team, also while another change is under way, which
 * is to start from it. An organization has no entry when there was no change.
 */
export async function last(em: EntityManager, ids: readonly string[]): Promise<Map<string, QuotaMicros>> {
  return ids.length === 0 ? new Map() : lastWhere(em, ids, 'true');
}

/** What our last change left. An organization has no entry when there was no change, or while one is under way. */
async function left(em: EntityManager, ids: readonly string[]): Promise<Map<string, QuotaMicros>> {
  return lastWhere(
    em,
    ids,
    `o.budget_writer is null
       and not exists (select from recharge r where r.organization_id = o.c_organization_id
         and r.status in (${sqlList(OPEN_STATUSES)}))
       and not exists (select from reversal v where v.organization_id = o.c_organization_id and v.status in (${sqlList(UNSETTLED_REVERSAL_STATUSES)}))`,
  );
}

/**
 * SQL on a reversal `v`: it has changed the budget. One that found no quota has not, nor one whose money came back before
 * anything was taken.
 */
const HAS_CHANGED = `v.quota > 0 and v.status in (${sqlList(WRITTEN_REVERSAL_STATUSES)})
  and (v.status <> 'given_back' or coalesce(v.taken_after, v.given_after) is not null)`;

/**
 * SQL for the budget that the last write of a reversal `v` has left; null where a person has settled it after that, who was
 * shown its failure and may have written another budget than we had planned.
 */
export const LEFT_BY_REVERSAL = `case when v.status = 'given_back' then v.given_after when v.failure_message is null then v.taken_after end`;

/** @param condition SQL on the organization `o`. */
async function lastWhere(em: EntityManager, ids: readonly string[], condition: string): Promise<Map<string, QuotaMicros>> {
  const rows = await em.execute<{ id: string; budget: string }[]>(
    `select o.c_organization_id as id, last.budget::text as budget
     from organization_balance_config o,
     lateral (
       select * from (
         (select quota_after as budget, updated_at from recharge r
          where r.organization_id = o.c_organization_id and r.litellm_team_id = o.litellm_team_id and r.status = 'succeeded'
          order by r.updated_at desc limit 1)
         union all
         (select ${LEFT_BY_REVERSAL}, updated_at from reversal v
          where v.organization_id = o.c_organization_id and v.litellm_team_id = o.litellm_team_id and ${HAS_CHANGED}
          order by v.updated_at desc limit 1)) change
       order by updated_at desc limit 1) last
     where o.c_organization_id in (select jsonb_array_elements_text(?::jsonb)) and last.budget is not null and ${condition}`,
    [JSON.stringify(ids)],
  );
  return new Map(rows.map(({ id, budget }) => [id, parseQuota(budget)]));
}

/** A recharge or a reversal that changes the budget, and the status in which it does so. */
export type BudgetWriter = { id: string; status: 'charged' | 'refunding' | 'open' | 'taken_back' };

/** Locks the organization: before the rows of its recharges and reversals, always, so that no two wait for each other. */
export async function lock(tx: EntityManager, id: string): Promise<void> {
  await tx.execute('select from organization_balance_config where c_organization_id = ? for no key update', [id]);
}

/**
 * Claims the team's budget for a writer: until it releases the budget no other may change it. LiteLLM takes absolute values
 * only, so two at a time would undo each other. False while another one has claimed it, and for a writer that is settled:
 * whoever has settled it has released the budget, and nobody would again.
 *
 * A writer is settled under the organization's lock. So that is taken first, and what is locked after it is read as it is then.
 */
export async function claim(em: EntityManager, id: string, { id: writer, status }: BudgetWriter): Promise<boolean> {
  const table = status === 'open' || status === 'taken_back' ? 'reversal' : 'recharge';
  const claimed = await em.execute(
    `with organization as materialized (
       select budget_writer as holder from organization_balance_config where c_organization_id = ? for no key update),
     writer as materialized (select w.id, holder from organization, ${table} w where w.id = ? and w.status = ? for share of w)
     update organization_balance_config set budget_writer = writer.id from writer
     where c_organization_id = ? and coalesce(holder, writer.id) = writer.id returning budget_writer`,
    [id, writer, status, id],
  );
  return claimed.length === 1;
}

/**
 * Releases the budget. Does nothing when `writer` has not claimed it. Only for whoever has moved the writer on, so that there
 * is no write of it to come: a late attempt would release what its next one, or the next write of the same writer, has claimed.
 */
export async function release(em: EntityManager, id: string, writer: string): Promise<void> {
  await em.nativeUpdate(Organization, { id, budgetWriter: writer }, { budgetWriter: null });
}

/** Why the budget of a team is not to be written for an organization: it has another one by now. null: nothing against it. */
export async function objectionTo(em: EntityManager, { id, teamId }: { id: string; teamId: string }): Promise<string | null> {
  const [owner] = await ofLitellmTeams(em, [teamId]);
  return owner && owner.id !== id ? `team ${teamId} belongs to organization ${owner.id} by now` : null;
}

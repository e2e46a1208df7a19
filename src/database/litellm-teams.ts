/**
 * LiteLLM's teams as they were last seen, managed here or not. A mirror to look at: nothing is decided on it.
 */
import { formatQuota, formatQuotaOrNull } from '../domain/money.ts';
import type { LiveBudget } from '../domain/policy.ts';
import { claimOf, type Stranger } from '../domain/sync.ts';
import type { EntityManager } from './database.ts';

export type SeenTeam = LiveBudget & Stranger & { blocked: boolean; membersCount: number; keysCount: number };

/**
 * A b-tree entry has a limit, and LiteLLM's ids have none. An organization's own litellm_team_id is shorter.
 */
const MAX_ID_LENGTH = 500;

/**
 * Stores the teams as just seen. Rows are locked in one order, because runs may be concurrent. Our block ends
 * when the team is seen unblocked.
 *
 * @param since when the run that has seen them began: it may have read them before another one has set our block.
 */
export async function record(em: EntityManager, teams: readonly SeenTeam[], since: Date | 'infinity' = 'infinity'): Promise<void> {
  const rows = teams
    .filter(({ teamId }) => teamId.length <= MAX_ID_LENGTH)
    .map((team) => ({
      team_id: team.teamId,
      alias: team.alias,
      claim: claimOf(team),
      max_budget: formatQuotaOrNull(team.quota),
      spend: formatQuota(team.spend),
      blocked: team.blocked,
      budget_duration: team.budgetDuration,
      has_budget_limits: team.hasBudgetLimits,
      members_count: team.membersCount,
      keys_count: team.keysCount,
    }));
  await em.execute(
    `insert into litellm_team (team_id, alias, claim, max_budget, spend, blocked, budget_duration, has_budget_limits, members_count,
       keys_count, seen_at)
     select distinct on (team_id) team_id, alias, claim, max_budget, spend, blocked, budget_duration, has_budget_limits, members_count,
       keys_count, now()
     from jsonb_to_recordset(?::jsonb) as seen (team_id text, alias text, claim text, max_budget numeric, spend numeric, blocked boolean,
       budget_duration text, has_budget_limits boolean, members_count integer, keys_count integer)
     order by team_id
     on conflict (team_id) do update set alias = excluded.alias, claim = excluded.claim, max_budget = excluded.max_budget,
       spend = excluded.spend, blocked = excluded.blocked, budget_duration = excluded.budget_duration,
       has_budget_limits = excluded.has_budget_limits, members_count = excluded.members_count, keys_count = excluded.keys_count,
       blocked_by_us = litellm_team.blocked_by_us and (excluded.blocked or litellm_team.seen_at > ?), seen_at = excluded.seen_at, gone_at = null`,
    [JSON.stringify(rows), since],
  );
}

/** Those of the teams that we have blocked. */
export async function blockedByUs(em: EntityManager, teamIds: readonly string[]): Promise<Set<string>> {
  const rows = await em.execute<{ id: string }[]>(
    'select team_id as id from litellm_team where blocked_by_us and team_id in (select jsonb_array_elements_text(?::jsonb))',
    [JSON.stringify(teamIds)],
  );
  return new Set(rows.map(({ id }) => id));
}

/** Notes that we are about to block the team, or have unblocked it: we lift no block but our own. */
export async function noteBlock(em: EntityManager, teamId: string, blocked: boolean): Promise<void> {
  await em.execute('update litellm_team set blocked_by_us = ?, seen_at = now() where team_id = ?', [blocked, teamId]);
}

/** Marks as gone what a complete run that began at `since` has not seen in LiteLLM. */
export async function markGone(em: EntityManager, since: Date): Promise<void> {
  await em.execute(
    `update litellm_team set gone_at = now() where team_id in (
       select team_id from litellm_team where seen_at < ? and gone_at is null order by team_id for update)`,
    [since],
  );
}

import { Context } from '@temporalio/activity';
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization } from '../../src/database/entities.ts';
import * as litellmTeams from '../../src/database/litellm-teams.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import { NOTHING_SYNCED, type SyncCounts, type UnreadableTeam } from '../../src/domain/sync.ts';
import type { KmsTeam } from '../../src/kms/rows.ts';
import { beginSettling, compare, isInScope, noteUnreadable, type Settling, settleStranger } from '../../src/teams/drift-settler.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { readTeamPages, type TeamsCursor } from '../team-pages.ts';
import type { SyncRef, SyncTeamsPart } from './types.ts';

/** A run lists so many teams that nobody manages. The rest are counted. */
const MAX_UNMANAGED_LISTED = 100;
const MAX_UNREADABLE_LISTED = 100;

/**
 * Some pages of LiteLLM's teams. Ours are compared; of the others those are adopted that name their
 * organization.
 */
export function syncTeams({ database, kms, log }: Pick<ActivityDependencies, 'database' | 'kms' | 'log'>) {
  return async ({ run, cursor, counts }: { run: SyncRef; cursor: TeamsCursor; counts: SyncCounts }): Promise<SyncTeamsPart> => {
    await syncRuns.noteCounts(database.fork(), run.runId, counts);
    const settling = beginSettling({ database, kms, log, signal: Context.current().cancellationSignal }, run);
    const found = { organizations: 0, unmanaged: 0 };
    let unread = counts.unreadable;
    const { next, ...part } = await readTeamPages({ kms, log }, cursor, async (teams, unreadable) => {
      const em = database.fork();
      const ours = await organizations.ofLitellmTeams(
        em,
        teams.map(({ teamId }) => teamId),
      );
      if (!run.dryRun) await rememberSeen(em, run, { teams, ours });
      const shown = new Map(teams.map((team) => [team.teamId, team]));
      found.organizations += await compareOurs(settling, shown, ours);

      for (const { litellmTeamId } of ours) shown.delete(litellmTeamId);
      for (const stranger of shown.values()) {
        const isListed = run.organizationIds === null && counts.unmanaged + found.unmanaged < MAX_UNMANAGED_LISTED;
        if ((await settleStranger(settling, stranger, isListed)) === 'unmanaged') found.unmanaged++;
      }
      await noteUnread(settling, unreadable, MAX_UNREADABLE_LISTED - unread);
      unread += unreadable.length;
    });
    return { counts: { ...NOTHING_SYNCED, ...part, ...found }, next };
  };
}

/** @param room so many that nobody manages are still listed. */
async function noteUnread(settling: Settling, rows: readonly UnreadableTeam[], room: number): Promise<void> {
  if (rows.length === 0) return;
  const ids = rows.map(({ teamId }) => teamId);
  const ours = new Map((await organizations.ofLitellmTeams(settling.database.fork(), ids)).map((each) => [each.litellmTeamId, each]));
  for (const [index, row] of rows.entries()) {
    const organization = ours.get(row.teamId) ?? null;
    const isListed = organization ? isInScope(settling.run, organization.id) : index < room;
    if (isListed) await noteUnreadable(settling, row, organization);
  }
}

async function rememberSeen(
  em: EntityManager,
  { since }: SyncRef,
  { teams, ours }: { teams: readonly KmsTeam[]; ours: readonly Organization[] },
): Promise<void> {
  await litellmTeams.record(em, teams, new Date(since));
  await organizations.markSeen(
    em,
    ours.map(({ litellmTeamId }) => litellmTeamId),
  );
}

/** Returns how many organizations were compared. */
async function compareOurs(settling: Settling, shown: ReadonlyMap<string, KmsTeam>, ours: readonly Organization[]): Promise<number> {
  const inScope = ours.filter(({ id }) => isInScope(settling.run, id));
  await compare(
    settling,
    inScope.map((organization) => ({ organization, theirs: shown.get(organization.litellmTeamId) ?? null })),
  );
  return inScope.length;
}

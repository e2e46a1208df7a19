import { Context } from '@temporalio/activity';
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization } from '../../src/database/entities.ts';
import * as litellmTeams from '../../src/database/litellm-teams.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import { type Absence, judgeAbsence, NOTHING_SYNCED, type SyncCounts } from '../../src/domain/sync.ts';
import { beginSettling, compare, lookUp, noteUncertain, type Pair } from '../../src/teams/drift-settler.ts';
import { sideBySide } from '../../src/teams/side-by-side.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { SyncOrganizationsPart, SyncRef } from './types.ts';

/** Organizations that one activity looks up, each by itself. */
const ORGANIZATIONS_AT_ONCE = 50;

/**
 * `isComplete`: every team could be read. Else the team of a new organization may be among the others, and
 * none is made.
 */
type SyncOrganizationsInput = { run: SyncRef; after: string; counts: SyncCounts; isComplete: boolean };

/**
 * Some organizations that no page showed. Each is looked up by itself, and made when LiteLLM has never had
 * its team.
 */
export function syncOrganizations({ database, kms, log }: Pick<ActivityDependencies, 'database' | 'kms' | 'log'>) {
  return async ({ run, after, counts, isComplete }: SyncOrganizationsInput): Promise<SyncOrganizationsPart> => {
    const em = database.fork();
    await syncRuns.noteCounts(em, run.runId, counts);
    const page = { after, limit: ORGANIZATIONS_AT_ONCE, among: run.organizationIds };
    const unseen = await organizations.unseenSince(em, new Date(run.since), page);

    const signal = Context.current().cancellationSignal;
    const settling = beginSettling({ database, kms, log, signal }, run);
    const pairs: Pair[] = [];
    let unreadable = 0;
    const look = async (organization: Organization) => {
      const own = await lookUp(settling, organization);
      if (own.kind === 'unknown') {
        unreadable++;
        return;
      }
      if (own.kind === 'found') {
        // A dry run marks nothing as seen, so a page has shown this organization and it was compared then.
        if (!run.dryRun) pairs.push({ organization, theirs: own.team });
        return;
      }
      const absence = await judge(database.fork(), organization, { runId: run.runId, isEveryTeamRead: isComplete });
      if (absence === 'deleted' || absence === 'never_made') pairs.push({ organization, theirs: null });
      if (absence === 'uncertain') await noteUncertain(settling, organization, counts);
    };
    await sideBySide(unseen, look, signal);

    if (!run.dryRun) {
      await litellmTeams.record(
        em,
        pairs.flatMap(({ theirs }) => theirs ?? []),
        new Date(run.since),
      );
    }
    // Marked only when everything is done, because a further attempt skips what is marked.
    const present = await compare(settling, pairs);
    if (!run.dryRun) await organizations.markSeen(em, present);
    const last = unseen.length === ORGANIZATIONS_AT_ONCE ? (unseen.at(-1)?.id ?? null) : null;
    return { counts: { ...NOTHING_SYNCED, unreadable, organizations: pairs.length }, next: last };
  };
}

async function judge(
  em: EntityManager,
  { id, litellmSeenAt }: Organization,
  { runId, isEveryTeamRead }: { runId: string; isEveryTeamRead: boolean },
): Promise<Absence> {
  const wasSeen = Boolean(litellmSeenAt);
  const isClaimed = !wasSeen && (await syncRuns.isClaimPending(em, runId, id));
  return judgeAbsence({ wasSeen, isClaimed, isEveryTeamRead });
}

/** Brings LiteLLM to what is wanted here, and what is seen there to us: team by team, each difference by itself. */
import type { EntityManager } from '../../src/database/database.ts';
import type { Organization, Team, TeamKey } from '../../src/database/entities.ts';
import * as litellmTeams from '../../src/database/litellm-teams.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import * as teams from '../../src/database/teams.ts';
import { quotaMicros } from '../../src/domain/money.ts';
import {
  claimOf,
  DRIFT_ADVICE,
  type Drift,
  driftOf,
  driftOfStranger,
  NOTHING_SYNCED,
  type Ours,
  outcomeWithoutAction,
  type SyncCounts,
  type SyncOutcome,
} from '../../src/domain/sync.ts';
import type { TeamsPage } from '../../src/kms/client.ts';
import { KmsError, type KmsErrorKind } from '../../src/kms/errors.ts';
import { mirrorTeam, removeTeam, revokeKey } from '../../src/teams/mirror.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { readTeamPages } from '../team-pages.ts';
import type { SyncOrganizationsPart, SyncRef, SyncSummary, SyncTeamsPart, TeamsCursor } from '../types.ts';

type KmsTeam = TeamsPage['teams'][number];
type Dependencies = Pick<ActivityDependencies, 'database' | 'kms' | 'log'>;

/** Organizations that one activity looks up each by itself. */
const ORGANIZATIONS_AT_ONCE = 50;
/** Of them, so many at a time: a first synchronisation makes thousands of teams, and LiteLLM has users to serve. */
const SIDE_BY_SIDE = 5;
/** LiteLLM's teams that are nobody's, by name; beyond, they are counted. */
const MAX_UNMANAGED_NAMED = 100;
/** One failure is one item's; so many in a row that LiteLLM does not answer, and it is away. */
const MAX_OUTAGES_IN_A_ROW = 5;
const OUTAGES: readonly KmsErrorKind[] = ['unavailable', 'unknown_outcome', 'unauthenticated'];

/** The run's row: the one that the API has made, or a new one for a run that Temporal has begun. */
export function beginSync({ database }: Pick<Dependencies, 'database'>) {
  return async ({ runId, workflow, ...wish }: syncRuns.SyncWish & { runId: string | null; workflow: string }): Promise<SyncRef> => {
    const em = database.fork();
    await syncRuns.closeLost(em);
    const run = (runId !== null && (await syncRuns.find(em, runId))) || (await syncRuns.create(em, wish, workflow));
    return {
      runId: run.id,
      since: run.startedAt.toISOString(),
      dryRun: run.dryRun,
      organizationIds: run.organizationIds ?? null,
    };
  };
}

/** Some pages of LiteLLM's teams: ours are compared, and of the others those adopted that say whose they are. */
export function syncTeams({ database, kms, log }: Dependencies) {
  return async ({ run, cursor, counts }: { run: SyncRef; cursor: TeamsCursor; counts: SyncCounts }): Promise<SyncTeamsPart> => {
    await syncRuns.noteCounts(database.fork(), run.runId, counts);
    const settling = new Settling({ database, kms, log }, run);
    const found = { organizations: 0, unmanaged: 0 };
    const { next, ...part } = await readTeamPages({ kms, log }, cursor, async (page) => {
      const em = database.fork();
      const ours = await organizations.ofLitellmTeams(
        em,
        page.map(({ teamId }) => teamId),
      );
      if (!run.dryRun) {
        await litellmTeams.record(em, page);
        await organizations.markSeen(
          em,
          ours.map(({ litellmTeamId }) => litellmTeamId),
        );
      }
      const wanted = ours.filter(({ id }) => isWanted(run, id));
      const shown = new Map(page.map((team) => [team.teamId, team]));
      await settling.compare(wanted.map((organization) => ({ organization, theirs: shown.get(organization.litellmTeamId) ?? null })));
      found.organizations += wanted.length;

      for (const { litellmTeamId } of ours) shown.delete(litellmTeamId);
      const isNamed = () => counts.unmanaged + found.unmanaged < MAX_UNMANAGED_NAMED && run.organizationIds === null;
      for (const stranger of shown.values()) {
        if ((await settling.look(stranger, isNamed())) === 'unmanaged') found.unmanaged++;
      }
    });
    return { counts: { ...NOTHING_SYNCED, ...part, ...found }, next };
  };
}

/**
 * Some organizations that no page showed: each is looked up by itself, and made when LiteLLM has never had its team.
 *
 * @param isComplete every page could be read; else the team of a new organization may be on the others, and none is made.
 */
export function syncOrganizations({ database, kms, log }: Dependencies) {
  return async (input: { run: SyncRef; after: string; counts: SyncCounts; isComplete: boolean }): Promise<SyncOrganizationsPart> => {
    const { run, after, counts, isComplete } = input;
    const em = database.fork();
    await syncRuns.noteCounts(em, run.runId, counts);
    const settling = new Settling({ database, kms, log }, run);
    const page = { after, limit: ORGANIZATIONS_AT_ONCE, among: run.organizationIds };
    const unseen = await organizations.unseenSince(em, new Date(run.since), page);
    const found = { ...NOTHING_SYNCED };
    const pairs: Pair[] = [];
    await sideBySide(unseen, async (organization) => {
      const theirs = await settling.lookUp(organization);
      if (theirs === undefined) found.unreadable++;
      // A dry run marks nothing as seen, so these are organizations that a page has shown and that were compared then.
      else if (theirs !== null && run.dryRun) return;
      else if (theirs !== null || organization.litellmSeenAt) pairs.push({ organization, theirs });
      else if (await syncRuns.isClaimPending(database.fork(), run.runId, organization.id)) return;
      else if (isComplete) pairs.push({ organization, theirs });
      else log.warn({ organization_id: organization.id }, 'a team is not made while some of those in LiteLLM could not be read');
    });
    found.organizations = pairs.length;
    if (!run.dryRun)
      await litellmTeams.record(
        em,
        pairs.flatMap(({ theirs }) => theirs ?? []),
      );
    // Marked when all of it is done: another attempt goes by the mark.
    const there = await settling.compare(pairs);
    if (!run.dryRun) await organizations.markSeen(em, there);
    const last = unseen.length === ORGANIZATIONS_AT_ONCE ? (unseen.at(-1)?.id ?? null) : null;
    return { counts: found, next: last };
  };
}

/** The end of the run, with what came of it. @param isComplete every team of LiteLLM's was seen. */
export function finishSync({ database }: Pick<Dependencies, 'database'>) {
  return async (input: { run: SyncRef; counts: SyncCounts; isComplete: boolean; failure: string | null }): Promise<SyncSummary> => {
    const { run, counts, isComplete, failure } = input;
    const em = database.fork();
    if (isComplete && !run.dryRun) await litellmTeams.markGone(em, new Date(run.since));
    await syncRuns.finish(em, run.runId, { counts, failure });
    return { runId: run.runId, counts, outcomes: (await syncRuns.outcomesOf(em, [run.runId])).get(run.runId) ?? {} };
  };
}

type Pair = { organization: Organization; theirs: KmsTeam | null };
type Owned = { organization: Organization; teams: Team[]; leavingKeys: TeamKey[] };

/** Settles drift by drift within one activity. Whatever fails is that item's failure, until LiteLLM seems to be away. */
class Settling {
  private readonly dependencies: Dependencies;
  private readonly run: SyncRef;
  private outages = 0;

  constructor(dependencies: Dependencies, run: SyncRef) {
    this.dependencies = dependencies;
    this.run = run;
  }

  /** The organization's team as LiteLLM has it by its id; null when it has none, undefined when that cannot be found out now. */
  async lookUp({ id, litellmTeamId }: Organization): Promise<KmsTeam | null | undefined> {
    try {
      const { team } = await this.dependencies.kms.team(litellmTeamId);
      this.outages = 0;
      return team;
    } catch (error) {
      if (error instanceof KmsError && error.kind === 'not_found') return null;
      this.dependencies.log.warn({ organization_id: id, reason: await this.reasonOf(error) }, 'a team cannot be looked up');
      return undefined;
    }
  }

  /** Compares organizations with their teams, and does what follows from it. Answers the teams that LiteLLM has now. */
  async compare(pairs: readonly Pair[]): Promise<string[]> {
    if (pairs.length === 0) return [];
    const there: string[] = [];
    const em = this.dependencies.database.fork();
    const ids = pairs.map(({ organization }) => organization.id);
    const [allTeams, keys] = [await teams.ofOrganizations(em, ids), await teams.leavingKeys(em, ids)];
    const budgets = await organizations.budgetsLeft(em, ids);
    const blocked = await litellmTeams.blockedByUs(
      em,
      pairs.map(({ organization }) => organization.litellmTeamId),
    );
    await sideBySide(pairs, async ({ organization, theirs }) => {
      const isIts = (row: { organizationId: string }) => row.organizationId === organization.id;
      const owned = { organization, teams: allTeams.filter(isIts), leavingKeys: keys.filter(isIts) };
      const ours = oursOf(owned, budgets.get(organization.id) ?? null, blocked.has(organization.litellmTeamId));
      for (const drift of driftOf(ours, theirs)) {
        const outcome = await this.settle(drift, owned);
        // Without the team there is nothing to put into it.
        if ((drift.kind === 'team_missing' && outcome === 'failed') || drift.kind === 'team_deleted') return;
      }
      there.push(organization.litellmTeamId);
    });
    return there;
  }

  /** A team that is no organization's. @param isNamed whether it is to be listed when it is nobody's. */
  async look(team: KmsTeam, isNamed: boolean): Promise<'unmanaged' | 'claimed'> {
    const em = this.dependencies.database.fork();
    const claim = claimOf(team);
    const claimed = claim === null ? null : await organizations.find(em, claim);
    if (!claimed) {
      if (isNamed) await this.settle(driftOfStranger(team, null), null);
      return 'unmanaged';
    }
    if (!isWanted(this.run, claimed.id)) return 'claimed';
    const own = await this.lookUp(claimed);
    const { id: organizationId, litellmTeamId } = claimed;
    if (own === undefined) {
      // Kept as a claim that may yet be right, so that no other team is made for the organization.
      const drift = driftOfStranger(team, { organizationId, litellmTeamId, hasTeam: false });
      await syncRuns.recordItem(em, this.run.runId, { drift, outcome: 'failed', reason: `${litellmTeamId} could not be looked up` });
      return 'claimed';
    }
    const outcome = await this.settle(driftOfStranger(team, { organizationId, litellmTeamId, hasTeam: own !== null }), null);
    const adopted = outcome === 'done' && (await organizations.find(em, claimed.id));
    if (adopted) await this.compare([{ organization: adopted, theirs: team }]);
    return 'claimed';
  }

  private async settle(drift: Drift, owned: Owned | null): Promise<SyncOutcome | undefined> {
    const em = this.dependencies.database.fork();
    if (drift.kind === 'budget_edited' && owned && !(await this.isEdited(owned.organization))) return undefined;
    let outcome: SyncOutcome;
    let reason: string | null = null;
    if (drift.action === null) {
      outcome = outcomeWithoutAction(drift.kind);
      reason = DRIFT_ADVICE[drift.kind];
    } else if (this.run.dryRun) outcome = 'planned';
    else {
      try {
        await this.act(em, drift, owned);
        outcome = 'done';
        this.outages = 0;
      } catch (error) {
        outcome = 'failed';
        reason = await this.reasonOf(error);
      }
    }
    if (outcome === 'failed') this.dependencies.log.warn({ ...drift, reason }, 'a difference could not be settled');
    await syncRuns.recordItem(em, this.run.runId, { drift, outcome, reason });
    return outcome;
  }

  /** Looks once more, in between what we know before and after: the page may be older than a recharge. */
  private async isEdited(organization: Organization): Promise<boolean> {
    const em = this.dependencies.database.fork();
    const budgetNow = async () => (await organizations.budgetsLeft(em, [organization.id])).get(organization.id);
    const before = await budgetNow();
    const live = (await this.lookUp(organization))?.quota;
    return live !== undefined && before !== undefined && live !== before && (await budgetNow()) === before;
  }

  private async act(em: EntityManager, { action, subject, organizationId }: Drift, owned: Owned | null): Promise<void> {
    const { kms } = this.dependencies;
    if (action === 'adopt' && organizationId !== null) {
      await organizations.change(em, organizationId, { litellmTeamId: subject });
      return organizations.markSeen(em, [subject]);
    }
    if (owned === null) throw new Error(`${action} is of an organization`);
    const { organization, leavingKeys } = owned;
    const { litellmTeamId, name } = organization;
    const team = owned.teams.find(({ id }) => subject === `${organization.id}/${id}`);
    if (action === 'create') {
      const made = await kms.createTeam({
        teamId: litellmTeamId,
        alias: name,
        quota: quotaMicros(0),
        metadata: { c_organization_id: organization.id },
      });
      await litellmTeams.record(em, [made]);
      if (organization.blocked) await this.block(em, litellmTeamId, true);
    } else if (action === 'rename') await kms.renameTeam(litellmTeamId, name);
    else if (action === 'block' || action === 'unblock') await this.block(em, litellmTeamId, action === 'block');
    else if (!team) throw new Error(`${subject} is gone from the database`);
    else if (action === 'add_member') await mirrorTeam(em, kms, organization, team);
    else if (action === 'remove_member') await removeTeam(em, kms, organization, team);
    else for (const key of leavingKeys.filter(({ teamId }) => teamId === team.id)) await revokeKey(em, kms, key);
  }

  /** Noted as ours before it is made, and until it is known to be lifted: a crash between must not leave a block that nobody owns. */
  private async block(em: EntityManager, teamId: string, blocked: boolean): Promise<void> {
    if (blocked) await litellmTeams.noteBlock(em, teamId, true);
    await this.dependencies.kms.setTeamBlocked(teamId, blocked);
    if (!blocked) await litellmTeams.noteBlock(em, teamId, false);
  }

  /** @throws the error itself when it is no single item's: the database's, a programming error, or a LiteLLM that is away. */
  private async reasonOf(error: unknown): Promise<string> {
    const isItems =
      error instanceof KmsError ||
      error instanceof organizations.OrganizationInUseError ||
      error instanceof organizations.OrganizationExistsError;
    if (!isItems) throw error;
    if (error instanceof KmsError && OUTAGES.includes(error.kind) && ++this.outages >= MAX_OUTAGES_IN_A_ROW) {
      // Where LiteLLM says that it is well, they are the items'.
      await this.dependencies.kms.ping().catch(() => {
        throw error;
      });
      this.outages = 0;
    }
    return error.message;
  }
}

function oursOf({ organization, teams: rows, leavingKeys }: Owned, budgetLeft: Ours['budgetLeft'], blockedByUs: boolean): Ours {
  const { id: organizationId, name, litellmTeamId, blocked, litellmSeenAt } = organization;
  return {
    organizationId,
    name,
    litellmTeamId,
    blocked,
    wasSeen: Boolean(litellmSeenAt),
    blockedByUs,
    budgetLeft,
    teams: rows.map(({ id, litellmUserId, syncedAt, removedAt }) => ({
      id,
      userId: litellmUserId,
      isSynced: Boolean(syncedAt),
      isLeaving: Boolean(removedAt),
      keysLeaving: leavingKeys.filter(({ teamId }) => teamId === id).length,
    })),
  };
}

function isWanted({ organizationIds }: SyncRef, id: string): boolean {
  return organizationIds === null || organizationIds.includes(id);
}

/** Waits for each slice to its end, also when one of it fails: nothing may run on when the activity is over. */
async function sideBySide<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += SIDE_BY_SIDE) {
    const results = await Promise.allSettled(items.slice(start, start + SIDE_BY_SIDE).map(work));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

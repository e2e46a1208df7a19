/**
 * Settles the differences between LiteLLM and the database, each by itself, and records what came of each in
 * the run.
 */
import * as budgets from '../database/budgets.ts';
import * as driftEvents from '../database/drift-events.ts';
import type { Organization } from '../database/entities.ts';
import * as litellmTeams from '../database/litellm-teams.ts';
import * as organizations from '../database/organizations.ts';
import * as syncRuns from '../database/sync-runs.ts';
import * as teams from '../database/teams.ts';
import {
  adviceOn,
  claimOf,
  comparedKinds,
  type Drift,
  driftOf,
  driftOfStranger,
  driftOfUnreadable,
  isBudgetEdited,
  leavesNoTeam,
  type Ours,
  outcomeWithoutAction,
  type SyncCounts,
  type SyncOutcome,
  type UnreadableTeam,
  whyUncertain,
} from '../domain/sync.ts';
import { KmsError, type KmsErrorKind } from '../kms/errors.ts';
import type { KmsTeam } from '../kms/rows.ts';
import type { Logger } from '../observability/log.ts';
import { DRIFT_ACTIONS, type Owned } from './drift-actions.ts';
import type { MirrorDependencies } from './mirror.ts';
import { sideBySide } from './side-by-side.ts';

/** One outage fails one item. After so many in a row LiteLLM is asked whether it is available at all. */
const MAX_OUTAGES_IN_A_ROW = 5;
const OUTAGES: readonly KmsErrorKind[] = ['unavailable', 'unknown_outcome', 'unauthenticated'];

/** `signal`: aborted when the attempt is to end. */
export type SettlerDependencies = MirrorDependencies & { log: Logger; signal: AbortSignal };
export type SettledRun = syncRuns.SyncWish & { runId: string };
/** The part of a run that one activity does. */
export type Settling = SettlerDependencies & { run: SettledRun; outagesInARow: number };

/** An organization's team as LiteLLM has it by its id. `unknown`: LiteLLM cannot say now. */
export type LookUp = { kind: 'found'; team: KmsTeam } | { kind: 'absent' } | { kind: 'unknown'; reason: string };

/** An organization beside its team in LiteLLM; null: LiteLLM has no such team. */
export type Pair = { organization: Organization; theirs: KmsTeam | null };

type Result = { outcome: SyncOutcome; reason: string | null };

export function beginSettling({ database, kms, log, signal }: SettlerDependencies, run: SettledRun): Settling {
  return { database, kms, log, signal, run, outagesInARow: 0 };
}

/** Whether the run is about the organization. */
export function isInScope({ organizationIds }: SettledRun, id: string): boolean {
  return organizationIds === null || organizationIds.includes(id);
}

/** @throws KmsError when LiteLLM is unavailable. */
export async function lookUp(settling: Settling, { id, litellmTeamId }: Organization): Promise<LookUp> {
  try {
    const { team } = await settling.kms.team(litellmTeamId);
    settling.outagesInARow = 0;
    return { kind: 'found', team };
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return { kind: 'absent' };
    const reason = await reasonOf(settling, error);
    settling.log.warn({ organization_id: id, reason }, 'a team cannot be looked up');
    return { kind: 'unknown', reason };
  }
}

/**
 * Compares organizations with their teams and settles what differs. Returns the ids of the teams that LiteLLM
 * has afterwards.
 *
 * @throws KmsError when LiteLLM is unavailable; a database error.
 */
export async function compare(settling: Settling, pairs: readonly Pair[]): Promise<string[]> {
  if (pairs.length === 0) return [];
  const em = settling.database.fork();
  const ids = pairs.map(({ organization }) => organization.id);
  const allTeams = await teams.ofOrganizations(em, ids);
  const allLeavingKeys = await teams.leavingKeys(em, ids);
  const expectedBudgets = await budgets.expected(em, ids);
  const blocked = await litellmTeams.blockedByUs(
    em,
    pairs.map(({ organization }) => organization.litellmTeamId),
  );
  const told = settling.run.dryRun ? [] : await driftEvents.standingOf(em, ids);
  const present: string[] = [];
  const compareOne = async ({ organization, theirs }: Pair) => {
    const { id, litellmTeamId } = organization;
    const isOwn = ({ organizationId }: { organizationId: string }) => organizationId === id;
    const owned = { organization, teams: allTeams.filter(isOwn), leavingKeys: allLeavingKeys.filter(isOwn) };
    const ours = oursOf(owned, {
      budgetLeft: expectedBudgets.get(id) ?? null,
      blockedByUs: blocked.has(litellmTeamId),
    });
    const found = driftOf(ours, theirs);
    const compared = comparedKinds(ours, theirs).filter((kind) => !found.some((drift) => drift.kind === kind));
    const ended = told.filter((each) => isOwn(each) && compared.some((kind) => kind === each.kind));
    if (ended.length > 0 && (await isAsRead(settling, organization))) await driftEvents.end(settling.database.fork(), ended);
    if (await settleAll(settling, found, owned)) present.push(litellmTeamId);
  };
  await sideBySide(pairs, compareOne, settling.signal);
  return present;
}

/**
 * Settles the drift of one organization. False when LiteLLM has no team of its afterwards, and when a person has changed
 * the organization since it was read: the next run compares it anew.
 */
async function settleAll(settling: Settling, drifts: readonly Drift[], owned: Owned): Promise<boolean> {
  for (const drift of drifts) {
    if (!(await isAsRead(settling, owned.organization))) return false;
    if (drift.kind === 'budget_edited' && !(await isEdited(settling, owned.organization))) continue;
    const outcome = await settle(settling, drift, owned);
    if (leavesNoTeam(drift.kind, outcome)) return false;
  }
  return true;
}

/** What is written to LiteLLM of an organization. */
const WRITTEN = ['litellmTeamId', 'name', 'blocked', 'createTeam'] as const satisfies readonly (keyof Organization)[];

/** Minutes may have gone by with the other organizations of the page. */
async function isAsRead({ database }: Settling, organization: Organization): Promise<boolean> {
  const present = await organizations.find(database.fork(), organization.id);
  return present !== null && WRITTEN.every((property) => present[property] === organization[property]);
}

/** Looks at the budget once more: the page that showed it may be older than a recharge. */
async function isEdited(settling: Settling, organization: Organization): Promise<boolean> {
  const em = settling.database.fork();
  const budgetLeft = async () => (await budgets.expected(em, [organization.id])).get(organization.id);
  const leftBefore = await budgetLeft();
  const own = await lookUp(settling, organization);
  if (own.kind !== 'found') return false;
  // A lower one was accepted by the release of its hold, and what our write has left is there again.
  if (own.team.quota === (await budgets.last(em, [organization.id])).get(organization.id)) return false;
  return isBudgetEdited({ leftBefore, shown: own.team.quota, leftAfter: await budgetLeft() });
}

/**
 * Settles a team that no organization of ours has. Returns whether its metadata claims it for one.
 *
 * @param isListed whether a team that is unmanaged becomes an item of the run.
 * @throws KmsError when LiteLLM is unavailable; a database error.
 */
export async function settleStranger(settling: Settling, stranger: KmsTeam, isListed: boolean): Promise<'unmanaged' | 'claimed'> {
  const claim = claimOf(stranger);
  const claimed = claim === null ? null : await organizations.find(settling.database.fork(), claim);
  if (!claimed) {
    const drift = driftOfStranger(stranger, null);
    if (isListed) await record(settling, drift, resultWithoutAction(drift));
    return 'unmanaged';
  }
  if (isInScope(settling.run, claimed.id)) await settleClaim(settling, stranger, claimed);
  return 'claimed';
}

/** Records a team whose row cannot be read. @param organization whose team it is by its id. */
export async function noteUnreadable(settling: Settling, row: UnreadableTeam, organization: Organization | null): Promise<void> {
  const drift = driftOfUnreadable(row, organization?.id ?? null);
  await record(settling, drift, resultWithoutAction(drift));
}

/**
 * Records that the team of an organization is not made, because others could not be read.
 *
 * @param counts what the run has read so far.
 */
export async function noteUncertain(settling: Settling, organization: Organization, counts: SyncCounts): Promise<void> {
  const { id: organizationId, litellmTeamId: subject, name: ours } = organization;
  const drift: Drift = { kind: 'team_missing', subject, organizationId, ours, theirs: null, action: 'create' };
  await record(settling, drift, { outcome: 'failed', reason: whyUncertain(counts) });
}

async function settleClaim(settling: Settling, stranger: KmsTeam, claimed: Organization): Promise<void> {
  const { id: organizationId, litellmTeamId } = claimed;
  const own = await lookUp(settling, claimed);
  const drift = driftOfStranger(stranger, { organizationId, litellmTeamId, ownTeam: own.kind });
  if (own.kind === 'unknown') {
    return record(settling, drift, { outcome: 'failed', reason: `${litellmTeamId} cannot be looked up: ${own.reason}` });
  }
  const outcome = await settle(settling, drift, { organization: claimed, teams: [], leavingKeys: [] });
  if (outcome !== 'done') return;
  const adopted = await organizations.find(settling.database.fork(), organizationId);
  if (adopted) await compare(settling, [{ organization: adopted, theirs: stranger }]);
}

async function settle(settling: Settling, drift: Drift, owned: Owned): Promise<SyncOutcome> {
  const result = await resultOf(settling, drift, owned);
  if (result.outcome === 'failed') settling.log.warn({ ...drift, reason: result.reason }, 'a difference could not be settled');
  await record(settling, drift, result);
  return result.outcome;
}

async function resultOf(settling: Settling, drift: Drift, owned: Owned): Promise<Result> {
  const { action, subject } = drift;
  if (action === null) return resultWithoutAction(drift);
  if (settling.run.dryRun) return { outcome: 'planned', reason: null };
  try {
    await DRIFT_ACTIONS[action](settling, { ...owned, subject });
  } catch (error) {
    return { outcome: 'failed', reason: await reasonOf(settling, error) };
  }
  settling.outagesInARow = 0;
  return { outcome: 'done', reason: null };
}

function resultWithoutAction(drift: Drift): Result {
  return { outcome: outcomeWithoutAction(drift.kind), reason: adviceOn(drift) };
}

async function record({ database, run }: Settling, drift: Drift, { outcome, reason }: Result): Promise<void> {
  const em = database.fork();
  await syncRuns.recordItem(em, run.runId, { drift, outcome, reason });
  // A dry run only says what it has seen to whoever asked for it.
  if (outcome === 'needs_person' && !run.dryRun) await driftEvents.tellDrift(em, drift);
}

/**
 * Why one item has failed.
 *
 * @throws the error itself when it is not one item's: the database's, a programming error, or an outage of
 *   LiteLLM.
 */
async function reasonOf(settling: Settling, error: unknown): Promise<string> {
  if (!isOneItems(error)) throw error;
  if (!(error instanceof KmsError) || !OUTAGES.includes(error.kind)) return error.message;
  settling.outagesInARow++;
  if (settling.outagesInARow < MAX_OUTAGES_IN_A_ROW) return error.message;
  await settling.kms.ping().catch(() => {
    throw error;
  });
  // LiteLLM says that it is available, so the failures are the items'.
  settling.outagesInARow = 0;
  return error.message;
}

function isOneItems(error: unknown): error is Error {
  return (
    error instanceof KmsError ||
    error instanceof organizations.OrganizationInUseError ||
    error instanceof organizations.OrganizationExistsError
  );
}

function oursOf({ organization, teams: rows, leavingKeys }: Owned, seen: Pick<Ours, 'budgetLeft' | 'blockedByUs'>): Ours {
  const { id: organizationId, name, litellmTeamId, blocked, createTeam, litellmSeenAt } = organization;
  return {
    ...seen,
    organizationId,
    name,
    litellmTeamId,
    blocked,
    createTeam,
    wasSeen: Boolean(litellmSeenAt),
    teams: rows.map(({ id, litellmUserId, syncedAt, removedAt }) => ({
      id,
      userId: litellmUserId,
      isSynced: Boolean(syncedAt),
      isLeaving: Boolean(removedAt),
      keysLeaving: leavingKeys.filter(({ teamId }) => teamId === id).length,
    })),
  };
}

/** The teams of organizations and the keys issued to them: what is wanted, which LiteLLM then follows. */
import { LockMode, type RequiredEntityData, raw, UniqueConstraintViolationException } from '@mikro-orm/core';
import type { QuotaMicros } from '../domain/money.ts';
import type { EntityManager } from './database.ts';
import { Team, TeamKey } from './entities.ts';
import { newId } from './ids.ts';
import { type Page, type PageRequest, toPage } from './page.ts';

export type TeamRef = { organizationId: string; id: string };
export type NewTeam = TeamRef & { name: string; maxBudgetInTeam: QuotaMicros | null };

/** A key of this alias is there already, and has not been deleted. */
export class KeyExistsError extends Error {
  override name = 'KeyExistsError';
}

// PostgreSQL's clock, by which rows are compared.
const now = () => raw('now()') as unknown as Date;

/**
 * The user that stands for a team in LiteLLM. The ids hold no slash, so no two teams share one, and a team that is made again
 * is the same user.
 */
export function litellmUserId({ organizationId, id }: TeamRef): string {
  return `${organizationId}/${id}`;
}

/** Makes a team, or answers the one of this id, which may be wanted otherwise. */
export async function create(em: EntityManager, wanted: NewTeam): Promise<Team> {
  const row = { ...wanted, litellmUserId: litellmUserId(wanted), createdAt: now(), updatedAt: now() };
  await em.insert(Team, row as RequiredEntityData<Team>).catch((error) => {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
  });
  return em.findOneOrFail(Team, keyOf(wanted), { refresh: true });
}

export async function find(em: EntityManager, team: TeamRef): Promise<Team | null> {
  return em.findOne(Team, keyOf(team), { refresh: true });
}

export async function list(em: EntityManager, organizationId: string, { limit, cursor }: PageRequest): Promise<Page<Team>> {
  const after = cursor
    ? 'and (created_at, c_team_id) < (select created_at, c_team_id from team where c_organization_id = ? and c_team_id = ?)'
    : '';
  const ids = await em.execute<{ id: string }[]>(
    `select c_team_id as id from team where c_organization_id = ? ${after} order by created_at desc, c_team_id desc limit ?`,
    [organizationId, ...(cursor ? [organizationId, cursor] : []), limit + 1],
  );
  const teams = await em.find(Team, { organizationId, id: { $in: ids.map(({ id }) => id) } });
  const found = new Map(teams.map((team) => [team.id, team]));
  return toPage(
    ids.flatMap(({ id }) => found.get(id) ?? []),
    limit,
  );
}

/** Every team of these organizations. */
export async function ofOrganizations(em: EntityManager, organizationIds: readonly string[]): Promise<Team[]> {
  return em.find(Team, { organizationId: { $in: [...organizationIds] } }, { refresh: true, orderBy: { organizationId: 'asc', id: 'asc' } });
}

/** Null when the team is gone or going. What is wanted anew has not been synced. */
export async function change(em: EntityManager, team: TeamRef, changes: Partial<Omit<NewTeam, keyof TeamRef>>): Promise<Team | null> {
  const changed = await em.nativeUpdate(Team, { ...keyOf(team), removedAt: null }, { ...changes, syncedAt: null, updatedAt: now() });
  return changed === 1 ? find(em, team) : null;
}

/** LiteLLM has been brought to this; a row that wants something else by now stays as not synced. */
export async function markSynced(em: EntityManager, { name, maxBudgetInTeam, ...team }: NewTeam): Promise<void> {
  await em.nativeUpdate(Team, { ...keyOf(team), name, maxBudgetInTeam, removedAt: null }, { syncedAt: now() });
}

/** The team is to go, and its keys with it. Null when there is none. */
export async function askToRemove(em: EntityManager, ref: TeamRef): Promise<Team | null> {
  return em.transactional(async (tx) => {
    const team = await tx.findOne(Team, keyOf(ref), { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!team) return null;
    await tx.nativeUpdate(Team, { ...keyOf(ref), removedAt: null }, { removedAt: now() });
    await tx.nativeUpdate(TeamKey, { organizationId: ref.organizationId, teamId: ref.id, revokedAt: null }, { revokedAt: now() });
    return tx.findOneOrFail(Team, keyOf(ref), { refresh: true });
  });
}

/** LiteLLM has let go of the team and of all its keys. Leaves alone one that was asked for anew meanwhile. */
export async function forget(em: EntityManager, { organizationId, id }: TeamRef): Promise<void> {
  await em.transactional(async (tx) => {
    if ((await tx.nativeDelete(Team, { organizationId, id, removedAt: { $ne: null } })) === 0) return;
    await tx.nativeUpdate(TeamKey, { organizationId, teamId: id, deletedAt: null }, { deletedAt: now() });
  });
}

/**
 * A row for a key that is about to be made; it counts as issued only after `markIssued`. Null when the team is gone or going.
 *
 * @throws KeyExistsError
 */
export async function reserveKey(
  em: EntityManager,
  team: TeamRef,
  { token, alias }: { token: string; alias: string },
): Promise<TeamKey | null> {
  const id = newId('key');
  try {
    return await em.transactional(async (tx) => {
      const present = await tx.findOne(Team, { ...keyOf(team), removedAt: null }, { lockMode: LockMode.PESSIMISTIC_READ });
      if (!present) return null;
      const row = { id, organizationId: team.organizationId, teamId: team.id, token, alias, createdAt: now() };
      await tx.insert(TeamKey, row as RequiredEntityData<TeamKey>);
      return tx.findOneOrFail(TeamKey, id);
    });
  } catch (error) {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
    throw new KeyExistsError(`the team has a key ${alias} already`);
  }
}

/** False when the key has been revoked, with its team, while it was being made. */
export async function markIssued(em: EntityManager, id: string): Promise<boolean> {
  return (await em.nativeUpdate(TeamKey, { id, revokedAt: null }, { issuedAt: now() })) === 1;
}

/** The key was never made. */
export async function dropKey(em: EntityManager, id: string): Promise<void> {
  await em.nativeDelete(TeamKey, { id });
}

export async function findKey(em: EntityManager, team: TeamRef, id: string): Promise<TeamKey | null> {
  return em.findOne(TeamKey, { id, organizationId: team.organizationId, teamId: team.id }, { refresh: true });
}

/** Every key that LiteLLM may still have. */
export async function liveKeys(em: EntityManager, team: TeamRef): Promise<TeamKey[]> {
  return em.find(TeamKey, { organizationId: team.organizationId, teamId: team.id, deletedAt: null });
}

export async function listKeys(em: EntityManager, team: TeamRef, { limit, cursor }: PageRequest): Promise<Page<TeamKey>> {
  const where = { organizationId: team.organizationId, teamId: team.id, ...(cursor && { id: { $lt: cursor } }) };
  return toPage(await em.find(TeamKey, where, { orderBy: { id: 'desc' }, limit: limit + 1 }), limit);
}

/** Longer than any key takes to be made: one that is not issued by then has been given up, and its secret is nobody's. */
const ISSUE_MS = 10 * 60_000;

/** The keys of these organizations that LiteLLM may have and should not: revoked, or never issued. */
export async function leavingKeys(em: EntityManager, organizationIds: readonly string[]): Promise<TeamKey[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from team_key where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) and deleted_at is null
       and (revoked_at is not null or (issued_at is null and created_at < now() - ? * interval '1 millisecond'))`,
    [JSON.stringify(organizationIds), ISSUE_MS],
  );
  return rows.length === 0 ? [] : em.find(TeamKey, { id: { $in: rows.map(({ id }) => id) } }, { refresh: true });
}

/** The key is to open nothing any more. */
export async function revokeKey(em: EntityManager, id: string): Promise<void> {
  await em.nativeUpdate(TeamKey, { id, revokedAt: null }, { revokedAt: now() });
}

/** LiteLLM has no such key any more. */
export async function markKeyDeleted(em: EntityManager, id: string): Promise<void> {
  await em.nativeUpdate(TeamKey, { id, deletedAt: null }, { deletedAt: now() });
}

function keyOf({ organizationId, id }: TeamRef): TeamRef {
  return { organizationId, id };
}

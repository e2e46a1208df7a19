/** The teams of organizations and the keys issued to them. A row says what is wanted; LiteLLM follows. */
import { LockMode, UniqueConstraintViolationException } from '@mikro-orm/core';
import type { QuotaMicros } from '../domain/money.ts';
import { now } from './clock.ts';
import type { EntityManager } from './database.ts';
import { Team, TeamKey } from './entities.ts';
import { newId } from './ids.ts';
import { type Page, type PageRequest, pageByCreation, pageById } from './page.ts';

export type TeamRef = { organizationId: string; id: string };
export type NewTeam = TeamRef & { name: string; maxBudgetInTeam: QuotaMicros | null };

/** A key of this alias exists and has not been deleted. */
export class KeyExistsError extends Error {
  override name = 'KeyExistsError';
}

/**
 * A team's user in LiteLLM. Ids contain no slash, so no two teams share one, and a team that is created again
 * is the same user.
 */
export function litellmUserId({ organizationId, id }: TeamRef): string {
  return `${organizationId}/${id}`;
}

/** Creates a team, or returns the one of this id, which may have another name or limit. */
export async function create(em: EntityManager, wanted: NewTeam): Promise<Team> {
  const row = { ...wanted, litellmUserId: litellmUserId(wanted) };
  await em.insert(Team, row).catch((error) => {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
  });
  return em.findOneOrFail(Team, keyOf(wanted));
}

export async function find(em: EntityManager, team: TeamRef): Promise<Team | null> {
  return em.findOne(Team, keyOf(team));
}

/** Newest first. @throws BadCursorError */
export async function list(em: EntityManager, organizationId: string, page: PageRequest): Promise<Page<Team>> {
  return pageByCreation(em, Team, { filter: { organizationId }, ...page });
}

/** Every team of these organizations. */
export async function ofOrganizations(em: EntityManager, organizationIds: readonly string[]): Promise<Team[]> {
  return em.find(Team, { organizationId: { $in: [...organizationIds] } }, { orderBy: { organizationId: 'asc', id: 'asc' } });
}

/**
 * Null when the team is not found or is being removed. The change waits for LiteLLM: `syncedAt` becomes null.
 */
export async function change(em: EntityManager, team: TeamRef, changes: Partial<Omit<NewTeam, keyof TeamRef>>): Promise<Team | null> {
  const changed = await em.nativeUpdate(Team, { ...keyOf(team), removedAt: null }, { ...changes, syncedAt: null, updatedAt: now() });
  return changed === 1 ? find(em, team) : null;
}

/** Notes that LiteLLM has this name and limit. False where the row was changed meanwhile: it stays as it is. */
export async function markSynced(em: EntityManager, { name, maxBudgetInTeam, ...team }: NewTeam): Promise<boolean> {
  return (await em.nativeUpdate(Team, { ...keyOf(team), name, maxBudgetInTeam, removedAt: null }, { syncedAt: now() })) === 1;
}

/** Requests the removal of the team and of its keys. Null when it is not found. */
export async function requestRemoval(em: EntityManager, ref: TeamRef): Promise<Team | null> {
  return em.transactional(async (tx) => {
    const team = await tx.findOne(Team, keyOf(ref), { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!team) return null;
    await tx.nativeUpdate(Team, { ...keyOf(ref), removedAt: null }, { removedAt: now() });
    await tx.nativeUpdate(TeamKey, { organizationId: ref.organizationId, teamId: ref.id, revokedAt: null }, { revokedAt: now() });
    return tx.findOneOrFail(Team, keyOf(ref));
  });
}

/**
 * Deletes the row of a team when LiteLLM has neither it nor its keys any more. One that was created again
 * meanwhile stays.
 */
export async function deleteRemoved(em: EntityManager, { organizationId, id }: TeamRef): Promise<void> {
  await em.transactional(async (tx) => {
    if ((await tx.nativeDelete(Team, { organizationId, id, removedAt: { $ne: null } })) === 0) return;
    await tx.nativeUpdate(TeamKey, { organizationId, teamId: id, deletedAt: null }, { deletedAt: now() });
  });
}

/**
 * A row for a key that is about to be created; it counts as issued after `markIssued`. Null when the team is
 * not found or is being removed.
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
      await tx.insert(TeamKey, { id, organizationId: team.organizationId, teamId: team.id, token, alias });
      return tx.findOneOrFail(TeamKey, id);
    });
  } catch (error) {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
    throw new KeyExistsError(`the team has a key ${alias} already`);
  }
}

/** False when the key was revoked while it was being created, as happens with the removal of its team. */
export async function markIssued(em: EntityManager, id: string): Promise<boolean> {
  return (await em.nativeUpdate(TeamKey, { id, revokedAt: null }, { issuedAt: now() })) === 1;
}

/** Deletes the row of a key that was never created. */
export async function dropKey(em: EntityManager, id: string): Promise<void> {
  await em.nativeDelete(TeamKey, { id });
}

export async function findKey(em: EntityManager, team: TeamRef, id: string): Promise<TeamKey | null> {
  return em.findOne(TeamKey, { id, organizationId: team.organizationId, teamId: team.id });
}

/** Every key that LiteLLM may still have. */
export async function liveKeys(em: EntityManager, team: TeamRef): Promise<TeamKey[]> {
  return em.find(TeamKey, { organizationId: team.organizationId, teamId: team.id, deletedAt: null });
}

/** Newest first. @throws BadCursorError */
export async function listKeys(em: EntityManager, team: TeamRef, page: PageRequest): Promise<Page<TeamKey>> {
  return pageById(em, TeamKey, { prefix: 'key', filter: { organizationId: team.organizationId, teamId: team.id }, ...page });
}

/**
 * Longer than any key takes to be created. One that is not issued by then was given up, and nobody has its
 * secret.
 */
const ISSUE_MS = 10 * 60_000;

/** The keys of these organizations that LiteLLM may have and should not: revoked, or never issued. */
export async function leavingKeys(em: EntityManager, organizationIds: readonly string[]): Promise<TeamKey[]> {
  const rows = await em.execute<{ id: string }[]>(
    `select id from team_key where c_organization_id in (select jsonb_array_elements_text(?::jsonb)) and deleted_at is null
       and (revoked_at is not null or (issued_at is null and created_at < now() - ? * interval '1 millisecond'))`,
    [JSON.stringify(organizationIds), ISSUE_MS],
  );
  return rows.length === 0 ? [] : em.find(TeamKey, { id: { $in: rows.map(({ id }) => id) } });
}

/** Requests the deletion of a key. */
export async function revokeKey(em: EntityManager, id: string): Promise<void> {
  await em.nativeUpdate(TeamKey, { id, revokedAt: null }, { revokedAt: now() });
}

/** Notes that LiteLLM does not have the key any more. */
export async function markKeyDeleted(em: EntityManager, id: string): Promise<void> {
  await em.nativeUpdate(TeamKey, { id, deletedAt: null }, { deletedAt: now() });
}

function keyOf({ organizationId, id }: TeamRef): TeamRef {
  return { organizationId, id };
}

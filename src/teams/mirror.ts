/**
 * Brings LiteLLM to what the database says of an organization's teams and their keys. A team is a user in
 * LiteLLM, and a member of the organization's team. Each function is idempotent and goes on where an earlier
 * call was interrupted. The API calls them at once; the synchronisation does what they leave undone.
 */
import type { Database, EntityManager } from '../database/database.ts';
import type { Organization, Team, TeamKey } from '../database/entities.ts';
import * as teams from '../database/teams.ts';
import { type KmsClient, newSecret, tokenOf } from '../kms/client.ts';
import { KmsError } from '../kms/errors.ts';

/** What is wanted, and where it is brought to. */
export type MirrorDependencies = { database: Database; kms: KmsClient };

/** The team has been removed while a key was being made for it. */
export class TeamGoneError extends Error {
  override name = 'TeamGoneError';
}

/**
 * Makes the team's user and its membership, with its limit, as the row wants them now: the caller's copy may
 * be old. Begins again where the row is changed meanwhile: what is written last has to be what is wanted last.
 *
 * @throws KmsError, `not_found` when the organization has no team in LiteLLM.
 */
export async function mirrorTeam({ database, kms }: MirrorDependencies, organization: Organization, ref: teams.TeamRef): Promise<void> {
  const { litellmTeamId } = organization;
  const em = database.fork();
  const team = await teams.find(em, ref);
  if (!team || team.removedAt) return;
  const { litellmUserId: userId, organizationId, id, name } = team;
  const maxBudgetInTeam = team.maxBudgetInTeam ?? null;
  const seen = await kms.team(litellmTeamId);
  const user = await kms.createUser({ userId, alias: name, metadata: { c_organization_id: organizationId, c_team_id: id } });
  if (user.alias !== name) await kms.renameUser(userId, name);
  const isMember = seen.team.memberUserIds?.includes(userId) ?? false;
  if (!isMember) await kms.addMember(litellmTeamId, userId, maxBudgetInTeam);
  // A limit may have outlived an earlier membership, or somebody else may have set one before.
  const membership = seen.memberships?.find((member) => member.userId === userId);
  const isAsNew = seen.memberships !== null && (!isMember || maxBudgetInTeam === null);
  const hasLimit = membership ? membership.maxBudgetInTeam === maxBudgetInTeam : isAsNew;
  if (!hasLimit) await kms.setMemberBudget(litellmTeamId, userId, maxBudgetInTeam);
  if (await teams.markSynced(em, { organizationId, id, name, maxBudgetInTeam })) return;
  // Whoever has changed the row meanwhile may have written to LiteLLM before this call did.
  await mirrorTeam({ database, kms }, organization, ref);
}

/**
 * Removes a team that was asked to go. Its keys go first, each by its own token, because LiteLLM serves the
 * keys of a deleted user for another minute (62 s on 1.100.5); then membership, user, and our row. A team
 * that was made again meanwhile stays.
 *
 * @throws KmsError
 */
export async function removeTeam(
  { database, kms }: MirrorDependencies,
  { litellmTeamId }: Organization,
  ref: teams.TeamRef,
): Promise<void> {
  const em = database.fork();
  const team = await teams.find(em, ref);
  if (!team?.removedAt) return;
  for (const key of await teams.liveKeys(em, team)) await deleteKey(em, kms, key);
  await kms.removeMember(litellmTeamId, team.litellmUserId);
  await kms.deleteUser(team.litellmUserId);
  await teams.deleteRemoved(em, team);
}

/**
 * Makes a key for a team. Its secret is returned, and kept nowhere.
 *
 * @param wanted.name unique among the team's keys; part of the key's alias in LiteLLM.
 * @throws KmsError: no key was made, or it is being deleted; KeyExistsError; TeamGoneError
 */
export async function issueKey(
  { database, kms }: MirrorDependencies,
  { organization, team, name }: { organization: Organization; team: Team; name: string },
): Promise<{ key: TeamKey; secret: string }> {
  if (!team.syncedAt) await mirrorTeam({ database, kms }, organization, team);
  const em = database.fork();
  const secret = newSecret();
  const alias = `${team.litellmUserId}/${name}`;
  const key = await teams.reserveKey(em, team, { token: tokenOf(secret), alias });
  if (!key) throw new TeamGoneError(`team ${team.id} is being removed`);
  try {
    await kms.createKey(secret, { teamId: organization.litellmTeamId, userId: team.litellmUserId, alias });
  } catch (error) {
    if (error instanceof KmsError && error.kind !== 'unknown_outcome') await teams.dropKey(em, key.id);
    else await withdraw({ database, kms }, key);
    throw error;
  }
  if (!(await teams.markIssued(em, key.id))) {
    await withdraw({ database, kms }, key);
    throw new TeamGoneError(`team ${team.id} has been removed`);
  }
  return { key: (await teams.findKey(em, team, key.id)) ?? key, secret };
}

/**
 * Deletes a key: it opens nothing from then on. @throws KmsError; the wish is stored, and the synchronisation
 * repeats it.
 */
export async function revokeKey({ database, kms }: MirrorDependencies, key: TeamKey): Promise<void> {
  const em = database.fork();
  await teams.revokeKey(em, key.id);
  await deleteKey(em, kms, key);
}

async function deleteKey(em: EntityManager, kms: KmsClient, { id, token }: TeamKey): Promise<void> {
  await kms.deleteKey(token);
  await teams.markKeyDeleted(em, id);
}

/**
 * Revokes a key that may have been made and whose secret nobody has. While LiteLLM is unavailable the wish is
 * only stored.
 */
async function withdraw(dependencies: MirrorDependencies, key: TeamKey): Promise<void> {
  await revokeKey(dependencies, key).catch((error) => {
    if (!(error instanceof KmsError)) throw error;
  });
}

/**
 * Brings LiteLLM to what the database says of an organization's teams and their keys. A team is a user there, and a member of
 * the organization's team. Each function can be repeated, and goes on where an earlier one was interrupted: the routes of the
 * API call them at once, and whatever they leave undone the synchronisation does.
 */
import type { EntityManager } from '../database/database.ts';
import type { Organization, Team, TeamKey } from '../database/entities.ts';
import * as teams from '../database/teams.ts';
import { type KmsClient, newSecret, tokenOf } from '../kms/client.ts';
import { KmsError } from '../kms/errors.ts';

/** The team has been removed while a key was being made for it. */
export class TeamGoneError extends Error {
  override name = 'TeamGoneError';
}

/**
 * Makes the team's user and its membership, with its limit, as the row wants them now: the caller's may be old.
 *
 * @throws KmsError, `not_found` when the organization has no team in LiteLLM.
 */
export async function mirrorTeam(em: EntityManager, kms: KmsClient, { litellmTeamId }: Organization, ref: teams.TeamRef): Promise<void> {
  const team = await teams.find(em, ref);
  if (!team || team.removedAt) return;
  const { litellmUserId: userId, organizationId, id, name } = team;
  const maxBudgetInTeam = team.maxBudgetInTeam ?? null;
  const seen = await kms.team(litellmTeamId);
  const user = await kms.createUser({ userId, alias: name, metadata: { c_organization_id: organizationId, c_team_id: id } });
  if (user.alias !== name) await kms.renameUser(userId, name);
  const isMember = seen.team.memberUserIds?.includes(userId) ?? false;
  if (!isMember) await kms.addMember(litellmTeamId, userId, maxBudgetInTeam);
  // A limit may have outlived an earlier membership, or been set before it by somebody else.
  const membership = seen.memberships.find((member) => member.userId === userId);
  const hasLimit = membership ? membership.maxBudgetInTeam === maxBudgetInTeam : !isMember || maxBudgetInTeam === null;
  if (!hasLimit) await kms.setMemberBudget(litellmTeamId, userId, maxBudgetInTeam);
  await teams.markSynced(em, { organizationId, id, name, maxBudgetInTeam });
}

/**
 * Ends what stands for a team that is to go: its keys first, each by its own name, because LiteLLM goes on serving the keys of a
 * deleted user for a minute (62 s on 1.100.5); then membership, user, and our row. A team that was made again meanwhile stays.
 *
 * @throws KmsError
 */
export async function removeTeam(em: EntityManager, kms: KmsClient, { litellmTeamId }: Organization, ref: teams.TeamRef): Promise<void> {
  const team = await teams.find(em, ref);
  if (!team?.removedAt) return;
  for (const key of await teams.liveKeys(em, team)) await deleteKey(em, kms, key);
  await kms.removeMember(litellmTeamId, team.litellmUserId);
  await kms.deleteUser(team.litellmUserId);
  await teams.deleteRemoved(em, team);
}

/**
 * Makes a key for a team. Its secret is in the answer and nowhere else.
 *
 * @param name unique among the team's keys; part of the key's alias in LiteLLM.
 * @throws KmsError: no key was made, or it is being deleted; KeyExistsError; TeamGoneError
 */
export async function issueKey(
  em: EntityManager,
  kms: KmsClient,
  organization: Organization,
  team: Team,
  name: string,
): Promise<{ key: TeamKey; secret: string }> {
  if (!team.syncedAt) await mirrorTeam(em, kms, organization, team);
  const secret = newSecret();
  const alias = `${team.litellmUserId}/${name}`;
  const key = await teams.reserveKey(em, team, { token: tokenOf(secret), alias });
  if (!key) throw new TeamGoneError(`team ${team.id} is being removed`);
  try {
    await kms.createKey(secret, { teamId: organization.litellmTeamId, userId: team.litellmUserId, alias });
  } catch (error) {
    if (error instanceof KmsError && error.kind !== 'unknown_outcome') await teams.dropKey(em, key.id);
    else await withdraw(em, kms, key);
    throw error;
  }
  if (!(await teams.markIssued(em, key.id))) {
    await withdraw(em, kms, key);
    throw new TeamGoneError(`team ${team.id} has been removed`);
  }
  return { key: (await teams.findKey(em, team, key.id)) ?? key, secret };
}

/** Deletes a key: it opens nothing from then on. @throws KmsError; the wish is stored, and can be repeated. */
export async function revokeKey(em: EntityManager, kms: KmsClient, key: TeamKey): Promise<void> {
  await teams.revokeKey(em, key.id);
  await deleteKey(em, kms, key);
}

async function deleteKey(em: EntityManager, kms: KmsClient, { id, token }: TeamKey): Promise<void> {
  await kms.deleteKey(token);
  await teams.markKeyDeleted(em, id);
}

/** A key that may have been made, whose secret nobody has: if LiteLLM does not answer now, the revocation is stored. */
async function withdraw(em: EntityManager, kms: KmsClient, key: TeamKey): Promise<void> {
  await revokeKey(em, kms, key).catch((error) => {
    if (!(error instanceof KmsError)) throw error;
  });
}

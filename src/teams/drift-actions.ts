/** What is done about a drift, one function for each action. */
import type { Organization, Team, TeamKey } from '../database/entities.ts';
import * as litellmTeams from '../database/litellm-teams.ts';
import * as organizations from '../database/organizations.ts';
import { quotaMicros } from '../domain/money.ts';
import type { Drift, DriftAction } from '../domain/sync.ts';
import { type MirrorDependencies, mirrorTeam, removeTeam, revokeKey } from './mirror.ts';

/**
 * An organization with all that is settled for it. `leavingKeys`: LiteLLM may still have them and should not.
 */
export type Owned = { organization: Organization; teams: readonly Team[]; leavingKeys: readonly TeamKey[] };

/** `subject`: what the drift is about. */
type Item = Owned & Pick<Drift, 'subject'>;

/**
 * What is done about a drift. Each is idempotent, and leaves every budget as it is but the 0 of a new team.
 */
export const DRIFT_ACTIONS: Readonly<Record<DriftAction, (world: MirrorDependencies, item: Item) => Promise<void>>> = {
  create: createTeam,
  rename: ({ kms }, { organization }) => kms.renameTeam(organization.litellmTeamId, organization.name),
  block: (world, { organization }) => blockTeam(world, organization.litellmTeamId),
  unblock: (world, { organization }) => unblockTeam(world, organization.litellmTeamId),
  add_member: (world, item) => mirrorTeam(world, item.organization, teamOf(item)),
  remove_member: (world, item) => removeTeam(world, item.organization, teamOf(item)),
  delete_keys: deleteLeavingKeys,
  adopt: adoptTeam,
};

async function createTeam(world: MirrorDependencies, { organization }: Item): Promise<void> {
  const { id, litellmTeamId, name, blocked } = organization;
  const metadata = { c_organization_id: id };
  const made = await world.kms.createTeam({ teamId: litellmTeamId, alias: name, quota: quotaMicros(0), metadata });
  await litellmTeams.record(world.database.fork(), [made]);
  if (blocked) await blockTeam(world, litellmTeamId);
}

/** Noted as ours before it is set: a crash in between must not leave a block that nobody may lift. */
async function blockTeam({ database, kms }: MirrorDependencies, teamId: string): Promise<void> {
  await litellmTeams.noteBlock(database.fork(), teamId, true);
  await kms.setTeamBlocked(teamId, true);
}

/** Noted as ours until it is known to be lifted. */
async function unblockTeam({ database, kms }: MirrorDependencies, teamId: string): Promise<void> {
  await kms.setTeamBlocked(teamId, false);
  await litellmTeams.noteBlock(database.fork(), teamId, false);
}

async function deleteLeavingKeys(world: MirrorDependencies, item: Item): Promise<void> {
  const team = teamOf(item);
  for (const key of item.leavingKeys.filter(({ teamId }) => teamId === team.id)) await revokeKey(world, key);
}

async function adoptTeam({ database }: MirrorDependencies, { organization, subject }: Item): Promise<void> {
  const em = database.fork();
  // A person may have given it another one since the team that it had was not found.
  await organizations.change(em, organization.id, { litellmTeamId: subject }, { seenTeamId: organization.litellmTeamId, isTeamGone: true });
  await organizations.markSeen(em, [subject]);
}

/** The team of the organization that the drift is about. */
function teamOf({ organization, teams: owned, subject }: Item): Team {
  const team = owned.find(({ id }) => subject === `${organization.id}/${id}`);
  if (!team) throw new Error(`${subject} is not a team of ${organization.id}`);
  return team;
}

/**
 * A LiteLLM team that nobody asks to be made has to be there already: a mistyped id must neither become a team
 * nor be charged for.
 */
import * as organizations from '../database/organizations.ts';
import { DeadlineError, withDeadline } from '../deadline.ts';
import { mostSimilar } from '../domain/similar-names.ts';
import type { KmsClient } from '../kms/client.ts';
import { KmsError } from '../kms/errors.ts';
import { MAX_PAGE_SIZE } from '../kms/page.ts';
import type { HttpDependencies } from './dependencies.ts';
import { invalidField, Problem } from './problem.ts';

/** Together less than a caller of our API waits, so that nothing is made for one who has left. */
const ASK_MS = 8_000;
const LOOK_AROUND_MS = 4_000;
/** A thousand teams. In a larger LiteLLM the team that was meant may not be named. */
const MAX_PAGES = 10;
/** More would have to be searched again. */
const MAX_NAMED = 3;

type Dependencies = Pick<HttpDependencies, 'database' | 'kms'>;

/**
 * Asks LiteLLM for the team. A team that an organization has is not asked for: the write that follows is
 * refused for that.
 *
 * @throws Problem 422 when LiteLLM has no such team, 503 when it cannot be asked; a database error.
 */
export async function requireTeam({ database, kms }: Dependencies, teamId: string): Promise<void> {
  if ((await organizations.ofLitellmTeams(database.fork(), [teamId])).length > 0) return;
  try {
    await withDeadline(kms.teamAlone(teamId), ASK_MS, 'LiteLLM did not answer: no answer');
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') {
      throw invalidField('litellm_team_id', absence(teamId, await teamsLike({ database, kms }, teamId)));
    }
    if (error instanceof KmsError || error instanceof DeadlineError) throw unasked(teamId, error.message);
    throw error;
  }
}

/** Whether LiteLLM does not have the team. @throws KmsError, Problem 503 when it cannot be asked. */
export async function isTeamGone({ kms }: Pick<Dependencies, 'kms'>, teamId: string): Promise<boolean> {
  try {
    await withDeadline(kms.teamAlone(teamId), ASK_MS, 'LiteLLM did not answer: no answer');
    return false;
  } catch (error) {
    if (error instanceof KmsError && error.kind === 'not_found') return true;
    if (error instanceof DeadlineError) throw new Problem('unavailable', error.message);
    throw error;
  }
}

function unasked(teamId: string, reason: string): Problem {
  return new Problem(
    'unavailable',
    `LiteLLM cannot be asked whether it has the team ${teamId}: try again, or pass create_team (--create-team) to have it made if LiteLLM turns out not to have it. Nothing was stored. ${reason}`,
  );
}

/** `organizationId`: the organization that has the team. */
type AlikeTeam = { teamId: string; alias: string | null; organizationId: string | null };

function absence(teamId: string, alike: readonly AlikeTeam[]): string {
  const named = alike.map(({ teamId: id, alias, organizationId }) => {
    const about = [alias !== null && alias !== id && `"${alias}"`, organizationId !== null && `of organization ${organizationId}`];
    const said = about.filter(Boolean).join(', ');
    return said ? `${id} (${said})` : id;
  });
  const found = named.length > 0 ? `; it has ${named.join(' and ')}` : '';
  return `LiteLLM has no team ${teamId}${found}: correct it, or pass create_team (--create-team) to have the team made`;
}

/**
 * At most MAX_NAMED teams, those that an organization could take first. Empty also when they cannot be read
 * now.
 */
async function teamsLike({ database, kms }: Dependencies, teamId: string): Promise<AlikeTeam[]> {
  const teams = await withDeadline(someTeams(kms), LOOK_AROUND_MS).catch((error) => {
    if (error instanceof KmsError || error instanceof DeadlineError) return [];
    throw error;
  });
  const owners = await organizations.ofLitellmTeams(
    database.fork(),
    teams.map((team) => team.teamId),
  );
  const ownerOf = new Map(owners.map(({ litellmTeamId, id }) => [litellmTeamId, id]));
  const candidates = teams.map((team) => ({ ...team, organizationId: ownerOf.get(team.teamId) ?? null }));
  const alike = (some: AlikeTeam[]) =>
    mostSimilar(teamId, some, (team) => (team.alias === null ? [team.teamId] : [team.teamId, team.alias]), MAX_NAMED);
  const [free, owned] = [candidates.filter((team) => !team.organizationId), candidates.filter((team) => team.organizationId)];
  return [...alike(free), ...alike(owned)].slice(0, MAX_NAMED);
}

/** The first MAX_PAGES pages. @throws KmsError */
async function someTeams(kms: KmsClient): Promise<{ teamId: string; alias: string | null }[]> {
  const found: { teamId: string; alias: string | null }[] = [];
  for (let page = 1, last = 1; page <= Math.min(last, MAX_PAGES); page++) {
    const { teams, totalPages } = await kms.teams({ page, pageSize: MAX_PAGE_SIZE });
    found.push(...teams.map(({ teamId, alias }) => ({ teamId, alias })));
    last = totalPages;
  }
  return found;
}

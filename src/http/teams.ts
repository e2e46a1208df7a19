/**
 * `/api/v1/organizations/:organization_id/teams`: an organization's teams and their keys.
 *
 * Our row says what is wanted, and each change is mirrored to LiteLLM at once. When LiteLLM is unavailable,
 * the team stays with `synced_at: null`, or with `removed_at`, and the synchronisation completes it. A key is
 * made now or not at all: its secret is shown only in this answer.
 */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { Organization, Team, TeamKey } from '../database/entities.ts';
import * as names from '../database/names.ts';
import * as organizations from '../database/organizations.ts';
import * as teams from '../database/teams.ts';
import { formatQuotaOrNull } from '../domain/money.ts';
import { KmsError } from '../kms/errors.ts';
import { issueKey, mirrorTeam, removeTeam, revokeKey, TeamGoneError } from '../teams/mirror.ts';
import type { HttpDependencies } from './dependencies.ts';
import { identifier, notNegativeDollars, text } from './fields.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';

const teamBody = z.strictObject({
  c_team_id: identifier,
  name: text(200).optional(),
  max_budget_in_team: notNegativeDollars.nullable().default(null),
});

const teamChanges = z.strictObject({ name: text(200).optional(), max_budget_in_team: notNegativeDollars.nullable().optional() });

const keyBody = z.strictObject({ name: identifier });

const pageOf = (query: unknown) => {
  const { limit, cursor } = parse(z.strictObject(pageQuery), query);
  return { limit, cursor };
};

type OrganizationPath = { organization_id: string };
type TeamPath = OrganizationPath & { team_id: string };
type KeyPath = TeamPath & { key_id: string };

export function teamRoutes({ database, kms, log }: Pick<HttpDependencies, 'database' | 'kms' | 'log'>): Router {
  const router = express.Router({ mergeParams: true });

  router.get<'/', OrganizationPath>('/', async ({ params, query }, response) => {
    const organization = await organizationOf(params);
    response.json(presentPage(await teams.list(database.fork(), organization.id, pageOf(query)), present));
  });

  router.post<'/', OrganizationPath>('/', async ({ params, body }, response) => {
    const { c_team_id: id, name = id, max_budget_in_team: maxBudgetInTeam } = parse(teamBody, body);
    const organization = await organizationOf(params);
    const wanted = { organizationId: organization.id, id, name, maxBudgetInTeam };
    const team = await teams.create(database.fork(), wanted);
    if (team.removedAt) throw new Problem('conflict', `team ${id} is being removed: try again later`);
    if (team.name !== name || (team.maxBudgetInTeam ?? null) !== maxBudgetInTeam) {
      throw new Problem('conflict', `there is a team ${id} with another name or limit`);
    }
    await tryMirror('team', team, () => mirrorTeam({ database, kms }, organization, team));
    response
      .status(201)
      .location(`/api/v1/organizations/${encodeURIComponent(organization.id)}/teams/${encodeURIComponent(id)}`)
      .json(present(await teamOf({ ...params, team_id: id })));
  });

  router.get<'/:team_id', TeamPath>('/:team_id', async ({ params }, response) => {
    response.json(present(await teamOf(params)));
  });

  router.patch<'/:team_id', TeamPath>('/:team_id', async ({ params, body }, response) => {
    const { name, max_budget_in_team: maxBudgetInTeam } = parse(teamChanges, body);
    const organization = await organizationOf(params);
    const changes = { ...(name !== undefined && { name }), ...(maxBudgetInTeam !== undefined && { maxBudgetInTeam }) };
    const team = await teams.change(database.fork(), refOf(params), changes);
    if (!team) throw missing(params);
    await tryMirror('team', team, () => mirrorTeam({ database, kms }, organization, team));
    response.json(present(await teamOf(params)));
  });

  router.delete<'/:team_id', TeamPath>('/:team_id', async ({ params }, response) => {
    const organization = await organizationOf(params);
    const team = await teams.requestRemoval(database.fork(), refOf(params));
    if (!team) throw missing(params);
    if (await tryMirror('removal', team, () => removeTeam({ database, kms }, organization, team))) response.status(204).end();
    else response.status(202).json(present(team));
  });

  router.get<'/:team_id/keys', TeamPath>('/:team_id/keys', async ({ params, query }, response) => {
    await teamOf(params);
    response.json(presentPage(await teams.listKeys(database.fork(), refOf(params), pageOf(query)), presentKey));
  });

  router.post<'/:team_id/keys', TeamPath>('/:team_id/keys', async ({ params, body }, response) => {
    const { name } = parse(keyBody, body);
    const [organization, team] = [await organizationOf(params), await teamOf(params)];
    const { key, secret } = await issueKey({ database, kms }, { organization, team, name }).catch((error) => {
      const isConflict = error instanceof teams.KeyExistsError || error instanceof TeamGoneError;
      throw isConflict ? new Problem('conflict', error.message) : error;
    });
    response
      .status(201)
      .set('Cache-Control', 'no-store')
      .json({ ...presentKey(key), key: secret });
  });

  router.delete<'/:team_id/keys/:key_id', KeyPath>('/:team_id/keys/:key_id', async ({ params }, response) => {
    const key = await teams.findKey(database.fork(), refOf(params), params.key_id);
    if (!key || key.deletedAt) throw new Problem('not-found', `team ${params.team_id} has no key ${params.key_id}`);
    await revokeKey({ database, kms }, key);
    response.status(204).end();
  });

  /** Changes LiteLLM now. False when LiteLLM cannot do it now: the synchronisation does it later. */
  async function tryMirror(what: string, { organizationId, id }: Team, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      log.warn({ organization_id: organizationId, team_id: id, reason: error.message }, `the ${what} waits for LiteLLM`);
      return false;
    }
  }

  async function organizationOf({ organization_id: id }: OrganizationPath): Promise<Organization> {
    const organization = await organizations.find(database.fork(), id);
    if (!organization) throw new Problem('not-found', await names.absenceOfOrganizations(database.fork(), [id]));
    return organization;
  }

  async function teamOf(path: TeamPath): Promise<Team> {
    const team = await teams.find(database.fork(), refOf(path));
    if (!team) throw missing(path);
    return team;
  }

  return router;
}

function refOf({ organization_id: organizationId, team_id: id }: TeamPath): teams.TeamRef {
  return { organizationId, id };
}

function missing({ organization_id, team_id }: TeamPath): Problem {
  return new Problem('not-found', `organization ${organization_id} has no team ${team_id}`);
}

function present(team: Team) {
  return {
    c_organization_id: team.organizationId,
    c_team_id: team.id,
    l_user_id: team.litellmUserId,
    name: team.name,
    max_budget_in_team: formatQuotaOrNull(team.maxBudgetInTeam),
    synced_at: team.syncedAt?.toISOString() ?? null,
    removed_at: team.removedAt?.toISOString() ?? null,
    created_at: team.createdAt.toISOString(),
    updated_at: team.updatedAt.toISOString(),
  };
}

function presentKey(key: TeamKey) {
  return {
    id: key.id,
    c_organization_id: key.organizationId,
    c_team_id: key.teamId,
    alias: key.alias,
    created_at: key.createdAt.toISOString(),
    issued_at: key.issuedAt?.toISOString() ?? null,
    revoked_at: key.revokedAt?.toISOString() ?? null,
    deleted_at: key.deletedAt?.toISOString() ?? null,
  };
}

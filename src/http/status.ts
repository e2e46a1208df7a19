/** `/api/v1/status`: what is wrong now, since when, why, and what happens next. */
import express, { type Router } from 'express';
import { z } from 'zod';
import * as names from '../database/names.ts';
import * as status from '../database/status.ts';
import { balanceOf, type ServiceLine, serviceLines, standingOf } from '../domain/status.ts';
import type { HttpDependencies } from './dependencies.ts';
import { pageQuery } from './paging.ts';
import { Problem, parse } from './problem.ts';

const statusQuery = z.strictObject({
  ...pageQuery,
  /** Those that are fine too. */
  all: z.stringbool().optional(),
  organization_id: z.string().optional(),
});

export function statusRoutes({ database, temporalFacts }: Pick<HttpDependencies, 'database' | 'temporalFacts'>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor: after, all = false, organization_id: id } = parse(statusQuery, request.query);
    const em = database.fork();
    const now = new Date();
    const wanted = id === undefined ? (all ? 'all' : 'concerned') : { id };
    const { data, next } = await status.organizationFacts(em, wanted, { limit, after });
    if (id !== undefined && data.length === 0) throw new Problem('not-found', await names.absenceOfOrganizations(em, [id]));
    const organizations = data.map((facts) => present(facts, now));
    response.json({
      at: now.toISOString(),
      service: serviceLines({ ...(await status.serviceFacts(em)), temporal: await temporalFacts() }, now).map(presentLine),
      organizations: {
        total: await status.countOrganizations(em),
        data: wanted === 'concerned' ? organizations.filter(({ state }) => state !== 'ok') : organizations,
        next_cursor: next,
      },
    });
  });

  return router;
}

function presentLine({ check, isFine, seen, next }: ServiceLine) {
  return { check, state: isFine ? 'ok' : 'wrong', seen, next };
}

function present(facts: status.SeenOrganization, now: Date) {
  const { state, since, why, next } = standingOf(facts, now);
  return {
    organization_id: facts.id,
    balance: balanceOf(facts.balance),
    balance_at: facts.balance?.at.toISOString() ?? null,
    state,
    since: since?.toISOString() ?? null,
    why,
    next,
  };
}

/** `/api/v1/status`: what is wrong now, since when, why, and what happens next. */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { EntityManager } from '../database/database.ts';
import * as holds from '../database/holds.ts';
import * as names from '../database/names.ts';
import * as status from '../database/status.ts';
import { balanceOf, lagLine, type ServiceLine, serviceHoldLine, standingOf, temporalLines } from '../domain/status.ts';
import type { HttpDependencies } from './dependencies.ts';
import { pageQuery } from './paging.ts';
import { Problem, parse } from './problem.ts';

const statusQuery = z.strictObject({
  ...pageQuery,
  /** Those that are fine too. */
  all: z.stringbool().optional(),
  organization_id: z.string().optional(),
});

/** Of the service; more are in the list of holds. */
const MAX_HOLDS = 20;

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
      service: (await serviceLines(em, temporalFacts, now)).map(presentLine),
      organizations: {
        total: await status.countOrganizations(em),
        data: wanted === 'concerned' ? organizations.filter(({ state }) => state !== 'ok') : organizations,
        next_cursor: next,
      },
    });
  });

  return router;
}

async function serviceLines(em: EntityManager, temporalFacts: HttpDependencies['temporalFacts'], now: Date): Promise<ServiceLine[]> {
  const { data } = await holds.list(em, { scope: 'service', isOpen: true }, { limit: MAX_HOLDS, cursor: undefined });
  const open = data.map((hold) => ({ ...hold, until: hold.until ?? null }));
  return [...open.map(serviceHoldLine), ...temporalLines(await temporalFacts(), now), ...(await status.lags(em)).map(lagLine)];
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

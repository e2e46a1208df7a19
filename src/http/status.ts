/** `/api/v1/status`: what is wrong now, since when, why, and what happens next. */
import express, { type Router } from 'express';
import { z } from 'zod';
import * as names from '../database/names.ts';
import { cursorBehind, idBefore } from '../database/page.ts';
import * as status from '../database/status.ts';
import { withDeadline } from '../deadline.ts';
import type { ServiceLine } from '../domain/service-status.ts';
import { balanceOf, type Obstacles, type RunTrouble, standingOf } from '../domain/status.ts';
import type { HttpDependencies } from './dependencies.ts';
import { pageQuery } from './paging.ts';
import { Problem, parse } from './problem.ts';
import { type ServiceNeeds, serviceNow } from './service-now.ts';

const statusQuery = z.strictObject({
  ...pageQuery,
  /** Those that are fine too. */
  all: z.stringbool().optional(),
  organization_id: z.string().optional(),
});

type StatusDependencies = Pick<HttpDependencies, 'database' | 'workflows' | ServiceNeeds>;

export function statusRoutes({ database, workflows, ...service }: StatusDependencies): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, all = false, organization_id: id } = parse(statusQuery, request.query);
    const after = cursor === undefined ? undefined : idBefore(cursor);
    const em = database.fork();
    const now = new Date();
    const wanted = id === undefined ? (all ? 'all' : 'concerned') : { id };
    const { data, next } = await status.organizationFacts(em, wanted, { limit, after });
    if (id !== undefined && data.length === 0) throw new Problem('not-found', await names.absenceOfOrganizations(em, [id]));
    const { lines, ...obstacles } = await serviceNow(service, em, now);
    const withTroubles = await troubled(data, { workflows });
    const organizations = withTroubles.map((facts) => present(facts, now, obstacles));
    response.json({
      at: now.toISOString(),
      service: lines.map(presentLine),
      organizations: {
        total: await status.countOrganizations(em),
        data: wanted === 'concerned' ? organizations.filter(({ state }) => state !== 'ok') : organizations,
        next_cursor: next === null ? null : cursorBehind(next),
      },
    });
  });

  return router;
}

function presentLine({ check, isFine, seen, next }: ServiceLine) {
  return { check, state: isFine ? 'ok' : 'wrong', seen, next };
}

/** Those whose run is under way, with what it fails with: Temporal is asked for so many, and waited for no longer. */
const MAX_TROUBLES_ASKED = 20;
const TROUBLES_DEADLINE_MS = 3_000;

async function troubled(
  organizations: status.SeenOrganization[],
  { workflows }: Pick<HttpDependencies, 'workflows'>,
): Promise<status.SeenOrganization[]> {
  const runs = organizations.flatMap(({ id, recharge, event }) => {
    const eventId = recharge?.eventId ?? event?.id;
    return eventId === undefined || recharge?.status === 'needs_attention' ? [] : [{ organizationId: id, eventId }];
  });
  const asked = runs.slice(0, MAX_TROUBLES_ASKED).map(async (run) => [run.eventId, await workflows.troubleOf(run)] as const);
  const found = await withDeadline(Promise.all(asked), TROUBLES_DEADLINE_MS).catch(() => []);
  const troubles = new Map<string, RunTrouble | undefined>(found);
  return organizations.map(({ recharge, event, ...rest }) => ({
    ...rest,
    recharge: recharge && { ...recharge, trouble: troubles.get(recharge.eventId) },
    event: event && { ...event, trouble: troubles.get(event.id) },
  }));
}

function present(facts: status.SeenOrganization, now: Date, obstacles: Obstacles) {
  const { state, since, why, next } = standingOf(facts, now, obstacles);
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

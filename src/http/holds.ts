/** `/api/v1/holds`: what stops charges, and since when. */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { EntityManager } from '../database/database.ts';
import type { Hold } from '../database/entities.ts';
import * as holds from '../database/holds.ts';
import * as names from '../database/names.ts';
import * as organizations from '../database/organizations.ts';
import { stoppedBy } from '../database/stopping-holds.ts';
import { endedBy, HOLD_REASONS, HOLD_SCOPES, type Stopped } from '../domain/hold.ts';
import { holdsByAnyId } from './any-id.ts';
import type { HttpDependencies } from './dependencies.ts';
import { NO_NUL, text } from './fields.ts';
import { pageQuery, presentPage } from './paging.ts';
import { invalidField, Problem, parse } from './problem.ts';

const listQuery = z.strictObject({
  ...pageQuery,
  organization_id: z.string().min(1).optional(),
  scope: z.enum(HOLD_SCOPES).optional(),
  reason: z.enum(HOLD_REASONS).optional(),
  open: z.enum(['true', 'false']).optional(),
});

/** A person holds the service or an organization. Holds on cards are opened by what happens to the card. */
const newHold = z.strictObject({
  scope: z.enum(['service', 'organization']),
  subject: z
    .string()
    .regex(...NO_NUL)
    .default(''),
  reason: text(500),
  until: z.iso.datetime({ offset: true, error: 'has to be a time like "2026-12-01T00:00:00Z", or left out' }).nullable().default(null),
  by: text(100).default('admin key'),
});

const releaseBody = z.strictObject({ reason: text(500), by: text(100).default('admin key') });

export function holdRoutes({ database, payments }: Pick<HttpDependencies, 'database' | 'payments'>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor, organization_id: organizationId, scope, reason, open } = parse(listQuery, request.query);
    if (organizationId) await names.requireOrganizationOfRows(database.fork(), organizationId);
    const filter = {
      ...(organizationId && { organizationId }),
      ...(scope && { scope }),
      ...(reason && { reason }),
      isOpen: open === 'true',
    };
    const em = database.fork();
    const page = await holds.list(em, filter, { limit, cursor });
    response.json(presentPage({ ...page, data: await presentHolds(em, page.data) }, (hold) => hold));
  });

  router.post('/', async (request, response) => {
    const { scope, subject, reason: detail, until, by } = parse(newHold, request.body);
    if ((scope === 'service') !== (subject === '')) {
      throw invalidField('subject', 'has to be the id of an organization for the scope "organization", and absent for the scope "service"');
    }
    const end = until === null ? null : new Date(until);
    if (end && end.getTime() <= Date.now()) throw invalidField('until', `has to be in the future (given: ${JSON.stringify(until)})`);
    const em = database.fork();
    if (scope === 'organization' && !(await organizations.find(em, subject))) {
      throw new Problem('not-found', await names.absenceOfOrganizations(em, [subject]));
    }
    const organizationId = scope === 'organization' ? subject : null;
    const id = await em.transactional(async (tx) => {
      const hold = { scope, subject, reason: 'operator', detail, openedBy: by, organizationId, until: end } as const;
      const opened = await holds.open(tx, hold);
      // Nothing is stored, a later end of the open one neither.
      if (!opened.isNew) throw new Problem('conflict', `${subject || 'the service'} is held already, by ${opened.id}: release that first`);
      return opened.id;
    });
    response
      .status(201)
      .location(`/api/v1/holds/${id}`)
      .json(await shown(await holds.get(em, id)));
  });

  router.get('/:id', async (request, response) => {
    const em = database.fork();
    const [first, ...others] = await presentHolds(em, await holdsByAnyId({ em, payments }, request.params.id));
    response.json({ ...first, others: others.map(({ id }) => id) });
  });

  router.post('/:id/release', async (request, response) => {
    const release = parse(releaseBody, request.body);
    const { id, releasedAt } = await get(request.params.id);
    if (releasedAt || !(await holds.release(database.fork(), id, release))) throw new Problem('conflict', `hold ${id} has ended already`);
    response.json(await shown(await get(id)));
  });

  async function shown(hold: Hold) {
    return (await presentHolds(database.fork(), [hold]))[0];
  }

  async function get(id: string): Promise<Hold> {
    const hold = await holds.find(database.fork(), id);
    if (!hold) throw new Problem('not-found', `there is no hold ${id}`);
    return hold;
  }

  return router;
}

export type PresentedHold = Awaited<ReturnType<typeof presentHolds>>[number];

/** Each with whom it stops. */
export async function presentHolds(em: EntityManager, found: readonly Hold[]) {
  const stopped = await stoppedBy(
    em,
    found.map(({ id }) => id),
  );
  return found.map((hold) => presentHold(hold, stopped.get(hold.id) ?? null));
}

function presentHold(hold: Hold, stops: Stopped | null) {
  return {
    id: hold.id,
    scope: hold.scope,
    subject: hold.subject,
    organization_id: hold.organizationId ?? null,
    reason: hold.reason,
    detail: hold.detail,
    stops: stops && { count: stops.count, organization_ids: stops.ids },
    opened_by: hold.openedBy,
    since: hold.since.toISOString(),
    until: hold.until?.toISOString() ?? null,
    ended_by: endedBy(hold),
    released_at: hold.releasedAt?.toISOString() ?? null,
    released_by: hold.releasedBy ?? null,
    release_reason: hold.releaseReason ?? null,
  };
}

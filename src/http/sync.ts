/** `/api/v1/sync`: runs of the synchronisation with LiteLLM, and what each found and did. */
import express, { type Router } from 'express';
import { z } from 'zod';
import type { SyncItem, SyncRun } from '../database/entities.ts';
import * as names from '../database/names.ts';
import * as syncRuns from '../database/sync-runs.ts';
import { withDeadline } from '../deadline.ts';
import { troubleText } from '../domain/status.ts';
import type { SyncOutcome } from '../domain/sync.ts';
import type { HttpDependencies } from './dependencies.ts';
import { identifier } from './fields.ts';
import { pageQuery, presentPage } from './paging.ts';
import { Problem, parse } from './problem.ts';

/** Items of a run that are shown: enough for a person to begin with, and about a megabyte of JSON. */
const MAX_ITEMS_SHOWN = 2_000;
/** More than these are better served by a run over all. */
const MAX_ORGANIZATIONS = 500;
/** Temporal answers a start in milliseconds, and the caller waits for it. */
const START_DEADLINE_MS = 5_000;
/** And a question in as many; what a run fails with is left out where it does not. */
const TROUBLE_DEADLINE_MS = 3_000;

const startBody = z.strictObject({
  organization_ids: z.array(identifier).min(1).max(MAX_ORGANIZATIONS).nullable().default(null),
  dry_run: z.boolean().default(false),
});

export function syncRoutes({ database, workflows, links }: Pick<HttpDependencies, 'database' | 'workflows' | 'links'>): Router {
  const router = express.Router();

  router.get('/', async (request, response) => {
    const { limit, cursor } = parse(z.strictObject(pageQuery), request.query);
    const page = await syncRuns.list(database.fork(), { limit, cursor });
    const outcomes = await syncRuns.outcomesOf(
      database.fork(),
      page.data.map(({ id }) => id),
    );
    response.json(presentPage(page, (run) => present(run, outcomes.get(run.id))));
  });

  router.post('/', async (request, response) => {
    const { organization_ids: organizationIds, dry_run: dryRun } = parse(startBody, request.body ?? {});
    await names.requireOrganizations(database.fork(), organizationIds ?? []);
    const run = await syncRuns.create(database.fork(), { organizationIds, dryRun });
    const start = withDeadline(workflows.startSync(run), START_DEADLINE_MS, 'Temporal (TEMPORAL_ADDRESS) has not answered');
    await start.catch(async (error: Error) => {
      await syncRuns.finish(database.fork(), run.id, { counts: run.counts, failure: `it could not be started: ${error.message}` });
      throw new Problem('unavailable', `no synchronisation was started: ${error.message}`);
    });
    response.status(201).location(`/api/v1/sync/${run.id}`).json(present(run, undefined));
  });

  router.get('/:id', async (request, response) => {
    const em = database.fork();
    const run = await syncRuns.find(em, request.params.id);
    if (!run) throw new Problem('not-found', `there is no synchronisation ${request.params.id}`);
    const outcomes = (await syncRuns.outcomesOf(em, [run.id])).get(run.id);
    const items = await syncRuns.itemsOf(em, run.id, MAX_ITEMS_SHOWN);
    const trouble =
      run.status === 'running' ? await withDeadline(workflows.troubleOfSync(run), TROUBLE_DEADLINE_MS).catch(() => undefined) : undefined;
    response.json({ ...present(run, outcomes), trouble: trouble ? troubleText(trouble) : null, items: items.map(presentItem) });
  });

  function present(run: SyncRun, outcomes: Partial<Record<SyncOutcome, number>> = {}) {
    const { pages, teams, organizations, unmanaged, unreadable, failedPages } = run.counts;
    return {
      id: run.id,
      status: run.status,
      dry_run: run.dryRun,
      organization_ids: run.organizationIds ?? null,
      started_at: run.startedAt.toISOString(),
      finished_at: run.finishedAt?.toISOString() ?? null,
      counts: { pages, teams, organizations, unmanaged_teams: unmanaged, unreadable_teams: unreadable, failed_pages: failedPages },
      outcomes,
      failure: run.failureMessage ?? null,
      temporal_ui_url: links.sync(run),
    };
  }

  return router;
}

function presentItem({ kind, subject, organizationId, ours, theirs, action, outcome, reason, at }: SyncItem) {
  return { kind, subject, organization_id: organizationId, ours, theirs, action, outcome, reason, at: at.toISOString() };
}

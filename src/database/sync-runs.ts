/** The runs of the synchronisation, and what each found and did. */
import { hash } from 'node:crypto';
import { type Drift, NOTHING_SYNCED, type SyncCounts, type SyncOutcome } from '../domain/sync.ts';
import { now } from './clock.ts';
import type { EntityManager } from './database.ts';
import { SyncItem, SyncRun } from './entities.ts';
import { newId } from './ids.ts';
import { type Page, type PageRequest, pageById } from './page.ts';

/**
 * Items that are kept of one run; a first run over twenty thousand organizations with a team each has this
 * many. More are settled too.
 */
const MAX_ITEMS = 50_000;

export type SyncWish = { organizationIds: string[] | null; dryRun: boolean };

/**
 * @param workflow Temporal's run, where Temporal started it: it has one row, however often this is retried.
 */
export async function create(em: EntityManager, { organizationIds, dryRun }: SyncWish, workflow: string | null = null): Promise<SyncRun> {
  const id = newId('syn');
  await em.execute(
    `insert into sync_run (id, workflow, dry_run, organization_ids, status, counts) values (?, ?, ?, ?::jsonb, 'running', ?::jsonb)
     on conflict (workflow) do nothing`,
    [id, workflow, dryRun, organizationIds === null ? null : JSON.stringify(organizationIds), JSON.stringify(NOTHING_SYNCED)],
  );
  return em.findOneOrFail(SyncRun, workflow === null ? { id } : { workflow });
}

/** Longer than any run takes. */
const LOST_HOURS = 3;

/** Closes the rows of runs that ended without recording it, such as terminated ones. */
export async function closeLost(em: EntityManager): Promise<void> {
  await em.execute(
    `update sync_run set status = 'failed', failure_message = 'its run ended without a word', finished_at = now()
     where status = 'running' and started_at < now() - ? * interval '1 hour'`,
    [LOST_HOURS],
  );
}

export async function find(em: EntityManager, id: string): Promise<SyncRun | null> {
  return em.findOne(SyncRun, id);
}

/** Newest first. @throws BadCursorError */
export async function list(em: EntityManager, page: PageRequest): Promise<Page<SyncRun>> {
  return pageById(em, SyncRun, { prefix: 'syn', filter: {}, ...page });
}

export async function noteCounts(em: EntityManager, id: string, counts: SyncCounts): Promise<void> {
  await em.nativeUpdate(SyncRun, { id, status: 'running' }, { counts });
}

/**
 * Ends a run. The first end stands.
 *
 * @param failure null when the run went through everything.
 */
export async function finish(
  em: EntityManager,
  id: string,
  { counts, failure }: { counts: SyncCounts; failure: string | null },
): Promise<void> {
  const status = failure === null ? 'succeeded' : 'failed';
  await em.nativeUpdate(SyncRun, { id, status: 'running' }, { status, counts, failureMessage: failure, finishedAt: now() });
}

/** Records the outcome of a drift. Of one that is met again in the same run the last outcome is kept. */
export async function recordItem(
  em: EntityManager,
  runId: string,
  { drift, outcome, reason }: { drift: Drift; outcome: SyncOutcome; reason: string | null },
): Promise<void> {
  const { kind, subject, organizationId, ours, theirs, action } = drift;
  await em.execute(
    `with run as (update sync_run set items = items + 1 where id = ? and items < ? returning id)
     insert into sync_item (run_id, kind, subject, organization_id, ours, theirs, action, outcome, reason)
     select id, ?, ?, ?, ?, ?, ?, ?, ? from run
     on conflict (run_id, kind, subject) do update set outcome = excluded.outcome, reason = excluded.reason, at = now()`,
    [runId, MAX_ITEMS, kind, indexable(subject), organizationId, ours, theirs, action, outcome, reason],
  );
}

/** A b-tree entry has a limit, and LiteLLM's ids have none. */
const MAX_SUBJECT_LENGTH = 500;

/** Of a longer subject its beginning, and a digest that tells it from others that begin alike. */
function indexable(subject: string): string {
  return subject.length <= MAX_SUBJECT_LENGTH ? subject : `${subject.slice(0, MAX_SUBJECT_LENGTH)}… ${hash('sha256', subject, 'hex')}`;
}

/** Up to `limit` items of the run, in the order in which they were found. */
export async function itemsOf(em: EntityManager, runId: string, limit: number): Promise<SyncItem[]> {
  return em.find(SyncItem, { runId }, { orderBy: { at: 'asc', kind: 'asc', subject: 'asc' }, limit });
}

/** How many items of each outcome the runs have, by run. */
export async function outcomesOf(em: EntityManager, runIds: readonly string[]): Promise<Map<string, Partial<Record<SyncOutcome, number>>>> {
  const rows = await em.execute<{ id: string; outcome: SyncOutcome; count: number }[]>(
    `select run_id as id, outcome, count(*)::integer as count from sync_item
     where run_id in (select jsonb_array_elements_text(?::jsonb)) group by run_id, outcome`,
    [JSON.stringify(runIds)],
  );
  const byRun = Map.groupBy(rows, ({ id }) => id);
  return new Map([...byRun].map(([id, items]) => [id, Object.fromEntries(items.map(({ outcome, count }) => [outcome, count]))]));
}

/** Whether the run has found a team that names the organization and may still become its team. */
export async function isClaimPending(em: EntityManager, runId: string, organizationId: string): Promise<boolean> {
  return (await em.count(SyncItem, { runId, organizationId, kind: 'team_claimed', outcome: { $in: ['planned', 'failed'] } })) > 0;
}

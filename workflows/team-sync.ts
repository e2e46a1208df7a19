/**
 * Brings LiteLLM and the database together: by schedule each quarter of an hour, and by hand from the API,
 * the command line or the Temporal Web UI, where `{}` means every organization. It compares what LiteLLM
 * shows first, then what it does not show.
 *
 * It writes no budget but the 0 that a new team starts with, so it cannot disturb a recharge that runs at the
 * same time.
 */
import { CancellationScope, continueAsNew, proxyActivities, setCurrentDetails, setHandler, workflowInfo } from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import type { SyncSummary } from '../activities/sync/types.ts';
import { shortSummary } from '../src/domain/short-summary.ts';
import { addSyncCounts, NOTHING_SYNCED, type SyncCounts } from '../src/domain/sync.ts';
import { type SyncProgress, syncProgress, type TeamSyncInput } from './contract.ts';
import { ANY_TEXT, COUNT, FLAG, having, LIST, orNull, progressOf, readInput, TEXT, TEXTS } from './input.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { BULK_QUEUE } from './queues.ts';
import { reasonOf } from './reason.ts';

// One short transaction each. `beginSync` refuses organizations that there are not, for good.
const { beginSync, finishSync } = proxyActivities<BulkActivities>({
  taskQueue: BULK_QUEUE,
  startToCloseTimeout: '30 seconds',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { initialInterval: '250 milliseconds', maximumInterval: '15 seconds' },
});

// Idempotent: a further attempt finds done what is done. Tried until the next scheduled run is due, a quarter
// of an hour later.
const { syncTeams, syncOrganizations } = proxyActivities<BulkActivities>({
  taskQueue: BULK_QUEUE,
  startToCloseTimeout: '10 minutes',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  scheduleToCloseTimeout: '15 minutes',
  retry: { initialInterval: '1 second', maximumInterval: '30 seconds' },
});

const PROGRESS = progressOf({
  run: having({ runId: TEXT, since: TEXT, dryRun: FLAG }),
  counts: having({ pages: COUNT, unreadable: COUNT, failedPages: LIST }),
  cursor: orNull(having({ page: COUNT, totalPages: COUNT })),
  after: orNull(ANY_TEXT),
});
const INPUT = { organization_ids: TEXTS, dry_run: FLAG, run_id: TEXT, progress: PROGRESS };

export async function teamSyncWorkflow(given?: TeamSyncInput): Promise<SyncSummary> {
  const input = readInput<TeamSyncInput>(given, INPUT);
  // Not cancellable: a run that has its row has to close it.
  const progress = input.progress ?? (await CancellationScope.nonCancellable(() => begin(input)));
  setHandler(syncProgress, () => progress.counts);
  try {
    while (progress.cursor !== null) {
      const { run, cursor, counts } = progress;
      const part = await syncTeams.executeWithOptions({ summary: `LiteLLM's teams from page ${cursor.page} on` }, [
        { run, cursor, counts },
      ]);
      add(progress, part.counts);
      progress.cursor = part.next;
      if (workflowInfo().continueAsNewSuggested) return continueAsNew<typeof teamSyncWorkflow>({ ...input, progress });
    }
    while (progress.after !== null) {
      const { run, after, counts } = progress;
      const summary = `organizations that LiteLLM does not show${after ? `, after ${after}` : ''}`;
      const part = await syncOrganizations.executeWithOptions({ summary }, [{ run, after, counts, isComplete: isComplete(counts) }]);
      add(progress, part.counts);
      progress.after = part.next;
      if (workflowInfo().continueAsNewSuggested) return continueAsNew<typeof teamSyncWorkflow>({ ...input, progress });
    }
  } catch (error) {
    await CancellationScope.nonCancellable(() => finish(progress, reasonOf(error)));
    throw error;
  }
  return finish(progress, null);
}

type Wish = { organization_ids?: string[] | null; dry_run?: boolean; run_id?: string | null };

async function begin(input: TeamSyncInput): Promise<SyncProgress> {
  const { organization_ids: organizationIds = null, dry_run: dryRun = false, run_id: runId = null }: Wish = input;
  const { workflowId, runId: workflowRun } = workflowInfo();
  const run = await beginSync({ runId, workflow: `${workflowId} ${workflowRun}`, organizationIds, dryRun });
  return { run, counts: NOTHING_SYNCED, cursor: { page: 1, totalPages: 1 }, after: '' };
}

function add(progress: SyncProgress, counts: SyncCounts): void {
  progress.counts = addSyncCounts(progress.counts, counts);
  setCurrentDetails(describe(progress));
}

async function finish(progress: SyncProgress, failure: string | null): Promise<SyncSummary> {
  const { run, counts } = progress;
  const summary = await finishSync.executeWithOptions({ summary: shortSummary(failure ?? 'every team and organization is compared') }, [
    { run, counts, isComplete: failure === null && isComplete(counts), failure },
  ]);
  const outcomes = Object.entries(summary.outcomes).map(([outcome, count]) => `${count} ${outcome}`);
  setCurrentDetails(`${describe(progress)}\n\nDifferences: ${outcomes.join(', ') || 'none'}. GET /api/v1/sync/${run.runId} lists them.`);
  return summary;
}

function isComplete({ failedPages, unreadable }: SyncCounts): boolean {
  return failedPages.length === 0 && unreadable === 0;
}

function describe({ run, counts }: SyncProgress): string {
  const { pages, teams, organizations, unmanaged, unreadable, failedPages } = counts;
  const lines = [
    `**${run.runId}**${run.dryRun ? ' (dry run)' : ''}: ${pages} pages with ${teams} teams, ${organizations} organizations compared, ${unmanaged} unmanaged teams.`,
    unreadable > 0 && `${unreadable} teams could not be read.`,
    failedPages.length > 0 && `Pages ${failedPages.join(', ')} could not be read: the next run tries again.`,
  ];
  return lines.filter(Boolean).join('\n\n');
}

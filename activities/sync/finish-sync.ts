import * as litellmTeams from '../../src/database/litellm-teams.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import type { SyncCounts } from '../../src/domain/sync.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { SyncRef, SyncSummary } from './types.ts';

/**
 * `isComplete`: every team of LiteLLM's was read. `failure`: why the run ends early; null when it does not.
 */
type FinishSyncInput = { run: SyncRef; counts: SyncCounts; isComplete: boolean; failure: string | null };

/** Closes the run's row. After a complete run, what LiteLLM did not show is noted as gone. */
export function finishSync({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ run, counts, isComplete, failure }: FinishSyncInput): Promise<SyncSummary> => {
    const em = database.fork();
    if (isComplete && !run.dryRun) await litellmTeams.markGone(em, new Date(run.since));
    await syncRuns.finish(em, run.runId, { counts, failure });
    return { runId: run.runId, counts, outcomes: (await syncRuns.outcomesOf(em, [run.runId])).get(run.runId) ?? {} };
  };
}

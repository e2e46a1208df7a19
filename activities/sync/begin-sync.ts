import * as syncRuns from '../../src/database/sync-runs.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { SyncRef } from './types.ts';

/**
 * Finds the run's row that the API has made, or makes one for a run that was started in Temporal. Closes the
 * rows of lost runs.
 */
export function beginSync({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ runId, workflow, ...wish }: syncRuns.SyncWish & { runId: string | null; workflow: string }): Promise<SyncRef> => {
    const em = database.fork();
    await syncRuns.closeLost(em);
    const run = (runId !== null && (await syncRuns.find(em, runId))) || (await syncRuns.create(em, wish, workflow));
    return {
      runId: run.id,
      since: run.startedAt.toISOString(),
      dryRun: run.dryRun,
      organizationIds: run.organizationIds ?? null,
    };
  };
}

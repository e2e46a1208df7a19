import { ApplicationFailure } from '@temporalio/activity';
import * as names from '../../src/database/names.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { SyncRef } from './types.ts';

/**
 * Finds the run's row that the API has made, or makes one for a run that was started in Temporal. Closes the
 * rows of lost runs. Ends a run that names a row or an organization that there is not: nobody would find what it did, or
 * it would compare nothing.
 *
 * @throws a failure of type InvalidInput with the names, never retried.
 */
export function beginSync({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ runId, workflow, ...wish }: syncRuns.SyncWish & { runId: string | null; workflow: string }): Promise<SyncRef> => {
    const em = database.fork();
    await syncRuns.closeLost(em);
    const run = runId === null ? await syncRuns.create(em, wish, workflow) : await syncRuns.find(em, runId);
    if (!run) throw ApplicationFailure.nonRetryable(`run_id: there is no synchronisation ${runId}`, FAILURE.invalidInput);
    await names.requireOrganizations(em, run.organizationIds ?? []).catch(async (error) => {
      if (!(error instanceof names.UnknownNameError)) throw error;
      const failure = `${error.field}: ${error.message}`;
      await syncRuns.finish(em, run.id, { counts: run.counts, failure });
      throw ApplicationFailure.nonRetryable(failure, FAILURE.invalidInput);
    });
    return {
      runId: run.id,
      since: run.startedAt.toISOString(),
      dryRun: run.dryRun,
      organizationIds: run.organizationIds ?? null,
    };
  };
}

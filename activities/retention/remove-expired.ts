import { Context } from '@temporalio/activity';
import { isDatabaseOutage } from '../../src/database/errors.ts';
import { removePage } from '../../src/database/retention.ts';
import { EXPIRING_TABLES, type ExpiringTable } from '../../src/domain/retention.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { toApplicationFailure } from '../failures.ts';
import type { RemovedRows } from './types.ts';

/**
 * Removes the rows that are past their time, table by table and page by page. A table that fails is named with
 * what was removed of it, and the others go on. Idempotent: the next attempt removes the rest.
 *
 * @throws while the database is unavailable, which is about every table.
 */
export function removeExpired({ database, log }: Pick<ActivityDependencies, 'database' | 'log'>) {
  return async (): Promise<RemovedRows> => {
    const rows: RemovedRows = {};
    for (const table of EXPIRING_TABLES) {
      rows[table] = await removeFrom(table);
      log.info({ table, ...rows[table] }, 'rows past their time were removed');
    }
    return rows;
  };

  async function removeFrom(table: ExpiringTable): Promise<NonNullable<RemovedRows[ExpiringTable]>> {
    const removed = { deleted: 0, emptied: 0 };
    try {
      for (let hasMore = true; hasMore; ) {
        Context.current().cancellationSignal.throwIfAborted();
        const page = await removePage(database.fork(), table);
        removed.deleted += page.deleted;
        removed.emptied += page.emptied;
        hasMore = page.hasMore;
      }
      return removed;
    } catch (error) {
      if (isDatabaseOutage(error) || Context.current().cancellationSignal.aborted) throw error;
      const { message: failed } = toApplicationFailure(error);
      log.error({ table, failed }, 'rows past their time cannot be removed');
      return { ...removed, failed };
    }
  }
}

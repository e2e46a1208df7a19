import { Context } from '@temporalio/activity';
import { isDatabaseOutage } from '../../src/database/errors.ts';
import { type Position, removePage } from '../../src/database/retention.ts';
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
      let after: Position | undefined;
      do {
        Context.current().cancellationSignal.throwIfAborted();
        const { deleted, emptied, next } = await removePage(database.fork(), table, after);
        removed.deleted += deleted;
        removed.emptied += emptied;
        after = next;
      } while (after);
      return removed;
    } catch (error) {
      if (isDatabaseOutage(error) || Context.current().cancellationSignal.aborted) throw error;
      const { message: failed } = toApplicationFailure(error);
      log.error({ table, failed }, 'rows past their time cannot be removed');
      return { ...removed, failed };
    }
  }
}

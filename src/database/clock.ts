/**
 * The clock that stamps rows: PostgreSQL's, because rows are compared with each other and with its `now()`,
 * and every process has a clock of its own.
 */
import { type RawQueryFragment, raw } from '@mikro-orm/core';
import type { EntityManager } from './database.ts';

/** The time of the transaction, the same in all of its statements. In SQL text it is `now()`. */
export function now(): RawQueryFragment {
  return raw('now()');
}

/**
 * The time of the statement, for what is ordered among transactions that wait for each other: the
 * `updated_at` of recharges and reversals and the steps of a timeline. Such a transaction begins, waits for
 * the organization's lock, then writes; by `now()` it would seem older than the change that it waited for. In
 * SQL text it is `clock_timestamp()`.
 */
export function statementTime(): RawQueryFragment {
  return raw('clock_timestamp()');
}

/** What it shows now, as JSON can carry it. */
export async function readTime(em: EntityManager): Promise<string> {
  const [row] = await em.execute<{ now: string }[]>('select now()');
  return new Date(row?.now as string).toISOString();
}

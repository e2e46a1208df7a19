/** The statements that the service runs, as they were sent, and how many rows of a table each one reads. */
import { jest } from '@jest/globals';
import pg from 'pg';
import { newId } from '../../src/database/ids.ts';
import { LimitedClient } from '../../src/database/limited-client.ts';

const READS_OR_WRITES = /^\s*(with|select|insert|update|delete)\b/i;
/** What a dispatcher sends each half second, whatever happens. */
const POLLS = /^\s*with (claimable|fresh) as materialized/;

/** Collects every statement of this process from now on, one of each shape: its latest, with its values. */
export function collectStatements(): Map<string, string> {
  const byShape = new Map<string, string>();
  onEachStatement((statement) => {
    if (READS_OR_WRITES.test(statement)) byShape.set(shapeOf(statement), statement);
  });
  return byShape;
}

/** What this process sends to PostgreSQL from now on, in its order, but for the dispatchers' polls: each costs a round trip. */
export function recordStatements(): string[] {
  const sent: string[] = [];
  onEachStatement((statement) => {
    if (!POLLS.test(statement)) sent.push(statement);
  });
  return sent;
}

function onEachStatement(see: (statement: string) => void): void {
  const query = LimitedClient.prototype.query;
  jest.spyOn(LimitedClient.prototype, 'query').mockImplementation(function (this: LimitedClient, ...args: unknown[]) {
    see((args as [string])[0]);
    return query.apply(this, args as never);
  });
  const alone = LimitedClient.prototype.alone;
  jest.spyOn(LimitedClient.prototype, 'alone').mockImplementation(function (this: LimitedClient, prepared, settings) {
    const statement = prepared.text.replaceAll(/\$(\d+)/g, (_, n) => pg.escapeLiteral(prepared.values[Number(n) - 1] ?? ''));
    see(statement);
    return alone.call(this, prepared, settings) as never;
  });
}

/** A statement without its values, lists of them as one. */
export function shapeOf(statement: string): string {
  return statement
    .replaceAll(/E?'(?:[^']|'')*'/g, '?')
    .replaceAll(/(?<![\w$])-?\d+(\.\d+)?\b/g, '?')
    .replaceAll(/\?(, \?)+/g, '?')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

type Plan = {
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  'Rows Removed by Index Recheck'?: number;
  Plans?: Plan[];
};

/** How many rows of each table the statement really reads, whatever of them it returns. It changes nothing. */
export async function rowsRead(client: pg.PoolClient, statement: string): Promise<Map<string, number>> {
  await client.query('begin');
  try {
    // At this size it chooses as it does by default for millions of rows.
    await client.query('set local random_page_cost = 1.1');
    // What is stored again is another event.
    const another = /^\s*with incoming\b/.test(statement) ? statement.replaceAll(/evt_[0-9a-f]{32}/g, () => newId('evt')) : statement;
    const { rows } = await client.query(`explain (analyze, timing off, format json) ${another}`);
    return readBy(rows[0]['QUERY PLAN'][0].Plan);
  } finally {
    await client.query('rollback');
  }
}

function readBy(plan: Plan, read = new Map<string, number>()): Map<string, number> {
  const table = plan['Relation Name'];
  if (table && plan['Node Type'].includes('Scan')) {
    const each = plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0) + (plan['Rows Removed by Index Recheck'] ?? 0);
    read.set(table, (read.get(table) ?? 0) + Math.round(each * plan['Actual Loops']));
  }
  for (const inner of plan.Plans ?? []) readBy(inner, read);
  return read;
}

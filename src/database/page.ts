/**
 * Lists are pages, newest first. A cursor is the position of the last row of a page in the order of its list,
 * so rows that arrive or go do not move the pages. A caller hands a cursor back as it is.
 *
 * - Rows whose id sorts by time page by id (`pageById`): the cursor is the id.
 * - Rows whose id comes from outside page by time of creation, then id (`pageByCreation`): the cursor carries
 *   both, the time as PostgreSQL keeps it, in microseconds. A JavaScript date has milliseconds, and would
 *   skip a row that shares one.
 */
import { type EntityName, raw } from '@mikro-orm/core';
import type { EntityManager } from './database.ts';
import { type IdPrefix, isId } from './ids.ts';

export const MAX_PAGE = 200;

export type PageRequest = { limit: number; cursor: string | undefined };
export type Page<T> = { data: T[]; nextCursor: string | null };

/** Not a cursor of this list. */
export class BadCursorError extends Error {
  override name = 'BadCursorError';
  constructor() {
    super('is not a cursor of this list: take next_cursor of a page as it is');
  }
}

/**
 * A page of rows whose ids `newId` has made, the newest first.
 *
 * @param filter values that columns have.
 * @throws BadCursorError
 */
export async function pageById<Row extends { id: string }>(
  em: EntityManager,
  entity: EntityName<Row>,
  { prefix, filter, limit, cursor }: PageRequest & { prefix: IdPrefix; filter: Partial<NoInfer<Row>> },
): Promise<Page<Row>> {
  if (cursor !== undefined && !isId(prefix, cursor)) throw new BadCursorError();
  const older = cursor === undefined ? {} : { id: { $lt: cursor } };
  // One more than asked for: it only shows that there is another page.
  const rows = await em.find<Row>(entity, both(filter, older), { orderBy: NEWEST_ID as never, limit: limit + 1 });
  return { data: rows.slice(0, limit), nextCursor: rows.length > limit ? (rows[limit - 1]?.id ?? null) : null };
}

/**
 * A page of rows by their creation, the newest first, those of one moment by id.
 *
 * @param filter as for `pageById`.
 * @throws BadCursorError
 */
export async function pageByCreation<Row extends { id: string; createdAt: Date }>(
  em: EntityManager,
  entity: EntityName<Row>,
  { filter, limit, cursor }: PageRequest & { filter: Partial<NoInfer<Row>> },
): Promise<Page<Row>> {
  const older = cursor === undefined ? {} : isOlder(readPosition(cursor));
  const query = em
    .createQueryBuilder(entity)
    .select(['*', raw(`to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at_micros`)])
    .where(both(filter, older))
    .orderBy(NEWEST as never)
    .limit(limit + 1);
  const rows: { created_at_micros: string }[] = await query.execute('all', false);
  const data = rows.slice(0, limit).map((row) => em.map<Row>(entity, row as never));
  const [lastRow, last] = [rows[limit - 1], data.at(-1)];
  return { data, nextCursor: rows.length > limit && lastRow && last ? writePosition([lastRow.created_at_micros, last.id]) : null };
}

/** The cursor of a list in the order of ids from outside. */
export function cursorBehind(id: string): string {
  return Buffer.from(JSON.stringify([id])).toString('base64url');
}

/** The id that `cursorBehind` was made of. @throws BadCursorError */
export function idBefore(cursor: string): string {
  const [id, ...more] = listIn(cursor);
  if (typeof id !== 'string' || more.length > 0 || !isStorable(id)) throw new BadCursorError();
  return id;
}

// MikroORM's types of conditions and orders want a concrete entity; these two columns are what `Row` is known
// to have.
const NEWEST_ID = { id: 'desc' };
const NEWEST = [{ createdAt: 'desc' }, { id: 'desc' }];
function both(filter: object, older: object): never {
  return { $and: [filter, older] } as never;
}

/** When a row was created, as `2026-01-31T12:00:00.123456Z`, and its id. */
type Position = readonly [createdAt: string, id: string];

function isOlder([createdAt, id]: Position): object {
  const at = () => raw('?::timestamptz', [createdAt]);
  return { $or: [{ createdAt: { $lt: at() } }, { createdAt: at(), id: { $lt: id } }] };
}

function writePosition(position: Position): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

/** @throws BadCursorError */
function readPosition(cursor: string): Position {
  const [createdAt, id, ...more] = listIn(cursor);
  if (typeof createdAt === 'string' && typeof id === 'string' && more.length === 0 && isInstant(createdAt) && isStorable(id))
    return [createdAt, id];
  throw new BadCursorError();
}

/** @throws BadCursorError where it is neither base64url nor JSON nor a list. */
function listIn(cursor: string): unknown[] {
  try {
    const read: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(read)) return read;
  } catch {
    // The same error as of anything else.
  }
  throw new BadCursorError();
}

/** Whether PostgreSQL can read it as a time: written as above, and a day that the calendar has. */
function isInstant(text: string): boolean {
  if (!/^[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(text)) return false;
  const at = new Date(text);
  return !Number.isNaN(at.getTime()) && at.toISOString().slice(0, 23) === text.slice(0, 23);
}

/** PostgreSQL stores neither a NUL nor half of a surrogate pair. */
function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

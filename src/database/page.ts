/** Lists are pages, newest first, and a cursor is the id of the last row seen: rows that arrive meanwhile shift nothing. */

export const MAX_PAGE = 200;

export type PageRequest = { limit: number; cursor: string | undefined };
export type Page<T> = { data: T[]; nextCursor: string | null };

/** Makes a page of up to `limit + 1` rows: the extra one only tells that there is more. */
export function toPage<T extends { id: string }>(rows: T[], limit: number): Page<T> {
  const data = rows.slice(0, limit);
  return { data, nextCursor: rows.length > limit ? (data.at(-1)?.id ?? null) : null };
}

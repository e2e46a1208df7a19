import { z } from 'zod';
import { MAX_PAGE, type Page } from '../database/page.ts';

const DEFAULT_PAGE = 50;

/** `limit` and `cursor`, for every list. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(DEFAULT_PAGE),
  // Longer than the cursor of the longest id.
  cursor: z.string().min(1).max(400).optional(),
};

export function presentPage<T, R>({ data, nextCursor }: Page<T>, present: (row: T) => R): { data: R[]; next_cursor: string | null } {
  return { data: data.map(present), next_cursor: nextCursor };
}

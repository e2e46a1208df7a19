/**
 * LiteLLM's teams page by page, some pages in one activity; one page that cannot be read does not hide the
 * others.
 */

import { Context } from '@temporalio/activity';
import { KmsError } from '../src/kms/errors.ts';
import { MAX_PAGE_SIZE } from '../src/kms/page.ts';
import type { KmsTeam } from '../src/kms/rows.ts';
import type { TeamsPage } from '../src/kms/team-reads.ts';
import type { ActivityDependencies } from './dependencies.ts';

/** A page of LiteLLM's teams, counted from 1, and how many pages there were when the last one was read. */
export type TeamsCursor = { page: number; totalPages: number };
export type TeamsPart = {
  pages: number;
  teams: number;
  /** Teams whose rows cannot be read. */
  unreadable: number;
  failedPages: number[];
  next: TeamsCursor | null;
};

/**
 * A thousand teams in some seconds, and six events of history, so that a hundred thousand teams make six
 * hundred.
 */
const PAGES_AT_ONCE = 10;
/**
 * One page may hold what LiteLLM cannot show. After so many failed pages in a row, LiteLLM is unavailable.
 */
const MAX_FAILED_IN_A_ROW = 3;

/**
 * Reads up to PAGES_AT_ONCE pages and hands each to `handle`. A page that cannot be read is noted and left to
 * the next run. So is a team that slips to another page meanwhile, because LiteLLM pages by offset.
 *
 * @throws KmsError when LiteLLM is unavailable; whatever `handle` throws.
 */
export async function readTeamPages(
  { kms, log }: Pick<ActivityDependencies, 'kms' | 'log'>,
  { page: first, totalPages }: TeamsCursor,
  handle: (teams: readonly KmsTeam[], unreadable: TeamsPage['unreadable']) => Promise<void>,
): Promise<TeamsPart> {
  const part: TeamsPart = { pages: 0, teams: 0, unreadable: 0, failedPages: [], next: null };
  let last = totalPages;
  let failedInARow = 0;
  let page = first;
  for (; page <= last && page < first + PAGES_AT_ONCE; page++) {
    Context.current().cancellationSignal.throwIfAborted();
    let read: TeamsPage;
    try {
      read = await kms.teams({ page, pageSize: MAX_PAGE_SIZE });
    } catch (error) {
      // Only the first page says how many there are.
      if (page === 1 || !(error instanceof KmsError) || ++failedInARow === MAX_FAILED_IN_A_ROW) throw error;
      log.warn({ page, reason: error.message }, 'a page of teams cannot be read');
      part.failedPages.push(page);
      continue;
    }
    failedInARow = 0;
    last = read.totalPages;
    if (read.unreadable.length > 0) log.warn({ teams: read.unreadable }, 'some teams cannot be read');
    await handle(read.teams, read.unreadable);
    part.pages++;
    part.teams += read.teams.length;
    part.unreadable += read.unreadable.length;
  }
  return { ...part, next: page <= last ? { page, totalPages: last } : null };
}

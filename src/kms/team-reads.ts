/**
 * Teams as LiteLLM shows them, however many keys and members they have: `/team/info` sends lists that are not
 * needed, and what is too large or too slow is asked for in another way.
 */
import { z } from 'zod';
import { KmsError } from './errors.ts';
import type { PageRequest } from './page.ts';
import { type KmsMembership, type KmsTeam, readRows, teamInfo, teamInfoWithMembers, teamRow } from './rows.ts';
import type { KmsTransport } from './transport.ts';

/** Of a page that is too large: the largest one is read in tens, and then one by one. */
const PARTS = 10;

/** A recharge reads a team three times, and each read would wait for `/team/info` again. */
const LIST_FIRST_MS = 10 * 60 * 1000;
/** A few bytes each. The oldest is forgotten first, and then found out again. */
const MAX_LIST_FIRST = 1_000;

/** A cache or a proxy has answered, not LiteLLM: another team's budget would be taken for this one's, and written to it. */
const ANOTHER_TEAM = { path: ['team_info', 'team_id'] };

export type TeamsPage = {
  teams: KmsTeam[];
  /** Rows that cannot be read. */
  unreadable: { teamId: string; reason: string }[];
  total: number;
  page: number;
  totalPages: number;
};

export class TeamReads {
  private readonly transport: KmsTransport;
  /** Teams of which `/team/info` was too large or too slow, and until when the list is asked first. */
  private readonly listFirstUntil = new Map<string, number>();

  constructor(transport: KmsTransport) {
    this.transport = transport;
  }

  /**
   * One team, and its members with the limit of each as far as LiteLLM shows them; null where it has more of
   * them than can be read.
   *
   * @throws KmsError
   */
  async withMembers(teamId: string): Promise<{ team: KmsTeam; memberships: KmsMembership[] | null }> {
    try {
      return await this.transport.read(
        '/team/info',
        infoOf(teamId),
        teamInfoWithMembers.refine(({ team }) => team.teamId === teamId, ANOTHER_TEAM),
      );
    } catch (error) {
      if (!isTooMuch(error)) throw error;
      this.noteListFirst(teamId);
      return { team: await this.alone(teamId), memberships: null };
    }
  }

  /**
   * One team without its keys and its members' limits. `/team/info` sends these too, so where it is too large
   * or too slow, the row is taken from the list, which never sends them. For a while after that the list is
   * asked first.
   *
   * @throws KmsError
   */
  async alone(teamId: string): Promise<KmsTeam> {
    if ((this.listFirstUntil.get(teamId) ?? 0) > Date.now()) {
      const listed = await this.listed(teamId);
      if (listed) return listed;
    }
    try {
      return await this.transport.readBriefly(
        '/team/info',
        infoOf(teamId),
        teamInfo.refine((team) => team.teamId === teamId, ANOTHER_TEAM),
      );
    } catch (error) {
      if (!isTooMuch(error)) throw error;
      this.noteListFirst(teamId);
      const listed = await this.listed(teamId);
      if (listed) return listed;
      // Only `/team/info` says that there is no such team.
      throw error;
    }
  }

  private noteListFirst(teamId: string): void {
    this.listFirstUntil.delete(teamId);
    this.listFirstUntil.set(teamId, Date.now() + LIST_FIRST_MS);
    const [oldest] = this.listFirstUntil.keys();
    if (oldest !== undefined && this.listFirstUntil.size > MAX_LIST_FIRST) this.listFirstUntil.delete(oldest);
  }

  /** undefined: the list does not show it. @throws KmsError, also when its row cannot be read. */
  private async listed(teamId: string): Promise<KmsTeam | undefined> {
    const { teams, unreadable } = await this.rowsOf({ team_id: teamId, page: 1, page_size: 1 });
    const unread = unreadable.find((row) => row.teamId === teamId);
    if (unread) throw new KmsError('unavailable', `the row of team ${teamId} cannot be read: ${unread.reason}`);
    return teams.find((listed) => listed.teamId === teamId);
  }

  /**
   * One page of all teams in the order of their ids. LiteLLM pages by offset: a team that is made or deleted
   * meanwhile shifts the pages behind it, so another one may come twice or not at all. A row has all members of
   * its team; a page that is too large with them is read in parts, and a row that is too large is unreadable.
   *
   * @throws KmsError
   */
  async page({ page, pageSize }: PageRequest): Promise<TeamsPage> {
    try {
      return await this.rowsOf({ page, page_size: pageSize, sort_by: 'team_id', sort_order: 'asc' });
    } catch (error) {
      if (!isTooLarge(error) || pageSize === 1) throw error;
      return this.inParts({ page, pageSize }, error);
    }
  }

  /** @throws `failure` when not one row of the page can be read. */
  private async inParts({ page, pageSize }: PageRequest, failure: unknown): Promise<TeamsPage> {
    const parts = pageSize % PARTS === 0 ? PARTS : pageSize;
    const whole: TeamsPage = { teams: [], unreadable: [], total: 0, page, totalPages: 0 };
    for (let part = 1; part <= parts; part++) {
      const read = await this.page({ page: (page - 1) * parts + part, pageSize: pageSize / parts }).catch((error) => {
        if (!isTooLarge(error)) throw error;
        whole.unreadable.push({ teamId: 'no id', reason: (error as KmsError).message });
      });
      if (!read) continue;
      whole.teams.push(...read.teams);
      whole.unreadable.push(...read.unreadable);
      whole.total = read.total;
    }
    if (whole.total === 0) throw failure;
    return { ...whole, totalPages: Math.ceil(whole.total / pageSize) };
  }

  private async rowsOf(query: Record<string, string | number>): Promise<TeamsPage> {
    const answer = await this.transport.read('/v2/team/list', query, teamsPage);
    const { rows, unreadable } = readRows(teamRow, answer.teams, 'team_id');
    return {
      teams: rows,
      unreadable: unreadable.map(({ id, reason }) => ({ teamId: id, reason })),
      total: answer.total,
      page: answer.page,
      totalPages: answer.total_pages,
    };
  }
}

function isTooMuch(error: unknown): boolean {
  return error instanceof KmsError && error.excess !== undefined;
}

function isTooLarge(error: unknown): boolean {
  return error instanceof KmsError && error.excess === 'size';
}

/** Without a limit `/team/info` sends all keys of a team, about a kilobyte each; none is the only number it refuses. */
function infoOf(teamId: string): { team_id: string; key_limit: number } {
  return { team_id: teamId, key_limit: 1 };
}

const teamsPage = z.object({ teams: z.array(z.unknown()), total: z.number(), page: z.number(), total_pages: z.number() });

/**
 * LiteLLM's key-management API, as far as the service uses it: every route by its name.
 *
 * Creating is repeatable: we choose the id, and after any error we look whether it is there. Removing is, too: what is gone
 * already is removed. The rest writes absolute values.
 */
import { z } from 'zod';
import { dollarsFromQuota, type QuotaMicros } from '../domain/money.ts';
import type { LiveBudget } from '../domain/policy.ts';
import { type KmsTeam, readRows, teamInfo, teamRow } from './rows.ts';
import { type KmsOptions, KmsTransport } from './transport.ts';

/** LiteLLM refuses larger pages. */
export const MAX_PAGE_SIZE = 100;

const anything = z.unknown();

export class KmsClient {
  private readonly transport: KmsTransport;

  constructor(options: KmsOptions) {
    this.transport = new KmsTransport(options);
  }

  /** Round trip in milliseconds of LiteLLM's readiness. @throws KmsError when its database is away. */
  ping(): Promise<number> {
    return this.transport.ping();
  }

  /** A team's budget as LiteLLM's database shows it: `spend` lags by up to 15 s. @throws KmsError */
  async teamBudget(teamId: string): Promise<LiveBudget> {
    const { quota, spend, softBudget, budgetDuration, hasBudgetLimits } = await this.team(teamId);
    return { quota, spend, softBudget, budgetDuration, hasBudgetLimits };
  }

  /**
   * Sets a team's budget to an absolute value. Sends nothing but the two fields: an update with metadata destroys what
   * LiteLLM keeps there.
   *
   * @throws KmsError; after `unknown_outcome` the write may have happened.
   */
  async setTeamBudget(teamId: string, quota: QuotaMicros): Promise<void> {
    await this.transport.write('/team/update', { team_id: teamId, max_budget: dollarsFromQuota(quota) }, anything);
  }

  /** One team. @throws KmsError */
  async team(teamId: string): Promise<KmsTeam> {
    return (await this.transport.read('/team/info', { team_id: teamId }, teamInfo)).team;
  }

  /**
   * One page of all teams by their id, from 1 on. Offset paging: a team that is made or deleted meanwhile shifts the pages
   * behind it, so one may come twice or not at all.
   *
   * @param pageSize at most MAX_PAGE_SIZE.
   * @throws KmsError
   */
  async teams({ page, pageSize }: { page: number; pageSize: number }): Promise<TeamsPage> {
    const query = { page, page_size: pageSize, sort_by: 'team_id', sort_order: 'asc' };
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

export type TeamsPage = {
  teams: KmsTeam[];
  /** Rows that LiteLLM shows and that make no sense. */
  unreadable: { teamId: string; reason: string }[];
  total: number;
  page: number;
  totalPages: number;
};

const teamsPage = z.object({ teams: z.array(z.unknown()), total: z.number(), page: z.number(), total_pages: z.number() });

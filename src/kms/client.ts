/**
 * LiteLLM's key-management API, as far as the service uses it: every route by its name.
 *
 * Every call is idempotent. We choose the id of what is made, and after an error that leaves a doubt we look
 * it up. What is gone already counts as removed. All else writes absolute values.
 */
import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { dollarsFromQuota, type QuotaMicros } from '../domain/money.ts';
import type { LiveBudget } from '../domain/policy.ts';
import type { GateLoad, Lane } from '../gate.ts';
import { KmsError, type KmsErrorKind } from './errors.ts';
import type { PageRequest } from './page.ts';
import type { KmsRoute } from './routes.ts';
import { type KmsKey, type KmsMembership, type KmsTeam, type KmsUser, keyInfo, keyRow, teamRow, userInfo, userRow } from './rows.ts';
import { TeamReads, type TeamsPage } from './team-reads.ts';
import { type KmsOptions, KmsTransport } from './transport.ts';

/** After these it may have been made all the same: LiteLLM can fail after the row is committed. */
const MAY_BE_MADE: readonly KmsErrorKind[] = ['conflict', 'invalid', 'unknown_outcome'];

/** 24 random bytes cannot be guessed. */
const SECRET_BYTES = 24;

const anything = z.unknown();

/**
 * LiteLLM answers each write with what it has written, in many forms. A proxy before it may answer 200 in its place, with a
 * page or an error: then nobody knows what was done.
 */
const done = z.unknown().refine((answer) => typeof answer !== 'string' && !isErrorBody(answer));

function isErrorBody(answer: unknown): boolean {
  const { error, detail } = (answer ?? {}) as { error?: unknown; detail?: unknown };
  return (error ?? detail ?? null) !== null;
}

export type UsersPage = { users: KmsUser[]; total: number; page: number; totalPages: number };
export type KeysPage = { keys: KmsKey[]; total: number; page: number; totalPages: number };

export class KmsClient {
  private readonly transport: KmsTransport;
  private readonly teamReads: TeamReads;

  /** @param lane whose calls these are: those of the other lane do not wait for them. */
  constructor(options: KmsOptions, lane: Lane = 'money') {
    this.transport = new KmsTransport(options, lane);
    this.teamReads = new TeamReads(this.transport);
  }

  /** What its gate has to do now. */
  get load(): GateLoad {
    return this.transport.load;
  }

  /** Round trip of LiteLLM's readiness in milliseconds. @throws KmsError when its database is unavailable. */
  ping(): Promise<number> {
    return this.transport.ping();
  }

  /** Calls a route without effect and returns why the key may not call it; undefined when it may. */
  async refusalOf({ method, path, harmless }: KmsRoute): Promise<KmsError | undefined> {
    try {
      await (method === 'GET' ? this.transport.read(path, harmless, anything) : this.transport.write(path, harmless, anything));
      return undefined;
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      return ['not_found', 'invalid', 'conflict'].includes(error.kind) ? undefined : error;
    }
  }

  /**
   * A team's budget as LiteLLM's database shows it, however many keys and members the team has: `spend` lags by
   * up to 15 s. @throws KmsError
   */
  async teamBudget(teamId: string): Promise<LiveBudget> {
    const { quota, spend, softBudget, budgetDuration, hasBudgetLimits, blocked } = await this.teamAlone(teamId);
    return { quota, spend, softBudget, budgetDuration, hasBudgetLimits, blocked };
  }

  /**
   * Sets a team's budget to an absolute value. Sends nothing but the two fields: an update with metadata
   * destroys what LiteLLM keeps there.
   *
   * @throws KmsError; after `unknown_outcome` the write may have happened.
   */
  async setTeamBudget(teamId: string, quota: QuotaMicros): Promise<void> {
    await this.transport.write('/team/update', { team_id: teamId, max_budget: dollarsFromQuota(quota) }, done);
  }

  /** @throws KmsError */
  async renameTeam(teamId: string, alias: string): Promise<void> {
    await this.transport.write('/team/update', { team_id: teamId, team_alias: alias }, done);
  }

  /**
   * By `/team/update`, which takes effect at once or within a minute; `/team/block` waits for a cache
   * (1.100.5). @throws KmsError
   */
  async setTeamBlocked(teamId: string, blocked: boolean): Promise<void> {
    await this.transport.write('/team/update', { team_id: teamId, blocked }, done);
  }

  /**
   * One team, and its members with the limit of each as far as LiteLLM shows them; null where it has more of
   * them than can be read.
   *
   * @throws KmsError
   */
  team(teamId: string): Promise<{ team: KmsTeam; memberships: KmsMembership[] | null }> {
    return this.teamReads.withMembers(teamId);
  }

  /** One team without its keys and its members' limits. @throws KmsError */
  teamAlone(teamId: string): Promise<KmsTeam> {
    return this.teamReads.alone(teamId);
  }

  /**
   * One page of all teams in the order of their ids. LiteLLM pages by offset: a team that is made or deleted
   * meanwhile shifts the pages behind it, so another one may come twice or not at all. A row has all members of
   * its team; a page that is too large with them is read in parts, and a row that is too large is unreadable.
   *
   * @throws KmsError
   */
  teams(request: PageRequest): Promise<TeamsPage> {
    return this.teamReads.page(request);
  }

  /**
   * Makes a team, or finds one of this id, which is returned as it is; its metadata says whose it is.
   *
   * @param wanted.metadata is written once: LiteLLM keeps its own data beside it, which an update would
   *   destroy.
   * @throws KmsError
   */
  async createTeam(wanted: { teamId: string; alias: string; quota: QuotaMicros; metadata: Record<string, string> }): Promise<KmsTeam> {
    const { teamId: team_id, alias: team_alias, quota, metadata } = wanted;
    return this.makeOrFind(
      // Named, or LiteLLM's `default_team_params` may give the team a period that hands spent quota out again.
      () =>
        this.transport.write(
          '/team/new',
          { team_id, team_alias, max_budget: dollarsFromQuota(quota), budget_duration: null, metadata },
          teamRow,
        ),
      () => this.teamAlone(team_id),
    );
  }

  /** Deletes a team with its keys. @throws KmsError */
  async deleteTeam(teamId: string): Promise<void> {
    await this.remove(() => this.transport.write('/team/delete', { team_ids: [teamId] }, done));
  }

  /**
   * Makes a user a member of a team, or finds that it is one; LiteLLM makes a user that it does not know.
   *
   * @param maxBudgetInTeam the member's own limit, written only when it becomes a member now; null for none.
   * @throws KmsError
   */
  async addMember(teamId: string, userId: string, maxBudgetInTeam: QuotaMicros | null): Promise<void> {
    const member = { role: 'user', user_id: userId };
    const max_budget_in_team = maxBudgetInTeam === null ? undefined : dollarsFromQuota(maxBudgetInTeam);
    await this.makeOrFind(
      () => this.transport.write('/team/member_add', { team_id: teamId, member, max_budget_in_team }, done),
      () => this.requireMember(teamId, userId, true),
    );
  }

  /** Sets a member's own limit in a team; null removes it. @throws KmsError */
  async setMemberBudget(teamId: string, userId: string, maxBudgetInTeam: QuotaMicros | null): Promise<void> {
    const max_budget_in_team = maxBudgetInTeam === null ? null : dollarsFromQuota(maxBudgetInTeam);
    await this.transport.write('/team/member_update', { team_id: teamId, user_id: userId, max_budget_in_team }, done);
  }

  /**
   * Ends a membership, also of a team that does not exist, for which LiteLLM answers 400. @throws KmsError
   */
  async removeMember(teamId: string, userId: string): Promise<void> {
    await this.makeOrFind(
      () => this.transport.write('/team/member_delete', { team_id: teamId, user_id: userId }, done),
      () => this.remove(() => this.requireMember(teamId, userId, false)),
    );
  }

  /** @throws KmsError */
  async user(userId: string): Promise<KmsUser> {
    return this.transport.read('/user/info', { user_id: userId }, userInfo);
  }

  /** Makes a user without a key, or finds one of this id, which is returned as it is. @throws KmsError */
  async createUser(wanted: { userId: string; alias: string; metadata: Record<string, string> }): Promise<KmsUser> {
    const { userId: user_id, alias: user_alias, metadata } = wanted;
    const body = { user_id, user_alias, user_role: 'internal_user', auto_create_key: false, metadata };
    return this.makeOrFind(
      async () => {
        await this.transport.write('/user/new', body, done);
        return { userId: user_id, alias: user_alias, role: body.user_role, metadata };
      },
      () => this.user(user_id),
    );
  }

  /** One page of all users, newest first, by offset. @throws KmsError */
  async users({ page, pageSize }: PageRequest): Promise<UsersPage> {
    const answer = await this.transport.read('/user/list', { page, page_size: pageSize }, usersPage);
    return { users: answer.users, total: answer.total, page: answer.page, totalPages: answer.total_pages };
  }

  /** LiteLLM makes the user when it has none of this id. @throws KmsError */
  async renameUser(userId: string, alias: string): Promise<void> {
    await this.transport.write('/user/update', { user_id: userId, user_alias: alias }, done);
  }

  /** Deletes a user with its keys and memberships. @throws KmsError */
  async deleteUser(userId: string): Promise<void> {
    await this.remove(() => this.transport.write('/user/delete', { user_ids: [userId] }, done));
  }

  /** @throws KmsError */
  async key(token: string): Promise<KmsKey> {
    return this.transport.read('/key/info', { key: token }, keyInfo);
  }

  /** One page of a team's keys, newest first, by offset. @throws KmsError */
  async keys(teamId: string, { page, pageSize }: PageRequest): Promise<KeysPage> {
    const query = { team_id: teamId, page, size: pageSize, return_full_object: true };
    const answer = await this.transport.read('/key/list', query, keysPage);
    return { keys: answer.keys, total: answer.total_count, page: answer.current_page, totalPages: answer.total_pages };
  }

  /**
   * Makes a key of `secret` (see `newSecret`), or finds it made already. An alias that another key has is a
   * `conflict`.
   *
   * @throws KmsError
   */
  async createKey(secret: string, wanted: { teamId: string; userId: string; alias: string }): Promise<KmsKey> {
    const { teamId: team_id, userId: user_id, alias: key_alias } = wanted;
    return this.makeOrFind(
      () => this.transport.write('/key/generate', { key: secret, team_id, user_id, key_alias }, keyRow),
      () => this.key(tokenOf(secret)),
    );
  }

  /** @throws KmsError, `conflict` when another key has the alias. */
  async renameKey(token: string, alias: string): Promise<void> {
    await this.transport.write('/key/update', { key: token, key_alias: alias }, done);
  }

  /** Takes effect at once. @throws KmsError */
  async setKeyBlocked(token: string, blocked: boolean): Promise<void> {
    await this.transport.write(blocked ? '/key/block' : '/key/unblock', { key: token }, done);
  }

  /** @throws KmsError */
  async deleteKey(token: string): Promise<void> {
    await this.remove(() => this.transport.write('/key/delete', { keys: [token] }, done));
  }

  /**
   * Returns what `make` makes, or after an error that leaves a doubt what `find` finds. @throws the first
   * error when it finds nothing.
   */
  private async makeOrFind<T>(make: () => Promise<T>, find: () => Promise<T>): Promise<T> {
    try {
      return await make();
    } catch (error) {
      if (!(error instanceof KmsError) || !MAY_BE_MADE.includes(error.kind)) throw error;
      return find().catch(() => {
        throw error;
      });
    }
  }

  private async remove(work: () => Promise<unknown>): Promise<void> {
    await work().catch((error) => {
      if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
    });
  }

  private async requireMember(teamId: string, userId: string, isMember: boolean): Promise<void> {
    const { memberUserIds = [] } = await this.teamAlone(teamId);
    if (memberUserIds.includes(userId) !== isMember) throw new Error(`${userId} is ${isMember ? 'no' : 'still a'} member of ${teamId}`);
  }
}

/**
 * A secret for a new key. We choose it, so that the key can be found when the answer to its making is lost.
 */
export function newSecret(): string {
  return `sk-${randomBytes(SECRET_BYTES).toString('base64url')}`;
}

/** Stands for a secret in LiteLLM's API and in our database; it gives no access. */
export function tokenOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

const usersPage = z.object({ users: z.array(userRow), total: z.number(), page: z.number(), total_pages: z.number() });
const keysPage = z.object({ keys: z.array(keyRow), total_count: z.number(), current_page: z.number(), total_pages: z.number() });

/**
 * `/team/*` and `/v2/team/list`. Answers carry every field of the real rows; those we do not keep are
 * constants.
 */
import { randomUUID } from 'node:crypto';
import { MASTER_USER_ID } from './auth.ts';
import type { Handler } from './context.ts';
import { managementError, proxyException, teamInfoNotFound, teamNotFound } from './errors.ts';
import { addMember, readMember } from './members.ts';
import { pyFloat, pyRepr } from './python.ts';
import { ACCESS_GROUPS, keyRows, membershipRows, teamDatabaseRow, teamRow } from './rows.ts';
import { now, type Store, type Team, writeBudget } from './store.ts';
import { type JsonObject, readBody, readLimit, readPaging } from './validation.ts';
import { isNewer } from './version.ts';

const NEW_TEAM = {
  team_alias: 'string',
  team_id: 'string',
  organization_id: 'string',
  members_with_roles: 'list',
  metadata: 'object',
  tpm_limit: 'integer',
  rpm_limit: 'integer',
  max_budget: 'float',
  soft_budget: 'float',
  budget_duration: 'string',
  budget_limits: 'list',
  models: 'list',
  blocked: 'boolean',
  team_member_budget: 'float',
} as const;

const UPDATE_TEAM = { ...NEW_TEAM, team_id: 'string!' } as const;

/** Set by LiteLLM in a team's metadata when its members have a budget; a client cannot write it. */
const MEMBER_BUDGET_KEY = 'team_member_budget_id';

/**
 * POST /team/new → the row. @throws 400 for a taken id, a negative or infinite budget, a soft budget that is
 * not below it.
 */
export const createTeam: Handler = ({ store, budget, settings }, { body, caller }) => {
  const wanted = readBody(NEW_TEAM, body);
  checkAmounts(wanted);
  // An explicit null wins over the default.
  const budget_duration = wanted.budget_duration === undefined ? settings.default_budget_duration : wanted.budget_duration;
  checkDuration(budget_duration);
  const { max_budget = null, soft_budget = null } = wanted;
  if (soft_budget !== null && max_budget !== null && soft_budget >= max_budget) throw softBudgetTooHigh(soft_budget, max_budget);
  const team_id = wanted.team_id ?? randomUUID();
  if (store.teams.has(team_id)) {
    throw managementError(400, `Team id = ${team_id} already exists. Please use a different team id.`);
  }
  checkCap(store, wanted.organization_id, max_budget);
  const at = now();
  const team: Team = {
    team_id,
    team_alias: wanted.team_alias ?? null,
    max_budget: null,
    soft_budget,
    budget_duration,
    budget_reset_at: nextReset(budget_duration),
    budget_limits: wanted.budget_limits ?? null,
    metadata: withoutManagedKeys(wanted.metadata ?? {}),
    models: wanted.models ?? [],
    tpm_limit: wanted.tpm_limit ?? null,
    rpm_limit: wanted.rpm_limit ?? null,
    organization_id: wanted.organization_id ?? null,
    blocked: wanted.blocked ?? false,
    members: [],
    memberships: [],
    spend: 0,
    live_spend: 0,
    created_at: at,
    updated_at: at,
    budget_writes: [],
  };
  if (max_budget !== null) writeBudget(team, max_budget);
  if (typeof wanted.team_member_budget === 'number') team.metadata[MEMBER_BUDGET_KEY] = `team-budget-${randomUUID().replaceAll('-', '')}`;
  const members = (wanted.members_with_roles ?? []).map(readMember);
  const creator = caller.user_id ?? MASTER_USER_ID;
  if (!members.some((member) => member.user_id === creator)) members.push({ user_id: creator, user_email: null, role: 'admin' });
  store.teams.set(team_id, team);
  for (const member of members) addMember(store, team, member, wanted.team_member_budget ?? undefined);
  budget.refresh(team);
  return teamRow(team);
};

/**
 * POST /team/update → `{team_id, data: row}`. Omitted fields stay, null clears them, metadata is replaced.
 *
 * @throws 404 for an unknown team, 400 for budgets that cannot be, 500 for null in a column that has to hold
 *   something.
 */
export const updateTeam: Handler = ({ store, budget, settings }, { body }) => {
  const wanted = readBody(UPDATE_TEAM, body);
  checkAmounts(wanted);
  checkDuration(wanted.budget_duration);
  const team = store.teams.get(wanted.team_id);
  if (!team) throw managementError(404, `Team not found, passed team_id=${wanted.team_id}`);
  for (const column of ['metadata', 'models', 'blocked'] as const) {
    if (wanted[column] === null) {
      throw proxyException(
        500,
        'internal_server_error',
        `\nInvalid \`prisma.liteLLM_TeamTable.update()\` invocation: ${column} is not nullable`,
      );
    }
  }
  const { max_budget, soft_budget } = wanted;
  const maxToCheck = max_budget ?? team.max_budget;
  if (typeof soft_budget === 'number' && maxToCheck !== null && soft_budget >= maxToCheck) throw softBudgetTooHigh(soft_budget, maxToCheck);
  if (typeof max_budget === 'number' && team.soft_budget !== null && max_budget <= (soft_budget ?? team.soft_budget)) {
    throw managementError(
      400,
      `max_budget (${pyFloat(max_budget)}) must be strictly greater than soft_budget (${pyFloat(soft_budget ?? team.soft_budget)})`,
    );
  }
  if (isNewer(settings)) checkCap(store, wanted.organization_id ?? team.organization_id, max_budget);
  if (max_budget !== undefined) writeBudget(team, max_budget);
  if (soft_budget !== undefined) team.soft_budget = soft_budget;
  if (wanted.team_alias !== undefined) team.team_alias = wanted.team_alias;
  if (wanted.budget_duration !== undefined) {
    team.budget_duration = wanted.budget_duration;
    team.budget_reset_at = nextReset(wanted.budget_duration);
  }
  if (wanted.budget_limits !== undefined) team.budget_limits = wanted.budget_limits;
  if (wanted.metadata) team.metadata = { ...withoutManagedKeys(wanted.metadata), ...(isNewer(settings) && managedKeys(team.metadata)) };
  if (wanted.models) team.models = wanted.models;
  if (wanted.tpm_limit !== undefined) team.tpm_limit = wanted.tpm_limit;
  if (wanted.rpm_limit !== undefined) team.rpm_limit = wanted.rpm_limit;
  if (wanted.organization_id !== undefined) team.organization_id = wanted.organization_id || null;
  if (typeof wanted.blocked === 'boolean') team.blocked = wanted.blocked;
  team.updated_at = now();
  budget.refresh(team);
  return { team_id: team.team_id, data: teamDatabaseRow(team) };
};

/** GET /team/info?team_id=&key_limit= → `{team_id, team_info, keys, team_memberships}`; all keys without a limit. */
export const teamInfo: Handler = ({ store, settings }, { query }) => {
  const team_id = query.get('team_id');
  const keyLimit = readLimit(query, 'key_limit');
  if (team_id === null) throw proxyException(422, 'auth_error', pyRepr({ message: 'Malformed request. No team id passed in.' }));
  const team = store.teams.get(team_id);
  if (!team) throw teamInfoNotFound(team_id);
  return {
    team_id,
    team_info: { ...teamRow(team), team_member_budget_table: null, ...ACCESS_GROUPS, access_group_details: null },
    keys: keyRows(team, store.keysOfTeam(team_id), keyLimit),
    team_memberships: membershipRows(team, isNewer(settings)),
  };
};

/** GET /v2/team/list → one page; offset paging, newest first unless `sort_by` is one of three columns. */
export const listTeams: Handler = ({ store }, { query }) => {
  const { page, size } = readPaging(query, 'page_size', 10);
  const team_id = query.get('team_id');
  const alias = query.get('team_alias')?.toLowerCase();
  const found = [...store.teams.values()].filter(
    (team) => (team_id === null || team.team_id === team_id) && (!alias || team.team_alias?.toLowerCase().includes(alias)),
  );
  const sortBy = query.get('sort_by') ?? '';
  const descending = query.get('sort_order')?.toLowerCase() === 'desc';
  if (sortBy === 'team_id' || sortBy === 'team_alias' || sortBy === 'created_at') {
    found.sort((a, b) => compare(a[sortBy] ?? '', b[sortBy] ?? '') * (descending ? -1 : 1));
  } else {
    found.reverse();
  }
  return {
    teams: found.slice((page - 1) * size, page * size).map((team) => ({
      ...teamRow(team),
      members_count: team.members.length + (team.crowd?.members ?? 0),
      keys_count: store.countKeysOfTeam(team.team_id) + (team.crowd?.keys ?? 0),
      ...ACCESS_GROUPS,
    })),
    total: found.length,
    page,
    page_size: size,
    total_pages: Math.ceil(found.length / size),
  };
};

/** POST /team/delete → `{deleted_teams}`; all or nothing, and the teams' keys go with them. */
export const deleteTeams: Handler = ({ store, budget }, { body }) => {
  const { team_ids } = readBody({ team_ids: 'list!' }, body);
  const teams = team_ids.map((id) => {
    const team = store.teams.get(String(id));
    if (!team) throw teamNotFound(String(id));
    return team;
  });
  for (const team of teams) {
    store.removeTeam(team);
    budget.forget(team);
  }
  return { deleted_teams: team_ids };
};

/**
 * POST /team/block and /team/unblock → the row. Enforcement notices only when its cached copy of the team has
 * aged out; in 1.110.2 at once.
 */
export const setBlocked =
  (blocked: boolean): Handler =>
  ({ store, budget, settings }, { body }) => {
    const { team_id } = readBody({ team_id: 'string!' }, body);
    const team = store.teams.get(team_id);
    if (!team) throw teamNotFound(team_id);
    team.blocked = blocked;
    team.updated_at = now();
    if (isNewer(settings)) budget.refresh(team);
    return teamDatabaseRow(team);
  };

function checkAmounts(wanted: { max_budget?: number | null; team_member_budget?: number | null; soft_budget?: number | null }): void {
  for (const field of ['max_budget', 'team_member_budget', 'soft_budget'] as const) {
    const amount = wanted[field];
    if (typeof amount === 'number' && (!Number.isFinite(amount) || amount < 0)) {
      throw managementError(400, `${field} must be a non-negative finite number. Received: ${pyFloat(amount)}`);
    }
  }
}

function softBudgetTooHigh(soft_budget: number, max_budget: number) {
  return managementError(400, `soft_budget (${pyFloat(soft_budget)}) must be strictly lower than max_budget (${pyFloat(max_budget)})`);
}

/**
 * An organization caps what each of its teams may have. @throws 400 above the cap, also for a proxy admin; a
 * budget that is left out or unlimited passes.
 */
function checkCap(store: Store, organizationId: string | null | undefined, budget: number | null | undefined): void {
  const cap = organizationId ? store.caps.get(organizationId) : undefined;
  if (cap === undefined || typeof budget !== 'number' || budget <= cap) return;
  const message = `Team max_budget (${pyFloat(budget)}) exceeds organization's max_budget (${pyFloat(cap)}). Organization: ${organizationId}`;
  throw managementError(400, message);
}

function managedKeys(metadata: JsonObject): JsonObject {
  return MEMBER_BUDGET_KEY in metadata ? { [MEMBER_BUDGET_KEY]: metadata[MEMBER_BUDGET_KEY] } : {};
}

function withoutManagedKeys(metadata: JsonObject): JsonObject {
  const { [MEMBER_BUDGET_KEY]: _managed, ...own } = metadata;
  return own;
}

const DURATION = /^(\d+)(s|mo|m|h|d|w)$/;

function checkDuration(duration: string | null | undefined): void {
  if (duration == null || DURATION.test(duration)) return;
  throw managementError(400, `Invalid budget_duration '${duration}'. Use a format like '1h', '24h', '7d', or '30d'.`);
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800, mo: 2_592_000 };

/**
 * When a budget with this duration starts over. LiteLLM moves the time to a calendar boundary; this does not.
 */
function nextReset(duration: string | null): string | null {
  const match = DURATION.exec(duration ?? '');
  if (!match) return null;
  const seconds = Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS];
  return new Date(Date.now() + seconds * 1000).toISOString();
}

/** By code unit; PostgreSQL's order depends on the collation of the database. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

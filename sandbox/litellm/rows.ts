/**
 * Teams, members, keys and users as LiteLLM's answers show them: every field of the real rows, those that the
 * stand-in does not keep as constants.
 */
import type { GeneratedKey, Key, Membership, Team, User } from './store.ts';
import type { JsonObject } from './validation.ts';

/** A team as /team/new, /team/info and the lists show it. */
export function teamRow(team: Team): JsonObject {
  return {
    team_alias: team.team_alias,
    team_id: team.team_id,
    organization_id: team.organization_id,
    admins: [],
    members: [],
    members_with_roles: [...team.members, ...crowdOf(team.crowd?.members, (number) => ({ ...CROWD_MEMBER, user_id: `crowd-${number}` }))],
    team_member_permissions: [],
    metadata: team.metadata,
    tpm_limit: team.tpm_limit,
    rpm_limit: team.rpm_limit,
    max_budget: team.max_budget,
    soft_budget: team.soft_budget,
    budget_duration: team.budget_duration,
    budget_limits: team.budget_limits,
    models: team.models,
    blocked: team.blocked,
    router_settings: {},
    access_group_ids: [],
    default_team_member_models: [],
    spend: team.spend,
    max_parallel_requests: null,
    budget_reset_at: team.budget_reset_at,
    model_id: null,
    model_spend: {},
    model_max_budget: {},
    policies: [],
    allow_team_guardrail_config: false,
    litellm_model_table: null,
    object_permission: null,
    object_permission_id: null,
    updated_at: team.updated_at,
    created_at: team.created_at,
  };
}

/** A team as /team/update and /team/block show it. */
export function teamDatabaseRow(team: Team): JsonObject {
  return { ...teamRow(team), litellm_organization_table: null, projects: null };
}

/** What a team inherits from access groups, which the stand-in does not have. */
export const ACCESS_GROUPS = { access_group_models: null, access_group_mcp_server_ids: null, access_group_agent_ids: null };

export function membershipRow(membership: Membership): JsonObject {
  const { user_id, team_id, budget_id, max_budget, created_at } = membership;
  if (max_budget === null) return { user_id, team_id, budget_id: null, spend: 0, total_spend: 0, litellm_budget_table: null };
  return {
    user_id,
    team_id,
    budget_id,
    spend: 0,
    total_spend: 0,
    litellm_budget_table: {
      budget_id,
      soft_budget: null,
      max_budget,
      max_parallel_requests: null,
      tpm_limit: null,
      rpm_limit: null,
      model_max_budget: null,
      budget_duration: null,
      allowed_models: [],
      budget_reset_at: null,
      created_at,
    },
  };
}

/** All keys of a team, as far as `limit` lets them be shown. */
export function keyRows(team: Team, keys: readonly Key[], limit: number | null): JsonObject[] {
  const shown = keys.slice(0, limit ?? keys.length);
  const left = limit === null ? team.crowd?.keys : Math.min(team.crowd?.keys ?? 0, limit - shown.length);
  return [...shown.map(keyRow), ...crowdOf(left, (number) => crowdKeyRow(team, number))];
}

/** Only members that have or had a limit of their own; in 1.110.2 all, with where the limit comes from. */
export function membershipRows(team: Team, isEveryMember: boolean): JsonObject[] {
  const { team_id, created_at } = team;
  const crowd = crowdOf(team.crowd?.members, (number) => ({
    user_id: `crowd-${number}`,
    team_id,
    budget_id: `${number}`,
    max_budget: 1,
    created_at,
  }));
  const limited = [...team.memberships, ...crowd];
  if (!isEveryMember) return limited.map(membershipRow);
  const others = team.members.filter(({ user_id }) => !limited.some((membership) => membership.user_id === user_id));
  const unlimited = others.map(({ user_id }) => ({ user_id, team_id, budget_id: '', max_budget: null, created_at }));
  return [...limited, ...unlimited].map((membership) => ({
    ...membershipRow(membership),
    budget_source: membership.max_budget === null ? 'none' : 'custom',
  }));
}

const CROWD_MEMBER = { user_email: null, role: 'user' };

/** A kilobyte, as a key of the real proxy takes. */
function crowdKeyRow({ team_id, created_at }: Team, number: number): JsonObject {
  const [made, by] = [
    { created_at, updated_at: created_at },
    { created_by: MAKER, updated_by: MAKER },
  ];
  const key = { token: String(number).padStart(64, '0'), key_name: 'sk-...crowd', key_alias: `crowd-${number}`, team_id, user_id: null };
  return keyRow({
    ...key,
    ...made,
    ...by,
    max_budget: null,
    spend: 0,
    models: [],
    metadata: {},
    allowed_routes: [],
    blocked: null,
    expires: null,
  });
}

const MAKER = 'default_user_id';

function crowdOf<T>(size: number | undefined, one: (number: number) => T): T[] {
  return Array.from({ length: size ?? 0 }, (_, number) => one(number));
}

export function userRow(user: User): JsonObject {
  return {
    user_id: user.user_id,
    user_alias: user.user_alias,
    team_id: null,
    sso_user_id: null,
    organization_id: null,
    object_permission_id: null,
    teams: user.teams,
    user_role: user.user_role,
    max_budget: user.max_budget,
    spend: 0,
    user_email: user.user_email,
    models: user.models,
    metadata: user.metadata,
    max_parallel_requests: null,
    tpm_limit: null,
    rpm_limit: null,
    budget_duration: null,
    budget_reset_at: null,
    allowed_cache_controls: [],
    policies: [],
    model_spend: {},
    model_max_budget: {},
    created_at: user.created_at,
    updated_at: user.updated_at,
    organization_memberships: null,
    object_permission: null,
  };
}

/** A user as /user/info shows it, with what is joined to it. */
export function userInfoRow(user: User): JsonObject {
  const invitations = { invitations_created: null, invitations_updated: null, invitations_user: null };
  return { ...userRow(user), ...invitations, litellm_organization_table: null, organization_memberships: [], model_max_budget_usage: {} };
}

/** The answer of /key/generate; without a key, what /user/new answers when it makes none. */
export function generatedKeyRow(made: GeneratedKey | undefined): JsonObject {
  const key = made?.key;
  return {
    ...GENERATED_KEY_CONSTANTS,
    key_alias: key?.key_alias ?? null,
    models: key?.models ?? [],
    spend: 0,
    max_budget: key?.max_budget ?? null,
    user_id: key?.user_id ?? null,
    team_id: key?.team_id ?? null,
    metadata: key?.metadata ?? {},
    blocked: key?.blocked ?? null,
    allowed_routes: key?.allowed_routes ?? [],
    key: made?.secret ?? '',
    key_name: key?.key_name ?? null,
    expires: key?.expires ?? null,
    token: key?.token ?? null,
    token_id: key?.token ?? null,
    created_by: key?.created_by ?? null,
    updated_by: key?.updated_by ?? null,
    created_at: key?.created_at ?? null,
    updated_at: key?.updated_at ?? null,
  };
}

/** A key as /team/info and /key/info show it. */
export function keyRow(key: Key): JsonObject {
  return { ...KEY_CONSTANTS, settings_updated_at: null, ...key };
}

/** A key as /key/info shows it: without its token. */
export function keyInfoRow(key: Key): JsonObject {
  const { token: _token, ...row } = keyRow(key);
  return row;
}

/** A key as /key/block shows it: as it is in the database, without what is joined to it. */
export function keyDatabaseRow(key: Key): JsonObject {
  const {
    jwt_key_mappings: _mappings,
    litellm_organization_table: _organization,
    litellm_project_table: _project,
    organization_id: org_id,
    policies: _policies,
    ...row
  } = keyRow(key);
  return { ...row, org_id };
}

/** Fields of the real rows that this stand-in does not keep, as they are for a key that does not use them. */
const KEY_CONSTANTS = {
  ...nulls(`agent_id project_id max_parallel_requests tpm_limit rpm_limit budget_duration budget_reset_at budget_id organization_id
    object_permission_id last_active rotation_interval last_rotation_at key_rotation_at budget_limits
    litellm_budget_table litellm_organization_table litellm_project_table object_permission jwt_key_mappings`),
  ...{ aliases: {}, config: {}, router_settings: {}, permissions: {}, model_spend: {}, model_max_budget: {}, budget_fallbacks: {} },
  ...{ allowed_cache_controls: [], policies: [], access_group_ids: [] },
  ...{ soft_budget_cooldown: false, auto_rotate: false, rotation_count: 0, key_type: 'default' },
};

const GENERATED_KEY_CONSTANTS = {
  ...nulls(`duration agent_id max_parallel_requests tpm_limit rpm_limit budget_duration budget_limits model_rpm_limit model_tpm_limit
    mcp_rpm_limit tag_rpm_limit guardrails policies prompts object_permission default_estimated_output_tokens
    default_estimated_output_tokens_per_model budget_id tags disable_global_guardrails enable_prompt_caching
    throttle_on_budget_exceeded enforced_params allowed_passthrough_routes allowed_vector_store_indexes rpm_limit_type
    tpm_limit_type router_settings organization_id project_id litellm_budget_table`),
  ...{ config: {}, permissions: {}, model_max_budget: {}, budget_fallbacks: {}, aliases: {} },
  ...{ allowed_cache_controls: [], access_group_ids: [], key_type: 'default' },
};

function nulls(fields: string): Record<string, null> {
  return Object.fromEntries(fields.split(/\s+/).map((field) => [field, null]));
}

/** `/user/*`. */
import { randomUUID } from 'node:crypto';
import type { Handler } from './context.ts';
import { httpException, managementError, proxyException, validationError } from './errors.ts';
import { generateKey } from './keys.ts';
import { generatedKeyRow, keyRow, userInfoRow, userRow } from './rows.ts';
import { now, type User } from './store.ts';
import { type JsonObject, readBody, readPaging } from './validation.ts';

const USER_FIELDS = {
  user_id: 'string',
  user_alias: 'string',
  user_email: 'string',
  user_role: 'string',
  max_budget: 'float',
  models: 'list',
  metadata: 'object',
} as const;

/** `proxy_admin` is what makes a user's keys management keys. */
const ROLES = ['proxy_admin', 'proxy_admin_viewer', 'internal_user', 'internal_user_viewer'];

/** POST /user/new → a key of the new user, unless `auto_create_key` is false. @throws 409 for a taken id. */
export const createUser: Handler = ({ store }, { body }) => {
  const wanted = readBody({ ...USER_FIELDS, auto_create_key: 'boolean' }, body);
  checkRole(wanted.user_role);
  const user_id = wanted.user_id ?? randomUUID();
  if (store.users.has(user_id)) throw managementError(409, `User with id ${user_id} already exists`);
  const user = store.ensureUser(user_id);
  apply(user, wanted);
  const made = wanted.auto_create_key === false ? undefined : generateKey(store, { user_id, created_by: user_id });
  return {
    ...generatedKeyRow(made),
    user_id,
    max_budget: user.max_budget,
    user_email: user.user_email,
    user_role: user.user_role,
    teams: null,
    user_alias: user.user_alias,
  };
};

/** POST /user/update → `{user_id, data}`; makes the user when the id is unknown, as the real one does. */
export const updateUser: Handler = ({ store }, { body }) => {
  const wanted = readBody({ ...USER_FIELDS, user_id: 'string!' }, body);
  checkRole(wanted.user_role);
  const user = store.ensureUser(wanted.user_id);
  apply(user, wanted);
  return { user_id: user.user_id, data: userRow(user) };
};

/** GET /user/info?user_id= → `{user_id, user_info, keys, teams}`. */
export const userInfo: Handler = ({ store }, { query, caller }) => {
  const user_id = query.get('user_id') ?? caller.user_id ?? '';
  const user = store.users.get(user_id);
  if (!user) throw proxyException(404, 'internal_server_error', `User ${user_id} not found`);
  return {
    user_id,
    user_info: userInfoRow(user),
    keys: [...store.keys.values()].filter((key) => key.user_id === user_id).map(keyRow),
    teams: [],
  };
};

/** GET /user/list → one page, newest first. */
export const listUsers: Handler = ({ store }, { query }) => {
  const { page, size } = readPaging(query, 'page_size', 25);
  const users = [...store.users.values()].reverse();
  return {
    users: users.slice((page - 1) * size, page * size).map(userRow),
    total: users.length,
    page,
    page_size: size,
    total_pages: Math.ceil(users.length / size),
  };
};

/** POST /user/delete → how many; their keys and memberships go with them. */
export const deleteUsers: Handler = ({ store }, { body }) => {
  const { user_ids } = readBody({ user_ids: 'list!' }, body);
  const users = user_ids.map((id) => {
    const user = store.users.get(String(id));
    if (!user) throw httpException(404, { error: `User not found, passed user_id=${id}` });
    return user;
  });
  for (const user of users) {
    for (const key of [...store.keys.values()]) if (key.user_id === user.user_id) store.removeKey(key);
    for (const team_id of user.teams) {
      const team = store.teams.get(team_id);
      if (team) team.members = team.members.filter(({ user_id }) => user_id !== user.user_id);
    }
    store.users.delete(user.user_id);
  }
  return users.length;
};

function checkRole(input: string | null | undefined): void {
  if (input == null || ROLES.includes(input)) return;
  throw validationError([{ type: 'literal_error', loc: ['body', 'user_role'], msg: `Input should be one of ${ROLES.join(', ')}`, input }]);
}

type UserFields = { [F in 'user_alias' | 'user_email' | 'user_role']?: string | null } & {
  max_budget?: number | null;
  models?: unknown[] | null;
  metadata?: JsonObject | null;
};

function apply(user: User, wanted: UserFields): void {
  if (wanted.user_alias !== undefined) user.user_alias = wanted.user_alias;
  if (wanted.user_email !== undefined) user.user_email = wanted.user_email;
  if (wanted.user_role !== undefined) user.user_role = wanted.user_role;
  if (wanted.max_budget !== undefined) user.max_budget = wanted.max_budget;
  if (wanted.models !== undefined) user.models = wanted.models ?? [];
  if (wanted.metadata !== undefined) user.metadata = wanted.metadata ?? {};
  user.updated_at = now();
}

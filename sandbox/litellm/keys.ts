/** `/key/*`: virtual keys. A key is answered once, when it is made; afterwards only its sha256 is known. */
import { randomBytes } from 'node:crypto';
import { abbreviate, MASTER_USER_ID } from './auth.ts';
import type { Handler } from './context.ts';
import { managementError, proxyException } from './errors.ts';
import { generatedKeyRow, keyDatabaseRow, keyInfoRow, keyRow } from './rows.ts';
import { type GeneratedKey, hashKey, type Key, now, type Store } from './store.ts';
import { readBody, readPaging } from './validation.ts';

const KEY_FIELDS = {
  key_alias: 'string',
  team_id: 'string',
  user_id: 'string',
  max_budget: 'float',
  models: 'list',
  metadata: 'object',
  allowed_routes: 'list',
  blocked: 'boolean',
  duration: 'string',
} as const;

/**
 * POST /key/generate → `{key, token, …}`. The team need not exist. A secret that is known already is answered
 * as if it were new, and its row stays as it is. @throws 400 for a taken alias.
 */
export const createKey: Handler = ({ store }, { body, caller }) => {
  const wanted = readBody({ ...KEY_FIELDS, key: 'string' }, body);
  if (wanted.key_alias != null) checkAlias(store, wanted.key_alias);
  return generatedKeyRow(
    generateKey(store, {
      ...(wanted.key != null && { secret: wanted.key }),
      key_alias: wanted.key_alias ?? null,
      team_id: wanted.team_id ?? null,
      user_id: wanted.user_id ?? null,
      max_budget: wanted.max_budget ?? null,
      models: wanted.models ?? [],
      metadata: wanted.metadata ?? {},
      allowed_routes: (wanted.allowed_routes ?? []).map(String),
      blocked: wanted.blocked ?? null,
      expires: expiry(wanted.duration ?? null),
      created_by: caller.user_id ?? MASTER_USER_ID,
    }),
  );
};

/** POST /key/update → the row. Omitted fields stay, null clears them. */
export const updateKey: Handler = ({ store }, { body, caller }) => {
  const wanted = readBody({ ...KEY_FIELDS, key: 'string!' }, body);
  const key = find(store, wanted.key);
  if (!key) throw keyNotFound('Key not found.');
  if (wanted.key_alias !== undefined) {
    if (wanted.key_alias !== null && wanted.key_alias !== key.key_alias) checkAlias(store, wanted.key_alias);
    key.key_alias = wanted.key_alias;
  }
  if (wanted.team_id !== undefined) store.moveKey(key, wanted.team_id);
  if (wanted.user_id !== undefined) key.user_id = wanted.user_id;
  if (wanted.max_budget !== undefined) key.max_budget = wanted.max_budget;
  if (wanted.models !== undefined) key.models = wanted.models ?? [];
  if (wanted.metadata !== undefined) key.metadata = wanted.metadata ?? {};
  if (wanted.allowed_routes !== undefined) key.allowed_routes = (wanted.allowed_routes ?? []).map(String);
  if (wanted.blocked !== undefined) key.blocked = wanted.blocked;
  if (wanted.duration !== undefined) key.expires = expiry(wanted.duration);
  key.updated_at = key.settings_updated_at = now();
  key.updated_by = caller.user_id ?? MASTER_USER_ID;
  return { key: wanted.key, ...keyRow(key) };
};

/** POST /key/delete by `keys` or `key_aliases` → `{deleted_keys}`. @throws 404 when none is known. */
export const deleteKeys: Handler = ({ store }, { body }) => {
  const wanted = readBody({ keys: 'list', key_aliases: 'list' }, body);
  const names = (wanted.keys ?? wanted.key_aliases ?? []).map(String);
  const byAlias = (name: string) => [...store.keys.values()].find((key) => key.key_alias === name);
  const keys = names.map((name) => (wanted.keys ? find(store, name) : byAlias(name))).filter((key) => key !== undefined);
  if (keys.length === 0) throw managementError(404, 'No keys found');
  for (const key of keys) store.removeKey(key);
  return { deleted_keys: names };
};

/** POST /key/block and /key/unblock → the row. Unlike a team's, it takes effect at once. */
export const setKeyBlocked =
  (blocked: boolean): Handler =>
  ({ store }, { body }) => {
    const key = find(store, readBody({ key: 'string!' }, body).key);
    if (!key) throw keyNotFound('Key not found.');
    key.blocked = blocked;
    key.updated_at = now();
    return keyDatabaseRow(key);
  };

/** GET /key/info?key= (the key or its hash; the caller's own when absent) → `{key, info}`. */
export const keyInfo: Handler = ({ store }, { query, caller }) => {
  const name = query.get('key') ?? caller.key?.token ?? '';
  const key = find(store, name);
  if (!key) throw keyNotFound('Key not found in database');
  return { key: name, info: keyInfoRow(key) };
};

/** GET /key/list → one page of hashes, or of rows with `return_full_object=true`; newest first. */
export const listKeys: Handler = ({ store }, { query }) => {
  const { page, size } = readPaging(query, 'size', 10);
  const team_id = query.get('team_id');
  const user_id = query.get('user_id');
  const alias = query.get('key_alias');
  const keys = (team_id === null ? [...store.keys.values()] : store.keysOfTeam(team_id))
    .filter((key) => (user_id === null || key.user_id === user_id) && (alias === null || key.key_alias === alias))
    .reverse();
  const full = query.get('return_full_object') === 'true';
  return {
    keys: keys.slice((page - 1) * size, page * size).map((key) => (full ? keyRow(key) : key.token)),
    total_count: keys.length,
    current_page: page,
    total_pages: Math.ceil(keys.length / size),
  };
};

/** Makes a key, `sk-` and 16 random bytes unless `secret` is given. */
export function generateKey(store: Store, wanted: Partial<Key> & { secret?: string; created_by: string }): GeneratedKey {
  const { secret = `sk-${randomBytes(16).toString('base64url')}`, ...fields } = wanted;
  const at = now();
  const key: Key = {
    token: hashKey(secret),
    key_name: abbreviate(secret),
    key_alias: null,
    team_id: null,
    user_id: null,
    max_budget: null,
    spend: 0,
    models: [],
    metadata: {},
    allowed_routes: [],
    blocked: null,
    expires: null,
    created_at: at,
    updated_at: at,
    updated_by: wanted.created_by,
    ...fields,
  };
  if (!store.keys.has(key.token)) store.addKey(key);
  return { secret, key };
}

function find(store: Store, keyOrHash: string): Key | undefined {
  return store.keys.get(keyOrHash.startsWith('sk-') ? hashKey(keyOrHash) : keyOrHash);
}

function checkAlias(store: Store, alias: string): void {
  for (const key of store.keys.values()) {
    if (key.key_alias !== alias) continue;
    const message = `Key with alias '${alias}' already exists. Unique key aliases across all keys are required.`;
    throw proxyException(400, 'bad_request_error', message, 'key_alias');
  }
}

function keyNotFound(message: string) {
  return proxyException(404, 'not_found_error', message, 'key');
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };

/** When a key made now with this `duration` ends; null never. */
function expiry(duration: string | null): string | null {
  const match = /^(\d+)([smhd])$/.exec(duration ?? '');
  if (!match) return null;
  return new Date(Date.now() + Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS] * 1000).toISOString();
}

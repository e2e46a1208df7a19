/** Who calls, and may they call this route. */
import type { SandboxRequest } from '../exchange.ts';
import { httpException, proxyException } from './errors.ts';
import { pyRepr } from './python.ts';
import type { Settings } from './settings.ts';
import { hashKey, type Key, now, type Store } from './store.ts';
import { isNewer } from './version.ts';

/** The user behind the master key, which LiteLLM makes a member of every team that key creates. */
export const MASTER_USER_ID = 'default_user_id';

export type Caller = {
  admin: boolean;
  user_id: string | null;
  /** Absent for the master key. */
  key?: Key;
};

/** Shorter keys are not abbreviated to their last four characters (MINIMUM_CUSTOM_KEY_LENGTH). */
const ABBREVIATED_FROM_LENGTH = 16;

/** A key as LiteLLM prints it. */
export function abbreviate(key: string): string {
  return key.length < ABBREVIATED_FROM_LENGTH ? 'sk-...' : `sk-...${key.slice(-4)}`;
}

/**
 * @throws 401 for a key that is missing, malformed, unknown, blocked or expired; 403 outside its
 *   `allowed_routes`.
 */
export function authenticate(request: SandboxRequest, store: Store, settings: Settings): Caller {
  const secret = bearer(request);
  if (secret === settings.master_key) return { admin: true, user_id: MASTER_USER_ID };

  const token = hashKey(secret);
  const key = store.keys.get(token);
  if (!key) {
    throw proxyException(
      401,
      'token_not_found_in_db',
      `Authentication Error, Invalid proxy server token passed. Received API Key = ${abbreviate(secret)}, Key Hash (Token) =${token}. Unable to find token in cache or \`LiteLLM_VerificationTokenTable\``,
      'key',
    );
  }
  if (key.blocked) throw unauthorized("Key is blocked. Update via `/key/unblock` if you're an admin.");
  if (key.expires !== null && Date.parse(key.expires) < Date.now()) {
    throw proxyException(
      401,
      'expired_key',
      `Authentication Error - Expired Key. Key Expiry time ${key.expires} and current time ${now()}`,
      key.key_name,
    );
  }
  if (key.allowed_routes.length > 0 && !key.allowed_routes.some((allowed) => covers(allowed, request.path))) {
    throw httpException(
      403,
      `Virtual key is not allowed to call this route. Only allowed to call routes: ${pyRepr(key.allowed_routes)}. Tried to call route: ${request.path}`,
    );
  }
  const user = key.user_id === null ? undefined : store.users.get(key.user_id);
  return { admin: user?.user_role === 'proxy_admin', user_id: key.user_id, key };
}

/**
 * Management routes are for proxy admins: the master key, and keys whose user has the role `proxy_admin`.
 * `allowed_routes` alone makes no admin: such a key reaches the route and is refused there. A team's own key
 * may read its team.
 *
 * @throws 401 or 403, as each route of the real proxy does.
 */
export function requireAdmin(
  caller: Caller,
  { path, query, settings }: { path: string; query: URLSearchParams; settings: Settings },
): void {
  if (caller.admin) return;
  if (path === '/team/update' && isNewer(settings)) throw proxyException(403, 'auth_error', 'You do not have access to this team');
  if (path === '/team/info') {
    const asked = query.get('team_id');
    const own = caller.key?.team_id ?? null;
    if (own !== null && own === asked) return;
    const error =
      own === null
        ? `API key not authorized to access this team=${asked}. No user_id or team_id associated with this key.`
        : `Team key for team=${own} not authorized to access this team=${asked}`;
    throw proxyException(403, 'auth_error', pyRepr({ error }));
  }
  if (path === '/v2/team/list') {
    throw httpException(401, { error: 'Only admin users can query all teams/other teams. Your user role=internal_user' });
  }
  if (!caller.key?.allowed_routes.length) {
    throw unauthorized(
      `Only proxy admin can be used to generate, delete, update info for new keys/users/teams. Route=${path}. Your role=unknown. Your user_id=*******`,
    );
  }
  if (path === '/team/update') throw proxyException(403, 'internal_server_error', 'You do not have access to this team');
  throw httpException(403, 'You do not have access to this team');
}

export function unauthorized(message: string) {
  return proxyException(401, 'auth_error', `Authentication Error, ${message}`);
}

function bearer(request: SandboxRequest): string {
  const header = request.headers['authorization'];
  if (!header) throw unauthorized('No api key passed in.');
  const secret = /^Bearer (.+)$/i.exec(header)?.[1];
  if (!secret) throw unauthorized('Malformed API Key passed in. Ensure Key has `Bearer ` prefix.');
  if (!secret.startsWith('sk-')) {
    throw proxyException(401, 'auth_error', "LiteLLM Virtual Key expected. Received=****, expected to start with 'sk-'.");
  }
  return secret;
}

/**
 * `allowed_routes` entries are paths, prefixes ending in `*`, or names of LiteLLM's route groups, of which we
 * know two.
 */
function covers(allowed: string, path: string): boolean {
  if (allowed === 'llm_api_routes') return path.endsWith('/chat/completions');
  if (allowed === 'management_routes') return /^(\/v2)?\/(team|key|user)\//.test(path);
  return allowed.endsWith('*') ? path.startsWith(allowed.slice(0, -1)) : allowed === path;
}

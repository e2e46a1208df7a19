/**
 * A LiteLLM proxy (1.100.5 or 1.110.2) in memory, for a client that manages teams, budgets and keys and listens to the
 * budget webhook. It answers as the real one was measured to answer; test/sandbox/litellm.parity.test.ts
 * compares the two.
 */
import type { Answer, SandboxRequest } from '../exchange.ts';
import { type SandboxServer, serveSandbox } from '../http.ts';
import { StateFile } from '../state-file.ts';
import { BudgetAlerts } from './alerts.ts';
import { abbreviate, authenticate, requireAdmin, unauthorized } from './auth.ts';
import { BudgetEnforcement } from './budget.ts';
import { chatCompletion } from './chat.ts';
import type { Context, Handler } from './context.ts';
import { httpException, memberTeamNotFound, proxyException, Refusal, teamInfoNotFound, teamNotFound } from './errors.ts';
import { createKey, deleteKeys, keyInfo, listKeys, setKeyBlocked, updateKey } from './keys.ts';
import { publicSettings, turnKnob } from './knobs.ts';
import { addMembers, deleteMember, updateMember } from './members.ts';
import { DEFAULTS, type Settings } from './settings.ts';
import { now, type Snapshot, Store } from './store.ts';
import { createTeam, deleteTeams, listTeams, setBlocked, teamInfo, updateTeam } from './teams.ts';
import { createUser, deleteUsers, listUsers, updateUser, userInfo } from './users.ts';
import { type JsonObject, parseJson } from './validation.ts';
import { asWorded, isNewer } from './version.ts';

export type LitellmOptions = Partial<Omit<Settings, 'database_down'>> & {
  /** TCP port on loopback; 0 takes a free one. */
  port: number;
  /** Where teams, keys and users are kept across restarts; absent keeps nothing. */
  stateFile?: string;
};

const ROUTES: Record<string, Handler> = {
  'POST /team/new': createTeam,
  'POST /team/update': updateTeam,
  'GET /team/info': teamInfo,
  'GET /v2/team/list': listTeams,
  'POST /team/delete': deleteTeams,
  'POST /team/block': setBlocked(true),
  'POST /team/unblock': setBlocked(false),
  'POST /team/member_add': addMembers,
  'POST /team/member_update': updateMember,
  'POST /team/member_delete': deleteMember,
  'POST /key/generate': createKey,
  'POST /key/update': updateKey,
  'POST /key/delete': deleteKeys,
  'POST /key/block': setKeyBlocked(true),
  'POST /key/unblock': setKeyBlocked(false),
  'GET /key/info': keyInfo,
  'GET /key/list': listKeys,
  'POST /user/new': createUser,
  'POST /user/update': updateUser,
  'POST /user/delete': deleteUsers,
  'GET /user/info': userInfo,
  'GET /user/list': listUsers,
};

const CHAT_PATHS = ['/chat/completions', '/v1/chat/completions'];
const PATHS = new Set([...Object.keys(ROUTES).map((route) => route.split(' ')[1]), ...CHAT_PATHS]);

type LoggedRequest = { at: string; method: string; path: string; query: string; status: number; body: string };

/** Requests remembered, the newest last. */
const MAX_REQUESTS = 2000;

/** Longer bodies are cut in the log. */
const MAX_LOGGED_BODY_CHARS = 1000;

/**
 * Starts the stand-in. Beside `/_sandbox/faults` and `/_sandbox/state` it has these knobs:
 *
 *   POST /_sandbox/teams/:id/spend   {"amount": 3.2}    spends US dollars at once, without a call; negative gives back
 *   POST /_sandbox/teams/:id/crowd   {"keys": 21000, "members": 0}  shows so many more; nobody calls with them
 *   POST /_sandbox/organizations     {"organization_id": "o1", "max_budget": 5}  caps the budget of each of its teams
 *   POST /_sandbox/alerts            {"enabled": false} sends no alerts
 *   POST /_sandbox/alerts/forget                        ends the silence after an alert
 *   POST /_sandbox/settings          {"spend_lag_ms", "alert_ttl_s", "alert_copies", "webhook_url", "call_cost",
 *                                     "call_reservation", "database_down", "default_budget_duration"}
 */
export async function startLitellm(options: LitellmOptions): Promise<SandboxServer> {
  const { port, stateFile, ...given } = options;
  const settings: Settings = { ...DEFAULTS, webhook_url: null, database_down: false, default_budget_duration: null, ...given };
  const store = new Store(StateFile.read<Snapshot>(stateFile));
  const file = new StateFile(stateFile, () => store.snapshot());
  const alerts = new BudgetAlerts(settings);
  const budget = new BudgetEnforcement(store, settings, alerts, () => file.changed());
  const context: Context = { store, settings, budget };
  const requests: LoggedRequest[] = [];

  const answer = (request: SandboxRequest): Answer => {
    try {
      return request.path.startsWith('/_sandbox/') ? turnKnob(request, context, alerts) : serve(request, context);
    } catch (error) {
      if (error instanceof Refusal) return asWorded(settings, error.answer);
      throw error;
    }
  };

  const server = await serveSandbox({
    port,
    handle: (request) => {
      const answered = answer(request);
      if (request.method === 'POST') file.changed();
      if (!request.path.startsWith('/_sandbox/')) {
        requests.push(logged(request, answered.status));
        if (requests.length > MAX_REQUESTS) requests.shift();
      }
      return answered;
    },
    state: () => ({
      settings: publicSettings(settings),
      teams: Object.fromEntries(store.teams),
      users: Object.fromEntries(store.users),
      keys: Object.fromEntries(store.keys),
      alerts: alerts.sent,
      requests,
    }),
  });
  return {
    ...server,
    close: async () => {
      await server.close();
      alerts.stop();
      budget.flush();
      file.write();
    },
  };
}

/** @throws Refusal for every answer that is not a success. */
function serve(request: SandboxRequest, context: Context): Answer {
  const { method, path, query } = request;
  const { store, settings } = context;
  if (path === '/health/liveliness' || path === '/health/liveness') return json("I'm alive!");
  if (path === '/health/readiness') return readiness(settings);

  if (isNewer(settings) && path.startsWith('/organization/')) throw enterpriseOnly();
  const handler = ROUTES[`${method} ${path}`];
  const chat = method === 'POST' && CHAT_PATHS.includes(path);
  if (!handler && !chat) throw PATHS.has(path) ? httpException(405, 'Method Not Allowed') : httpException(404, 'Not Found');
  const body = method === 'POST' ? parseJson(request) : undefined;
  if (settings.database_down) throw isNewer(settings) ? databaseDownNow(request, settings) : databaseDown(path, query, body);
  const caller = authenticate(request, store, settings);
  if (chat) return chatCompletion(context, { body, query, caller });
  requireAdmin(caller, { path, query, settings });
  return { status: 200, body: handler?.(context, { body, query, caller }) };
}

function logged({ method, path, query, body }: SandboxRequest, status: number): LoggedRequest {
  const withoutKeys = (text: string) => text.replaceAll(/sk-[\w-]+/g, abbreviate);
  return {
    at: now(),
    method,
    path,
    query: withoutKeys(query.toString()),
    status,
    body: withoutKeys(body.slice(0, MAX_LOGGED_BODY_CHARS)),
  };
}

function readiness(settings: Settings): Answer {
  return settings.database_down
    ? { status: 503, body: { status: 'healthy', db: 'disconnected' } }
    : json({ status: 'healthy', db: 'connected' });
}

/** 1.110.2 says of its reads what is wrong; a virtual key cannot be looked up. */
function databaseDownNow({ method, headers }: SandboxRequest, { master_key }: Settings): Refusal {
  if (headers['authorization'] !== `Bearer ${master_key}`) return unauthorized('No DB Connected');
  if (method === 'GET') return proxyException(503, 'no_db_connection', 'No DB Connected', null);
  return proxyException(500, 'internal_server_error', 'Internal server error', null);
}

function enterpriseOnly(): Refusal {
  return httpException(403, { error: 'Organizations are only available with an Enterprise licence' });
}

/**
 * What a route answers in 1.100.5 while PostgreSQL is unavailable. Three of them take any failure of the query for a
 * missing team (`except Exception` in `team_info`): a 404 from them proves nothing until `/health/readiness`
 * says `connected`. The 401 of `/team/update` is what a virtual key meets when its row is not cached.
 */
function databaseDown(path: string, query: URLSearchParams, body: JsonObject | undefined): Refusal {
  const team_ids = body?.['team_ids'];
  switch (path) {
    case '/team/update':
    case '/chat/completions':
    case '/v1/chat/completions':
      return unauthorized('No DB Connected');
    case '/team/info':
      return teamInfoNotFound(query.get('team_id') ?? '');
    case '/team/delete':
      return teamNotFound(String(Array.isArray(team_ids) ? team_ids[0] : ''));
    case '/team/member_add':
      return memberTeamNotFound(String(body?.['team_id']));
    default:
      return new Refusal({ status: 500, body: { error: { message: 'Internal server error', type: 'internal_server_error' } } });
  }
}

function json(body: unknown): Answer {
  return { status: 200, headers: { 'content-type': 'application/json' }, body: typeof body === 'string' ? JSON.stringify(body) : body };
}

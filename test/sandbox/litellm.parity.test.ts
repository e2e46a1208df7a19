/**
 * Sends the calls that we rely on to a real LiteLLM proxy and to the stand-in, and compares the whole
 * answers. Needs a proxy whose model `fake` is mocked and which allows writing:
 * LIVE_LITELLM_URL=http://127.0.0.1:14000 LIVE_LITELLM_KEY=sk-1234.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';

const LIVE_URL = process.env['LIVE_LITELLM_URL'];
const LIVE_KEY = process.env['LIVE_LITELLM_KEY'];
const RUN = `parity-${Date.now()}`;
const TEAM = `${RUN}-team`;
const SECRET = `sk-${RUN}-0123456789abcdef`;
const TOKEN = createHash('sha256').update(SECRET).digest('hex');
const CHAT = { model: 'fake', messages: [{ role: 'user', content: 'hi' }] };

type Target = { url: string; keys: Record<string, string> };
type Step = {
  name: string;
  method?: string;
  path: string;
  body?: unknown;
  raw?: string;
  /** The name of a key that an earlier step made, or a key; the master key when absent. */
  as?: string;
  /** Keeps the `key` of the answer under this name. */
  keep?: string;
  /** Fields, anywhere in the answer, that are known to differ. */
  except?: string[];
};

const STEPS: Step[] = [
  { name: 'a new team', path: '/team/new', body: { team_id: TEAM, team_alias: 'acme', max_budget: 10, metadata: { a: 1 } } },
  { name: 'a team id that is taken', path: '/team/new', body: { team_id: TEAM } },
  { name: 'a negative budget', path: '/team/new', body: { max_budget: -1 } },
  { name: 'a soft budget at the budget', path: '/team/new', body: { max_budget: 1, soft_budget: 1 } },
  { name: 'a duration that is none', path: '/team/new', body: { budget_duration: 'xx' } },
  { name: 'several fields of the wrong type', path: '/team/new', body: { blocked: 'maybe', max_budget: [1], models: 'x', metadata: [] } },
  { name: 'a team', method: 'GET', path: `/team/info?team_id=${TEAM}` },
  { name: 'an unknown team', method: 'GET', path: '/team/info?team_id=nope' },
  { name: 'a team without an id', method: 'GET', path: '/team/info' },
  { name: 'an update of the budget', path: '/team/update', body: { team_id: TEAM, max_budget: 12.5 } },
  { name: 'an update to unlimited', path: '/team/update', body: { team_id: TEAM, max_budget: null } },
  { name: 'an update of metadata', path: '/team/update', body: { team_id: TEAM, max_budget: 12.5, metadata: { b: 2 } } },
  { name: 'an update of metadata to null', path: '/team/update', body: { team_id: TEAM, metadata: null }, except: ['message'] },
  { name: 'an update of a limit to a fraction', path: '/team/update', body: { team_id: TEAM, tpm_limit: 1.5 } },
  { name: 'an update with a field that is none', path: '/team/update', body: { team_id: TEAM, nonsense: 1 } },
  { name: 'an update of an unknown team', path: '/team/update', body: { team_id: 'nope', max_budget: 1 } },
  { name: 'an update without an id', path: '/team/update', body: { max_budget: 1 } },
  { name: 'an update to a word', path: '/team/update', body: { team_id: TEAM, max_budget: 'x' } },
  { name: 'an update to infinity', path: '/team/update', raw: `{"team_id":"${TEAM}","max_budget":1e400}` },
  { name: 'a soft budget over the budget', path: '/team/update', body: { team_id: TEAM, soft_budget: 50 } },
  { name: 'broken JSON', path: '/team/update', raw: '{"team_id"', except: ['loc', 'ctx'] },
  { name: 'no body', path: '/team/update', raw: '' },
  { name: 'an unknown key', path: '/team/update', body: { max_budget: 1 }, as: 'sk-unknown-unknown-unknown' },
  { name: 'a short unknown key', path: '/team/update', body: { team_id: TEAM }, as: 'sk-x' },
  { name: 'a key that is none', path: '/team/update', body: { team_id: TEAM }, as: 'x', except: ['message'] },
  { name: 'one page of teams', method: 'GET', path: `/v2/team/list?page=1&page_size=2&sort_by=team_id&sort_order=asc&team_id=${TEAM}` },
  { name: 'a page after the last', method: 'GET', path: `/v2/team/list?page=7&page_size=2&team_id=${TEAM}` },
  { name: 'a page that cannot be', method: 'GET', path: '/v2/team/list?page=0&page_size=200' },
  { name: 'a page that is no number', method: 'GET', path: '/v2/team/list?page=x' },
  { name: 'a key of the team', path: '/key/generate', body: { team_id: TEAM, user_id: 'u1' }, keep: 'team', except: ['router_settings'] },
  { name: 'a taken alias', path: '/key/generate', body: { key_alias: RUN }, keep: 'alias', except: ['router_settings'] },
  { name: 'a taken alias again', path: '/key/generate', body: { key_alias: RUN } },
  { name: 'the team with its key', method: 'GET', path: `/team/info?team_id=${TEAM}` },
  { name: 'the team with one of its keys', method: 'GET', path: `/team/info?team_id=${TEAM}&key_limit=1` },
  { name: 'a limit of no keys', method: 'GET', path: `/team/info?team_id=${TEAM}&key_limit=0` },
  { name: 'a limit of keys that is no number', method: 'GET', path: `/team/info?team_id=${TEAM}&key_limit=x` },
  { name: 'the keys of the team', method: 'GET', path: `/key/list?team_id=${TEAM}&size=5` },
  { name: 'an unknown API key', method: 'GET', path: '/key/info?key=sk-nope' },
  { name: 'blocking an unknown API key', path: '/key/block', body: { key: 'sk-nope' } },
  { name: 'deleting an unknown API key', path: '/key/delete', body: { keys: ['sk-nope'] } },
  { name: 'a team key reads its team', method: 'GET', path: `/team/info?team_id=${TEAM}`, as: 'team' },
  { name: 'a team key writes its team', path: '/team/update', body: { team_id: TEAM, max_budget: 99 }, as: 'team' },
  { name: 'a team key lists teams', method: 'GET', path: '/v2/team/list', as: 'team' },
  {
    name: 'a key with allowed routes and no admin',
    path: '/key/generate',
    body: { allowed_routes: ['/team/info', '/team/update'] },
    keep: 'routes',
    except: ['router_settings'],
  },
  { name: 'that key reads a team', method: 'GET', path: `/team/info?team_id=${TEAM}`, as: 'routes' },
  { name: 'that key writes a team', path: '/team/update', body: { team_id: TEAM, max_budget: 13 }, as: 'routes' },
  { name: 'that key elsewhere', method: 'GET', path: '/v2/team/list', as: 'routes' },
  {
    name: 'an admin user',
    path: '/user/new',
    body: { user_id: `${RUN}-admin`, user_role: 'proxy_admin', auto_create_key: false },
    except: ['router_settings', 'model_max_budget', 'budget_fallbacks', 'access_group_ids', 'key_type'],
  },
  { name: 'a taken user id', path: '/user/new', body: { user_id: `${RUN}-admin` } },
  {
    name: 'an admin key with allowed routes',
    path: '/key/generate',
    body: { user_id: `${RUN}-admin`, allowed_routes: ['/team/info', '/team/update'] },
    keep: 'admin',
    except: ['router_settings'],
  },
  { name: 'an admin key writes a team', path: '/team/update', body: { team_id: TEAM, max_budget: 13 }, as: 'admin' },
  { name: 'an admin key elsewhere', method: 'GET', path: '/v2/team/list', as: 'admin' },
  { name: 'a chat', path: '/chat/completions', body: CHAT, as: 'team' },
  { name: 'a chat without messages', path: '/chat/completions', body: { model: 'fake' }, as: 'team' },
  { name: 'a budget below the spend', path: '/team/update', body: { team_id: TEAM, max_budget: 0.0001 } },
  { name: 'a chat over the budget', path: '/chat/completions', body: CHAT, as: 'team' },
  { name: 'blocking the team', path: '/team/block', body: { team_id: TEAM } },
  { name: 'blocking an unknown team', path: '/team/block', body: { team_id: 'nope' } },
  { name: 'a block that is noticed', path: '/team/update', body: { team_id: TEAM, blocked: true, max_budget: 5 } },
  { name: 'a chat of a blocked team', path: '/chat/completions', body: CHAT, as: 'team' },
  { name: 'a member with a budget', path: '/team/member_add', body: member('m1', { max_budget_in_team: 2 }) },
  { name: 'a member who is in already', path: '/team/member_add', body: member('m1', {}), except: ['message'] },
  { name: 'a member of an unknown team', path: '/team/member_add', body: { team_id: 'nope', member: { role: 'user', user_id: 'm1' } } },
  { name: 'a member without a role', path: '/team/member_add', body: { team_id: TEAM, member: { user_id: 'm2' } } },
  { name: 'the team with its member', method: 'GET', path: `/team/info?team_id=${TEAM}` },
  { name: 'a limit of a member that is taken away', path: '/team/member_update', body: limit('m1', null) },
  { name: 'the team with a member without a limit', method: 'GET', path: `/team/info?team_id=${TEAM}` },
  { name: 'a limit of a member', path: '/team/member_update', body: limit('m1', 3) },
  { name: 'a limit in an unknown team', path: '/team/member_update', body: { ...limit('m1', 3), team_id: 'nope' } },
  { name: 'a member', method: 'GET', path: `/user/info?user_id=${RUN}-m1`, except: ['keys', 'teams'] },
  { name: 'an unknown user', method: 'GET', path: '/user/info?user_id=nope' },
  {
    name: 'a key with a secret that we choose',
    path: '/key/generate',
    body: { key: SECRET, team_id: TEAM, user_id: `${RUN}-m1`, key_alias: `${RUN}-chosen` },
    except: ['router_settings'],
  },
  {
    name: 'the same secret under another alias',
    path: '/key/generate',
    body: { key: SECRET, team_id: TEAM, user_id: `${RUN}-m1`, key_alias: `${RUN}-other` },
    except: ['router_settings'],
  },
  { name: 'what became of that key', method: 'GET', path: `/key/info?key=${TOKEN}` },
  { name: 'another alias for it', path: '/key/update', body: { key: TOKEN, key_alias: `${RUN}-new` } },
  { name: 'another alias for an unknown key', path: '/key/update', body: { key: '0'.repeat(64), key_alias: `${RUN}-none` } },
  { name: 'blocking it', path: '/key/block', body: { key: TOKEN } },
  { name: 'deleting it', path: '/key/delete', body: { keys: [TOKEN] } },
  { name: 'deleting it again', path: '/key/delete', body: { keys: [TOKEN] } },
  { name: 'a member who leaves an unknown team', path: '/team/member_delete', body: { team_id: 'nope', user_id: `${RUN}-m1` } },
  { name: 'a member who leaves', path: '/team/member_delete', body: { team_id: TEAM, user_id: `${RUN}-m1` } },
  { name: 'a member who has left', path: '/team/member_delete', body: { team_id: TEAM, user_id: `${RUN}-m1` } },
  { name: 'deleting a user', path: '/user/delete', body: { user_ids: [`${RUN}-m1`] } },
  { name: 'deleting a user who is gone', path: '/user/delete', body: { user_ids: [`${RUN}-m1`] } },
  { name: 'deleting an unknown team', path: '/team/delete', body: { team_ids: [TEAM, 'nope'] } },
  { name: 'deleting a team by the wrong name', path: '/team/delete', body: { team_id: TEAM } },
  { name: 'deleting the team', path: '/team/delete', body: { team_ids: [TEAM] } },
  { name: 'a chat of a deleted team', path: '/chat/completions', body: CHAT, as: 'team' },
  { name: 'a route that is none', method: 'GET', path: '/nothing' },
  { name: 'the wrong method', path: '/team/info', body: {} },
  { name: 'liveliness', method: 'GET', path: '/health/liveliness' },
  { name: 'readiness', method: 'GET', path: '/health/readiness' },
];

(LIVE_URL && LIVE_KEY ? describe : describe.skip)('the stand-in answers like the real LiteLLM', () => {
  let server: SandboxServer;
  let real: Target;
  let standIn: Target;

  beforeAll(async () => {
    server = await startLitellm({ port: 0, spend_lag_ms: 0 });
    standIn = { url: server.url, keys: { master: 'sk-1234' } };
    real = { url: LIVE_URL as string, keys: { master: LIVE_KEY as string } };
  });
  afterAll(() => server.close());

  test.each(STEPS)('$name', async (step) => {
    const expected = await send(real, step);
    expect(await send(standIn, step)).toEqual(expected);
  });
});

function member(name: string, more: object) {
  return { team_id: TEAM, member: { role: 'user', user_id: `${RUN}-${name}` }, ...more };
}

function limit(name: string, max_budget_in_team: number | null) {
  return { team_id: TEAM, user_id: `${RUN}-${name}`, max_budget_in_team };
}

async function send(target: Target, { method = 'POST', path, body, raw, as = 'master', keep, except = [] }: Step) {
  const response = await fetch(target.url + path, {
    method,
    headers: { authorization: `Bearer ${target.keys[as] ?? as}`, 'content-type': 'application/json' },
    ...(method === 'POST' && { body: raw ?? JSON.stringify(body) }),
  });
  const answer = await response.json();
  if (keep) target.keys[keep] = (answer as { key: string }).key;
  return { status: response.status, body: comparable(answer, except) };
}

/**
 * The answer without what no two servers can share: ids, keys, times, and amounts that depend on a model's
 * price.
 */
function comparable(value: unknown, except: string[], field = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => comparable(item, except));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, except.includes(name) ? '(differs)' : comparable(item, except, name)]),
    );
  }
  if (field === 'created' || field === 'spend') return `(${typeof value})`;
  if (typeof value !== 'string') return value;
  return value
    .replace(/Current cost: [\d.e-]+/g, 'Current cost: (cost)')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)/g, '(time)')
    .replace(/[0-9a-f]{64}/g, '(hash)')
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '(uuid)')
    .replace(/sk-[\w-]{22}$/g, '(key)')
    .replace(/sk-\.\.\.[\w-]{4}/g, '(abbreviated key)');
}

/** The LiteLLM stand-in, seen over HTTP as a client sees the real proxy. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import type { Alert } from '../../sandbox/litellm/alerts.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import type { Key, Member, Team } from '../../sandbox/litellm/store.ts';

/** The fields that the tests read; reading one that is not there makes a test fail. */
type Body = {
  error: { message: string; type: string };
  detail: string;
  key: string;
  blocked: boolean;
  deleted_teams: string[];
  data: object;
  info: object;
  teams: { team_id: string }[];
  team_info: Pick<Team, 'max_budget' | 'spend' | 'metadata'> & { members_with_roles: Member[] };
  team_memberships: { litellm_budget_table: { max_budget: number } }[];
  user_info: { teams: string[] };
};
type State = { settings: object; teams: Record<string, Team>; keys: Record<string, Key>; alerts: Alert[]; requests: { path: string }[] };
type Answer<B = Body> = { status: number; body: B };
type Delivery = { method: string; path: string; headers: IncomingHttpHeaders; body: string };

const CHAT = { model: 'fake', messages: [{ role: 'user', content: 'hi' }] };

let server: SandboxServer;
let webhook: Webhook;

beforeEach(async () => {
  webhook = await Webhook.start();
  server = await startLitellm({ port: 0, spend_lag_ms: 0, webhook_url: `${webhook.url}/hook?token=x` });
});

afterEach(async () => {
  jest.restoreAllMocks();
  await server.close();
  await webhook.stop();
});

describe('a team’s budget', () => {
  test('stops requests once the spend is over it, and the caller gets 429 budget_exceeded', async () => {
    const key = await teamWithKey({ team_id: 't1', max_budget: 1 });
    expect((await chat(key, 0.75)).status).toBe(200);
    expect((await chat(key, 0.75)).status).toBe(200);
    expect(await chat(key, 0.75)).toEqual({
      status: 429,
      body: {
        error: {
          message: 'Budget has been exceeded! Team=t1 Current cost: 1.5, Max budget: 1.0',
          type: 'budget_exceeded',
          param: null,
          code: '429',
        },
      },
    });
    expect((await post('/team/update', { team_id: 't1', max_budget: 2 })).status).toBe(200);
    expect((await chat(key, 0.75)).status).toBe(200);
    expect((await info('t1')).team_info.spend).toBe(2.25);
  });

  test('that is exactly used up refuses without an alert', async () => {
    const key = await teamWithKey({ team_id: 't1', max_budget: 1 });
    await chat(key, 1);
    expect((await chat(key)).status).toBe(429);
    expect(webhook.deliveries).toEqual([]);
    expect((await state()).alerts).toEqual([]);
  });

  test('of 0 lets the first request through', async () => {
    const key = await teamWithKey({ team_id: 't1', max_budget: 0 });
    expect((await chat(key)).status).toBe(200);
    expect((await chat(key)).status).toBe(429);
  });

  test('of null never refuses', async () => {
    const key = await teamWithKey({ team_id: 't1', max_budget: 1 });
    await post('/team/update', { team_id: 't1', max_budget: null });
    await chat(key, 1e6);
    expect((await chat(key)).status).toBe(200);
  });

  test('is enforced live while the database’s spend lags behind', async () => {
    await knob('settings', { spend_lag_ms: 60_000 });
    const key = await teamWithKey({ team_id: 't1', max_budget: 1 });
    await chat(key, 2);
    expect((await chat(key)).status).toBe(429);
    expect((await info('t1')).team_info.spend).toBe(0);
    expect((await state()).teams['t1']?.live_spend).toBe(2);
    await knob('settings', { spend_lag_ms: 0 });
    expect((await info('t1')).team_info.spend).toBe(2);
  });

  test('shows new spend after the lag by itself', async () => {
    await knob('settings', { spend_lag_ms: 50 });
    const key = await teamWithKey({ team_id: 't1' });
    await chat(key, 2);
    expect((await info('t1')).team_info.spend).toBe(0);
    await eventually(async () => (await info('t1')).team_info.spend === 2);
  });

  test('has every write on record, with the value before and after', async () => {
    await post('/team/new', { team_id: 't1', max_budget: 1 });
    await post('/team/update', { team_id: 't1', max_budget: 2.5 });
    await post('/team/update', { team_id: 't1', team_alias: 'acme' });
    await post('/team/update', { team_id: 't1', max_budget: null });
    const writes = (await state()).teams['t1']?.budget_writes;
    expect(writes?.map(({ before, max_budget }) => [before, max_budget])).toEqual([
      [null, 1],
      [1, 2.5],
      [2.5, null],
    ]);
  });

  test.each([
    [{ max_budget: -1 }, 'max_budget must be a non-negative finite number. Received: -1.0'],
    [{ max_budget: '1e400' }, 'max_budget must be a non-negative finite number. Received: inf'],
    [{ soft_budget: 10 }, 'soft_budget (10.0) must be strictly lower than max_budget (10.0)'],
    [{ max_budget: 1e-5, soft_budget: 1e-5 }, 'soft_budget (1e-05) must be strictly lower than max_budget (1e-05)'],
  ])('cannot become %j', async (update, message) => {
    await post('/team/new', { team_id: 't1', max_budget: 10 });
    const refused = await post('/team/update', { team_id: 't1', ...update });
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toBe(`{'error': '${message}'}`);
    expect((await info('t1')).team_info.max_budget).toBe(10);
  });
});

describe('the alert', () => {
  test('is the body that LiteLLM sends, every null present', async () => {
    const key = await teamWithKey({ team_id: 't1', team_alias: 'acme', max_budget: 10 }, { user_id: 'u1' });
    await chat(key, 10.25);
    await chat(key);
    const [delivery] = await webhook.received(1);
    expect(delivery?.path).toBe('/hook?token=x');
    expect(delivery?.headers).toMatchObject({ 'content-type': 'application/json', 'user-agent': 'litellm/1.100.5' });
    expect(JSON.parse(delivery?.body ?? '')).toEqual({
      spend: 10.25,
      max_budget: 10,
      soft_budget: null,
      token: Object.keys((await state()).keys)[0],
      customer_id: null,
      user_id: 'u1',
      team_id: 't1',
      team_alias: 'acme',
      organization_id: null,
      user_email: null,
      key_alias: null,
      projected_exceeded_date: null,
      projected_spend: null,
      event_group: 'team',
      alert_emails: null,
      max_budget_alert_emails: null,
      event: 'budget_crossed',
      event_message: 'Team Budget: Budget Crossed\n Total Budget:`10.0`',
    });
  });

  test('is not repeated for a day after a 2xx, not even for a new budget', async () => {
    webhook.statuses = [202];
    const key = await overBudget('t1');
    await alertAnswered(1);
    await chat(key);
    await post('/team/update', { team_id: 't1', max_budget: 5 });
    await knob('teams/t1/spend', { amount: 10 });
    expect((await chat(key)).status).toBe(429);
    expect((await state()).alerts).toHaveLength(1);

    const later = Date.now() + 86_400_001;
    jest.spyOn(Date, 'now').mockReturnValue(later);
    await chat(key);
    await webhook.received(2);
  });

  test('comes again at once when the silence is forgotten', async () => {
    const key = await overBudget('t1');
    await alertAnswered(1);
    await knob('alerts/forget');
    await chat(key);
    await webhook.received(2);
  });

  test('is silenced for that team alone', async () => {
    await overBudget('t1');
    await alertAnswered(1);
    await overBudget('t2');
    const teams = (await webhook.received(2)).map(({ body }) => JSON.parse(body).team_id);
    expect(teams).toEqual(['t1', 't2']);
  });

  test('that was answered with an error is sent again by the next refused request, and only then', async () => {
    webhook.statuses = [500, 404, 200];
    const key = await overBudget('t1');
    await alertAnswered(1);
    expect(webhook.deliveries).toHaveLength(1);
    await chat(key);
    await alertAnswered(2);
    await chat(key);
    await alertAnswered(3);
    await chat(key);
    expect((await state()).alerts.map(({ status }) => status)).toEqual([500, 404, 200]);
  });

  test('follows a 307 with a second POST', async () => {
    webhook.statuses = [307, 200];
    await overBudget('t1');
    const [, again] = await webhook.received(2);
    expect(again).toMatchObject({ method: 'POST', path: '/moved' });
    expect(JSON.parse(again?.body ?? '').team_id).toBe('t1');
  });

  test('comes in several copies that differ only in spend', async () => {
    await knob('settings', { alert_copies: 3 });
    await overBudget('t1');
    const bodies = (await webhook.received(3)).map(({ body }) => JSON.parse(body));
    expect(new Set(bodies.map(({ spend }) => spend)).size).toBe(3);
    expect(new Set(bodies.map((body) => JSON.stringify({ ...body, spend: 0 }))).size).toBe(1);
  });

  test('does not hold up the refused request when the webhook hangs', async () => {
    webhook.hang = true;
    const key = await overBudget('t1');
    await webhook.received(1);
    expect((await chat(key)).status).toBe(429);
    expect((await state()).alerts[0]?.status).toBeNull();
  });

  test('can be turned off', async () => {
    await knob('alerts', { enabled: false });
    const key = await overBudget('t1');
    expect((await state()).alerts).toEqual([]);
    await knob('alerts', { enabled: true });
    await chat(key);
    await webhook.received(1);
  });

  test('waits for an address', async () => {
    await knob('settings', { webhook_url: null });
    const key = await overBudget('t1');
    await knob('settings', { webhook_url: `${webhook.url}/later` });
    await chat(key);
    expect((await webhook.received(1))[0]?.path).toBe('/later');
  });
});

describe('a blocked team', () => {
  test('goes on for a minute after /team/block, because enforcement has it cached', async () => {
    const key = await teamWithKey({ team_id: 't1' });
    expect((await post('/team/block', { team_id: 't1' })).body.blocked).toBe(true);
    expect((await chat(key)).status).toBe(200);

    const aMinuteLater = Date.now() + 60_001;
    jest.spyOn(Date, 'now').mockReturnValue(aMinuteLater);
    const refused = await chat(key);
    expect(refused.status).toBe(401);
    expect(refused.body.error.message).toBe("Authentication Error, Team=t1 is blocked. Update via `/team/unblock` if you're an admin.");
  });

  test('is refused at once after /team/update', async () => {
    const key = await teamWithKey({ team_id: 't1' });
    await post('/team/update', { team_id: 't1', blocked: true });
    expect((await chat(key)).status).toBe(401);
    await post('/team/update', { team_id: 't1', blocked: false });
    expect((await chat(key)).status).toBe(200);
  });
});

describe('teams', () => {
  test('keep what an update omits, lose what it nulls, and have metadata replaced', async () => {
    await post('/team/new', { team_id: 't1', team_alias: 'acme', max_budget: 3, team_member_budget: 1, metadata: { a: 1 } });
    expect(Object.keys((await info('t1')).team_info.metadata)).toEqual(['a', 'team_member_budget_id']);
    await post('/team/update', { team_id: 't1', max_budget: 4 });
    expect((await info('t1')).team_info).toMatchObject({ team_alias: 'acme', max_budget: 4, metadata: { a: 1 } });
    const updated = await post('/team/update', { team_id: 't1', team_alias: null, metadata: { b: 2 } });
    expect(updated.body.data).toMatchObject({ team_alias: null, max_budget: 4, metadata: { b: 2 } });
    expect((await info('t1')).team_info.metadata).toEqual({ b: 2 });
  });

  test('come page by page, each exactly once', async () => {
    for (let i = 0; i < 25; i++) await post('/team/new', { team_id: `t${String(i).padStart(2, '0')}` });
    const ids: string[] = [];
    for (let page = 1; page <= 4; page++) {
      const { body } = await get(`/v2/team/list?page=${page}&page_size=10&sort_by=team_id&sort_order=asc`);
      expect(body).toMatchObject({ total: 25, page, page_size: 10, total_pages: 3 });
      ids.push(...body.teams.map(({ team_id }) => team_id));
    }
    expect(ids).toEqual(Array.from({ length: 25 }, (_, i) => `t${String(i).padStart(2, '0')}`));
  });

  test('take their keys and memberships with them when they are deleted', async () => {
    const key = await teamWithKey({ team_id: 't1', members_with_roles: [{ role: 'user', user_id: 'u1' }] });
    expect((await post('/team/delete', { team_ids: ['t1', 'nope'] })).status).toBe(404);
    expect((await post('/team/delete', { team_ids: ['t1'] })).body).toEqual({ deleted_teams: ['t1'] });
    expect((await chat(key)).body.error.type).toBe('token_not_found_in_db');
    expect((await get('/user/info?user_id=u1')).body.user_info.teams).toEqual([]);
    expect((await get('/team/info?team_id=t1')).status).toBe(404);
  });

  test('have members with budgets of their own', async () => {
    await post('/team/new', { team_id: 't1' });
    await post('/team/member_add', { team_id: 't1', member: { role: 'user', user_id: 'u1' }, max_budget_in_team: 2 });
    await post('/team/member_update', { team_id: 't1', user_id: 'u1', max_budget_in_team: 4 });
    const team = await info('t1');
    expect(team.team_info.members_with_roles.map(({ user_id }) => user_id)).toEqual(['default_user_id', 'u1']);
    expect(team.team_memberships[0]?.litellm_budget_table.max_budget).toBe(4);
    await post('/team/member_delete', { team_id: 't1', user_id: 'u1' });
    expect((await info('t1')).team_memberships).toEqual([]);
  });
});

describe('keys', () => {
  test('with allowed routes manage nothing unless their user is a proxy admin', async () => {
    await post('/team/new', { team_id: 't1', max_budget: 1 });
    const plain = (await post('/key/generate', { allowed_routes: ['/team/update'] })).body.key;
    expect((await post('/team/update', { team_id: 't1', max_budget: 2 }, plain)).status).toBe(403);

    await post('/user/new', { user_id: 'biller', user_role: 'proxy_admin', auto_create_key: false });
    const admin = (await post('/key/generate', { user_id: 'biller', allowed_routes: ['/team/update'] })).body.key;
    expect((await post('/team/update', { team_id: 't1', max_budget: 2 }, admin)).status).toBe(200);
    const elsewhere = await get('/v2/team/list', admin);
    expect(elsewhere.status).toBe(403);
    expect(elsewhere.body.detail).toContain("Only allowed to call routes: ['/team/update']");
  });

  test('are refused once blocked, deleted, expired or over their own budget', async () => {
    const key = await teamWithKey({ team_id: 't1' });
    await post('/key/block', { key });
    expect((await chat(key)).status).toBe(401);
    await post('/key/unblock', { key });
    await post('/key/update', { key, max_budget: 1 });
    expect((await chat(key, 1)).status).toBe(200);
    expect((await chat(key)).body.error.message).toContain('Budget has been exceeded! Key=');
    expect((await get(`/key/info?key=${key}`)).body.info).toMatchObject({ spend: 1, max_budget: 1 });
    await post('/key/delete', { keys: [key] });
    expect((await chat(key)).body.error.type).toBe('token_not_found_in_db');

    const brief = (await post('/key/generate', { team_id: 't1', duration: '1h' })).body.key;
    const anHourLater = Date.now() + 3_600_001;
    jest.spyOn(Date, 'now').mockReturnValue(anHourLater);
    expect((await chat(brief)).body.error.type).toBe('expired_key');
  });

  test('are never stored: the state knows only their hashes', async () => {
    const key = await teamWithKey({ team_id: 't1' });
    await post('/key/block', { key });
    await get(`/key/info?key=${key}`);
    expect((await state()).requests).toHaveLength(4);
    expect(JSON.stringify(await state())).not.toContain(key);
  });
});

describe('without its database', () => {
  test('the proxy is not ready, and its answers to a client are misleading', async () => {
    const key = await teamWithKey({ team_id: 't1', max_budget: 1 });
    await knob('settings', { database_down: true });
    expect(await get('/health/readiness')).toEqual({ status: 503, body: { status: 'healthy', db: 'disconnected' } });
    const update = await post('/team/update', { team_id: 't1', max_budget: 2 });
    expect([update.status, update.body.error.message]).toEqual([401, 'Authentication Error, No DB Connected']);
    expect((await get('/team/info?team_id=t1')).status).toBe(404);
    expect((await get('/v2/team/list')).status).toBe(500);
    expect((await chat(key)).status).toBe(401);
    await knob('settings', { database_down: false });
    expect((await info('t1')).team_info.max_budget).toBe(1);
  });
});

describe('the knobs', () => {
  test('spend at once, live and in the database', async () => {
    const key = await teamWithKey({ team_id: 'a/b', max_budget: 1 });
    await knob('settings', { spend_lag_ms: 60_000 });
    expect((await knob('teams/a%2Fb/spend', { amount: 3.2 })).body).toMatchObject({ team_id: 'a/b', spend: 3.2 });
    expect((await chat(key)).status).toBe(429);
  });

  test('that do not exist change nothing', async () => {
    expect((await knob('settings', { spend_lag_ms: 5, spend_lag: 5 })).status).toBe(400);
    expect((await knob('settings', { alert_copies: -1 })).status).toBe(400);
    expect((await knob('nothing')).status).toBe(404);
    expect((await knob('teams/nope/spend', { amount: 1 })).status).toBe(404);
    expect((await state()).settings).toMatchObject({ spend_lag_ms: 0, alert_copies: 1 });
  });

  test('lose an answer after the budget was written', async () => {
    await post('/team/new', { team_id: 't1', max_budget: 1 });
    await fetch(`${server.url}/_sandbox/faults`, {
      method: 'POST',
      body: JSON.stringify({ method: 'POST', path: '/team/update', when: 'after', action: { kind: 'reset' } }),
    });
    await expect(post('/team/update', { team_id: 't1', max_budget: 2 })).rejects.toThrow();
    expect((await info('t1')).team_info.max_budget).toBe(2);
    const { requests } = await state();
    expect(requests.filter(({ path }) => path === '/team/update')).toHaveLength(1);
  });
});

describe('as a process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'litellm-'));
  let process: LaunchedServer | undefined;

  afterEach(async () => {
    await process?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('it finds its teams, keys and flushed spend again after a restart', async () => {
    const args = { port: 0, state: join(folder, 'litellm.json'), 'master-key': 'sk-other', 'spend-lag-ms': 60_000, 'call-cost': 0.5 };
    process = await launch('litellm', args);
    let url = process.ready['url'];
    await post('/team/new', { team_id: 't1', max_budget: 0.25 }, 'sk-other', url);
    const key = (await post('/key/generate', { team_id: 't1' }, 'sk-other', url)).body.key;
    expect((await post('/chat/completions', CHAT, key, url)).status).toBe(200);
    await process.stop();

    process = await launch('litellm', args);
    url = process.ready['url'];
    expect((await get('/team/info?team_id=t1', 'sk-other', url)).body.team_info).toMatchObject({ max_budget: 0.25, spend: 0.5 });
    expect((await post('/chat/completions', CHAT, key, url)).status).toBe(429);
  });

  test('it refuses an option that is no number', async () => {
    await expect(launch('litellm', { port: 0, 'call-cost': 'free' })).rejects.toThrow('--call-cost is a number of at least 0');
  });
});

/** Where alerts go; answers each delivery with the next of `statuses`, the last one for ever. */
class Webhook {
  readonly deliveries: Delivery[] = [];
  statuses = [200];
  hang = false;
  private readonly server: Server;

  private constructor() {
    this.server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      this.deliveries.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body });
      if (this.hang) return;
      const status = this.statuses.length > 1 ? this.statuses.shift() : this.statuses[0];
      response.writeHead(status ?? 200, status === 307 ? { location: '/moved' } : {}).end();
    });
  }

  static async start(): Promise<Webhook> {
    const webhook = new Webhook();
    await new Promise<void>((resolve) => webhook.server.listen(0, '127.0.0.1', resolve));
    return webhook;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async received(count: number): Promise<Delivery[]> {
    await eventually(() => this.deliveries.length >= count);
    expect(this.deliveries).toHaveLength(count);
    return this.deliveries;
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }
}

async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not happen within 2 s');
}

async function call<B = Body>(method: string, path: string, body: unknown, key: string, url: string): Promise<Answer<B>> {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as B };
}

const post = (path: string, body: unknown, key = 'sk-1234', url = server.url) => call('POST', path, body, key, url);
const get = (path: string, key = 'sk-1234', url = server.url) => call('GET', path, undefined, key, url);
const knob = (path: string, body: unknown = {}) => post(`/_sandbox/${path}`, body);
const state = async () => (await call<State>('GET', '/_sandbox/state', undefined, 'sk-1234', server.url)).body;
const info = async (team_id: string) => (await get(`/team/info?team_id=${team_id}`)).body;
const chat = (key: string, sandbox_cost = 0.0002) => post('/chat/completions', { ...CHAT, sandbox_cost }, key);
const alertAnswered = (count: number) =>
  eventually(async () => (await state()).alerts.filter(({ status }) => status !== null).length === count);

/** @returns a key of a new team. */
async function teamWithKey(team: { team_id: string; [field: string]: unknown }, key: object = {}): Promise<string> {
  expect((await post('/team/new', team)).status).toBe(200);
  return (await post('/key/generate', { team_id: team.team_id, ...key })).body.key;
}

/** @returns a key of a new team, whose first refused request has just been made. */
async function overBudget(team_id: string): Promise<string> {
  const key = await teamWithKey({ team_id, max_budget: 1 });
  await chat(key, 1.5);
  expect((await chat(key)).status).toBe(429);
  return key;
}

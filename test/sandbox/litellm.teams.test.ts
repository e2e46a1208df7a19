import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { LitellmClient } from './litellm-client.ts';

let server: SandboxServer;
let litellm: LitellmClient;

beforeEach(async () => {
  server = await startLitellm({ port: 0, spend_lag_ms: 0 });
  litellm = new LitellmClient(server.url);
});
afterEach(async () => {
  jest.restoreAllMocks();
  await server.close();
});

describe('teams', () => {
  test('keep what an update omits, lose what it nulls, and have metadata replaced', async () => {
    await litellm.post('/team/new', { team_id: 't1', team_alias: 'acme', max_budget: 3, team_member_budget: 1, metadata: { a: 1 } });
    expect(Object.keys((await litellm.info('t1')).team_info.metadata)).toEqual(['a', 'team_member_budget_id']);
    await litellm.post('/team/update', { team_id: 't1', max_budget: 4 });
    expect((await litellm.info('t1')).team_info).toMatchObject({ team_alias: 'acme', max_budget: 4, metadata: { a: 1 } });
    const updated = await litellm.post('/team/update', { team_id: 't1', team_alias: null, metadata: { b: 2 } });
    expect(updated.body.data).toMatchObject({ team_alias: null, max_budget: 4, metadata: { b: 2 } });
    expect((await litellm.info('t1')).team_info.metadata).toEqual({ b: 2 });
  });

  test('come page by page, each exactly once', async () => {
    for (let i = 0; i < 25; i++) await litellm.post('/team/new', { team_id: `t${String(i).padStart(2, '0')}` });
    const ids: string[] = [];
    for (let page = 1; page <= 4; page++) {
      const { body } = await litellm.get(`/v2/team/list?page=${page}&page_size=10&sort_by=team_id&sort_order=asc`);
      expect(body).toMatchObject({ total: 25, page, page_size: 10, total_pages: 3 });
      ids.push(...body.teams.map(({ team_id }) => team_id));
    }
    expect(ids).toEqual(Array.from({ length: 25 }, (_, i) => `t${String(i).padStart(2, '0')}`));
  });

  test('take their keys and memberships with them when they are deleted', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', members_with_roles: [{ role: 'user', user_id: 'u1' }] });
    expect((await litellm.post('/team/delete', { team_ids: ['t1', 'nope'] })).status).toBe(404);
    expect((await litellm.post('/team/delete', { team_ids: ['t1'] })).body).toEqual({ deleted_teams: ['t1'] });
    expect((await litellm.chat(key)).body.error.type).toBe('token_not_found_in_db');
    expect((await litellm.get('/user/info?user_id=u1')).body.user_info.teams).toEqual([]);
    expect((await litellm.get('/team/info?team_id=t1')).status).toBe(404);
  });

  test('show so many of their keys as are asked for, all of them without a limit, and none is no limit', async () => {
    await litellm.post('/team/new', { team_id: 't1' });
    for (let key = 0; key < 3; key++) await litellm.post('/key/generate', { team_id: 't1' });
    const shown = async (limit: string) => (await litellm.get(`/team/info?team_id=t1${limit}`)).body.keys.length;
    expect([await shown(''), await shown('&key_limit=2'), await shown('&key_limit=9')]).toEqual([3, 2, 3]);
    const none = await litellm.get('/team/info?team_id=t1&key_limit=0');
    expect([none.status, none.body.detail]).toEqual([
      422,
      [{ type: 'greater_than', loc: ['query', 'key_limit'], msg: 'Input should be greater than 0', input: '0', ctx: { gt: 0 } }],
    ]);
    expect((await litellm.get('/team/info?team_id=t1&key_limit=x')).status).toBe(422);
  });

  test('can be crowded: keys and members are shown everywhere, of the keys as many as are asked for', async () => {
    await litellm.post('/team/new', { team_id: 't1' });
    await litellm.post('/key/generate', { team_id: 't1' });
    await litellm.knob('teams/t1/crowd', { keys: 1_000, members: 1_000 });
    const { keys, team_info, team_memberships } = await litellm.info('t1');
    expect([keys.length, team_info.members_with_roles.length, team_memberships.length]).toEqual([1_001, 1_001, 1_000]);
    expect(JSON.stringify(keys).length / keys.length).toBeGreaterThan(1_000);
    expect((await litellm.get('/team/info?team_id=t1&key_limit=5')).body.keys).toHaveLength(5);
    const [listed] = (await litellm.get('/v2/team/list?team_id=t1')).body.teams;
    expect(listed).toMatchObject({ keys_count: 1_001, members_count: 1_001 });
  });

  test('have members with budgets of their own', async () => {
    await litellm.post('/team/new', { team_id: 't1' });
    await litellm.post('/team/member_add', { team_id: 't1', member: { role: 'user', user_id: 'u1' }, max_budget_in_team: 2 });
    await litellm.post('/team/member_update', { team_id: 't1', user_id: 'u1', max_budget_in_team: 4 });
    const team = await litellm.info('t1');
    expect(team.team_info.members_with_roles.map(({ user_id }) => user_id)).toEqual(['default_user_id', 'u1']);
    expect(team.team_memberships[0]?.litellm_budget_table.max_budget).toBe(4);
    await litellm.post('/team/member_delete', { team_id: 't1', user_id: 'u1' });
    expect((await litellm.info('t1')).team_memberships).toEqual([]);
  });
});

describe('keys', () => {
  test('with allowed routes manage nothing unless their user is a proxy admin', async () => {
    await litellm.post('/team/new', { team_id: 't1', max_budget: 1 });
    const plain = (await litellm.post('/key/generate', { allowed_routes: ['/team/update'] })).body.key;
    expect((await litellm.post('/team/update', { team_id: 't1', max_budget: 2 }, plain)).status).toBe(403);

    await litellm.post('/user/new', { user_id: 'biller', user_role: 'proxy_admin', auto_create_key: false });
    const admin = (await litellm.post('/key/generate', { user_id: 'biller', allowed_routes: ['/team/update'] })).body.key;
    expect((await litellm.post('/team/update', { team_id: 't1', max_budget: 2 }, admin)).status).toBe(200);
    const elsewhere = await litellm.get('/v2/team/list', admin);
    expect(elsewhere.status).toBe(403);
    expect(elsewhere.body.detail).toContain("Only allowed to call routes: ['/team/update']");
  });

  test('are refused once blocked, deleted, expired or over their own budget', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1' });
    await litellm.post('/key/block', { key });
    expect((await litellm.chat(key)).status).toBe(401);
    await litellm.post('/key/unblock', { key });
    await litellm.post('/key/update', { key, max_budget: 1 });
    expect((await litellm.chat(key, 1)).status).toBe(200);
    expect((await litellm.chat(key)).body.error.message).toContain('Budget has been exceeded! Key=');
    expect((await litellm.get(`/key/info?key=${key}`)).body.info).toMatchObject({ spend: 1, max_budget: 1 });
    await litellm.post('/key/delete', { keys: [key] });
    expect((await litellm.chat(key)).body.error.type).toBe('token_not_found_in_db');

    const brief = (await litellm.post('/key/generate', { team_id: 't1', duration: '1h' })).body.key;
    const anHourLater = Date.now() + 3_600_001;
    jest.spyOn(Date, 'now').mockReturnValue(anHourLater);
    expect((await litellm.chat(brief)).body.error.type).toBe('expired_key');
  });

  test('are never stored: the state knows only their hashes', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1' });
    await litellm.post('/key/block', { key });
    await litellm.get(`/key/info?key=${key}`);
    expect((await litellm.state()).requests).toHaveLength(4);
    expect(JSON.stringify(await litellm.state())).not.toContain(key);
  });
});

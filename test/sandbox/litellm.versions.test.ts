/** Where LiteLLM 1.110.2 differs from 1.100.5 for whoever manages teams and budgets: the stand-in plays both. */
import { afterEach, describe, expect, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { VERSIONS, type Version } from '../../sandbox/litellm/version.ts';
import { LitellmClient } from './litellm-client.ts';

let server: SandboxServer;
afterEach(() => server.close());

async function start(version: Version): Promise<LitellmClient> {
  server = await startLitellm({ port: 0, spend_lag_ms: 0, version });
  return new LitellmClient(server.url);
}

/** What each version answers to the same. */
function each<T>(old: T, now: T): [Version, T][] {
  return [
    [VERSIONS[0], old],
    [VERSIONS[1], now],
  ];
}

describe('a refusal', () => {
  test.each(each([429, '429'], [422, '422']))('of a call over the budget, in %s', async (version, [status, code]) => {
    const litellm = await start(version);
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    await litellm.knob('teams/t1/spend', { amount: 2 });
    const { status: seen, body } = await litellm.chat(key);
    expect([seen, body.error]).toEqual([status, expect.objectContaining({ type: 'budget_exceeded', code, param: null })]);
  });

  test.each(each(['auth_error', 'None'], ['invalid_request_error', null]))('of an unknown team, in %s', async (version, [type, param]) => {
    const litellm = await start(version);
    const { status, body } = await litellm.get('/team/info?team_id=nope');
    const message = "{'message': 'Team not found, passed team id: nope.'}";
    expect([status, body.error]).toEqual([404, { message, type, param, code: '404' }]);
  });

  test.each(each(/Unable to find token in cache/, /^Authentication Error, Invalid API key provided\.$/))(
    'of an unknown key, in %s',
    async (version, message) => {
      const litellm = await start(version);
      const { status, body } = await litellm.get('/team/info?team_id=t1', 'sk-unknown-unknown');
      expect([status, body.error]).toEqual([
        401,
        { message: expect.stringMatching(message), type: 'token_not_found_in_db', param: 'key', code: '401' },
      ]);
    },
  );

  test.each(each(['ctx', 'input', 'loc', 'msg', 'type'], ['loc', 'msg', 'type']))(
    'of a limit of no keys, in %s',
    async (version, fields) => {
      const litellm = await start(version);
      const { status, body } = await litellm.get('/team/info?team_id=t1&key_limit=0');
      expect([status, Object.keys((body.detail as object[])[0] ?? {}).toSorted()]).toEqual([422, fields]);
    },
  );

  test.each(each(401, 403))('of a write by somebody who is no proxy admin, in %s', async (version, status) => {
    const litellm = await start(version);
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    expect((await litellm.post('/team/update', { team_id: 't1', max_budget: 2 }, key)).status).toBe(status);
    expect((await litellm.info('t1')).team_info.max_budget).toBe(1);
  });

  test.each(each([404, 500, 401], [503, 503, 500]))('while its database is unavailable, in %s', async (version, statuses) => {
    const litellm = await start(version);
    await litellm.post('/team/new', { team_id: 't1' });
    await litellm.knob('settings', { database_down: true });
    const answers = [
      await litellm.get('/team/info?team_id=t1'),
      await litellm.get('/v2/team/list'),
      await litellm.post('/team/update', { team_id: 't1', max_budget: 2 }),
    ];
    expect(answers.map(({ status }) => status)).toEqual(statuses);
    expect((await litellm.get('/team/info?team_id=t1', 'sk-another-key-of-a-team')).status).toBe(version === '1.100.5' ? 404 : 401);
  });
});

describe('the cap of an organization', () => {
  const CAPPED = { team_id: 't1', organization_id: 'o1', max_budget: 5 };
  const OVER = /Team max_budget \(10\.0\) exceeds organization's max_budget \(5\.0\)\. Organization: o1/;

  test.each(VERSIONS)('refuses a new team above it, in %s', async (version) => {
    const litellm = await start(version);
    await litellm.knob('organizations', { organization_id: 'o1', max_budget: 5 });
    const { status, body } = await litellm.post('/team/new', { ...CAPPED, max_budget: 10 });
    expect([status, body.error.message]).toEqual([400, expect.stringMatching(OVER)]);
    expect((await litellm.post('/team/new', CAPPED)).status).toBe(200);
  });

  test.each(each(200, 400))('is looked at by an update as well from 1.110.2 on: %s', async (version, status) => {
    const litellm = await start(version);
    await litellm.knob('organizations', { organization_id: 'o1', max_budget: 5 });
    await litellm.post('/team/new', CAPPED);
    const raised = await litellm.post('/team/update', { team_id: 't1', max_budget: 10 });
    expect(raised.status).toBe(status);
    expect((await litellm.info('t1')).team_info.max_budget).toBe(status === 200 ? 10 : 5);
    for (const fields of [{ max_budget: 4 }, { max_budget: null }, { team_alias: 'a' }])
      expect((await litellm.post('/team/update', { team_id: 't1', ...fields })).status).toBe(200);
  });
});

test.each(each(404, 403))('the routes of organizations: %s', async (version, status) => {
  const litellm = await start(version);
  expect((await litellm.get('/organization/info?organization_id=o1')).status).toBe(status);
});

test.each(each([], [null]))('the memberships of /team/info, of a team whose members have no limits, in %s', async (version, tables) => {
  const litellm = await start(version);
  await litellm.post('/team/new', { team_id: 't1' });
  const { team_memberships } = await litellm.info('t1');
  expect(team_memberships.map(({ litellm_budget_table }) => litellm_budget_table)).toEqual(tables);
});

test.each(each(['b'], ['b', 'team_member_budget_id']))('metadata after an update of it, in %s', async (version, names) => {
  const litellm = await start(version);
  await litellm.post('/team/new', { team_id: 't1', team_member_budget: 1, metadata: { a: 1 } });
  await litellm.post('/team/update', { team_id: 't1', metadata: { b: 2 } });
  expect(Object.keys((await litellm.info('t1')).team_info.metadata)).toEqual(names);
});

test.each(each(200, 401))('a call right after its team was blocked by /team/block, in %s', async (version, status) => {
  const litellm = await start(version);
  const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
  expect((await litellm.chat(key)).status).toBe(200);
  await litellm.post('/team/block', { team_id: 't1' });
  expect((await litellm.chat(key)).status).toBe(status);
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { LitellmClient } from './litellm-client.ts';

let server: SandboxServer;
let litellm: LitellmClient;

beforeEach(async () => {
  server = await startLitellm({ port: 0, spend_lag_ms: 0 });
  litellm = new LitellmClient(server.url);
});
afterEach(async () => {
  await server.close();
});

describe('without its database', () => {
  test('the proxy is not ready, and its answers to a client are misleading', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    await litellm.knob('settings', { database_down: true });
    expect(await litellm.get('/health/readiness')).toEqual({ status: 503, body: { status: 'healthy', db: 'disconnected' } });
    const update = await litellm.post('/team/update', { team_id: 't1', max_budget: 2 });
    expect([update.status, update.body.error.message]).toEqual([401, 'Authentication Error, No DB Connected']);
    expect((await litellm.get('/team/info?team_id=t1')).status).toBe(404);
    expect((await litellm.get('/v2/team/list')).status).toBe(500);
    expect((await litellm.chat(key)).status).toBe(401);
    await litellm.knob('settings', { database_down: false });
    expect((await litellm.info('t1')).team_info.max_budget).toBe(1);
  });
});

describe('the knobs', () => {
  test('spend at once, live and in the database', async () => {
    const key = await litellm.teamWithKey({ team_id: 'a/b', max_budget: 1 });
    await litellm.knob('settings', { spend_lag_ms: 60_000 });
    expect((await litellm.knob('teams/a%2Fb/spend', { amount: 3.2 })).body).toMatchObject({ team_id: 'a/b', spend: 3.2 });
    expect((await litellm.chat(key)).status).toBe(429);
  });

  test('that do not exist change nothing', async () => {
    expect((await litellm.knob('settings', { spend_lag_ms: 5, spend_lag: 5 })).status).toBe(400);
    expect((await litellm.knob('settings', { alert_copies: -1 })).status).toBe(400);
    expect((await litellm.knob('nothing')).status).toBe(404);
    expect((await litellm.knob('teams/nope/spend', { amount: 1 })).status).toBe(404);
    expect((await litellm.state()).settings).toMatchObject({ spend_lag_ms: 0, alert_copies: 1 });
  });

  test('lose an answer after the budget was written', async () => {
    await litellm.post('/team/new', { team_id: 't1', max_budget: 1 });
    await litellm.knob('faults', { method: 'POST', path: '/team/update', when: 'after', action: { kind: 'reset' } });
    await expect(litellm.post('/team/update', { team_id: 't1', max_budget: 2 })).rejects.toThrow();
    expect((await litellm.info('t1')).team_info.max_budget).toBe(2);
    const { requests } = await litellm.state();
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
    const before = new LitellmClient(process.ready['url'] ?? '', 'sk-other');
    const key = await before.teamWithKey({ team_id: 't1', max_budget: 0.25 });
    expect((await before.chat(key)).status).toBe(200);
    await process.stop();

    process = await launch('litellm', args);
    const after = new LitellmClient(process.ready['url'] ?? '', 'sk-other');
    expect((await after.info('t1')).team_info).toMatchObject({ max_budget: 0.25, spend: 0.5 });
    expect((await after.chat(key)).status).toBe(429);
  });

  test('it refuses an option that is no number', async () => {
    await expect(launch('litellm', { port: 0, 'call-cost': 'free' })).rejects.toThrow('--call-cost has to be a number of at least 0');
  });
});

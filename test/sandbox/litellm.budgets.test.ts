import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { LitellmClient } from './litellm-client.ts';

const LAG_MS = 10_000;
/** HTTP needs the others. */
const ONLY_TIMEOUTS: Parameters<typeof jest.useFakeTimers>[0] = {
  doNotFake: [
    'Date',
    'hrtime',
    'nextTick',
    'performance',
    'queueMicrotask',
    'setImmediate',
    'clearImmediate',
    'setInterval',
    'clearInterval',
  ],
};

let server: SandboxServer;
let litellm: LitellmClient;

beforeEach(async () => {
  server = await startLitellm({ port: 0, spend_lag_ms: 0 });
  litellm = new LitellmClient(server.url);
});
afterEach(async () => {
  jest.restoreAllMocks();
  jest.useRealTimers();
  await server.close();
});

describe('a team’s budget', () => {
  test('stops requests once the spend is over it, and the caller gets 429 budget_exceeded', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    expect((await litellm.chat(key, 0.75)).status).toBe(200);
    expect((await litellm.chat(key, 0.75)).status).toBe(200);
    expect(await litellm.chat(key, 0.75)).toEqual({
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
    expect((await litellm.post('/team/update', { team_id: 't1', max_budget: 2 })).status).toBe(200);
    expect((await litellm.chat(key, 0.75)).status).toBe(200);
    expect((await litellm.info('t1')).team_info.spend).toBe(2.25);
  });

  test('of 0 lets the first request through', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 0 });
    expect((await litellm.chat(key)).status).toBe(200);
    expect((await litellm.chat(key)).status).toBe(429);
  });

  test('of null never refuses', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    await litellm.post('/team/update', { team_id: 't1', max_budget: null });
    await litellm.chat(key, 1e6);
    expect((await litellm.chat(key)).status).toBe(200);
  });

  test('is enforced live while the database’s spend lags behind', async () => {
    await litellm.knob('settings', { spend_lag_ms: 60_000 });
    const key = await litellm.teamWithKey({ team_id: 't1', max_budget: 1 });
    await litellm.chat(key, 2);
    expect((await litellm.chat(key)).status).toBe(429);
    expect((await litellm.info('t1')).team_info.spend).toBe(0);
    expect((await litellm.state()).teams['t1']?.live_spend).toBe(2);
    await litellm.knob('settings', { spend_lag_ms: 0 });
    expect((await litellm.info('t1')).team_info.spend).toBe(2);
  });

  test('shows new spend after the lag by itself', async () => {
    jest.useFakeTimers(ONLY_TIMEOUTS);
    await litellm.knob('settings', { spend_lag_ms: LAG_MS });
    const key = await litellm.teamWithKey({ team_id: 't1' });
    await litellm.chat(key, 2);
    jest.advanceTimersByTime(LAG_MS - 1);
    expect((await litellm.info('t1')).team_info.spend).toBe(0);
    jest.advanceTimersByTime(1);
    expect((await litellm.info('t1')).team_info.spend).toBe(2);
  });

  test('has every write on record, with the value before and after', async () => {
    await litellm.post('/team/new', { team_id: 't1', max_budget: 1 });
    await litellm.post('/team/update', { team_id: 't1', max_budget: 2.5 });
    await litellm.post('/team/update', { team_id: 't1', team_alias: 'acme' });
    await litellm.post('/team/update', { team_id: 't1', max_budget: null });
    const writes = (await litellm.state()).teams['t1']?.budget_writes;
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
    await litellm.post('/team/new', { team_id: 't1', max_budget: 10 });
    const refused = await litellm.post('/team/update', { team_id: 't1', ...update });
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toBe(`{'error': '${message}'}`);
    expect((await litellm.info('t1')).team_info.max_budget).toBe(10);
  });
});

describe('a blocked team', () => {
  test('goes on for a minute after /team/block, because enforcement has it cached', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1' });
    expect((await litellm.post('/team/block', { team_id: 't1' })).body.blocked).toBe(true);
    expect((await litellm.chat(key)).status).toBe(200);

    const aMinuteLater = Date.now() + 60_001;
    jest.spyOn(Date, 'now').mockReturnValue(aMinuteLater);
    const refused = await litellm.chat(key);
    expect(refused.status).toBe(401);
    expect(refused.body.error.message).toBe("Authentication Error, Team=t1 is blocked. Update via `/team/unblock` if you're an admin.");
  });

  test('is refused at once after /team/update', async () => {
    const key = await litellm.teamWithKey({ team_id: 't1' });
    await litellm.post('/team/update', { team_id: 't1', blocked: true });
    expect((await litellm.chat(key)).status).toBe(401);
    await litellm.post('/team/update', { team_id: 't1', blocked: false });
    expect((await litellm.chat(key)).status).toBe(200);
  });
});

/**
 * The client of LiteLLM's management API against the stand-in, which answers as the real proxy was measured
 * to answer.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import axios, { type AxiosInstance } from 'axios';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { quotaFromDollars } from '../../src/domain/money.ts';
import { KmsClient, newSecret, tokenOf } from '../../src/kms/client.ts';
import { RESET } from '../support/faults.ts';
import { eventually } from '../support/time.ts';

const KEY = 'sk-1234';
const PROBE = '/are-there-more';
/** A team as a LiteLLM of our own shows it. */
const ROW = { team_id: 't1', max_budget: 20, spend: 19.9, budget_duration: null, blocked: false, metadata: {} };

let litellm: LaunchedServer;
let url: string;
let kms: KmsClient;
/** LiteLLM as somebody else uses it. */
let other: AxiosInstance;
let serial = 0;

beforeAll(async () => {
  litellm = await launch('litellm', { port: 0, 'spend-lag-ms': 0 });
  url = litellm.ready['url'] ?? '';
  kms = new KmsClient({ baseUrl: url, apiKey: KEY });
  other = axios.create({ baseURL: url, headers: { Authorization: `Bearer ${KEY}`, 'X-Sandbox-Spare': '1' } });
});
afterEach(() => axios.delete(`${url}/_sandbox/faults`));
afterAll(() => litellm.stop());

describe('the list of teams', () => {
  test('comes page by page in the order of the ids, each with its budget and what it holds', async () => {
    const prefix = newId('list');
    for (const id of ['c', 'a', 'b']) await other.post('/team/new', { team_id: `${prefix}-${id}`, team_alias: id, max_budget: 7 });
    await other.post('/key/generate', { team_id: `${prefix}-b` });
    await other.post('/team/update', { team_id: `${prefix}-b`, blocked: true, metadata: { owner: 'somebody' } });
    const first = await kms.teams({ page: 1, pageSize: 2 });
    expect(first).toMatchObject({ total: 3, page: 1, totalPages: 2, unreadable: [] });
    expect(first.teams.map(({ alias }) => alias)).toEqual(['a', 'b']);
    expect(first.teams[1]).toEqual({
      teamId: `${prefix}-b`,
      alias: 'b',
      quota: quotaFromDollars(7),
      spend: quotaFromDollars(0),
      softBudget: null,
      budgetDuration: null,
      hasBudgetLimits: false,
      blocked: true,
      metadata: { owner: 'somebody' },
      membersCount: 1,
      keysCount: 1,
      memberUserIds: ['default_user_id'],
    });
    expect((await kms.teams({ page: 2, pageSize: 2 })).teams.map(({ alias }) => alias)).toEqual(['c']);
    expect((await kms.teams({ page: 3, pageSize: 2 })).teams).toEqual([]);
  });

  test('keeps a row that makes no sense apart from the others', async () => {
    const row = { max_budget: 1, spend: 0, budget_duration: null, blocked: false };
    const teams = [
      { team_id: 'good', ...row },
      { team_id: 'bad', ...row, spend: 'a lot' },
      null,
      { team_id: 'fine', ...row, new_field: {} },
    ];
    await kmsFault({
      path: '/v2/team/list',
      action: { kind: 'respond', status: 200, body: { teams, total: 4, page: 1, page_size: 100, total_pages: 1 } },
    });
    const page = await kms.teams({ page: 1, pageSize: 100 });
    expect(page.teams.map(({ teamId }) => teamId)).toEqual(['good', 'fine']);
    expect(page.unreadable.map(({ teamId }) => teamId)).toEqual(['bad', 'no id']);
    expect(page.unreadable[0]?.reason).toMatch(/expected number.*\n.*spend/);
  });
});

describe('a page of teams that is too large', () => {
  /** Each of its teams has members of so many bytes. */
  async function listing(sizes: number[]): Promise<Awaited<ReturnType<typeof answering>>> {
    return answering((_path, query) => {
      const [page, size] = [Number(query.get('page')), Number(query.get('page_size'))];
      const rows = sizes.map((bytes, index) => ({ ...ROW, team_id: `t${index}`, members_with_roles: [{ user_id: 'x'.repeat(bytes) }] }));
      return { ...listOf(...rows.slice((page - 1) * size, page * size)), total: rows.length, total_pages: Math.ceil(rows.length / size) };
    });
  }

  test('is read in parts, and only a row that is too large is unreadable', async () => {
    const sizes = Array.from({ length: 130 }, (_, index) => (index === 42 ? 20e6 : 1));
    const { client, asked, close } = await listing(sizes);
    const { teams, unreadable, total, totalPages } = await client.teams({ page: 1, pageSize: 100 });
    expect(teams.map(({ teamId }) => teamId)).toEqual(sizes.flatMap((_, index) => (index === 42 || index >= 100 ? [] : [`t${index}`])));
    expect(unreadable).toEqual([{ teamId: 'no id', reason: expect.stringContaining('too large') }]);
    expect([total, totalPages, asked.length]).toEqual([130, 2, 1 + 10 + 10]);
    close();
  });

  test('is an error where none of its rows can be read, so that it counts as a page that failed', async () => {
    const { client, close } = await listing([20e6, 20e6]);
    await expect(client.teams({ page: 1, pageSize: 2 })).rejects.toMatchObject({ kind: 'unavailable', excess: 'size' });
    close();
  });
});

describe('a team of any size', () => {
  const CROWDED = { keys: 21_000, members: 0 };

  test('is read with one of its keys, however many it has', async () => {
    const teamId = await crowdedTeam(CROWDED);
    expect((await other.get('/team/info', { params: { team_id: teamId } })).data.keys).toHaveLength(CROWDED.keys);
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
    expect(await kms.team(teamId)).toMatchObject({ team: { teamId }, memberships: [] });
    expect(await askedFor(teamId)).toEqual(['/team/info', '/team/info']);
  });

  test('is read from the list where its members alone are too many', async () => {
    const teamId = await crowdedTeam({ keys: 0, members: 10_000 });
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
    expect(await askedFor(teamId)).toEqual(['/team/info', '/v2/team/list']);
    expect((await kms.team(teamId)).memberships).toHaveLength(10_000);
  });

  test('is read from the list at once the next time, and is missing when it was deleted meanwhile', async () => {
    const teamId = await crowdedTeam({ keys: 0, members: 10_000 });
    for (let times = 0; times < 3; times++) expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
    expect(await askedFor(teamId)).toEqual(['/team/info', '/v2/team/list', '/v2/team/list', '/v2/team/list']);
    await other.post('/team/delete', { team_ids: [teamId] });
    await expect(kms.teamBudget(teamId)).rejects.toMatchObject({ kind: 'not_found' });
  });

  test('is read from the list where LiteLLM knows no limit of keys, and nothing large is kept', async () => {
    const { client, asked, close } = await answering((path) => (path === '/team/info' ? bigAnswer() : listOf(ROW)));
    const before = heapAfterCollection();
    const all = Array.from({ length: 4 }, () => client.teamBudget('t1'));
    expect(await Promise.all(all)).toEqual(Array(4).fill(expect.objectContaining({ quota: quotaFromDollars(20) })));
    expect(heapAfterCollection() - before).toBeLessThan(25e6);
    expect(asked.filter((path) => path === '/team/info')).toHaveLength(4);
    close();
  });

  test('is read from the list where a proxy has not waited for it', async () => {
    const teamId = await newTeam();
    await kmsFault({ path: '/team/info', times: 2, action: { kind: 'respond', status: 504, body: '<html></html>' } });
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
  });

  test('is read from the list where LiteLLM is too slow with it', async () => {
    const teamId = await newTeam();
    await kmsFault({ path: '/team/info', contains: teamId, action: { kind: 'delay', ms: 20_000 } });
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
    expect(await askedFor(teamId)).toEqual(['/v2/team/list']);
  }, 30_000);

  test.each<[string, unknown]>([
    ['does not show it', listOf()],
    ['shows another one', listOf({ ...ROW, team_id: 't2' })],
    ['shows it without its spend', listOf({ ...ROW, spend: undefined })],
  ])('is not known to be missing where the list %s: only what was asked first says that', async (_, list) => {
    const { client, close } = await answering((path) => (path === '/team/info' ? bigAnswer() : list));
    for (let times = 0; times < 2; times++) await expect(client.teamBudget('t1')).rejects.toMatchObject({ kind: 'unavailable' });
    close();
  });

  test('is not the one that is answered with, as by a cache before LiteLLM that looks at the path alone', async () => {
    const team_info = { ...ROW, team_id: 't2' };
    const { client, close } = await answering(() => ({ team_id: 't2', team_info, keys: [], team_memberships: [] }));
    const refused = { kind: 'unavailable', message: expect.stringContaining('team_info.team_id') };
    await expect(client.teamBudget('t1')).rejects.toMatchObject(refused);
    await expect(client.team('t1')).rejects.toMatchObject(refused);
    expect(await client.teamBudget('t2')).toMatchObject({ quota: quotaFromDollars(20) });
    close();
  });

  test('is not looked for in the list where the answer cannot be read, or LiteLLM is unavailable', async () => {
    const teamId = await newTeam();
    const { team_id, max_budget, ...rest } = ROW;
    await kmsFault({
      path: '/team/info',
      action: { kind: 'respond', status: 200, body: { team_id: teamId, team_info: { team_id, ...rest } } },
    });
    await expect(kms.teamBudget(teamId)).rejects.toMatchObject({ kind: 'unavailable', message: expect.stringContaining('max_budget') });
    await kmsFault({ path: '/team/info', times: 2, action: { kind: 'respond', status: 503 } });
    await expect(kms.teamBudget(teamId)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await askedFor(teamId)).toEqual([]);
  });
});

describe('what a failure means', () => {
  test('an answer lost after a write leaves a doubt, and one lost after a read none', async () => {
    const teamId = await newTeam();
    await kmsFault({ path: '/team/update', when: 'after', action: RESET });
    await expect(kms.setTeamBudget(teamId, quotaFromDollars(2))).rejects.toMatchObject({ kind: 'unknown_outcome' });
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(2) });
    await kmsFault({ path: '/team/info', times: 2, action: RESET });
    await expect(kms.teamBudget(teamId)).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test.each<[string, FaultRequest['action']]>([
    ['a connection that breaks', RESET],
    ['a proxy that is restarting', { kind: 'respond', status: 503, body: 'no upstream' }],
    ['a limit of requests', { kind: 'respond', status: 429, body: {} }],
  ])('a read is tried again after %s, and a write is not', async (_, action) => {
    const teamId = await newTeam();
    await kmsFault({ path: '/team/info', action });
    expect((await kms.team(teamId)).team).toMatchObject({ teamId });
    await kmsFault({ path: '/team/update', action });
    await expect(kms.setTeamBudget(teamId, quotaFromDollars(2))).rejects.toThrow();
    expect(await kms.teamBudget(teamId)).toMatchObject({ quota: quotaFromDollars(1) });
  });

  test.each<[string, FaultRequest['action']]>([
    ['HTML', { kind: 'respond', status: 200, body: '<html></html>' }],
    ['half an answer', { kind: 'cut_body' }],
  ])('%s with a 200 is no team', async (_, action) => {
    const teamId = await newTeam();
    await kmsFault({ path: '/team/info', times: 2, action });
    await expect(kms.team(teamId)).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test('a LiteLLM that cannot be reached has done nothing', async () => {
    const nowhere = new KmsClient({ baseUrl: 'http://127.0.0.1:9', apiKey: KEY });
    await expect(nowhere.setTeamBudget('t', quotaFromDollars(1))).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test('the key is in no error', async () => {
    await kmsFault({ path: '/team/update', action: RESET });
    const error = await kms.setTeamBudget('t', quotaFromDollars(1)).catch((reason) => reason);
    expect(JSON.stringify([error.message, error.stack, Object.values(error), error.cause ?? null])).not.toContain(KEY);
  });
});

/** Each is an effect that happens although its answer does not say so. */
const LOST: [string, FaultRequest['action']][] = [
  ['is lost', RESET],
  ['is a 500', { kind: 'respond', status: 500, body: { error: { message: 'committed, then failed' } } }],
  ['is HTML', { kind: 'respond', status: 200, body: '<html></html>' }],
];

describe('what is created is made once, though its answer is lost', () => {
  const metadata = { c_organization_id: 'acme' };

  test.each(LOST)('a team whose answer %s', async (_, action) => {
    const wanted = { teamId: newId('made'), alias: 'Acme', quota: quotaFromDollars(0), metadata };
    await kmsFault({ path: '/team/new', when: 'after', action });
    expect(await kms.createTeam(wanted)).toMatchObject({ teamId: wanted.teamId, alias: 'Acme', quota: 0, metadata });
  });

  test('a team gets no budget_duration, whatever LiteLLM gives new teams by default', async () => {
    const setDefault = (value: string | null) => axios.post(`${url}/_sandbox/settings`, { default_budget_duration: value });
    await setDefault('30d');
    const byOthers = newId('default');
    await other.post('/team/new', { team_id: byOthers, max_budget: 1 });
    const made = await kms.createTeam({ teamId: newId('made'), alias: 'Acme', quota: quotaFromDollars(0), metadata });
    await setDefault(null);
    expect([(await kms.teamBudget(byOthers)).budgetDuration, made.budgetDuration]).toEqual(['30d', null]);
  });

  test('a team that is there is answered as it is, and stays so', async () => {
    const teamId = await newTeam();
    const found = await kms.createTeam({ teamId, alias: 'Acme', quota: quotaFromDollars(0), metadata });
    expect(found).toMatchObject({ teamId, alias: null, quota: quotaFromDollars(1), metadata: {} });
  });

  test('a team that has not been made is an error, whose doubt stays', async () => {
    await kmsFault({ path: '/team/new', action: RESET });
    const made = kms.createTeam({ teamId: newId('lost'), alias: 'Acme', quota: quotaFromDollars(0), metadata });
    await expect(made).rejects.toMatchObject({ kind: 'unknown_outcome' });
  });

  test.each(LOST)('a user whose answer %s, and a membership', async (_, action) => {
    const [teamId, userId] = [await newTeam(), newId('user')];
    await kmsFault({ path: '/user/new', when: 'after', action });
    await kmsFault({ path: '/team/member_add', when: 'after', action });
    for (let times = 0; times < 2; times++) {
      expect(await kms.createUser({ userId, alias: 'Blue', metadata })).toMatchObject({ userId, alias: 'Blue', metadata });
      await kms.addMember(teamId, userId, quotaFromDollars(5));
    }
    const { team, memberships } = await kms.team(teamId);
    expect(team.memberUserIds).toEqual(['default_user_id', userId]);
    expect(memberships).toEqual([{ userId, maxBudgetInTeam: quotaFromDollars(5) }]);
  });

  test.each(LOST)('a key whose answer %s: its secret works', async (_, action) => {
    const wanted = { teamId: await newTeam(), userId: newId('user'), alias: newId('alias') };
    const secret = newSecret();
    await kmsFault({ path: '/key/generate', when: 'after', action });
    const key = { token: tokenOf(secret), alias: wanted.alias, teamId: wanted.teamId, userId: wanted.userId, blocked: false };
    expect(await kms.createKey(secret, wanted)).toEqual(key);
    expect(await kms.createKey(secret, wanted)).toEqual(key);
    expect(await kms.keys(wanted.teamId, { page: 1, pageSize: 100 })).toEqual({ keys: [key], total: 1, page: 1, totalPages: 1 });
    expect((await chat(secret)).status).toBe(200);
  });

  test('a key whose alias another has is a conflict', async () => {
    const wanted = { teamId: await newTeam(), userId: newId('user'), alias: newId('alias') };
    await kms.createKey(newSecret(), wanted);
    await expect(kms.createKey(newSecret(), wanted)).rejects.toMatchObject({ kind: 'conflict' });
  });
});

describe('what is removed stays removed, however often it is asked for', () => {
  test('a membership, whose answer is lost', async () => {
    const [teamId, userId] = [await newTeam(), newId('user')];
    await kms.addMember(teamId, userId, null);
    await kmsFault({ path: '/team/member_delete', when: 'after', action: RESET });
    await kms.removeMember(teamId, userId);
    await kms.removeMember(teamId, userId);
    expect((await kms.team(teamId)).team.memberUserIds).toEqual(['default_user_id']);
    await kms.removeMember('no-such-team', userId);
  });

  test('not when nothing was removed', async () => {
    const [teamId, userId] = [await newTeam(), newId('user')];
    await kms.addMember(teamId, userId, null);
    await kmsFault({ path: '/team/member_delete', action: RESET });
    await expect(kms.removeMember(teamId, userId)).rejects.toMatchObject({ kind: 'unknown_outcome' });
  });

  test('a key, a user and a team', async () => {
    const [teamId, userId, secret] = [await newTeam(), newId('user'), newSecret()];
    await kms.createUser({ userId, alias: 'Blue', metadata: {} });
    const { token } = await kms.createKey(secret, { teamId, userId, alias: newId('alias') });
    for (let times = 0; times < 2; times++) {
      await kms.deleteKey(token);
      await kms.deleteUser(userId);
      await kms.deleteTeam(teamId);
    }
    await expect(kms.key(token)).rejects.toMatchObject({ kind: 'not_found' });
    await expect(kms.user(userId)).rejects.toMatchObject({ kind: 'not_found' });
    await expect(kms.team(teamId)).rejects.toMatchObject({ kind: 'not_found' });
    expect((await chat(secret)).status).toBe(401);
  });
});

describe('what can be changed', () => {
  test("a team's block, and a member's limit, which null takes away", async () => {
    const [teamId, userId] = [await newTeam(), newId('user')];
    await kms.addMember(teamId, userId, null);
    await kms.setMemberBudget(teamId, userId, quotaFromDollars(2.5));
    await kms.setTeamBlocked(teamId, true);
    expect(await kms.team(teamId)).toMatchObject({ team: { blocked: true }, memberships: [{ userId, maxBudgetInTeam: 2_500_000 }] });
    await kms.setMemberBudget(teamId, userId, null);
    await kms.setTeamBlocked(teamId, false);
    expect(await kms.team(teamId)).toMatchObject({ team: { blocked: false }, memberships: [{ userId, maxBudgetInTeam: null }] });
  });

  test('the names of users and keys, and whether a key is blocked', async () => {
    const [teamId, userId, secret, alias] = [await newTeam(), newId('user'), newSecret(), newId('alias')];
    await kms.createUser({ userId, alias: 'Blue', metadata: {} });
    const { token } = await kms.createKey(secret, { teamId, userId, alias: newId('alias') });
    await kms.renameUser(userId, 'Green');
    await kms.renameKey(token, alias);
    await kms.setKeyBlocked(token, true);
    expect((await kms.users({ page: 1, pageSize: 1 })).users).toMatchObject([{ userId, alias: 'Green', role: 'internal_user' }]);
    expect(await kms.key(token)).toMatchObject({ alias, blocked: true });
    expect((await chat(secret)).status).toBe(401);
    await kms.setKeyBlocked(token, false);
    expect((await chat(secret)).status).toBe(200);
  });
});

test.each([
  ['money', 20],
  ['bulk', 10],
] as const)(
  'of the lane %s no more than %d calls are under way at once, four rounds of them wait, and more are refused at once',
  async (lane, atOnce) => {
    const underWay: ServerResponse[] = [];
    const server = createServer((request, response) => {
      if (request.url === PROBE) response.end();
      else underWay.push(response);
    });
    const baseUrl = await listening(server);
    const limited = new KmsClient({ baseUrl, apiKey: KEY }, lane);
    const calls = Promise.all(Array.from({ length: 5 * atOnce }, () => limited.ping()));
    const refused = { kind: 'unavailable', message: `LiteLLM was not called: ${atOnce} calls are under way and ${4 * atOnce} wait` };
    await expect(limited.setTeamBudget('t1', quotaFromDollars(1))).rejects.toMatchObject(refused);
    for (let round = 0; round < 5; round++) {
      await eventually(async () => underWay.length >= atOnce, `${atOnce} calls are under way`);
      // Sent after all that the client has sent already.
      await axios.get(`${baseUrl}${PROBE}`);
      expect(underWay).toHaveLength(atOnce);
      for (const response of underWay.splice(0)) response.setHeader('content-type', 'application/json').end('{"db":"connected"}');
    }
    await calls;
    server.close();
  },
);

function listOf(...teams: unknown[]): object {
  return { teams, total: teams.length, page: 1, page_size: 1, total_pages: 1 };
}

/** 25 MB of keys, as a LiteLLM sends them that takes no limit. */
function bigAnswer(): unknown {
  return { team_id: 't1', team_info: ROW, keys: Array(21_000).fill({ token: 'x'.repeat(1_200) }), team_memberships: [] };
}

/** A client of a LiteLLM that answers so, and the paths that it was asked for. */
async function answering(
  answer: (path: string, query: URLSearchParams) => unknown,
): Promise<{ client: KmsClient; asked: string[]; close: () => void }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://litellm');
    asked.push(pathname);
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer(pathname, searchParams)));
  });
  const client = new KmsClient({ baseUrl: await listening(server), apiKey: KEY });
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { client, asked, close };
}

function heapAfterCollection(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
}

async function crowdedTeam(crowd: { keys: number; members: number }): Promise<string> {
  const teamId = await newTeam();
  await axios.post(`${url}/_sandbox/teams/${teamId}/crowd`, crowd);
  return teamId;
}

/** The routes by which the service has read the team, in order; what a fault has answered is not among them. */
async function askedFor(teamId: string): Promise<string[]> {
  const { requests } = (await axios.get(`${url}/_sandbox/state`)).data;
  const reads = requests.filter(
    ({ method, query }: { method: string; query: string }) => method === 'GET' && query.includes(`team_id=${teamId}`),
  );
  return reads.filter(({ query }: { query: string }) => /key_limit|page_size=1$/.test(query)).map(({ path }: { path: string }) => path);
}

function newId(what: string): string {
  return `${what}-${++serial}`;
}

async function newTeam(): Promise<string> {
  const team_id = newId('team');
  await other.post('/team/new', { team_id, max_budget: 1 });
  return team_id;
}

async function chat(key: string): Promise<{ status: number }> {
  const body = { model: 'fake', messages: [{ role: 'user', content: 'hi' }] };
  return axios.post(`${url}/chat/completions`, body, { headers: { Authorization: `Bearer ${key}` }, validateStatus: () => true });
}

async function kmsFault(fault: FaultRequest): Promise<void> {
  await axios.post(`${url}/_sandbox/faults`, fault);
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

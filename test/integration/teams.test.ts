/**
 * The teams of an organization and their keys: what the API is asked for, LiteLLM has, at once or when it is
 * back.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import axios, { type AxiosInstance } from 'axios';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { Database } from '../../src/database/database.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as teams from '../../src/database/teams.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { mirrorTeam, removeTeam } from '../../src/teams/mirror.ts';
import { ALWAYS, HOLD, RESET } from '../support/faults.ts';
import { type Organization, SOME_CUSTOMER, World } from '../support/world.ts';

const LITELLM_UNAVAILABLE: FaultRequest = { path: '/**', times: ALWAYS, action: { kind: 'respond', status: 503, body: 'no upstream' } };

let world: World;
const logLines: string[] = [];
/** LiteLLM as somebody else sees it, whom no fault strikes. */
let litellm: AxiosInstance;

beforeAll(async () => {
  world = await World.start({ LOG_LEVEL: 'trace' }, { write: (line: string) => void logLines.push(line) });
  litellm = axios.create({
    baseURL: world.kmsUrl,
    headers: { Authorization: 'Bearer sk-1234', 'X-Sandbox-Spare': '1' },
    validateStatus: () => true,
  });
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

describe('an organization', () => {
  test('is made while LiteLLM is unavailable, its team named like it and not seen yet', async () => {
    await world.kmsFault(LITELLM_UNAVAILABLE);
    const id = 'org-before-litellm';
    const wanted = {
      c_organization_id: id,
      stripe_customer_id: SOME_CUSTOMER,
      minimum_balance: '2.00',
      target_balance: '20.00',
      create_team: true,
    };
    const { status, data } = await world.admin.post('/api/v1/organizations', wanted);
    expect([status, data.litellm_team_id, data.litellm_seen_at, data.blocked]).toEqual([201, id, null, false]);
    const { data: blocked } = await world.admin.patch(`/api/v1/organizations/${id}`, { blocked: true });
    expect([blocked.blocked, blocked.holds]).toEqual([true, []]);
  });

  test('that has teams is not removed', async () => {
    const { id } = await world.organization();
    await world.admin.post(teamsOf(id), { c_team_id: 'blue' });
    const { status, data } = await world.admin.delete(`/api/v1/organizations/${id}`);
    expect([status, data.detail]).toEqual([
      409,
      expect.stringMatching(/^the organization has teams: remove blue first, each by curl -X DELETE /),
    ]);
  });

  test('was seen in LiteLLM when it was recharged, and its next team has not been', async () => {
    const before = Date.now();
    const { organization } = await world.recharged();
    const path = `/api/v1/organizations/${organization.id}`;
    const { litellm_seen_at: seen } = (await world.admin.get(path)).data;
    expect(Date.parse(seen)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(seen)).toBeLessThanOrEqual(Date.now());
    expect((await world.admin.patch(path, { name: 'Acme' })).data.litellm_seen_at).toBe(seen);
    expect(
      (await world.admin.patch(path, { litellm_team_id: `${organization.teamId}-new`, create_team: true })).data.litellm_seen_at,
    ).toBeNull();
  });

  test('shows its live balance, with the ledger beside it', async () => {
    const { id, teamId } = await world.organization({ budget: 10, spend: 7.25 });
    const { status, data } = await world.admin.get(`/api/v1/organizations/${id}/balance`);
    expect(status).toBe(200);
    expect(data).toEqual({
      c_organization_id: id,
      litellm_team_id: teamId,
      max_budget: '10.00',
      spend: '7.25',
      balance: '2.75',
      minimum_balance: '2.00',
      target_balance: '20.00',
      ledger: [],
    });
    const { organization: charged } = await world.recharged();
    expect((await world.admin.get(`/api/v1/organizations/${charged.id}/balance`)).data).toMatchObject({
      balance: '20.00',
      ledger: [{ currency: 'usd', paid: '20.50', held: '0.00', granted: '20.50', quota_granted: '20.50' }],
    });
    await world.kmsFault(LITELLM_UNAVAILABLE);
    expect((await world.admin.get(`/api/v1/organizations/${id}/balance`)).status).toBe(503);
    await world.clearFaults();
    await world.deleteTeam(teamId);
    expect((await world.admin.get(`/api/v1/organizations/${id}/balance`)).status).toBe(404);
  });
});

describe('a team', () => {
  test('is a user in LiteLLM, and a member of the organization there, with its limit', async () => {
    const organization = await world.organization();
    const body = { c_team_id: 'blue', name: 'Blue', max_budget_in_team: '5.00' };
    const made = await world.admin.post(teamsOf(organization.id), body);
    const userId = `${organization.id}/blue`;
    expect(made.status).toBe(201);
    expect(made.headers['location']).toBe(`${teamsOf(organization.id)}/blue`);
    expect(made.data).toMatchObject({ c_team_id: 'blue', name: 'Blue', l_user_id: userId, max_budget_in_team: '5.00', removed_at: null });
    expect(made.data.synced_at).not.toBeNull();
    expect(await membershipOf(organization, userId)).toEqual({ isMember: true, limit: 5 });
    const { user_info } = (await litellm.get('/user/info', { params: { user_id: userId } })).data;
    expect(user_info).toMatchObject({
      user_alias: 'Blue',
      user_role: 'internal_user',
      metadata: { c_organization_id: organization.id, c_team_id: 'blue' },
    });
    expect((await world.admin.get(`${teamsOf(organization.id)}/blue`)).data).toEqual(made.data);
    expect(await keysOfUser(userId)).toEqual([]);
  });

  test('of this id is there already: the same is answered again, another is a conflict', async () => {
    const { id } = await world.organization();
    const post = (more: object) => world.admin.post(teamsOf(id), { c_team_id: 'blue', ...more });
    const first = await post({ max_budget_in_team: '5.00' });
    const again = await post({ max_budget_in_team: '5.00' });
    expect([again.status, again.data.created_at]).toEqual([201, first.data.created_at]);
    expect((await post({ max_budget_in_team: '6.00' })).status).toBe(409);
    expect((await post({ name: 'Azure', max_budget_in_team: '5.00' })).status).toBe(409);
  });

  test('keeps a limit that another member has, and one that it had before', async () => {
    const organization = await world.organization();
    const userId = `${organization.id}/blue`;
    await litellm.post('/team/member_update', { team_id: organization.teamId, user_id: userId, max_budget_in_team: 1 });
    await world.admin.post(teamsOf(organization.id), { c_team_id: 'red', max_budget_in_team: '3.00' });
    await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue' });
    expect(await membershipOf(organization, userId)).toEqual({ isMember: true, limit: null });
    expect(await membershipOf(organization, `${organization.id}/red`)).toEqual({ isMember: true, limit: 3 });
  });

  test('changes its name and its limit, in LiteLLM too', async () => {
    const organization = await world.organization();
    const userId = `${organization.id}/blue`;
    await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue', max_budget_in_team: '5.00' });
    const change = (body: object) => world.admin.patch(`${teamsOf(organization.id)}/blue`, body);
    expect((await change({ max_budget_in_team: '7.50' })).data).toMatchObject({ name: 'blue', max_budget_in_team: '7.50' });
    expect(await membershipOf(organization, userId)).toEqual({ isMember: true, limit: 7.5 });
    await world.kmsFault(LITELLM_UNAVAILABLE);
    expect((await change({ name: 'Navy', max_budget_in_team: null })).data).toMatchObject({ name: 'Navy', synced_at: null });
    await world.clearFaults();
    await change({});
    expect(await membershipOf(organization, userId)).toEqual({ isMember: true, limit: null });
    expect((await litellm.get('/user/info', { params: { user_id: userId } })).data.user_info.user_alias).toBe('Navy');
  });

  test('gets the limit that was asked for last, also where an earlier one is written later', async () => {
    const organization = await world.organization();
    const team = `${teamsOf(organization.id)}/blue`;
    await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue', max_budget_in_team: '5.00' });
    const slow = await world.kmsFault({ path: '/team/member_update', contains: '6.25', action: HOLD });
    const earlier = world.admin.patch(team, { max_budget_in_team: '6.25' });
    await slow.struck();
    expect((await world.admin.patch(team, { max_budget_in_team: '7.75' })).data.synced_at).not.toBeNull();
    await slow.remove();
    expect((await earlier).data).toMatchObject({ max_budget_in_team: '7.75', synced_at: expect.any(String) });
    expect(await membershipOf(organization, `${organization.id}/blue`)).toEqual({ isMember: true, limit: 7.75 });
  });

  test.each<[string, FaultRequest]>([
    ['is unavailable', LITELLM_UNAVAILABLE],
    ['loses the answer to the user', { path: '/user/new', when: 'after', times: 9, action: RESET }],
    ['loses the answer to the membership', { path: '/team/member_add', when: 'after', times: 9, action: RESET }],
    ['makes the user and fails then', { path: '/team/member_add', times: 9, action: { kind: 'respond', status: 500, body: {} } }],
  ])('is kept when LiteLLM %s, and complete when it is asked for again', async (_, fault) => {
    const organization = await world.organization();
    const body = { c_team_id: 'blue', max_budget_in_team: '5.00' };
    await world.kmsFault(fault);
    const made = await world.admin.post(teamsOf(organization.id), body);
    expect(made.status).toBe(201);
    await world.clearFaults();
    const again = await world.admin.post(teamsOf(organization.id), body);
    expect(again.data.synced_at).not.toBeNull();
    expect(await membershipOf(organization, `${organization.id}/blue`)).toEqual({ isMember: true, limit: 5 });
  });

  test('waits when LiteLLM is unavailable or has no team for the organization, and says so', async () => {
    const organization = await world.organization();
    await world.kmsFault(LITELLM_UNAVAILABLE);
    expect((await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue' })).data.synced_at).toBeNull();
    await world.clearFaults();
    await world.deleteTeam(organization.teamId);
    expect((await world.admin.post(teamsOf(organization.id), { c_team_id: 'red' })).data.synced_at).toBeNull();
  });

  test('lists come page by page, newest first', async () => {
    const { id } = await world.organization();
    for (const name of ['a', 'b', 'c']) await world.admin.post(teamsOf(id), { c_team_id: name });
    const page = async (params: object) => (await world.admin.get(teamsOf(id), { params })).data;
    const first = await page({ limit: 2 });
    expect(first.data.map(idOf)).toEqual(['c', 'b']);
    const last = await page({ limit: 2, cursor: first.next_cursor });
    expect([last.data.map(idOf), last.next_cursor]).toEqual([['a'], null]);
  });

  test.each([
    [{ c_team_id: 'with/slash' }, 'c_team_id'],
    [{ c_team_id: 'blue', max_budget_in_team: 5 }, 'max_budget_in_team'],
    [{ c_team_id: 'blue', max_budget_in_team: '-1.00' }, 'max_budget_in_team'],
    [{ c_team_id: 'blue', colour: 'blue' }, 'colour'],
  ])('is not made of %j', async (body, field) => {
    const { id } = await world.organization();
    const { status, data } = await world.admin.post(teamsOf(id), body);
    expect([status, data.errors?.map((error: { field: string }) => error.field)]).toEqual([422, [field]]);
  });

  test('that no organization has is 404', async () => {
    const { id } = await world.organization();
    const answers = [
      await world.admin.post(teamsOf('nobody'), { c_team_id: 'blue' }),
      await world.admin.get(`${teamsOf(id)}/nobody`),
      await world.admin.patch(`${teamsOf(id)}/nobody`, {}),
      await world.admin.delete(`${teamsOf(id)}/nobody`),
      await world.admin.post(`${teamsOf(id)}/nobody/keys`, { name: 'laptop' }),
      await world.admin.delete(`${teamsOf(id)}/nobody/keys/key_1`),
    ];
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404, 404]);
  });
});

describe('a key', () => {
  test('opens LiteLLM for the team; its secret is shown once, and is neither stored nor logged', async () => {
    const { organization, keys } = await withTeam();
    const made = await world.admin.post(keys, { name: 'laptop' });
    const { key: secret, ...shown } = made.data;
    expect([made.status, made.headers['cache-control']]).toEqual([201, 'no-store']);
    expect(shown).toMatchObject({ c_team_id: 'blue', alias: `${organization.id}/blue/laptop`, revoked_at: null });
    expect((await chat(secret)).status).toBe(200);
    const info = (await litellm.get('/key/info', { params: { key: secret } })).data.info;
    expect(info).toMatchObject({ team_id: organization.teamId, user_id: `${organization.id}/blue` });

    expect((await world.admin.get(keys)).data).toEqual({ data: [shown], next_cursor: null });
    const { rows } = await world.sql.query('select t::text as row from team t union all select k::text from team_key k');
    expect(JSON.stringify(rows)).not.toContain(secret);
    expect(logLines.join('')).toContain(keys);
    expect(logLines.join('')).not.toContain(secret);
  });

  test('of this name is there already: a conflict, until it is deleted', async () => {
    const { keys } = await withTeam();
    const { data } = await world.admin.post(keys, { name: 'laptop' });
    expect((await world.admin.post(keys, { name: 'laptop' })).status).toBe(409);
    await world.admin.delete(`${keys}/${data.id}`);
    expect((await world.admin.post(keys, { name: 'laptop' })).status).toBe(201);
  });

  test('whose alias somebody else has taken in LiteLLM is a conflict, and nothing is kept', async () => {
    const { organization, keys } = await withTeam();
    await litellm.post('/key/generate', { key_alias: `${organization.id}/blue/laptop` });
    expect((await world.admin.post(keys, { name: 'laptop' })).status).toBe(409);
    expect((await world.admin.get(keys)).data.data).toEqual([]);
  });

  test('opens nothing once it is deleted', async () => {
    const { keys } = await withTeam();
    const { data } = await world.admin.post(keys, { name: 'laptop' });
    expect((await world.admin.delete(`${keys}/${data.id}`)).status).toBe(204);
    expect((await chat(data.key)).status).toBe(401);
    const [row] = (await world.admin.get(keys)).data.data;
    expect([row.revoked_at, row.deleted_at]).toEqual([expect.any(String), expect.any(String)]);
    expect((await world.admin.delete(`${keys}/${data.id}`)).status).toBe(404);
  });

  test('is not made while LiteLLM is unavailable, and nothing is left of it', async () => {
    const { keys } = await withTeam();
    await world.kmsFault({ path: '/key/generate', times: 9, action: { kind: 'respond', status: 403, body: {} } });
    expect((await world.admin.post(keys, { name: 'laptop' })).status).toBe(503);
    expect((await world.admin.get(keys)).data.data).toEqual([]);
  });

  test('whose making was answered by nobody is the one that was made', async () => {
    const { keys } = await withTeam();
    await world.kmsFault({ path: '/key/generate', when: 'after', action: RESET });
    const { status, data } = await world.admin.post(keys, { name: 'laptop' });
    expect(status).toBe(201);
    expect((await chat(data.key)).status).toBe(200);
  });

  test('of which nobody can say whether it was made is taken back', async () => {
    const { organization, keys } = await withTeam();
    await world.kmsFault({ path: '/key/generate', when: 'after', action: RESET });
    await world.kmsFault({ path: '/key/info', times: 9, action: RESET });
    expect((await world.admin.post(keys, { name: 'laptop' })).status).toBe(503);
    expect(await keysOfUser(`${organization.id}/blue`)).toEqual([]);
    expect((await world.admin.get(keys)).data.data).toMatchObject([{ issued_at: null, deleted_at: expect.any(String) }]);
    await world.clearFaults();
    expect((await world.admin.post(keys, { name: 'laptop' })).status).toBe(201);
  });

  test.each([
    ['an error', { error: { message: 'no upstream', code: '502' } }],
    ['a page of a proxy', '<html></html>'],
  ])('is not taken for deleted where the answer is 200 with %s', async (_, body) => {
    const { keys } = await withTeam();
    const { data } = await world.admin.post(keys, { name: 'laptop' });
    await world.kmsFault({ path: '/key/delete', action: { kind: 'respond', status: 200, body } });
    expect((await world.admin.delete(`${keys}/${data.id}`)).status).toBe(503);
    expect((await world.admin.get(keys)).data.data).toMatchObject([{ revoked_at: expect.any(String), deleted_at: null }]);
    expect((await world.admin.delete(`${keys}/${data.id}`)).status).toBe(204);
    expect((await chat(data.key)).status).toBe(401);
  });

  test('is revoked as soon as LiteLLM can be told so', async () => {
    const { keys } = await withTeam();
    const { data } = await world.admin.post(keys, { name: 'laptop' });
    await world.kmsFault(LITELLM_UNAVAILABLE);
    expect((await world.admin.delete(`${keys}/${data.id}`)).status).toBe(503);
    expect((await world.admin.get(keys)).data.data).toMatchObject([{ revoked_at: expect.any(String), deleted_at: null }]);
    await world.clearFaults();
    expect((await world.admin.delete(`${keys}/${data.id}`)).status).toBe(204);
    expect((await chat(data.key)).status).toBe(401);
  });
});

describe('a team that is removed', () => {
  test('is gone from LiteLLM with its keys, and can be made again', async () => {
    const { organization, team, keys } = await withTeam();
    const { data: key } = await world.admin.post(keys, { name: 'laptop' });
    expect((await world.admin.delete(team)).status).toBe(204);
    expect((await chat(key.key)).status).toBe(401);
    expect(await membershipOf(organization, `${organization.id}/blue`)).toEqual({ isMember: false, limit: null });
    expect((await litellm.get('/user/info', { params: { user_id: `${organization.id}/blue` } })).status).toBe(404);
    // The keys by their own names: those of a deleted user are served for another minute by the real LiteLLM.
    const { requests } = (await axios.get(`${world.kmsUrl}/_sandbox/state`)).data;
    const { rows } = await world.sql.query('select token, deleted_at from team_key where id = $1', [key.id]);
    expect(requests).toContainEqual(expect.objectContaining({ path: '/key/delete', body: JSON.stringify({ keys: [rows[0].token] }) }));
    expect((await world.admin.get(team)).status).toBe(404);
    expect(rows[0].deleted_at).not.toBeNull();
    expect((await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue' })).status).toBe(201);
    expect((await world.admin.get(keys)).data.data).toMatchObject([{ id: key.id }]);
  });

  test('goes when LiteLLM is available again, and gets no key meanwhile', async () => {
    const { organization, team, keys } = await withTeam();
    const { data: key } = await world.admin.post(keys, { name: 'laptop' });
    await world.kmsFault(LITELLM_UNAVAILABLE);
    const { status, data } = await world.admin.delete(team);
    expect([status, data.removed_at]).toEqual([202, expect.any(String)]);
    await world.clearFaults();
    expect((await world.admin.post(keys, { name: 'phone' })).status).toBe(409);
    expect((await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue' })).status).toBe(409);
    expect((await world.admin.patch(team, { name: 'Navy' })).status).toBe(404);
    expect((await world.admin.delete(team)).status).toBe(204);
    expect((await chat(key.key)).status).toBe(401);
  });

  test('takes a key with it that is just being made', async () => {
    const { organization, team, keys } = await withTeam();
    const generation = await world.kmsFault({ path: '/key/generate', times: ALWAYS, action: HOLD });
    const making = world.admin.post(keys, { name: 'laptop' });
    await generation.struck();
    expect((await world.admin.delete(team)).status).toBe(204);
    await generation.remove();
    expect((await making).status).toBe(409);
    expect(await keysOfUser(`${organization.id}/blue`)).toEqual([]);
  });

  test('does not stay behind: its organization moves to another LiteLLM team when it is removed, or that one is gone', async () => {
    const { organization, keys, team } = await withTeam();
    const { key: secret } = (await world.admin.post(keys, { name: 'laptop' })).data;
    const next = `${organization.teamId}-next`;
    await world.makeTeam({ team_id: next, max_budget: 50 });
    const path = `/api/v1/organizations/${organization.id}`;
    const refused = await world.admin.patch(path, { litellm_team_id: next });
    expect([refused.status, refused.data.detail]).toEqual([
      409,
      `teams of the organization are members of ${organization.teamId}, and their keys spend its budget: remove blue first, each by curl -X DELETE "$PUBLIC_URL/api/v1/organizations/${organization.id}/teams/<id>" -H "Authorization: Bearer $ADMIN_API_KEY"`,
    ]);
    expect((await world.admin.patch(path, { litellm_team_id: organization.teamId, name: 'Acme' })).status).toBe(200);
    expect((await chat(secret)).status).toBe(200);
    await world.admin.delete(team);
    expect((await world.admin.patch(path, { litellm_team_id: next })).status).toBe(200);
    expect((await chat(secret)).status).toBe(401);

    await world.admin.post(`${path}/teams`, { c_team_id: 'blue' });
    await world.deleteTeam(next);
    const after = `${organization.teamId}-after`;
    await world.makeTeam({ team_id: after, max_budget: 50 });
    expect((await world.admin.patch(path, { litellm_team_id: after })).status).toBe(200);
  });

  test('goes with an organization whose LiteLLM team is gone', async () => {
    const { organization, team } = await withTeam();
    await world.deleteTeam(organization.teamId);
    expect((await world.admin.delete(team)).status).toBe(204);
  });
});

test('whatever was interrupted, two who go on with it at the same time end with one user, one membership, or none', async () => {
  const organization = await world.organization();
  await world.kmsFault(LITELLM_UNAVAILABLE);
  await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue', max_budget_in_team: '5.00' });
  await world.clearFaults();
  const database = await Database.open(world.config.databaseUrl);
  const kms = new KmsClient(world.config.kms);
  try {
    const em = database.fork();
    const [row, team] = [
      await organizations.find(em, organization.id),
      await teams.find(em, { organizationId: organization.id, id: 'blue' }),
    ];
    if (!row || !team) throw new Error('the rows are gone');
    await Promise.all([1, 2, 3].map(() => mirrorTeam({ database, kms }, row, team)));
    expect(await membershipOf(organization, `${organization.id}/blue`)).toEqual({ isMember: true, limit: 5 });
    // Nothing that was not asked for: an old look at a team that was being removed must not take the one that was
    // made since.
    await removeTeam({ database, kms }, row, team);
    expect(await membershipOf(organization, `${organization.id}/blue`)).toEqual({ isMember: true, limit: 5 });
    await teams.requestRemoval(database.fork(), team);
    await Promise.all([1, 2, 3].map(() => removeTeam({ database, kms }, row, team)));
    expect(await membershipOf(organization, `${organization.id}/blue`)).toEqual({ isMember: false, limit: null });
  } finally {
    await database.close();
  }
});

function teamsOf(organizationId: string): string {
  return `/api/v1/organizations/${organizationId}/teams`;
}

const idOf = ({ c_team_id }: { c_team_id: string }) => c_team_id;

async function withTeam(): Promise<{ organization: Organization; team: string; keys: string }> {
  const organization = await world.organization();
  await world.admin.post(teamsOf(organization.id), { c_team_id: 'blue', max_budget_in_team: '5.00' });
  await world.setBudget(organization.teamId, 100);
  const team = `${teamsOf(organization.id)}/blue`;
  return { organization, team, keys: `${team}/keys` };
}

/** What LiteLLM has of a member. */
async function membershipOf({ teamId }: Organization, userId: string): Promise<{ isMember: boolean; limit: number | null }> {
  const { team_info, team_memberships } = (await litellm.get('/team/info', { params: { team_id: teamId } })).data;
  const [member, ...more] = team_info.members_with_roles.filter((member: { user_id: string }) => member.user_id === userId);
  const membership = team_memberships.find((member: { user_id: string }) => member.user_id === userId);
  expect(more).toEqual([]);
  return { isMember: member !== undefined, limit: membership?.litellm_budget_table?.max_budget ?? null };
}

async function keysOfUser(userId: string): Promise<string[]> {
  return (await litellm.get('/key/list', { params: { user_id: userId } })).data.keys;
}

async function chat(key: string): Promise<{ status: number }> {
  const body = { model: 'fake', messages: [{ role: 'user', content: 'hi' }] };
  return axios.post(`${world.kmsUrl}/chat/completions`, body, { headers: { Authorization: `Bearer ${key}` }, validateStatus: () => true });
}

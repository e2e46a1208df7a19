/**
 * The key that the service uses, as docs/connecting-litellm.md has it made, at a real LiteLLM proxy: it
 * suffices for all that the service does there, `bill doctor` sees that it does, and names every route that
 * is missing. Run by `npm run test:litellm`.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { examineLitellm } from '../../src/cli/doctor/litellm.ts';
import { quotaFromDollars } from '../../src/domain/money.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { MAX_PAGE_SIZE } from '../../src/kms/page.ts';
import { KMS_ROUTES } from '../../src/kms/routes.ts';
import { type Organization, World } from '../support/world.ts';
import { LiveLitellm, START_TIMEOUT_MS } from './live-litellm.ts';

const PATHS = KMS_ROUTES.map(({ path }) => path);
const SERVICE_USER = `bill-service-${Date.now()}`;

let litellm: LiveLitellm;
let world: World;
let serviceKey: string;

beforeAll(async () => {
  litellm = await LiveLitellm.locate();
  await litellm.start('http://127.0.0.1:9');
  await litellm.as().post('/user/new', { user_id: SERVICE_USER, user_role: 'proxy_admin', auto_create_key: false });
  serviceKey = await newKey({ user_id: SERVICE_USER, allowed_routes: PATHS });
  world = await World.start({ KMS_BASE_URL: litellm.url, KMS_API_KEY: serviceKey });
}, START_TIMEOUT_MS);

afterAll(async () => {
  await world?.close();
  await litellm?.stop();
});

describe('a key of a proxy admin with exactly the routes of the service', () => {
  test('is all that the doctor asks for, and whatever key it has, it changes nothing', async () => {
    const before = await census();
    expect(await complaintsOf(serviceKey)).toEqual({});
    expect(await complaintsOf(litellm.masterKey)).toEqual({});
    expect(await census()).toEqual(before);
  });

  test('makes, finds, fills and blocks the team of an organization', async () => {
    const kms = new KmsClient({ baseUrl: litellm.url, apiKey: serviceKey });
    const wanted = {
      teamId: `${world.name}-made`,
      alias: 'Acme',
      quota: quotaFromDollars(0),
      metadata: { c_organization_id: 'acme' },
    };
    const made = await kms.createTeam(wanted);
    expect(made).toMatchObject({ ...wanted, blocked: false });
    expect(await kms.createTeam({ ...wanted, alias: 'Another' })).toMatchObject({ alias: 'Acme' });
    await kms.setTeamBudget(wanted.teamId, quotaFromDollars(3));
    await kms.setTeamBlocked(wanted.teamId, true);
    const { teams, unreadable } = await kms.teams({ page: 1, pageSize: MAX_PAGE_SIZE });
    expect(unreadable).toEqual([]);
    expect(teams.find(({ teamId }) => teamId === wanted.teamId)).toMatchObject({
      quota: quotaFromDollars(3),
      blocked: true,
      metadata: wanted.metadata,
    });
  });

  test('makes a team of an organization with its limit, changes it, and removes it with its keys', async () => {
    const organization = await world.organization({ budget: 10, spend: 0 });
    const teams = `/api/v1/organizations/${organization.id}/teams`;
    const userId = `${organization.id}/blue`;
    const made = await world.admin.post(teams, { c_team_id: 'blue', max_budget_in_team: '5.00' });
    expect([made.status, made.data.synced_at]).toEqual([201, expect.any(String)]);
    expect(await membershipOf(organization, userId)).toEqual({ memberships: 1, limit: 5 });
    await world.admin.patch(`${teams}/blue`, { name: 'Blue', max_budget_in_team: '2.50' });
    expect(await membershipOf(organization, userId)).toEqual({ memberships: 1, limit: 2.5 });
    await world.admin.patch(`${teams}/blue`, { max_budget_in_team: null });
    expect(await membershipOf(organization, userId)).toEqual({ memberships: 1, limit: null });

    const [laptop, phone] = [
      await world.admin.post(`${teams}/blue/keys`, { name: 'laptop' }),
      await world.admin.post(`${teams}/blue/keys`, { name: 'phone' }),
    ];
    expect((await world.admin.post(`${teams}/blue/keys`, { name: 'phone' })).status).toBe(409);
    expect([(await litellm.chat(laptop.data.key)).status, (await litellm.chat(phone.data.key)).status]).toEqual([200, 200]);
    expect((await world.admin.delete(`${teams}/blue/keys/${laptop.data.id}`)).status).toBe(204);
    expect((await litellm.chat(laptop.data.key)).status).toBe(401);
    expect((await world.admin.delete(`${teams}/blue`)).status).toBe(204);
    expect((await litellm.chat(phone.data.key)).status).toBe(401);
    expect(await membershipOf(organization, userId)).toEqual({ memberships: 0, limit: null });
    expect((await litellm.as().get('/user/info', { params: { user_id: userId } })).status).toBe(404);
    const { data } = await world.admin.get(`/api/v1/organizations/${organization.id}/balance`);
    expect(data).toMatchObject({ max_budget: '10.00', ledger: [] });
  });

  test.each(KMS_ROUTES)('but for $path is told what it lacks', async ({ method, path }) => {
    const key = await newKey({ user_id: SERVICE_USER, allowed_routes: PATHS.filter((other) => other !== path) });
    expect(await complaintsOf(key)).toEqual({ [`may call ${method} ${path}`]: `add "${path}" to the key's allowed_routes` });
  });

  test('and no proxy admin is told that it has to be one', async () => {
    const complaints = await complaintsOf(await newKey({ allowed_routes: PATHS }));
    expect(complaints['may call GET /v2/team/list']).toMatch(/role proxy_admin/);
  });
});

test('a key that LiteLLM does not know is told so once', async () => {
  expect(await complaintsOf('sk-somebody-unknown-to-litellm')).toEqual({
    key: 'set KMS_API_KEY to a key that this LiteLLM knows',
  });
});

async function newKey(wish: object): Promise<string> {
  const { status, data } = await litellm.as().post('/key/generate', wish);
  expect(status).toBe(200);
  return data.key;
}

/** What the doctor says has to be changed: check → advice. */
async function complaintsOf(apiKey: string): Promise<Record<string, string | null>> {
  const readings = await examineLitellm(new KmsClient({ baseUrl: litellm.url, apiKey }));
  return Object.fromEntries(readings.filter(({ verdict }) => verdict !== 'ok').map(({ check, advice }) => [check, advice]));
}

/** How many teams, users and keys there are. */
async function census(): Promise<unknown[]> {
  const admin = litellm.as();
  const answers = [await admin.get('/v2/team/list'), await admin.get('/user/list'), await admin.get('/key/list')];
  return answers.map(({ data }) => data.total ?? data.total_count);
}

async function membershipOf({ teamId }: Organization, userId: string): Promise<{ memberships: number; limit: number | null }> {
  const { team_info, team_memberships } = (await litellm.as().get('/team/info', { params: { team_id: teamId } })).data;
  const is = (member: { user_id: string }) => member.user_id === userId;
  return {
    memberships: team_info.members_with_roles.filter(is).length,
    limit: team_memberships.find(is)?.litellm_budget_table?.max_budget ?? null,
  };
}

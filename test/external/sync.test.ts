/** The synchronisation against the real LiteLLM proxy. Run by `npm run test:litellm`. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SOME_CUSTOMER, World } from '../support/world.ts';
import { LiveLitellm, START_TIMEOUT_MS } from './live-litellm.ts';

const ORGANIZATIONS = 50;
const SYNC_TIMEOUT_MS = 180_000;

type Run = {
  id: string;
  status: string;
  outcomes: Record<string, number>;
  items: { kind: string; outcome: string; reason: string | null }[];
};

let litellm: LiveLitellm;
let world: World;

beforeAll(async () => {
  litellm = await LiveLitellm.locate();
  world = await World.start({ KMS_BASE_URL: litellm.url, KMS_API_KEY: litellm.masterKey, PORT: litellm.apiPort });
  await litellm.start(world.apiUrl);
}, START_TIMEOUT_MS);

afterAll(async () => {
  await litellm?.stop();
  await world?.close();
});

async function sync(wish = {}): Promise<Run> {
  const { data } = await world.admin.post('/api/v1/sync', wish);
  return world.eventually(
    async () => {
      const run: Run = (await world.admin.get(`/api/v1/sync/${data.id}`)).data;
      return run.status !== 'running' && run;
    },
    'the synchronisation is over',
    SYNC_TIMEOUT_MS,
  );
}

async function inLitellm(teamId: string) {
  return (await litellm.as().get('/team/info', { params: { team_id: teamId } })).data.team_info;
}

test('fifty organizations are made with their teams, adopted, renamed, blocked and unblocked, and a run that has nothing to do does nothing', async () => {
  const ids = Array.from({ length: ORGANIZATIONS }, (_, serial) => `${world.name}-${String(serial).padStart(2, '0')}`);
  const settings = {
    stripe_customer_id: SOME_CUSTOMER,
    minimum_balance: '2.00',
    target_balance: '20.00',
    auto_recharge_enabled: false,
    create_team: true,
  };
  for (const id of ids) {
    await world.admin.post('/api/v1/organizations', { c_organization_id: id, ...settings });
    await world.admin.post(`/api/v1/organizations/${id}/teams`, { c_team_id: 'blue', max_budget_in_team: '1.50' });
  }
  const [adopting = '', renamed = '', blocked = '', deleted = ''] = ids;
  const theirs = { team_id: `theirs-${adopting}`, max_budget: 7, metadata: { c_organization_id: adopting } };
  await litellm.as().post('/team/new', theirs);

  const first = await sync();
  expect(first.items.filter(({ outcome }) => outcome !== 'done')).toEqual([]);
  expect(first.status).toBe('succeeded');
  expect(await inLitellm(theirs.team_id)).toMatchObject({ team_alias: adopting, max_budget: 7 });
  for (const id of ids.slice(1)) {
    const team = await inLitellm(id);
    expect(team).toMatchObject({ team_alias: id, max_budget: 0, metadata: { c_organization_id: id } });
    expect(team.members_with_roles).toContainEqual(expect.objectContaining({ user_id: `${id}/blue` }));
  }
  expect((await sync()).items).toEqual([]);

  await litellm.as().post('/team/update', { team_id: renamed, team_alias: 'another name' });
  await world.admin.patch(`/api/v1/organizations/${blocked}`, { blocked: true });
  await litellm.as().post('/team/delete', { team_ids: [deleted] });
  const planned = await sync({ dry_run: true });
  expect(planned.items.map(({ kind, outcome }) => [kind, outcome]).toSorted()).toEqual([
    ['block_differs', 'planned'],
    ['name_differs', 'planned'],
    ['team_deleted', 'needs_person'],
  ]);
  expect(await inLitellm(renamed)).toMatchObject({ team_alias: 'another name' });
  expect((await sync()).outcomes).toEqual({ done: 2, needs_person: 1 });
  expect(await inLitellm(renamed)).toMatchObject({ team_alias: renamed });
  expect(await inLitellm(blocked)).toMatchObject({ blocked: true });
  await world.admin.patch(`/api/v1/organizations/${blocked}`, { blocked: false });
  expect((await sync()).outcomes).toEqual({ done: 1, needs_person: 1 });
  expect(await inLitellm(blocked)).toMatchObject({ blocked: false, max_budget: 0, metadata: { c_organization_id: blocked } });
});

test('a team with a key answers until it is blocked here, and a budget that somebody edits there is reported and left as it is', async () => {
  const organization = await world.organization({ budget: 0, spend: 0, minimum: '0.00', target: '1.00' });
  const path = `/api/v1/organizations/${organization.id}`;
  await world.admin.post(`${path}/teams`, { c_team_id: 'blue' });
  const { data: issued } = await world.admin.post(`${path}/teams/blue/keys`, { name: 'first' });
  const { data: alerted } = await world.alert(organization.teamId);
  expect(await world.closed(alerted.event_id)).toEqual({ outcome: 'succeeded', success: true });
  const wish = { organization_ids: [organization.id] };
  expect((await sync(wish)).outcomes['failed']).toBeUndefined();
  expect((await litellm.chat(issued.key)).status).toBe(200);

  await world.admin.patch(path, { blocked: true });
  expect((await sync(wish)).outcomes).toEqual({ done: 1 });
  expect([401, 403]).toContain((await litellm.chat(issued.key)).status);
  await world.admin.patch(path, { blocked: false });
  await sync(wish);
  expect((await litellm.chat(issued.key)).status).toBe(200);

  await world.setBudget(organization.teamId, 25);
  const { items, outcomes } = await sync(wish);
  expect(outcomes).toEqual({ needs_person: 1 });
  expect(items).toEqual([expect.objectContaining({ kind: 'budget_edited', ours: '1.00', theirs: '25.00' })]);
  expect(await world.budgetOf(organization.teamId)).toBe(25);
  await litellm.as().post('/key/delete', { keys: [issued.key] });
  await world.admin.delete(`${path}/teams/blue`);
  expect((await inLitellm(organization.teamId)).members_with_roles).not.toContainEqual(
    expect.objectContaining({ user_id: `${organization.id}/blue` }),
  );
});

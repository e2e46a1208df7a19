/**
 * The synchronisation brings LiteLLM and the database together, each difference by itself, and writes
 * no budget.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { SyncSummary } from '../../activities/sync/types.ts';
import { freePort } from '../../sandbox/ports.ts';
import type { TeamSyncInput, TeamSyncWorkflow } from '../../workflows/contract.ts';
import type { KmsState } from '../support/answers.ts';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS, HOLD, READ_BUDGET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { startBill } from '../support/processes.ts';
import { type Organization, SOME_CUSTOMER, World } from '../support/world.ts';

const ORGANIZATIONS = 50;
const TEAMS_EACH = 2;
/**
 * A worker that was killed has to be missed first, and then 150 writes follow one another: minutes on a
 * machine that is busy.
 */
const KILLED_TIMEOUT_MS = 240_000;

type Item = { kind: string; subject: string; organization_id: string | null; ours: string | null; theirs: string | null } & {
  action: string | null;
  outcome: string;
  reason: string | null;
};
type Run = {
  started_at: string;
  id: string;
  status: string;
  outcomes: Record<string, number>;
  counts: Record<string, unknown>;
  failure: string | null;
  items: Item[];
};

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

type Wish = { organization_ids?: string[]; dry_run?: boolean };

/** A run by the API, to its end. */
async function sync(wish: Wish = {}, of = world): Promise<Run> {
  return over(await begun(wish, of), of);
}

/** Starts a run; returns its id. */
async function begun(wish: Wish = {}, of = world): Promise<string> {
  const { status, data } = await of.admin.post('/api/v1/sync', wish);
  expect([status, data.status]).toEqual([201, 'running']);
  return data.id;
}

/** Waits until a run is over. */
function over(id: string, of = world, timeoutMs?: number): Promise<Run> {
  return of.eventually(
    async () => {
      const run: Run = (await of.admin.get(`/api/v1/sync/${id}`)).data;
      return run.status !== 'running' && run;
    },
    'the synchronisation is over',
    timeoutMs,
  );
}

/** What a run has found about the organization: kind, what was done, and how that ended. */
function about({ items }: Run, { id }: { id: string }): [string, string | null, string][] {
  return items.filter(({ organization_id }) => organization_id === id).map(({ kind, action, outcome }) => [kind, action, outcome]);
}

/** A customer whose team is asked for and nobody has made yet. */
async function newOrganization(wish: Record<string, unknown> = {}, of = world): Promise<{ id: string; teamId: string }> {
  const id = `new-${randomUUID()}`;
  const settings = {
    stripe_customer_id: SOME_CUSTOMER,
    minimum_balance: '2.00',
    target_balance: '20.00',
    auto_recharge_enabled: false,
    create_team: true,
  };
  const { data } = await of.admin.post('/api/v1/organizations', { c_organization_id: id, ...settings, ...wish });
  return { id, teamId: data.litellm_team_id };
}

async function newTeam({ id }: { id: string }, teamId: string, of = world): Promise<void> {
  expect((await of.admin.post(`/api/v1/organizations/${id}/teams`, { c_team_id: teamId })).status).toBe(201);
}

/** Everything that was asked of LiteLLM since then and can change something. */
async function writesAfter(count: number, of = world): Promise<KmsState['requests']> {
  return (await of.kmsState()).requests.slice(count).filter(({ method }) => method === 'POST');
}

describe('what LiteLLM does not have yet', () => {
  beforeEach(async () => {
    // Every organization of the tests before is as it should be, or is never looked at again.
    await sync();
  });

  test('fifty organizations with their teams are made, and a second run changes nothing', async () => {
    const organizations = await Promise.all(Array.from({ length: ORGANIZATIONS }, () => newOrganization({ name: 'Acme' })));
    for (const organization of organizations)
      for (let serial = 0; serial < TEAMS_EACH; serial++) await newTeam(organization, `team-${serial}`);
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded', outcomes: { done: ORGANIZATIONS * (1 + TEAMS_EACH) } });

    const { teams, users, requests } = await world.kmsState();
    for (const { id, teamId } of organizations) {
      expect(teams[teamId]).toMatchObject({ team_alias: 'Acme', max_budget: 0, metadata: { c_organization_id: id } });
      expect(teams[teamId]?.members.map(({ user_id }) => user_id)).toEqual(expect.arrayContaining([`${id}/team-0`, `${id}/team-1`]));
      expect(users[`${id}/team-0`]).toBeDefined();
      const { data } = await world.admin.get(`/api/v1/organizations/${id}/teams/team-0`);
      expect(data.synced_at).not.toBeNull();
    }
    const second = await sync();
    expect([second.outcomes, second.items, await writesAfter(requests.length)]).toEqual([{}, [], []]);
  });

  test('an organization that is wanted blocked is blocked from the first', async () => {
    const organization = await newOrganization({ blocked: true });
    await sync({ organization_ids: [organization.id] });
    expect((await world.kmsState()).teams[organization.teamId]?.blocked).toBe(true);
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { blocked: false });
    expect(about(await sync(), organization)).toEqual([['block_differs', 'unblock', 'done']]);
    expect((await world.kmsState()).teams[organization.teamId]?.blocked).toBe(false);
  });

  test.each<[string, (path: string) => Promise<unknown>]>([
    ['corrected', (path) => world.admin.patch(path, { litellm_team_id: `right-${randomUUID()}`, create_team: true })],
    ['removed with its organization', (path) => world.admin.delete(path)],
  ])('no team is made of an id that was %s since the run looked', async (_, change) => {
    const [mistaken, other] = [await newOrganization(), await newOrganization()];
    const lookingUp = await world.kmsFault({ ...READ_BUDGET, contains: other.teamId, action: HOLD });
    const id = await begun({ organization_ids: [mistaken.id, other.id] });
    await lookingUp.struck();
    await world.eventually(async () => {
      const { requests } = await world.kmsState();
      return requests.some(({ path, query }) => path === READ_BUDGET.path && JSON.stringify(query).includes(mistaken.teamId));
    }, 'the mistaken team has been looked up');
    await change(`/api/v1/organizations/${mistaken.id}`);
    await lookingUp.remove();
    const run = await over(id);
    expect([about(run, mistaken), about(run, other)]).toEqual([[], [['team_missing', 'create', 'done']]]);
    expect((await world.kmsState()).teams[mistaken.teamId]).toBeUndefined();
  });

  test('a team in LiteLLM that names an organization is adopted, its name made ours, its budget kept', async () => {
    const organization = await newOrganization({ name: 'Acme' });
    const teamId = `theirs-${organization.id}`;
    await world.makeTeam({ team_id: teamId, team_alias: 'acme (old)', max_budget: 7, metadata: { c_organization_id: organization.id } });
    expect(about(await sync(), organization).toSorted()).toEqual([
      ['name_differs', 'rename', 'done'],
      ['team_claimed', 'adopt', 'done'],
    ]);
    const { teams } = await world.kmsState();
    expect(teams[teamId]).toMatchObject({ team_alias: 'Acme', max_budget: 7 });
    expect(teams[organization.teamId]).toBeUndefined();
    const { data } = await world.admin.get(`/api/v1/organizations/${organization.id}`);
    expect(data.litellm_team_id).toBe(teamId);
    expect((await sync()).items).toEqual([]);
  });

  test('a team that names an organization is not adopted when a person has given the organization another one meanwhile', async () => {
    const organization = await newOrganization();
    const [theirs, meant] = [`theirs-${organization.id}`, `meant-${organization.id}`];
    await world.makeTeam({ team_id: theirs, max_budget: 7, metadata: { c_organization_id: organization.id } });
    await world.makeTeam({ team_id: meant, team_alias: organization.id, max_budget: 5 });
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, when: 'after', action: HOLD });
    const run = await begun({ organization_ids: [organization.id] });
    await look.struck();
    expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, { litellm_team_id: meant })).status).toBe(200);
    await look.remove();
    expect(about(await over(run), organization)).toContainEqual(['team_claimed', 'adopt', 'failed']);
    expect((await world.admin.get(`/api/v1/organizations/${organization.id}`)).data.litellm_team_id).toBe(meant);
    await world.deleteTeam(theirs);
  });

  test('only the organizations that were named are looked at', async () => {
    const [one, other, renamed] = [await newOrganization(), await newOrganization(), await world.organization()];
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    const run = await sync({ organization_ids: [one.id] });
    expect(run.items.map(({ organization_id }) => organization_id)).toEqual([one.id]);
    const { teams } = await world.kmsState();
    expect([teams[other.teamId], teams[renamed.teamId]?.team_alias]).toEqual([undefined, 'another name']);
  });
});

describe('a dry run', () => {
  test('finds the same and changes nothing, neither there nor here', async () => {
    const missing = await newOrganization();
    await newTeam(missing, 'blue');
    const claimed = await newOrganization();
    await world.makeTeam({ team_id: `theirs-${claimed.id}`, max_budget: 7, metadata: { c_organization_id: claimed.id } });
    const renamed = await world.organization();
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    const here = async () => {
      const tables = ['organization_balance_config', 'team', 'team_key', 'litellm_team', 'webhook_event'];
      return Promise.all(tables.map(async (table) => (await world.sql.query(`select * from ${table} order by 1, 2`)).rows));
    };
    const [before, { requests, teams }] = [await here(), await world.kmsState()];

    const run = await sync({ dry_run: true });
    expect(about(run, missing).toSorted()).toEqual([
      ['member_missing', 'add_member', 'planned'],
      ['team_missing', 'create', 'planned'],
    ]);
    expect(about(run, claimed)).toEqual([['team_claimed', 'adopt', 'planned']]);
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'planned']]);
    expect(await writesAfter(requests.length)).toEqual([]);
    expect((await world.kmsState()).teams).toEqual(teams);
    expect(await here()).toEqual(before);
  });
});

describe('what differs', () => {
  /** An organization whose team LiteLLM has, and the synchronisation has seen. */
  async function synced(wish = {}): Promise<Organization> {
    const organization = await world.organization({ settings: { auto_recharge_enabled: false }, ...wish });
    expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([]);
    return organization;
  }

  test('the name is made ours, the block too, and a block of somebody else stays', async () => {
    const [renamed, blocked, foreign] = [await synced(), await synced(), await synced()];
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    await world.admin.patch(`/api/v1/organizations/${blocked.id}`, { blocked: true });
    await world.editTeam(foreign.teamId, { blocked: true });
    const run = await sync();
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'done']]);
    expect(about(run, blocked)).toEqual([['block_differs', 'block', 'done']]);
    expect(about(run, foreign)).toEqual([['block_differs', null, 'needs_person']]);
    const { teams } = await world.kmsState();
    expect([renamed, blocked, foreign].map(({ teamId }) => teams[teamId])).toMatchObject([
      { team_alias: renamed.id, blocked: false },
      { blocked: true },
      { blocked: true },
    ]);
    expect(about(await sync(), blocked)).toEqual([]);
  });

  test('a block is ours to lift also of a team that no page showed, and no longer when somebody has lifted it and blocked again', async () => {
    const [slipped, again] = [await synced(), await synced()];
    for (const { id } of [slipped, again]) await world.admin.patch(`/api/v1/organizations/${id}`, { blocked: true });
    await world.kmsFault({
      path: '/v2/team/list',
      action: { kind: 'respond', status: 200, body: { teams: [], total: 0, page: 1, total_pages: 1 } },
    });
    const run = await sync();
    for (const each of [slipped, again]) expect(about(run, each)).toEqual([['block_differs', 'block', 'done']]);
    for (const { id } of [slipped, again]) await world.admin.patch(`/api/v1/organizations/${id}`, { blocked: false });
    await world.editTeam(again.teamId, { blocked: false });
    expect(about(await sync(), slipped)).toEqual([['block_differs', 'unblock', 'done']]);
    await world.editTeam(again.teamId, { blocked: true });
    expect(about(await sync(), again)).toEqual([['block_differs', null, 'needs_person']]);
  });

  test('a block is ours to lift also where another run has read the teams before we set it, and stored them after', async () => {
    const [organization, other] = [await synced(), await synced()];
    const path = `/api/v1/organizations/${organization.id}`;
    await world.admin.patch(path, { blocked: true });
    const reading = await world.kmsFault({ path: '/v2/team/list', when: 'after', action: HOLD });
    const slow = await begun({ organization_ids: [other.id] });
    await reading.struck();
    expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([['block_differs', 'block', 'done']]);
    await reading.remove();
    await over(slow);
    await world.admin.patch(path, { blocked: false });
    expect(about(await sync(), organization)).toEqual([['block_differs', 'unblock', 'done']]);
  });

  test('what a person has changed since the run looked is not written', async () => {
    const organization = await synced();
    const path = `/api/v1/organizations/${organization.id}`;
    await world.admin.patch(path, { name: 'Renamed', blocked: true });
    const renaming = await world.kmsFault({ path: '/team/update', contains: 'Renamed', action: HOLD });
    const id = await begun({ organization_ids: [organization.id] });
    await renaming.struck();
    await world.admin.patch(path, { blocked: false });
    await renaming.remove();
    expect(about(await over(id), organization)).toEqual([['name_differs', 'rename', 'done']]);
    expect((await world.kmsState()).teams[organization.teamId]).toMatchObject({ team_alias: 'Renamed', blocked: false });
  });

  test('a budget that somebody has edited is told and left; so are a team without a limit, and resets that give quota back', async () => {
    const edited = await world.organization();
    await world.alerted(edited);
    expect(about(await sync(), edited)).toEqual([]);
    const [unlimited, reset, windows] = [await synced(), await synced(), await synced()];
    await world.setBudget(edited.teamId, 99);
    await world.setBudget(unlimited.teamId, null);
    await world.editTeam(reset.teamId, { budget_duration: '30d' });
    await world.editTeam(windows.teamId, { budget_limits: [{ budget_duration: '1d', max_budget: 1 }] });
    const run = await sync();
    expect(run.items.find(({ organization_id }) => organization_id === edited.id)).toMatchObject({
      kind: 'budget_edited',
      ours: '30.50',
      theirs: '99.00',
      outcome: 'needs_person',
    });
    expect(about(run, unlimited)).toEqual([['budget_unlimited', null, 'needs_person']]);
    expect(about(run, reset)).toEqual([['budget_duration', null, 'needs_person']]);
    expect(about(run, windows)).toEqual([['budget_limits', null, 'needs_person']]);
    expect(await world.budgetOf(edited.teamId)).toBe(99);
  });

  test('a budget that a reversal has lowered is what we left', async () => {
    const { organization, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId, amount: 1000 });
    await world.reconcile();
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(20.5);
    expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([]);
  });

  test('a team that was deleted in LiteLLM is told and not made again', async () => {
    const organization = await synced();
    await world.deleteTeam(organization.teamId);
    expect(about(await sync(), organization)).toEqual([['team_deleted', null, 'needs_person']]);
    expect((await world.kmsState()).teams[organization.teamId]).toBeUndefined();
    const { items } = await sync({ organization_ids: [organization.id] });
    expect(items).toMatchObject([{ reason: expect.stringContaining(`bill status --org ${organization.id} says`) }]);
    const { rows } = await world.sql.query('select gone_at is not null as gone from litellm_team where team_id = $1', [
      organization.teamId,
    ]);
    expect(rows).toEqual([{ gone: true }]);
  });

  test('a team that was deleted is made again with what was left of what the recharge had raised, as the status says alone', async () => {
    const { organization } = await world.recharged();
    const scope = { organization_ids: [organization.id] };
    await world.deleteTeam(organization.teamId);
    const { reason } = (await sync(scope)).items[0] ?? {};
    expect(reason).not.toContain('max_budget":');
    expect(reason).toContain(`bill status --org ${organization.id} says`);
    const { data } = await world.admin.get('/api/v1/status', { params: { organization_id: organization.id } });
    const [, body = ''] = /team\/new.*-d '([^']*)'/.exec(data.organizations.data[0].next) ?? [];
    expect(JSON.parse(body)).toEqual({ team_id: organization.teamId, max_budget: 20, budget_duration: null });
    await world.kms.post('/team/new', JSON.parse(body));
    await world.admin.post(`/api/v1/organizations/${organization.id}/accept-budget`, { reason: 'it was spent' });
    expect(about(await sync(scope), organization).map(([kind]) => kind)).toEqual(['name_differs']);
  });

  describe('a difference is told once for as long as it stands, and again when it stands after it was settled:', () => {
    type Scene = { organization: { id: string; teamId: string }; stand: () => Promise<unknown>; settle: () => Promise<unknown> };
    async function toldOf(id: string): Promise<string[]> {
      const told = `select data->>'kind' as kind from outbound_event where organization_id = $1 and type = 'drift.detected' order by id`;
      return (await world.sql.query(told, [id])).rows.map(({ kind }) => kind);
    }
    async function edited(): Promise<Scene> {
      const { organization } = await world.recharged();
      const stand = () => world.setBudget(organization.teamId, 70);
      return { organization, stand, settle: () => world.setBudget(organization.teamId, 30.5) };
    }
    async function deleted(): Promise<Scene> {
      const organization = await synced();
      const stand = () => world.deleteTeam(organization.teamId);
      return { organization, stand, settle: () => world.makeTeam({ team_id: organization.teamId, max_budget: 10 }) };
    }
    async function blocked(): Promise<Scene> {
      const organization = await synced();
      const set = (is: boolean) => world.kms.post('/team/update', { team_id: organization.teamId, blocked: is });
      return { organization, stand: () => set(true), settle: () => set(false) };
    }

    test.each([
      ['a budget that was edited', 'budget_edited', edited],
      ['a team that was deleted', 'team_deleted', deleted],
      ['a block', 'block_differs', blocked],
    ])('%s', async (_name, kind, begin) => {
      const { organization, stand, settle } = await begin();
      const scope = { organization_ids: [organization.id] };
      await stand();
      for (let look = 0; look < 2; look++) await sync(scope);
      expect(await toldOf(organization.id)).toEqual([kind]);
      await settle();
      await sync({ ...scope, dry_run: true });
      await stand();
      await sync(scope);
      expect(await toldOf(organization.id)).toEqual([kind]);
      await settle();
      await sync(scope);
      await stand();
      for (let look = 0; look < 2; look++) await sync(scope);
      expect(await toldOf(organization.id)).toEqual([kind, kind]);
    });
  });

  test('a team that names an organization which has its own, and one that names nobody, are told', async () => {
    const organization = await synced();
    const [claiming, nobodys] = [`claims-${organization.id}`, `nobodys-${organization.id}`];
    await world.makeTeam({ team_id: claiming, metadata: { c_organization_id: organization.id } });
    await world.makeTeam({ team_id: nobodys, team_alias: 'X', max_budget: 5 });
    const run = await sync();
    expect(about(run, organization)).toEqual([['team_claimed', null, 'needs_person']]);
    expect(run.items).toContainEqual(expect.objectContaining({ kind: 'team_unmanaged', subject: nobodys, outcome: 'noted' }));
    const { rows } = await world.sql.query('select alias, max_budget::float, claim from litellm_team where team_id = any($1) order by 1', [
      [claiming, nobodys],
    ]);
    expect(rows).toEqual([
      { alias: 'X', max_budget: 5, claim: null },
      { alias: null, max_budget: null, claim: organization.id },
    ]);
    await world.deleteTeam(claiming);
    await world.deleteTeam(nobodys);
  });

  test('members: a removed one is added again, an unmanaged one stays, one asked to go while LiteLLM was unavailable goes', async () => {
    const organization = await synced();
    await newTeam(organization, 'kept');
    await newTeam(organization, 'leaving');
    await world.kms.post('/team/member_delete', { team_id: organization.teamId, user_id: `${organization.id}/kept` });
    await world.kms.post('/team/member_add', {
      team_id: organization.teamId,
      member: { role: 'user', user_id: `guest-${organization.id}` },
    });
    await world.kmsFault({ path: '/**', times: ALWAYS, action: UNAVAILABLE });
    expect((await world.admin.delete(`/api/v1/organizations/${organization.id}/teams/leaving`)).status).toBe(202);
    await world.clearFaults();

    expect(about(await sync(), organization).toSorted()).toEqual([
      ['member_leaving', 'remove_member', 'done'],
      ['member_missing', 'add_member', 'done'],
    ]);
    const members = (await world.kmsState()).teams[organization.teamId]?.members.map(({ user_id }) => user_id);
    expect(members).toEqual(expect.arrayContaining([`${organization.id}/kept`, `guest-${organization.id}`]));
    expect(members).not.toContain(`${organization.id}/leaving`);
    expect(about(await sync(), organization)).toEqual([]);
  });

  test('a run that LiteLLM does not answer says what it fails with, until it goes on', async () => {
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
    const { id } = (await world.admin.post('/api/v1/sync', {})).data;
    const shown = async () => (await world.admin.get(`/api/v1/sync/${id}`)).data;
    const failing = await world.eventually(async () => (await shown()).trouble, 'it has failed once');
    expect(failing).toMatch(/^\w+ has failed (once|\d+ times): LiteLLM .*503.*; it is (tried again at .* UTC|being tried again)$/);
    await world.clearFaults();
    expect(await world.eventually(async () => (await shown()).status === 'succeeded' && (await shown()), 'it goes on')).toMatchObject({
      trouble: null,
      failure: null,
    });
  });

  test('a key that was revoked while LiteLLM was unavailable is deleted', async () => {
    const organization = await synced();
    await newTeam(organization, 'blue');
    const keys = `/api/v1/organizations/${organization.id}/teams/blue/keys`;
    const { data: key } = await world.admin.post(keys, { name: 'laptop' });
    await world.kmsFault({ path: '/key/delete', times: ALWAYS, action: UNAVAILABLE });
    expect((await world.admin.delete(`${keys}/${key.id}`)).status).toBe(503);
    await world.clearFaults();
    expect(about(await sync(), organization)).toEqual([['keys_leaving', 'delete_keys', 'done']]);
    expect(about(await sync(), organization)).toEqual([]);
  });
});

describe('what else happens at the same time', () => {
  test('case 55: a synchronisation overlaps a recharge and does not touch its budget', async () => {
    const organization = await world.organization();
    const refusal = await world.kmsFault({ ...WRITE_BUDGET, contains: 'max_budget', times: ALWAYS, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    await refusal.struck();
    await world.editTeam(organization.teamId, { team_alias: 'another name' });
    expect(about(await sync(), organization)).toEqual([['name_differs', 'rename', 'done']]);
    await refusal.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('case 55: a page that was read before a recharge is not taken for an edit of the budget', async () => {
    const organization = await world.organization();
    const query = 'page=1&page_size=100&sort_by=team_id&sort_order=asc';
    const { data: before } = await world.kms.get(`/v2/team/list?${query}`);
    await world.alerted(organization);
    const teams = [{ ...before.teams[0], team_id: organization.teamId, team_alias: organization.id, max_budget: 10 }];
    const body = { ...before, teams, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', action: { kind: 'respond', status: 200, body } });
    expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([]);
  });

  test('case 55: two synchronisations at once make every team once', async () => {
    const organizations = await Promise.all(Array.from({ length: 10 }, () => newOrganization()));
    const { requests } = await world.kmsState();
    await Promise.all([sync(), sync(), sync()]);
    const made = (await writesAfter(requests.length)).filter(({ path, status }) => path === '/team/new' && status === 200);
    expect(made).toHaveLength(organizations.length);
    for (const organization of organizations) expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([]);
  });

  test('case 55: an item that LiteLLM refuses fails alone, with the reason, and is tried by the next run', async () => {
    const [refused, other] = [await newOrganization(), await newOrganization()];
    await world.kmsFault({
      path: '/team/new',
      contains: refused.id,
      times: ALWAYS,
      action: { kind: 'respond', status: 403, body: { error: { message: 'not allowed' } } },
    });
    const run = await sync();
    expect(run.status).toBe('succeeded');
    expect(about(run, other)).toEqual([['team_missing', 'create', 'done']]);
    expect(run.items.find(({ organization_id }) => organization_id === refused.id)).toMatchObject({
      outcome: 'failed',
      reason: 'LiteLLM answered 403: not allowed',
    });
    await world.clearFaults();
    expect(about(await sync(), refused)).toEqual([['team_missing', 'create', 'done']]);
  });

  test('case 55: a page that cannot be read is named, the others are compared, and nothing is made that might be on it', async () => {
    for (let serial = 0; serial < 210; serial++) await world.makeTeam({ team_id: `${world.name}-a-${serial}`, max_budget: 1 });
    const renamed = await world.organization({ teamId: `${world.name}-zz` });
    const missing = await newOrganization();
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    await world.kmsFault({ path: '/v2/team/list', contains: 'page=2&', times: ALWAYS, action: { kind: 'respond', status: 500 } });
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded', counts: { failed_pages: [2] } });
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'done']]);
    expect(about(run, missing)).toEqual([['team_missing', 'create', 'failed']]);
    expect(run.items.find(({ organization_id }) => organization_id === missing.id)?.reason).toMatch(
      /^LiteLLM did not show page 2 of its teams: /,
    );
    await world.clearFaults();
    expect(about(await sync(), missing)).toEqual([['team_missing', 'create', 'done']]);
  });

  test('teams with ids of any length, in LiteLLM and in rows that cannot be read, do not keep the run from the others', async () => {
    const [long, like] = [randomBytes(4_000).toString('hex'), randomBytes(4_000).toString('hex')];
    for (const teamId of [`${long}-1`, `${long}-2`]) await world.makeTeam({ team_id: teamId, max_budget: 1 });
    const missing = await newOrganization();
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded', failure: null });
    expect(about(run, missing)).toEqual([['team_missing', 'create', 'done']]);
    const subjects = run.items.map(({ subject }) => subject).filter((subject) => long.startsWith(subject.slice(0, 20)));
    expect(new Set(subjects).size).toBe(2);
    const { data } = await world.kms.get('/v2/team/list', { params: { page: 1, page_size: 100, sort_by: 'team_id', sort_order: 'asc' } });
    const body = { ...data, teams: [{ team_id: like, spend: 'much' }], total: 1, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: { kind: 'respond', status: 200, body } });
    expect(await sync()).toMatchObject({
      status: 'succeeded',
      items: expect.arrayContaining([expect.objectContaining({ kind: 'team_unreadable' })]),
    });
  });

  test('a team that cannot be read is named, as is whose it is, and why no team is made meanwhile', async () => {
    const [ours, missing] = [await world.organization(), await newOrganization()];
    const foreign = `${world.name}-foreign`;
    await world.makeTeam({ team_id: foreign, max_budget: 1 });
    const { data } = await world.kms.get('/v2/team/list', { params: { page: 1, page_size: 100, sort_by: 'team_id', sort_order: 'asc' } });
    const unread = [ours.teamId, foreign];
    const own = data.teams.find(({ team_id }: { team_id: string }) => team_id === ours.teamId);
    const teams = unread.map((team_id) => ({ ...own, team_id, spend: 'much' }));
    const body = { ...data, teams, total: 2, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: { kind: 'respond', status: 200, body } });
    const run = await sync();
    const named = run.items.filter(({ kind }) => kind === 'team_unreadable');
    expect(named.map(({ subject, organization_id, outcome }) => [subject, organization_id, outcome])).toEqual(
      expect.arrayContaining([
        [ours.teamId, ours.id, 'needs_person'],
        [foreign, null, 'needs_person'],
      ]),
    );
    expect(about(run, missing)).toEqual([['team_missing', 'create', 'failed']]);
    const standing = async (id: string) =>
      (await world.admin.get('/api/v1/status', { params: { organization_id: id } })).data.organizations.data[0];
    expect(await standing(missing.id)).toMatchObject({
      state: 'litellm_differs',
      why: expect.stringMatching(/2 of LiteLLM's teams could not be read \(bill sync --wait names them as team_unreadable\): /),
    });
    await world.clearFaults();
    expect(about(await sync(), missing)).toEqual([['team_missing', 'create', 'done']]);
    expect(await standing(missing.id)).toMatchObject({ state: 'off' });
  });

  test(
    'case 55: a worker that is killed in the middle: another one goes on, and nothing is written twice',
    async () => {
      const other = await World.create();
      const workers: { kill: () => Promise<void> }[] = [];
      try {
        await other.startApi();
        const organizations = [];
        for (let serial = 0; serial < ORGANIZATIONS; serial++) organizations.push(await newOrganization({}, other));
        for (const organization of organizations) await newTeam(organization, 'blue', other);
        const { requests } = await other.kmsState();
        // The answer of one of them never comes; what it asked for is done.
        const lost = await other.kmsFault({ path: '/team/new', skip: 10, when: 'after', action: { kind: 'hang' } });
        workers.push(await startBill('worker', other.env));
        const runId = await begun({}, other);
        await lost.struck();
        await workers.shift()?.kill();
        workers.push(await startBill('worker', other.env));
        const { status, items } = await over(runId, other, KILLED_TIMEOUT_MS);
        expect([status, items.filter(({ outcome }) => outcome !== 'done')]).toEqual(['succeeded', []]);

        const counts = new Map<string, number>();
        for (const { path, status, body } of await writesAfter(requests.length, other)) {
          if (status === 200 && ['/team/new', '/user/new', '/team/member_add'].includes(path))
            counts.set(path + body, (counts.get(path + body) ?? 0) + 1);
        }
        expect([...counts.values()].filter((count) => count > 1)).toEqual([]);
        expect(counts.size).toBe(3 * ORGANIZATIONS);
        expect((await sync({}, other)).items).toEqual([]);
      } finally {
        await Promise.all(workers.map((worker) => worker.kill()));
        await other.close();
      }
    },
    2 * KILLED_TIMEOUT_MS,
  );
});

describe('a run', () => {
  test('is started from the Temporal Web UI with {} or with nothing, and is listed', async () => {
    const start = (args: [TeamSyncInput] | []) =>
      world.temporal.workflow.execute<TeamSyncWorkflow>('teamSyncWorkflow', {
        workflowId: `by-hand-${randomUUID()}`,
        taskQueue: world.name,
        args: args as [TeamSyncInput],
      });
    const summaries: SyncSummary[] = [await start([{}]), await start([])];
    const { data } = await world.admin.get('/api/v1/sync', { params: { limit: 2 } });
    expect(data.data.map(({ id, status }: Run) => [id, status])).toEqual(summaries.toReversed().map(({ runId }) => [runId, 'succeeded']));
    expect(data.data[0].temporal_ui_url).toContain('/workflows/by-hand-');
  });

  test('that goes on in a new history keeps its row and what it has counted', async () => {
    const { id: runId, started_at: since } = await sync();
    await world.sql.query("update sync_run set status = 'running', finished_at = null where id = $1", [runId]);
    const counts = { pages: 7, teams: 700, organizations: 70, unmanaged: 0, unreadable: 0, failedPages: [] };
    const run = { runId, since, dryRun: false, organizationIds: null };
    const summary = await world.temporal.workflow.execute<TeamSyncWorkflow>('teamSyncWorkflow', {
      workflowId: `team-sync/${randomUUID()}`,
      taskQueue: world.name,
      args: [{ progress: { run, counts, cursor: null, after: '' } }],
    });
    expect(summary).toMatchObject({ runId, counts: { pages: 7, teams: 700 } });
    expect((await world.admin.get(`/api/v1/sync/${runId}`)).data).toMatchObject({ status: 'succeeded', counts: { pages: 7 } });
  });

  test('that is cancelled while LiteLLM does not answer ends as failed', async () => {
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
    const id = await begun();
    await world.temporal.workflow.getHandle(`team-sync/${id}`).cancel();
    expect(await over(id)).toMatchObject({ status: 'failed', failure: expect.stringMatching(/cancel/i) });
  });

  test('is refused for organizations that are none, for fields that are not known, and while Temporal is unavailable', async () => {
    const { status, data } = await world.admin.post('/api/v1/sync', { organization_ids: ['nobody'] });
    const message = expect.stringMatching(/^there is no organization nobody; there /);
    expect([status, data.errors]).toEqual([422, [{ field: 'organization_ids', message }]]);
    expect((await world.admin.post('/api/v1/sync', { everything: true })).status).toBe(422);
    expect((await world.admin.get('/api/v1/sync/syn_none')).status).toBe(404);
    await world.withAnotherApi({ TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}`, PORT: '0' }, async (url) => {
      const refused = await world.admin.post('/api/v1/sync', {}, { baseURL: url });
      expect(refused.status).toBe(503);
      expect(refused.data.detail).toMatch(
        /^no synchronisation was started: Temporal cannot be reached at 127\.0\.0\.1:\d+ \(nothing listens at .*\): .*TEMPORAL_ADDRESS/,
      );
    });
    expect((await world.admin.get('/api/v1/sync', { params: { limit: 1 } })).data.data[0]).toMatchObject({ status: 'failed' });
  });
});

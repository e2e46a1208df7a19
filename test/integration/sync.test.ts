/**
 * The synchronisation brings LiteLLM and the database together: it makes what LiteLLM does not have yet, settles what
 * differs or tells of it, and writes no budget.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { ALWAYS, HOLD, READ_BUDGET, UNAVAILABLE } from '../support/faults.ts';
import { about, Syncs } from '../support/syncs.ts';
import { type Organization, World } from '../support/world.ts';

const ORGANIZATIONS = 50;
const TEAMS_EACH = 2;

let world: World;
let syncs: Syncs;
beforeAll(async () => {
  world = await World.start();
  syncs = new Syncs(world);
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

describe('what LiteLLM does not have yet', () => {
  beforeEach(async () => {
    // Every organization of the tests before is as it should be, or is never looked at again.
    await syncs.run();
  });

  test('fifty organizations with their teams are made, and a second run changes nothing', async () => {
    const organizations = await Promise.all(Array.from({ length: ORGANIZATIONS }, () => syncs.newOrganization({ name: 'Acme' })));
    for (const organization of organizations)
      for (let serial = 0; serial < TEAMS_EACH; serial++) await syncs.newTeam(organization, `team-${serial}`);
    const run = await syncs.run();
    expect(run).toMatchObject({ status: 'succeeded', outcomes: { done: ORGANIZATIONS * (1 + TEAMS_EACH) } });

    const { teams, users, requests } = await world.kmsState();
    for (const { id, teamId } of organizations) {
      expect(teams[teamId]).toMatchObject({ team_alias: 'Acme', max_budget: 0, metadata: { c_organization_id: id } });
      expect(teams[teamId]?.members.map(({ user_id }) => user_id)).toEqual(expect.arrayContaining([`${id}/team-0`, `${id}/team-1`]));
      expect(users[`${id}/team-0`]).toBeDefined();
      const { data } = await world.admin.get(`/api/v1/organizations/${id}/teams/team-0`);
      expect(data.synced_at).not.toBeNull();
    }
    const second = await syncs.run();
    expect([second.outcomes, second.items, await syncs.writesAfter(requests.length)]).toEqual([{}, [], []]);
  });

  test('an organization that is wanted blocked is blocked from the first', async () => {
    const organization = await syncs.newOrganization({ blocked: true });
    await syncs.run({ organization_ids: [organization.id] });
    expect((await world.kmsState()).teams[organization.teamId]?.blocked).toBe(true);
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { blocked: false });
    expect(about(await syncs.run(), organization)).toEqual([['block_differs', 'unblock', 'done']]);
    expect((await world.kmsState()).teams[organization.teamId]?.blocked).toBe(false);
  });

  test.each<[string, (path: string) => Promise<unknown>]>([
    ['corrected', (path) => world.admin.patch(path, { litellm_team_id: `right-${randomUUID()}`, create_team: true })],
    ['removed with its organization', (path) => world.admin.delete(path)],
  ])('no team is made of an id that was %s since the run looked', async (_, change) => {
    const [mistaken, other] = [await syncs.newOrganization(), await syncs.newOrganization()];
    const lookingUp = await world.kmsFault({ ...READ_BUDGET, contains: other.teamId, action: HOLD });
    const id = await syncs.begun({ organization_ids: [mistaken.id, other.id] });
    await lookingUp.struck();
    await world.eventually(async () => {
      const { requests } = await world.kmsState();
      return requests.some(({ path, query }) => path === READ_BUDGET.path && JSON.stringify(query).includes(mistaken.teamId));
    }, 'the mistaken team has been looked up');
    await change(`/api/v1/organizations/${mistaken.id}`);
    await lookingUp.remove();
    const run = await syncs.over(id);
    expect([about(run, mistaken), about(run, other)]).toEqual([[], [['team_missing', 'create', 'done']]]);
    expect((await world.kmsState()).teams[mistaken.teamId]).toBeUndefined();
  });

  test('a team in LiteLLM that names an organization is adopted, its name made ours, its budget kept', async () => {
    const organization = await syncs.newOrganization({ name: 'Acme' });
    const teamId = `theirs-${organization.id}`;
    await world.makeTeam({ team_id: teamId, team_alias: 'acme (old)', max_budget: 7, metadata: { c_organization_id: organization.id } });
    expect(about(await syncs.run(), organization).toSorted()).toEqual([
      ['name_differs', 'rename', 'done'],
      ['team_claimed', 'adopt', 'done'],
    ]);
    const { teams } = await world.kmsState();
    expect(teams[teamId]).toMatchObject({ team_alias: 'Acme', max_budget: 7 });
    expect(teams[organization.teamId]).toBeUndefined();
    const { data } = await world.admin.get(`/api/v1/organizations/${organization.id}`);
    expect(data.litellm_team_id).toBe(teamId);
    expect((await syncs.run()).items).toEqual([]);
  });

  test('a team that names an organization is not adopted when a person has given the organization another one meanwhile', async () => {
    const organization = await syncs.newOrganization();
    const [theirs, meant] = [`theirs-${organization.id}`, `meant-${organization.id}`];
    await world.makeTeam({ team_id: theirs, max_budget: 7, metadata: { c_organization_id: organization.id } });
    await world.makeTeam({ team_id: meant, team_alias: organization.id, max_budget: 5 });
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, when: 'after', action: HOLD });
    const run = await syncs.begun({ organization_ids: [organization.id] });
    await look.struck();
    expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, { litellm_team_id: meant })).status).toBe(200);
    await look.remove();
    expect(about(await syncs.over(run), organization)).toContainEqual(['team_claimed', 'adopt', 'failed']);
    expect((await world.admin.get(`/api/v1/organizations/${organization.id}`)).data.litellm_team_id).toBe(meant);
    await world.deleteTeam(theirs);
  });

  test('only the organizations that were named are looked at', async () => {
    const [one, other, renamed] = [await syncs.newOrganization(), await syncs.newOrganization(), await world.organization()];
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    const run = await syncs.run({ organization_ids: [one.id] });
    expect(run.items.map(({ organization_id }) => organization_id)).toEqual([one.id]);
    const { teams } = await world.kmsState();
    expect([teams[other.teamId], teams[renamed.teamId]?.team_alias]).toEqual([undefined, 'another name']);
  });
});

describe('what differs', () => {
  /** An organization whose team LiteLLM has, and the synchronisation has seen. */
  async function synced(wish = {}): Promise<Organization> {
    const organization = await world.organization({ settings: { auto_recharge_enabled: false }, ...wish });
    expect(about(await syncs.run({ organization_ids: [organization.id] }), organization)).toEqual([]);
    return organization;
  }

  test('the name is made ours, the block too, and a block of somebody else stays', async () => {
    const [renamed, blocked, foreign] = [await synced(), await synced(), await synced()];
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    await world.admin.patch(`/api/v1/organizations/${blocked.id}`, { blocked: true });
    await world.editTeam(foreign.teamId, { blocked: true });
    const run = await syncs.run();
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'done']]);
    expect(about(run, blocked)).toEqual([['block_differs', 'block', 'done']]);
    expect(about(run, foreign)).toEqual([['block_differs', null, 'needs_person']]);
    const { teams } = await world.kmsState();
    expect([renamed, blocked, foreign].map(({ teamId }) => teams[teamId])).toMatchObject([
      { team_alias: renamed.id, blocked: false },
      { blocked: true },
      { blocked: true },
    ]);
    expect(about(await syncs.run(), blocked)).toEqual([]);
  });

  test('a block is ours to lift also of a team that no page showed, and no longer when somebody has lifted it and blocked again', async () => {
    const [slipped, again] = [await synced(), await synced()];
    for (const { id } of [slipped, again]) await world.admin.patch(`/api/v1/organizations/${id}`, { blocked: true });
    const page = await world.kmsFault({
      path: '/v2/team/list',
      action: { kind: 'respond', status: 200, body: { teams: [], total: 0, page: 1, total_pages: 1 } },
    });
    const run = await syncs.run();
    expect(await page.strikes()).toBe(1);
    for (const each of [slipped, again]) expect(about(run, each)).toEqual([['block_differs', 'block', 'done']]);
    for (const { id } of [slipped, again]) await world.admin.patch(`/api/v1/organizations/${id}`, { blocked: false });
    await world.editTeam(again.teamId, { blocked: false });
    expect(about(await syncs.run(), slipped)).toEqual([['block_differs', 'unblock', 'done']]);
    await world.editTeam(again.teamId, { blocked: true });
    expect(about(await syncs.run(), again)).toEqual([['block_differs', null, 'needs_person']]);
  });

  test('a block is ours to lift also where another run has read the teams before we set it, and stored them after', async () => {
    const [organization, other] = [await synced(), await synced()];
    const path = `/api/v1/organizations/${organization.id}`;
    await world.admin.patch(path, { blocked: true });
    const reading = await world.kmsFault({ path: '/v2/team/list', when: 'after', action: HOLD });
    const slow = await syncs.begun({ organization_ids: [other.id] });
    await reading.struck();
    expect(about(await syncs.run({ organization_ids: [organization.id] }), organization)).toEqual([['block_differs', 'block', 'done']]);
    await reading.remove();
    await syncs.over(slow);
    await world.admin.patch(path, { blocked: false });
    expect(about(await syncs.run(), organization)).toEqual([['block_differs', 'unblock', 'done']]);
  });

  test('what a person has changed since the run looked is not written', async () => {
    const organization = await synced();
    const path = `/api/v1/organizations/${organization.id}`;
    await world.admin.patch(path, { name: 'Renamed', blocked: true });
    const renaming = await world.kmsFault({ path: '/team/update', contains: 'Renamed', action: HOLD });
    const id = await syncs.begun({ organization_ids: [organization.id] });
    await renaming.struck();
    await world.admin.patch(path, { blocked: false });
    await renaming.remove();
    expect(about(await syncs.over(id), organization)).toEqual([['name_differs', 'rename', 'done']]);
    expect((await world.kmsState()).teams[organization.teamId]).toMatchObject({ team_alias: 'Renamed', blocked: false });
  });

  test('a budget that somebody has edited is told and left; so are a team without a limit, and resets that give quota back', async () => {
    const edited = await world.organization();
    await world.alerted(edited);
    expect(about(await syncs.run(), edited)).toEqual([]);
    const [unlimited, reset, windows] = [await synced(), await synced(), await synced()];
    await world.setBudget(edited.teamId, 99);
    await world.setBudget(unlimited.teamId, null);
    await world.editTeam(reset.teamId, { budget_duration: '30d' });
    await world.editTeam(windows.teamId, { budget_limits: [{ budget_duration: '1d', max_budget: 1 }] });
    const run = await syncs.run();
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
    expect(about(await syncs.run({ organization_ids: [organization.id] }), organization)).toEqual([]);
  });

  test('a team that was deleted in LiteLLM is told and not made again', async () => {
    const organization = await synced();
    await world.deleteTeam(organization.teamId);
    expect(about(await syncs.run(), organization)).toEqual([['team_deleted', null, 'needs_person']]);
    expect((await world.kmsState()).teams[organization.teamId]).toBeUndefined();
    const { items } = await syncs.run({ organization_ids: [organization.id] });
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
    const { reason } = (await syncs.run(scope)).items[0] ?? {};
    expect(reason).not.toContain('max_budget":');
    expect(reason).toContain(`bill status --org ${organization.id} says`);
    const { data } = await world.admin.get('/api/v1/status', { params: { organization_id: organization.id } });
    const [, body = ''] = /team\/new.*-d '([^']*)'/.exec(data.organizations.data[0].next) ?? [];
    expect(JSON.parse(body)).toEqual({ team_id: organization.teamId, max_budget: 20, budget_duration: null });
    await world.kms.post('/team/new', JSON.parse(body));
    await world.admin.post(`/api/v1/organizations/${organization.id}/accept-budget`, { reason: 'it was spent' });
    expect(about(await syncs.run(scope), organization).map(([kind]) => kind)).toEqual(['name_differs']);
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
      for (let look = 0; look < 2; look++) await syncs.run(scope);
      expect(await toldOf(organization.id)).toEqual([kind]);
      await settle();
      await syncs.run({ ...scope, dry_run: true });
      await stand();
      await syncs.run(scope);
      expect(await toldOf(organization.id)).toEqual([kind]);
      await settle();
      await syncs.run(scope);
      await stand();
      for (let look = 0; look < 2; look++) await syncs.run(scope);
      expect(await toldOf(organization.id)).toEqual([kind, kind]);
    });
  });

  test('a team that names an organization which has its own, and one that names nobody, are told', async () => {
    const organization = await synced();
    const [claiming, nobodys] = [`claims-${organization.id}`, `nobodys-${organization.id}`];
    await world.makeTeam({ team_id: claiming, metadata: { c_organization_id: organization.id } });
    await world.makeTeam({ team_id: nobodys, team_alias: 'X', max_budget: 5 });
    const run = await syncs.run();
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
    await syncs.newTeam(organization, 'kept');
    await syncs.newTeam(organization, 'leaving');
    await world.kms.post('/team/member_delete', { team_id: organization.teamId, user_id: `${organization.id}/kept` });
    await world.kms.post('/team/member_add', {
      team_id: organization.teamId,
      member: { role: 'user', user_id: `guest-${organization.id}` },
    });
    await world.kmsFault({ path: '/**', times: ALWAYS, action: UNAVAILABLE });
    expect((await world.admin.delete(`/api/v1/organizations/${organization.id}/teams/leaving`)).status).toBe(202);
    await world.clearFaults();

    expect(about(await syncs.run(), organization).toSorted()).toEqual([
      ['member_leaving', 'remove_member', 'done'],
      ['member_missing', 'add_member', 'done'],
    ]);
    const members = (await world.kmsState()).teams[organization.teamId]?.members.map(({ user_id }) => user_id);
    expect(members).toEqual(expect.arrayContaining([`${organization.id}/kept`, `guest-${organization.id}`]));
    expect(members).not.toContain(`${organization.id}/leaving`);
    expect(about(await syncs.run(), organization)).toEqual([]);
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
    await syncs.newTeam(organization, 'blue');
    const keys = `/api/v1/organizations/${organization.id}/teams/blue/keys`;
    const { data: key } = await world.admin.post(keys, { name: 'laptop' });
    await world.kmsFault({ path: '/key/delete', times: ALWAYS, action: UNAVAILABLE });
    expect((await world.admin.delete(`${keys}/${key.id}`)).status).toBe(503);
    await world.clearFaults();
    expect(about(await syncs.run(), organization)).toEqual([['keys_leaving', 'delete_keys', 'done']]);
    expect(about(await syncs.run(), organization)).toEqual([]);
  });
});

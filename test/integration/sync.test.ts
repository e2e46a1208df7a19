/** The synchronisation brings LiteLLM and the database together, each difference by itself, and writes nobody's budget. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import axios from 'axios';
import type { SyncSummary } from '../../activities/sync/types.ts';
import type { TeamSyncInput, TeamSyncWorkflow } from '../../workflows/contract.ts';
import { freePort } from '../support/ports.ts';
import { startBill } from '../support/processes.ts';
import { type Organization, World } from '../support/world.ts';

const ORGANIZATIONS = 50;
const TEAMS_EACH = 2;
const SYNC_TIMEOUT_MS = 60_000;
/** Longer than a killed worker's activity is waited for, on a busy machine. */
const KILLED_TIMEOUT_MS = 180_000;

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
type LoggedRequest = { method: string; path: string; status: number; body: string };

let world: World;
let client: Client;
beforeAll(async () => {
  world = await World.start();
  client = new Client({ connection: await Connection.connect({ address: world.env['TEMPORAL_ADDRESS'] ?? '' }) });
}, 60_000);
afterEach(() => world.clearFaults());
afterAll(async () => {
  await client.connection.close();
  await world.close();
});

/** A run by the API, to its end. */
async function sync(wish: { organization_ids?: string[]; dry_run?: boolean } = {}, of = world): Promise<Run> {
  const { status, data } = await of.admin.post('/api/v1/sync', wish);
  expect([status, data.status]).toEqual([201, 'running']);
  return of.eventually(
    async () => {
      const run: Run = (await of.admin.get(`/api/v1/sync/${data.id}`)).data;
      return run.status !== 'running' && run;
    },
    'the synchronisation is over',
    SYNC_TIMEOUT_MS,
  );
}

/** What a run has found about the organization: kind, what was done, and how that ended. */
function about({ items }: Run, { id }: { id: string }): [string, string | null, string][] {
  return items.filter(({ organization_id }) => organization_id === id).map(({ kind, action, outcome }) => [kind, action, outcome]);
}

/** A customer whose team nobody has made yet. */
async function newOrganization(wish: Record<string, unknown> = {}, of = world): Promise<{ id: string; teamId: string }> {
  const id = `new-${randomUUID()}`;
  const settings = { stripe_customer_id: 'cus_sync', minimum_balance: '2.00', target_balance: '20.00', auto_recharge_enabled: false };
  const { data } = await of.admin.post('/api/v1/organizations', { c_organization_id: id, ...settings, ...wish });
  return { id, teamId: data.litellm_team_id };
}

async function newTeam({ id }: { id: string }, teamId: string, of = world): Promise<void> {
  expect((await of.admin.post(`/api/v1/organizations/${id}/teams`, { c_team_id: teamId })).status).toBe(201);
}

type SandboxTeam = { team_alias: string; max_budget: number; blocked: boolean; metadata: object; members: { user_id: string }[] };

async function litellm(
  of = world,
): Promise<{ teams: Record<string, SandboxTeam>; users: Record<string, unknown>; requests: LoggedRequest[] }> {
  return (await axios.get(`${of.kmsUrl}/_sandbox/state`)).data;
}

/** Everything that was asked of LiteLLM since then and can change something. */
async function writesAfter(count: number, of = world): Promise<LoggedRequest[]> {
  return (await litellm(of)).requests.slice(count).filter(({ method }) => method === 'POST');
}

describe('what LiteLLM does not have yet', () => {
  beforeEach(async () => {
    // Every organization of the tests before is as it should be, or is never looked at again.
    await sync();
  }, SYNC_TIMEOUT_MS);

  test('fifty organizations with their teams are made, and a second run changes nothing', async () => {
    const organizations = await Promise.all(Array.from({ length: ORGANIZATIONS }, () => newOrganization({ name: 'Acme' })));
    for (const organization of organizations)
      for (let serial = 0; serial < TEAMS_EACH; serial++) await newTeam(organization, `team-${serial}`);
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded', outcomes: { done: ORGANIZATIONS * (1 + TEAMS_EACH) } });

    const { teams, users, requests } = await litellm();
    for (const { id, teamId } of organizations) {
      expect(teams[teamId]).toMatchObject({ team_alias: 'Acme', max_budget: 0, metadata: { c_organization_id: id } });
      expect(teams[teamId]?.members.map(({ user_id }) => user_id)).toEqual(expect.arrayContaining([`${id}/team-0`, `${id}/team-1`]));
      expect(users[`${id}/team-0`]).toBeDefined();
      const { data } = await world.admin.get(`/api/v1/organizations/${id}/teams/team-0`);
      expect(data.synced_at).not.toBeNull();
    }
    const second = await sync();
    expect([second.outcomes, second.items, await writesAfter(requests.length)]).toEqual([{}, [], []]);
  }, 120_000);

  test('an organization that is wanted blocked is blocked from the first', async () => {
    const organization = await newOrganization({ blocked: true });
    await sync({ organization_ids: [organization.id] });
    expect((await litellm()).teams[organization.teamId]?.blocked).toBe(true);
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { blocked: false });
    expect(about(await sync(), organization)).toEqual([['block_differs', 'unblock', 'done']]);
    expect((await litellm()).teams[organization.teamId]?.blocked).toBe(false);
  }, 60_000);

  test('a team in LiteLLM that names an organization is adopted, its name made ours, its budget kept', async () => {
    const organization = await newOrganization({ name: 'Acme' });
    const teamId = `theirs-${organization.id}`;
    await world.makeTeam({ team_id: teamId, team_alias: 'acme (old)', max_budget: 7, metadata: { c_organization_id: organization.id } });
    expect(about(await sync(), organization).toSorted()).toEqual([
      ['name_differs', 'rename', 'done'],
      ['team_claimed', 'adopt', 'done'],
    ]);
    const { teams } = await litellm();
    expect(teams[teamId]).toMatchObject({ team_alias: 'Acme', max_budget: 7 });
    expect(teams[organization.teamId]).toBeUndefined();
    const { data } = await world.admin.get(`/api/v1/organizations/${organization.id}`);
    expect(data.litellm_team_id).toBe(teamId);
    expect((await sync()).items).toEqual([]);
  }, 60_000);

  test('only the organizations that were named are looked at', async () => {
    const [one, other, renamed] = [await newOrganization(), await newOrganization(), await world.organization()];
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    const run = await sync({ organization_ids: [one.id] });
    expect(run.items.map(({ organization_id }) => organization_id)).toEqual([one.id]);
    const { teams } = await litellm();
    expect([teams[other.teamId], teams[renamed.teamId]?.team_alias]).toEqual([undefined, 'another name']);
  }, 60_000);
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
    const [before, { requests, teams }] = [await here(), await litellm()];

    const run = await sync({ dry_run: true });
    expect(about(run, missing).toSorted()).toEqual([
      ['member_missing', 'add_member', 'planned'],
      ['team_missing', 'create', 'planned'],
    ]);
    expect(about(run, claimed)).toEqual([['team_claimed', 'adopt', 'planned']]);
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'planned']]);
    expect(await writesAfter(requests.length)).toEqual([]);
    expect((await litellm()).teams).toEqual(teams);
    expect(await here()).toEqual(before);
  }, 60_000);
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
    const { teams } = await litellm();
    expect([renamed, blocked, foreign].map(({ teamId }) => teams[teamId])).toMatchObject([
      { team_alias: renamed.id, blocked: false },
      { blocked: true },
      { blocked: true },
    ]);
    expect(about(await sync(), blocked)).toEqual([]);
  }, 60_000);

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
  }, 60_000);

  test('a budget that somebody has edited is told and left; so are a team without a limit, and resets that give quota back', async () => {
    const edited = await world.organization();
    await world.closed((await world.alert(edited.teamId)).data.event_id);
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
  }, 60_000);

  test('a budget that a reversal has lowered is what we left', async () => {
    const organization = await world.organization();
    await world.closed((await world.alert(organization.teamId)).data.event_id);
    const { data } = await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } });
    await world.stripe.refunds.create({ payment_intent: data.data[0].payment_intent_id, amount: 1000 });
    await client.workflow.execute('reconcileWorkflow', {
      workflowId: `reconcile/${randomUUID()}`,
      taskQueue: world.name,
      args: [{ fix: true }],
    });
    await world.eventually(async () => (await world.budgetOf(organization.teamId)) === 20.5, 'the quota is taken back');
    await world.eventually(
      async () => about(await sync({ organization_ids: [organization.id] }), organization).length === 0,
      'nothing differs',
    );
  }, 60_000);

  test('a team that was deleted in LiteLLM is told and not made again', async () => {
    const organization = await synced();
    await world.deleteTeam(organization.teamId);
    expect(about(await sync(), organization)).toEqual([['team_deleted', null, 'needs_person']]);
    expect((await litellm()).teams[organization.teamId]).toBeUndefined();
    const { rows } = await world.sql.query('select gone_at is not null as gone from litellm_team where team_id = $1', [
      organization.teamId,
    ]);
    expect(rows).toEqual([{ gone: true }]);
  }, 60_000);

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
  }, 60_000);

  test('members: one that somebody removed is added again, one of nobody stays, one that was asked to go while LiteLLM was away goes', async () => {
    const organization = await synced();
    await newTeam(organization, 'kept');
    await newTeam(organization, 'leaving');
    await kms('/team/member_delete', { team_id: organization.teamId, user_id: `${organization.id}/kept` });
    await kms('/team/member_add', { team_id: organization.teamId, member: { role: 'user', user_id: `guest-${organization.id}` } });
    await world.kmsFault({ path: '/**', times: 1000, action: { kind: 'respond', status: 503, body: {} } });
    expect((await world.admin.delete(`/api/v1/organizations/${organization.id}/teams/leaving`)).status).toBe(202);
    await world.clearFaults();

    expect(about(await sync(), organization).toSorted()).toEqual([
      ['member_leaving', 'remove_member', 'done'],
      ['member_missing', 'add_member', 'done'],
    ]);
    const members = (await litellm()).teams[organization.teamId]?.members.map(({ user_id }) => user_id);
    expect(members).toEqual(expect.arrayContaining([`${organization.id}/kept`, `guest-${organization.id}`]));
    expect(members).not.toContain(`${organization.id}/leaving`);
    expect(about(await sync(), organization)).toEqual([]);
  }, 60_000);

  test('a key that was revoked while LiteLLM was away is deleted', async () => {
    const organization = await synced();
    await newTeam(organization, 'blue');
    const keys = `/api/v1/organizations/${organization.id}/teams/blue/keys`;
    const { data: key } = await world.admin.post(keys, { name: 'laptop' });
    await world.kmsFault({ path: '/key/delete', times: 1000, action: { kind: 'respond', status: 503, body: {} } });
    expect((await world.admin.delete(`${keys}/${key.id}`)).status).toBe(503);
    await world.clearFaults();
    expect(about(await sync(), organization)).toEqual([['keys_leaving', 'delete_keys', 'done']]);
    expect(about(await sync(), organization)).toEqual([]);
  }, 60_000);
});

describe('what else happens at the same time', () => {
  test('case 55: a synchronisation overlaps a recharge and does not touch its budget', async () => {
    const organization = await world.organization();
    await world.kmsFault({
      method: 'POST',
      path: '/team/update',
      contains: 'max_budget',
      times: 1000,
      action: { kind: 'respond', status: 503, body: {} },
    });
    const { data } = await world.alert(organization.teamId);
    await world.eventually(async () => (await world.books(organization)).prepaid === 2050, 'the charge is in the ledger');
    await world.editTeam(organization.teamId, { team_alias: 'another name' });
    expect(about(await sync(), organization)).toEqual([['name_differs', 'rename', 'done']]);
    await world.clearFaults();
    expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
    expect(await world.books(organization)).toMatchObject({ charges: 1, granted: 2050, prepaid: 0 });
  }, 60_000);

  test('case 55: a page that was read before a recharge is not taken for an edit of the budget', async () => {
    const organization = await world.organization();
    const query = 'page=1&page_size=100&sort_by=team_id&sort_order=asc';
    const { data: before } = await axios.get(`${world.kmsUrl}/v2/team/list?${query}`, { headers: admin() });
    await world.closed((await world.alert(organization.teamId)).data.event_id);
    const teams = [{ ...before.teams[0], team_id: organization.teamId, team_alias: organization.id, max_budget: 10 }];
    const body = { ...before, teams, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', action: { kind: 'respond', status: 200, body } });
    expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([]);
  }, 60_000);

  test('case 55: two synchronisations at once make every team once', async () => {
    const organizations = await Promise.all(Array.from({ length: 10 }, () => newOrganization()));
    const { requests } = await litellm();
    await Promise.all([sync(), sync(), sync()]);
    const made = (await writesAfter(requests.length)).filter(({ path, status }) => path === '/team/new' && status === 200);
    expect(made.length).toBe(organizations.length);
    for (const organization of organizations) expect(about(await sync({ organization_ids: [organization.id] }), organization)).toEqual([]);
  }, 60_000);

  test('case 55: an item that LiteLLM refuses fails alone, with the reason, and is tried by the next run', async () => {
    const [refused, other] = [await newOrganization(), await newOrganization()];
    await world.kmsFault({
      path: '/team/new',
      contains: refused.id,
      times: 1000,
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
  }, 60_000);

  test('case 55: a page that cannot be read is named, the others are compared, and nothing is made that might be on it', async () => {
    for (let serial = 0; serial < 210; serial++) await world.makeTeam({ team_id: `${world.name}-a-${serial}`, max_budget: 1 });
    const renamed = await world.organization({ teamId: `${world.name}-zz` });
    const missing = await newOrganization();
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    await world.kmsFault({ path: '/v2/team/list', contains: 'page=2&', times: 1000, action: { kind: 'respond', status: 500 } });
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded', counts: { failed_pages: [2] } });
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'done']]);
    expect(about(run, missing)).toEqual([]);
    await world.clearFaults();
    expect(about(await sync(), missing)).toEqual([['team_missing', 'create', 'done']]);
  }, 60_000);

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
        const { requests } = await litellm(other);
        // The answer of one of them never comes; what it asked for is done.
        await other.kmsFault({ path: '/team/new', skip: 10, times: 1, when: 'after', action: { kind: 'hang' } });
        workers.push(await startBill('worker', other.env));
        const syncing = sync({}, other);
        await other.eventually(async () => (await other.strikes()) === 1, 'the tenth team is being made');
        await workers.shift()?.kill();
        workers.push(await startBill('worker', other.env));
        const { status, items } = await syncing;
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
    KILLED_TIMEOUT_MS,
  );
});

describe('a run', () => {
  test('is started from the Temporal Web UI with {} or with nothing, and is listed', async () => {
    const start = (args: [TeamSyncInput] | []) =>
      client.workflow.execute<TeamSyncWorkflow>('teamSyncWorkflow', {
        workflowId: `by-hand-${randomUUID()}`,
        taskQueue: world.name,
        args: args as [TeamSyncInput],
      });
    const summaries: SyncSummary[] = [await start([{}]), await start([])];
    const { data } = await world.admin.get('/api/v1/sync', { params: { limit: 2 } });
    expect(data.data.map(({ id, status }: Run) => [id, status])).toEqual(summaries.toReversed().map(({ runId }) => [runId, 'succeeded']));
    expect(data.data[0].temporal_ui_url).toContain('/workflows/by-hand-');
  }, 60_000);

  test('that goes on in a new history keeps its row and what it has counted', async () => {
    const { id: runId, started_at: since } = await sync();
    await world.sql.query("update sync_run set status = 'running', finished_at = null where id = $1", [runId]);
    const counts = { pages: 7, teams: 700, organizations: 70, unmanaged: 0, unreadable: 0, failedPages: [] };
    const run = { runId, since, dryRun: false, organizationIds: null };
    const summary = await client.workflow.execute<TeamSyncWorkflow>('teamSyncWorkflow', {
      workflowId: `team-sync/${randomUUID()}`,
      taskQueue: world.name,
      args: [{ progress: { run, counts, cursor: null, after: '' } }],
    });
    expect(summary).toMatchObject({ runId, counts: { pages: 7, teams: 700 } });
    expect((await world.admin.get(`/api/v1/sync/${runId}`)).data).toMatchObject({ status: 'succeeded', counts: { pages: 7 } });
  }, 60_000);

  test('that is cancelled while LiteLLM does not answer ends as failed', async () => {
    await world.kmsFault({ path: '/v2/team/list', times: 1000, action: { kind: 'respond', status: 503, body: {} } });
    const { data } = await world.admin.post('/api/v1/sync', {});
    await client.workflow.getHandle(`team-sync/${data.id}`).cancel();
    const ended = await world.eventually(async () => {
      const run: Run = (await world.admin.get(`/api/v1/sync/${data.id}`)).data;
      return run.status !== 'running' && run;
    }, 'the run is closed');
    expect(ended).toMatchObject({ status: 'failed', failure: expect.stringMatching(/cancel/i) });
  }, 60_000);

  test('is refused for organizations that are none, for fields that are not known, and while Temporal is away', async () => {
    const { status, data } = await world.admin.post('/api/v1/sync', { organization_ids: ['nobody'] });
    expect([status, data.errors]).toEqual([422, [{ field: 'organization_ids', message: 'there is no organization nobody' }]]);
    expect((await world.admin.post('/api/v1/sync', { everything: true })).status).toBe(422);
    expect((await world.admin.get('/api/v1/sync/syn_none')).status).toBe(404);
    await world.withAnotherApi({ TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}`, PORT: '0' }, async (url) => {
      const refused = await world.admin.post('/api/v1/sync', {}, { baseURL: url });
      expect(refused.status).toBe(503);
    });
    expect((await world.admin.get('/api/v1/sync', { params: { limit: 1 } })).data.data[0]).toMatchObject({ status: 'failed' });
  }, 60_000);
});

async function kms(path: string, body: object): Promise<void> {
  await axios.post(`${world.kmsUrl}${path}`, body, { headers: admin() });
}

function admin() {
  return { Authorization: `Bearer ${world.config.kms.apiKey}` };
}

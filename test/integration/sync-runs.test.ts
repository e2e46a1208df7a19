/**
 * A run of the synchronisation: each difference by itself, whatever else happens at the same time and whatever fails; a
 * dry run; how a run is started, goes on and ends.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { SyncSummary } from '../../activities/sync/types.ts';
import { freePort } from '../../sandbox/ports.ts';
import type { TeamSyncInput, TeamSyncWorkflow } from '../../workflows/contract.ts';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { startBill } from '../support/processes.ts';
import { about, type Run, Syncs } from '../support/syncs.ts';
import { World } from '../support/world.ts';

const ORGANIZATIONS = 50;
/**
 * A worker that was killed has to be missed first, and then 150 writes follow one another: minutes on a
 * machine that is busy.
 */
const KILLED_TIMEOUT_MS = 240_000;

let world: World;
let syncs: Syncs;
beforeAll(async () => {
  world = await World.start();
  syncs = new Syncs(world);
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

describe('a dry run', () => {
  test('finds the same and changes nothing, neither there nor here', async () => {
    const missing = await syncs.newOrganization();
    await syncs.newTeam(missing, 'blue');
    const claimed = await syncs.newOrganization();
    await world.makeTeam({ team_id: `theirs-${claimed.id}`, max_budget: 7, metadata: { c_organization_id: claimed.id } });
    const renamed = await world.organization();
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    const here = async () => {
      const tables = ['organization_balance_config', 'team', 'team_key', 'litellm_team', 'webhook_event'];
      return Promise.all(tables.map(async (table) => (await world.sql.query(`select * from ${table} order by 1, 2`)).rows));
    };
    const [before, { requests, teams }] = [await here(), await world.kmsState()];

    const run = await syncs.run({ dry_run: true });
    expect(about(run, missing).toSorted()).toEqual([
      ['member_missing', 'add_member', 'planned'],
      ['team_missing', 'create', 'planned'],
    ]);
    expect(about(run, claimed)).toEqual([['team_claimed', 'adopt', 'planned']]);
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'planned']]);
    expect(await syncs.writesAfter(requests.length)).toEqual([]);
    expect((await world.kmsState()).teams).toEqual(teams);
    expect(await here()).toEqual(before);
  });
});

describe('what else happens at the same time', () => {
  test('case 55: a synchronisation overlaps a recharge and does not touch its budget', async () => {
    const organization = await world.organization();
    const refusal = await world.kmsFault({ ...WRITE_BUDGET, contains: 'max_budget', times: ALWAYS, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    await refusal.struck();
    await world.editTeam(organization.teamId, { team_alias: 'another name' });
    expect(about(await syncs.run(), organization)).toEqual([['name_differs', 'rename', 'done']]);
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
    const page = await world.kmsFault({ path: '/v2/team/list', action: { kind: 'respond', status: 200, body } });
    expect(about(await syncs.run({ organization_ids: [organization.id] }), organization)).toEqual([]);
    expect(await page.strikes()).toBe(1);
  });

  test('case 55: two synchronisations at once make every team once', async () => {
    const organizations = await Promise.all(Array.from({ length: 10 }, () => syncs.newOrganization()));
    const { requests } = await world.kmsState();
    await Promise.all([syncs.run(), syncs.run(), syncs.run()]);
    const made = (await syncs.writesAfter(requests.length)).filter(({ path, status }) => path === '/team/new' && status === 200);
    expect(made).toHaveLength(organizations.length);
    for (const organization of organizations)
      expect(about(await syncs.run({ organization_ids: [organization.id] }), organization)).toEqual([]);
  });

  test('case 55: an item that LiteLLM refuses fails alone, with the reason, and is tried by the next run', async () => {
    const [refused, other] = [await syncs.newOrganization(), await syncs.newOrganization()];
    await world.kmsFault({
      path: '/team/new',
      contains: refused.id,
      times: ALWAYS,
      action: { kind: 'respond', status: 403, body: { error: { message: 'not allowed' } } },
    });
    const run = await syncs.run();
    expect(run.status).toBe('succeeded');
    expect(about(run, other)).toEqual([['team_missing', 'create', 'done']]);
    expect(run.items.find(({ organization_id }) => organization_id === refused.id)).toMatchObject({
      outcome: 'failed',
      reason: 'LiteLLM answered 403: not allowed',
    });
    await world.clearFaults();
    expect(about(await syncs.run(), refused)).toEqual([['team_missing', 'create', 'done']]);
  });

  test('case 55: a page that cannot be read is named, the others are compared, and nothing is made that might be on it', async () => {
    for (let serial = 0; serial < 210; serial++) await world.makeTeam({ team_id: `${world.name}-a-${serial}`, max_budget: 1 });
    const renamed = await world.organization({ teamId: `${world.name}-zz` });
    const missing = await syncs.newOrganization();
    await world.editTeam(renamed.teamId, { team_alias: 'another name' });
    await world.kmsFault({ path: '/v2/team/list', contains: 'page=2&', times: ALWAYS, action: { kind: 'respond', status: 500 } });
    const run = await syncs.run();
    expect(run).toMatchObject({ status: 'succeeded', counts: { failed_pages: [2] } });
    expect(about(run, renamed)).toEqual([['name_differs', 'rename', 'done']]);
    expect(about(run, missing)).toEqual([['team_missing', 'create', 'failed']]);
    expect(run.items.find(({ organization_id }) => organization_id === missing.id)?.reason).toMatch(
      /^LiteLLM did not show page 2 of its teams: /,
    );
    await world.clearFaults();
    expect(about(await syncs.run(), missing)).toEqual([['team_missing', 'create', 'done']]);
  });

  test('teams with ids of any length, in LiteLLM and in rows that cannot be read, do not keep the run from the others', async () => {
    const [long, like] = [randomBytes(4_000).toString('hex'), randomBytes(4_000).toString('hex')];
    for (const teamId of [`${long}-1`, `${long}-2`]) await world.makeTeam({ team_id: teamId, max_budget: 1 });
    const missing = await syncs.newOrganization();
    const run = await syncs.run();
    expect(run).toMatchObject({ status: 'succeeded', failure: null });
    expect(about(run, missing)).toEqual([['team_missing', 'create', 'done']]);
    const subjects = run.items.map(({ subject }) => subject).filter((subject) => long.startsWith(subject.slice(0, 20)));
    expect(new Set(subjects).size).toBe(2);
    const { data } = await world.kms.get('/v2/team/list', { params: { page: 1, page_size: 100, sort_by: 'team_id', sort_order: 'asc' } });
    const body = { ...data, teams: [{ team_id: like, spend: 'much' }], total: 1, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: { kind: 'respond', status: 200, body } });
    expect(await syncs.run()).toMatchObject({
      status: 'succeeded',
      items: expect.arrayContaining([expect.objectContaining({ kind: 'team_unreadable' })]),
    });
  });

  test('a team that cannot be read is named, as is whose it is, and why no team is made meanwhile', async () => {
    const [ours, missing] = [await world.organization(), await syncs.newOrganization()];
    const foreign = `${world.name}-foreign`;
    await world.makeTeam({ team_id: foreign, max_budget: 1 });
    const { data } = await world.kms.get('/v2/team/list', { params: { page: 1, page_size: 100, sort_by: 'team_id', sort_order: 'asc' } });
    const unread = [ours.teamId, foreign];
    const own = data.teams.find(({ team_id }: { team_id: string }) => team_id === ours.teamId);
    const teams = unread.map((team_id) => ({ ...own, team_id, spend: 'much' }));
    const body = { ...data, teams, total: 2, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: { kind: 'respond', status: 200, body } });
    const run = await syncs.run();
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
    expect(about(await syncs.run(), missing)).toEqual([['team_missing', 'create', 'done']]);
    expect(await standing(missing.id)).toMatchObject({ state: 'off' });
  });

  test(
    'case 55: a worker that is killed in the middle: another one goes on, and nothing is written twice',
    async () => {
      const other = await World.create();
      const syncsOfOther = new Syncs(other);
      const workers: { kill: () => Promise<void> }[] = [];
      try {
        await other.startApi();
        const organizations = [];
        for (let serial = 0; serial < ORGANIZATIONS; serial++) organizations.push(await syncsOfOther.newOrganization());
        for (const organization of organizations) await syncsOfOther.newTeam(organization, 'blue');
        const { requests } = await other.kmsState();
        // The answer of one of them never comes; what it asked for is done.
        const lost = await other.kmsFault({ path: '/team/new', skip: 10, when: 'after', action: { kind: 'hang' } });
        workers.push(await startBill('worker', other.env));
        const runId = await syncsOfOther.begun();
        await lost.struck();
        await workers.shift()?.kill();
        workers.push(await startBill('worker', other.env));
        const { status, items } = await syncsOfOther.over(runId, KILLED_TIMEOUT_MS);
        expect([status, items.filter(({ outcome }) => outcome !== 'done')]).toEqual(['succeeded', []]);

        const counts = new Map<string, number>();
        for (const { path, status, body } of await syncsOfOther.writesAfter(requests.length)) {
          if (status === 200 && ['/team/new', '/user/new', '/team/member_add'].includes(path))
            counts.set(path + body, (counts.get(path + body) ?? 0) + 1);
        }
        expect([...counts.values()].filter((count) => count > 1)).toEqual([]);
        expect(counts.size).toBe(3 * ORGANIZATIONS);
        expect((await syncsOfOther.run()).items).toEqual([]);
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
    const { id: runId, started_at: since } = await syncs.run();
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
    const id = await syncs.begun();
    await world.temporal.workflow.getHandle(`team-sync/${id}`).cancel();
    expect(await syncs.over(id)).toMatchObject({ status: 'failed', failure: expect.stringMatching(/cancel/i) });
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

/**
 * A team that LiteLLM does not have, or a budget that somebody has changed there: the status says so for as long as it
 * stands, and what to do, and doing it settles it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { HELD, RECHARGED, unsuccessful } from '../support/books.ts';
import { ALWAYS, UNAVAILABLE } from '../support/faults.ts';
import { ABOUT_TO_BE_CHARGED, callAsTold, Standings } from '../support/standings.ts';
import { World } from '../support/world.ts';

let world: World;
let standings: Standings;
beforeAll(async () => {
  world = await World.start();
  standings = new Standings(world);
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

describe('of an organization', () => {
  test('a team that was deleted in LiteLLM', async () => {
    const { organization } = await world.recharged();
    await world.spend(organization.teamId, 20);
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    expect(await world.alerted(organization)).toEqual(unsuccessful('team_not_found'));
    const refused = { state: 'litellm_differs', why: expect.stringContaining('LiteLLM no longer has the team') };
    expect(await standings.of(organization)).toMatchObject({
      ...refused,
      next: expect.stringContaining(`bill org set ${organization.id} --team`),
    });
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject(refused);
    await world.kms.post('/team/new', { team_id: organization.teamId, max_budget: 30.5 });
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject({ state: 'ok' });
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject(refused);

    const teamId = await world.anotherTeam(organization, { budget: 10, spend: 10.5 });
    expect(await world.alerted({ teamId })).toEqual(RECHARGED);
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject({ state: 'ok' });
  });

  test('a team that is gone is known from the next sweep on, until LiteLLM shows it again', async () => {
    const { organization: paying } = await world.recharged();
    const seen = await world.organization({ budget: 10, spend: 1 });
    await world.sweep();
    for (const { teamId } of [paying, seen]) await world.kms.post('/team/delete', { team_ids: [teamId] });
    expect(await standings.of(seen)).toMatchObject({ state: 'ok' });
    await world.sweep();
    for (const organization of [paying, seen]) {
      expect(await standings.of(organization)).toMatchObject({
        state: 'litellm_differs',
        since: expect.any(String),
        why: expect.stringContaining('LiteLLM no longer has the team'),
        next: expect.stringContaining(`bill org set ${organization.id} --team <id>`),
      });
      expect(await standings.listed()).toContain(organization.id);
    }
    const lost = await standings.of(paying);
    expect(callAsTold(lost)).toEqual({ team_id: paying.teamId, max_budget: 20, budget_duration: null });
    expect(callAsTold(await standings.of(seen))).toMatchObject({ max_budget: 9 });
    await world.admin.patch(`/api/v1/organizations/${paying.id}`, { create_team: true });
    expect(await standings.of(paying)).toMatchObject({ state: 'litellm_differs' });
    await world.kms.post('/team/new', callAsTold(lost));
    await standings.acceptAsTold(lost);
    await world.sweep();
    expect(await standings.of(paying)).toMatchObject({ state: 'ok', balance: '20.00' });
  });

  test("a team that is gone is known though a row of somebody else's cannot be read, and others that no page shows come first", async () => {
    await Promise.all(Array.from({ length: 60 }, () => world.organization({ budget: 10, spend: 1 })));
    const gone = await world.organization({ budget: 10, spend: 1 });
    await world.sweep();
    await world.kms.post('/team/delete', { team_ids: [gone.teamId] });
    const body = { teams: [{ team_id: 'unread', spend: 'much' }], total: 1, page: 1, page_size: 100, total_pages: 1 };
    await world.kmsFault({
      path: '/v2/team/list',
      contains: 'page_size=100',
      times: ALWAYS,
      action: { kind: 'respond', status: 200, body },
    });
    // Each sweep looks up some of those that it has missed, and not the same ones again and again.
    for (let sweeps = 0; sweeps < 10 && (await standings.of(gone)).state === 'ok'; sweeps++) await world.sweep();
    expect(await standings.of(gone)).toMatchObject({ state: 'litellm_differs' });
  });

  test('a team that no sweep could look for is not called gone', async () => {
    const organization = await world.organization({ budget: 10, spend: 1 });
    await world.sweep();
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    const looking = await world.kmsFault({ path: '/team/info', contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
    await world.sweep();
    await looking.struck();
    expect(await standings.of(organization)).toMatchObject({ state: 'ok' });
  });

  test('a lower budget, until a person has accepted it', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 12);
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject({ state: 'litellm_differs' });
    expect(await world.alerted(organization)).toEqual(HELD);
    const standing = await standings.of(organization);
    expect([standing.state, callAsTold(standing)]).toEqual(['held', { team_id: organization.teamId, max_budget: 30.5 }]);
    await standings.acceptAsTold(standing);
    expect(await standings.of(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
    expect(await world.findingsOf(organization)).toEqual([]);
    await world.sweep();
    await world.eventually(async () => (await standings.of(organization)).state === 'ok', 'it is recharged');
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  });

  test('a budget that somebody has edited', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 31);
    await standings.synchronise();
    const standing = await standings.of(organization);
    expect(standing).toMatchObject({ state: 'litellm_differs', since: expect.any(String) });
    expect(standing.why).toContain('max_budget is not what the last recharge or reversal left');
    expect(standing.why).toContain('(31.00, where 30.50 is expected)');

    await world.kms.post('/team/update', callAsTold(standing));
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject({ state: 'ok' });

    // It is edited in the same way once more, and stays so.
    await world.setBudget(organization.teamId, 31);
    await standings.synchronise();
    const again = await standings.of(organization);
    expect(Date.parse(String(again.since))).toBeGreaterThan(Date.parse(String(standing.since)));
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject({ since: again.since });
    await world.kms.post('/team/update', callAsTold(again));
    await standings.synchronise();

    const nothing = await world.admin.post(`/api/v1/organizations/${organization.id}/accept-budget`, { reason: 'it was meant' });
    expect([nothing.status, nothing.data.detail]).toEqual([409, 'max_budget in LiteLLM is 30.50, as expected']);
    await world.setBudget(organization.teamId, 500);
    await standings.synchronise();
    await standings.acceptAsTold(await standings.of(organization));
    expect(await standings.of(organization)).toMatchObject({ state: 'ok', balance: '489.50' });
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject({ state: 'ok' });
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('a team that is to be made says when, and how to have it now', async () => {
    const { id: customer } = await world.stripe.customers.create({});
    await world.attachCard(customer, 'pm_card_visa');
    const id = `wished-${customer}`;
    const wish = {
      c_organization_id: id,
      stripe_customer_id: customer,
      minimum_balance: '5.00',
      target_balance: '20.00',
      create_team: true,
    };
    expect((await world.admin.post('/api/v1/organizations', wish)).status).toBe(201);
    const standing = async () => (await world.admin.get('/api/v1/status', { params: { organization_id: id } })).data.organizations.data[0];
    expect(await standing()).toMatchObject({
      state: 'ok',
      why: 'the next synchronisation makes its team, with max_budget 0, where LiteLLM does not have it',
      next: `bill sync --org ${id} --wait makes it now`,
    });
    await standings.synchronise();
    expect((await standing()).why ?? '').not.toContain('synchronisation');
  });

  test('a team that was not found, until a person has asked for it', async () => {
    const organization = await world.organization();
    await world.sql.query('update organization_balance_config set litellm_seen_at = null where c_organization_id = $1', [organization.id]);
    await world.sql.query('delete from balance_sample where organization_id = $1', [organization.id]);
    await world.deleteTeam(organization.teamId);
    await standings.synchronise();
    expect(await standings.of(organization)).toMatchObject({ state: 'litellm_differs', next: expect.stringContaining('--create-team ') });
    const { data } = await world.admin.patch(`/api/v1/organizations/${organization.id}`, { create_team: true });
    expect(data).toMatchObject({ state: 'ok', why: expect.stringMatching(/^the next synchronisation makes its team/) });
  });
});

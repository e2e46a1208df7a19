/**
 * What is wrong now: five faults are brought about on the running service. For each the status alone says who, what,
 * since when, why and what to do, and doing it settles it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { HELD, RECHARGED, unsuccessful } from '../support/books.ts';
import { type Organization, World } from '../support/world.ts';

type Standing = { organization_id: string; balance: string | null; state: string; since: string | null; why: string; next: string };
type Line = { check: string; state: string; seen: string; next: string | null };

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

async function standingOf({ id }: Organization): Promise<Standing> {
  const { status, data } = await world.admin.get('/api/v1/status', { params: { organization_id: id } });
  expect(status).toBe(200);
  return data.organizations.data[0];
}

/** The organizations that the status lists by itself. */
async function listed(): Promise<string[]> {
  const { data } = await world.admin.get('/api/v1/status', { params: { limit: 200 } });
  return data.organizations.data.map(({ organization_id: id }: Standing) => id);
}

/** The hold that the words tell to release. */
async function releaseAsTold({ next }: Standing): Promise<void> {
  const [, id] = next.match(/bill release (hld_\w+) "reason"$/) ?? [];
  expect((await world.admin.post(`/api/v1/holds/${id}/release`, { reason: 'it was looked at' })).status).toBe(200);
}

async function sync(): Promise<void> {
  const { id } = (await world.admin.post('/api/v1/sync', {})).data;
  await world.eventually(
    async () => (await world.admin.get(`/api/v1/sync/${id}`)).data.status === 'succeeded',
    'the synchronisation is over',
  );
}

describe('of an organization', () => {
  test('a card that is declined', async () => {
    const organization = await world.organization();
    const [card] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_chargeDeclinedInsufficientFunds' });
    await world.alerted(organization);
    const standing = await standingOf(organization);
    expect(standing).toMatchObject({
      state: 'card_declined',
      why: expect.stringContaining('insufficient_funds'),
      since: expect.any(String),
    });
    expect(standing.next).toMatch(
      /^it ends at .* UTC, or sooner: the customer names another card, a payment succeeds, or a person releases it: bill release/,
    );
    expect(await listed()).toContain(organization.id);

    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_visa' });
    await releaseAsTold(standing);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
    expect(await listed()).not.toContain(organization.id);
  });

  test('a team that was deleted in LiteLLM', async () => {
    const { organization } = await world.recharged();
    await world.spend(organization.teamId, 20);
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    expect(await world.alerted(organization)).toEqual(unsuccessful('team_not_found'));
    const refused = { state: 'litellm_differs', why: expect.stringContaining('LiteLLM has no such team') };
    expect(await standingOf(organization)).toMatchObject({
      ...refused,
      next: expect.stringContaining(`bill org set ${organization.id} --team`),
    });
    await sync();
    expect(await standingOf(organization)).toMatchObject(refused);

    const teamId = await world.anotherTeam(organization, { budget: 10, spend: 10.5 });
    expect(await world.alerted({ teamId })).toEqual(RECHARGED);
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
  });

  test('a budget that somebody has edited', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 31);
    await sync();
    const standing = await standingOf(organization);
    expect(standing).toMatchObject({ state: 'litellm_differs', since: expect.any(String) });
    expect(standing.why).toContain('max_budget is not what the last recharge or reversal left');
    expect(standing.why).toContain('(31.00, where 30.50 is expected)');

    const [, body = ''] = standing.next.match(/-d '(.*)', then bill sync$/) ?? [];
    await world.kms.post('/team/update', JSON.parse(body));
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
  });

  test('a dispute', async () => {
    const { organization, intentId, rechargeId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    const standing = await standingOf(organization);
    expect(standing).toMatchObject({ state: 'held', why: `dispute ${id} of recharge ${rechargeId} (disputed)` });
    expect(await world.alerted(organization)).toEqual(HELD);
    await releaseAsTold(standing);
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
  });

  test('a recharge that a person has to settle, and one that goes on', async () => {
    const organization = await world.organization();
    const { goOn, rechargeId } = await world.chargedButNotGranted(organization);
    expect(await standingOf(organization)).toMatchObject({ state: 'recharging', why: `20.50 USD by ${rechargeId} is charged` });
    await world.setBudget(organization.teamId, 11);
    await goOn();
    await world.eventually(async () => (await standingOf(organization)).state === 'needs_person', 'it is parked');
    expect(await standingOf(organization)).toMatchObject({
      why: expect.stringContaining('max_budget is 11.00, expected 10.00 or 30.50'),
      next: expect.stringContaining(`bill resolve ${rechargeId} --grant`),
    });
    await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'grant', reason: 'it was meant' });
    await world.eventually(async () => (await standingOf(organization)).state === 'ok', 'it is settled');
  });

  test('that is not there is no empty answer', async () => {
    const { status, data } = await world.admin.get('/api/v1/status', { params: { organization_id: 'nobody' } });
    expect([status, data.detail]).toEqual([404, expect.stringContaining('there is no organization nobody')]);
  });

  test('is listed with its balance where all are asked for, page by page', async () => {
    const organization = await world.organization({ budget: 10, spend: 1 });
    await world.eventually(async () => {
      await world.sql.query(
        `insert into balance_sample (organization_id, at, quota, spend) values ($1, now(), 10, 1) on conflict do nothing`,
        [organization.id],
      );
      return true;
    }, 'a sweep has seen it');
    const seen: Standing[] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const { data } = await world.admin.get('/api/v1/status', { params: { all: true, limit: 2, cursor } });
      seen.push(...data.organizations.data);
      cursor = data.organizations.next_cursor;
    }
    expect(seen).toContainEqual(expect.objectContaining({ organization_id: organization.id, balance: '9.00', state: 'ok' }));
    expect(new Set(seen.map(({ organization_id: id }) => id)).size).toBe(seen.length);
  });
});

describe('of the service', () => {
  const lines = async (url = world.apiUrl): Promise<Line[]> => {
    const { data } = await world.admin.get(`${url}/api/v1/status`);
    return data.service;
  };

  test('no worker: the status and /ready say so, where both would seem fine', async () => {
    await world.withAnotherApi({ TEMPORAL_TASK_QUEUE: `${world.name}-nobody` }, async (url) => {
      expect(await lines(url)).toContainEqual({
        check: `workers of ${world.name}-nobody`,
        state: 'wrong',
        seen: 'none asks for work: nothing is charged, swept or synchronised',
        next: 'start one: bill worker',
      });
      const { status, data } = await world.admin.get(`${url}/ready`);
      expect([status, data.status, data.dependencies.service.status]).toEqual([200, 'degraded', 'failing']);
    });
    expect(await lines()).toContainEqual(expect.objectContaining({ check: `workers of ${world.name}`, state: 'ok' }));
  });

  test('a hold of the service', async () => {
    const { data: hold } = await world.admin.post('/api/v1/holds', { scope: 'service', reason: 'an incident' });
    expect(await lines()).toContainEqual({
      check: 'service',
      state: 'wrong',
      seen: 'is held, nothing is charged: an incident (operator)',
      next: `a person releases it: bill release ${hold.id} "reason"`,
    });
    await world.releaseService();
    expect((await lines()).filter(({ check }) => check === 'service')).toEqual([]);
  });

  test('a Temporal that cannot be asked', async () => {
    await world.withAnotherApi({ TEMPORAL_ADDRESS: '127.0.0.1:1' }, async (url) => {
      expect(await lines(url)).toContainEqual(
        expect.objectContaining({ check: 'Temporal', state: 'wrong', next: expect.stringContaining('TEMPORAL_ADDRESS') }),
      );
    });
  });
});

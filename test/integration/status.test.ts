/**
 * What is wrong now: five faults are brought about on the running service. For each the status alone says who, what,
 * since when, why and what to do, and doing it settles it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { HELD, RECHARGED, unsuccessful } from '../support/books.ts';
import { ALWAYS, UNAVAILABLE } from '../support/faults.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { type Organization, World } from '../support/world.ts';

type Standing = {
  organization_id: string;
  balance: string | null;
  balance_at: string | null;
  state: string;
  since: string | null;
  why: string;
  next: string;
};
type Line = { check: string; state: string; seen: string; next: string | null };

const ABOUT_TO_BE_CHARGED = { state: 'recharging', why: 'its balance is at or below its minimum' };

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
  const [, id] = next.match(/bill release (hld_\w+) "reason"/) ?? [];
  expect((await world.admin.post(`/api/v1/holds/${id}/release`, { reason: 'it was looked at' })).status).toBe(200);
}

/** The budget in LiteLLM that the words tell to accept. */
async function acceptAsTold({ next }: Standing): Promise<void> {
  const [, id] = next.match(/bill org accept-budget (\S+) "reason"/) ?? [];
  const { status, data } = await world.admin.post(`/api/v1/organizations/${id}/accept-budget`, { reason: 'it was meant' });
  expect([status, data.holds]).toEqual([200, []]);
}

/** The body of the call of LiteLLM that the words tell to make. */
function callAsTold({ next }: Standing): Record<string, unknown> {
  const [, body = ''] = next.match(/-d '([^']*)'/) ?? [];
  return JSON.parse(body);
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
      new RegExp(`^it ends at .* UTC, or sooner: one of:\ngive ${organization.customerId} another card at Stripe.*\nbill release`),
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
    const refused = { state: 'litellm_differs', why: expect.stringContaining('LiteLLM no longer has the team') };
    expect(await standingOf(organization)).toMatchObject({
      ...refused,
      next: expect.stringContaining(`bill org set ${organization.id} --team`),
    });
    await sync();
    expect(await standingOf(organization)).toMatchObject(refused);
    await world.kms.post('/team/new', { team_id: organization.teamId, max_budget: 30.5 });
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    await sync();
    expect(await standingOf(organization)).toMatchObject(refused);

    const teamId = await world.anotherTeam(organization, { budget: 10, spend: 10.5 });
    expect(await world.alerted({ teamId })).toEqual(RECHARGED);
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
  });

  test('a team that is gone is known from the next sweep on, until LiteLLM shows it again', async () => {
    const { organization: paying } = await world.recharged();
    const seen = await world.organization({ budget: 10, spend: 1 });
    await world.sweep();
    for (const { teamId } of [paying, seen]) await world.kms.post('/team/delete', { team_ids: [teamId] });
    expect(await standingOf(seen)).toMatchObject({ state: 'ok' });
    await world.sweep();
    for (const organization of [paying, seen]) {
      expect(await standingOf(organization)).toMatchObject({
        state: 'litellm_differs',
        since: expect.any(String),
        why: expect.stringContaining('LiteLLM no longer has the team'),
        next: expect.stringContaining(`bill org set ${organization.id} --team <id>`),
      });
      expect(await listed()).toContain(organization.id);
    }
    const lost = await standingOf(paying);
    expect(callAsTold(lost)).toEqual({ team_id: paying.teamId, max_budget: 20, budget_duration: null });
    expect(callAsTold(await standingOf(seen))).toMatchObject({ max_budget: 9 });
    await world.admin.patch(`/api/v1/organizations/${paying.id}`, { create_team: true });
    expect(await standingOf(paying)).toMatchObject({ state: 'litellm_differs' });
    await world.kms.post('/team/new', callAsTold(lost));
    await acceptAsTold(lost);
    await world.sweep();
    expect(await standingOf(paying)).toMatchObject({ state: 'ok', balance: '20.00' });
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
    for (let sweeps = 0; sweeps < 10 && (await standingOf(gone)).state === 'ok'; sweeps++) await world.sweep();
    expect(await standingOf(gone)).toMatchObject({ state: 'litellm_differs' });
  });

  test('a team that no sweep could look for is not called gone', async () => {
    const organization = await world.organization({ budget: 10, spend: 1 });
    await world.sweep();
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    await world.kmsFault({ path: '/team/info', contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
  });

  test('a lower budget, until a person has accepted it', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 12);
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'litellm_differs' });
    expect(await world.alerted(organization)).toEqual(HELD);
    const standing = await standingOf(organization);
    expect([standing.state, callAsTold(standing)]).toEqual(['held', { team_id: organization.teamId, max_budget: 30.5 }]);
    await acceptAsTold(standing);
    expect(await standingOf(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
    await sync();
    expect(await standingOf(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
    expect(await world.findingsOf(organization)).toEqual([]);
    await world.sweep();
    await world.eventually(async () => (await standingOf(organization)).state === 'ok', 'it is recharged');
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  });

  test('a balance that our own write has changed: as old as the look at what was spent of it', async () => {
    const { organization, intentId } = await world.recharged();
    const { created_at: balanceAt } = await world.rechargeOf(organization);
    expect(await standingOf(organization)).toMatchObject({ balance: '20.00', balance_at: balanceAt });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    expect(await standingOf(organization)).toMatchObject({ balance: '-0.50', balance_at: balanceAt });
    await world.sweep();
    await world.spend(organization.teamId, 1);
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject({ balance: '-1.50' });
  });

  test('a charge whose quota LiteLLM does not take: what fails, how often, and when it is tried again', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization, {
      kind: 'respond',
      status: 500,
      body: { error: { message: 'no write today' } },
    });
    const eventId = await world.accepted(organization);
    const { rechargeId } = await world.rechargeIs(eventId, 'charged');
    const standing = await world.eventually(async () => {
      const now = await standingOf(organization);
      return now.why.includes('has failed') && now;
    }, 'it has failed');
    expect(standing.why).toMatch(new RegExp(`^20\\.50 USD by ${rechargeId} is charged; updateKmsQuota has failed .*: .*500`));
    expect(standing.next).toMatch(/^(it is tried again at .* UTC|it is being tried again)$/);
    const { data: shown } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
    expect(shown.summary).toMatch(/^20\.50 USD is under way: charged; updateKmsQuota has failed /);
    expect(shown.next).toMatch(/^it is/);
    await refusal.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('a budget that somebody has edited', async () => {
    const { organization } = await world.recharged();
    await world.setBudget(organization.teamId, 31);
    await sync();
    const standing = await standingOf(organization);
    expect(standing).toMatchObject({ state: 'litellm_differs', since: expect.any(String) });
    expect(standing.why).toContain('max_budget is not what the last recharge or reversal left');
    expect(standing.why).toContain('(31.00, where 30.50 is expected)');

    await world.kms.post('/team/update', callAsTold(standing));
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });

    // It is edited in the same way once more, and stays so.
    await world.setBudget(organization.teamId, 31);
    await sync();
    const again = await standingOf(organization);
    expect(Date.parse(String(again.since))).toBeGreaterThan(Date.parse(String(standing.since)));
    await sync();
    expect(await standingOf(organization)).toMatchObject({ since: again.since });
    await world.kms.post('/team/update', callAsTold(again));
    await sync();

    const nothing = await world.admin.post(`/api/v1/organizations/${organization.id}/accept-budget`, { reason: 'it was meant' });
    expect([nothing.status, nothing.data.detail]).toEqual([409, 'max_budget in LiteLLM is 30.50, as expected']);
    await world.setBudget(organization.teamId, 500);
    await sync();
    await acceptAsTold(await standingOf(organization));
    expect(await standingOf(organization)).toMatchObject({ state: 'ok', balance: '489.50' });
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('what would refuse a recharge, from the next sweep on, and before anything asks for one', async () => {
    const limited = await world.organization({ settings: { max_monthly_amount: '1.00' } });
    const reset = await world.organization({ spend: 1 });
    await world.editTeam(reset.teamId, { budget_duration: '30d' });
    const blocked = await world.organization({ spend: 1 });
    await world.editTeam(blocked.teamId, { blocked: true });
    await world.sweep();
    expect(await standingOf(limited)).toMatchObject({ state: 'limit_reached', why: expect.stringContaining('monthly') });
    expect(await standingOf(reset)).toMatchObject({ state: 'litellm_differs', why: expect.stringContaining('budget_duration') });
    expect(await standingOf(blocked)).toMatchObject({ state: 'litellm_differs', why: expect.stringContaining('blocked') });
    expect(await listed()).toEqual(expect.arrayContaining([limited.id, reset.id, blocked.id]));

    await world.admin.patch(`/api/v1/organizations/${limited.id}`, { max_monthly_amount: null });
    await world.editTeam(reset.teamId, { budget_duration: null });
    await world.editTeam(blocked.teamId, { blocked: false });
    await world.sweep();
    for (const organization of [reset, blocked]) expect(await standingOf(organization)).toMatchObject({ state: 'ok' });
    await world.eventually(async () => (await standingOf(limited)).state === 'ok', 'it is recharged');
  });

  test('a limit that is used up, with how much of it is', async () => {
    const { organization } = await world.recharged({ settings: { max_daily_recharges: 1 } });
    await world.spend(organization.teamId, 20);
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject({
      state: 'limit_reached',
      why: 'max_daily_recharges is used up for today (1 of 1 today)',
      next: expect.stringContaining('it is charged again from'),
    });
  });

  test('a limit that an alert has met between two sweeps, beside the balance that was seen then', async () => {
    const { organization } = await world.recharged({ settings: { max_daily_recharges: 1 } });
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject({ state: 'ok', balance: '20.00' });
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization)).toEqual(unsuccessful('daily_limit_reached'));
    expect(await standingOf(organization)).toMatchObject({ state: 'limit_reached', balance: '0.00' });
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
    await sync();
    expect((await standing()).why ?? '').not.toContain('synchronisation');
  });

  test('a card that is held because of another organization', async () => {
    const fingerprint = newFingerprint();
    const { organization: paying } = await world.recharged({ fingerprint });
    const declined = await world.organization({ fingerprint });
    const [card] = (await world.stripe.customers.listPaymentMethods(declined.customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_chargeDeclinedInsufficientFunds' });
    await world.alerted(declined);
    for (const organization of [paying, declined]) {
      expect(await standingOf(organization)).toMatchObject({ state: 'card_declined' });
      expect(await listed()).toContain(organization.id);
      const { data } = await world.admin.get('/api/v1/holds', { params: { organization_id: organization.id, open: true } });
      expect(data.data).toMatchObject([{ scope: 'card', reason: 'declined' }]);
    }
    await releaseAsTold(await standingOf(paying));
  });

  test("another customer: nothing is said of the old customer's card any more, with a card and without one", async () => {
    const organization = await world.organization();
    const { customerId } = organization;
    const [card] = (await world.stripe.customers.listPaymentMethods(customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_chargeDeclinedLostCard' });
    await world.alerted(organization);
    expect(await standingOf(organization)).toMatchObject({ state: 'card_declined' });
    const isOf = (customer: string) => world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: customer });

    const { id: cardless } = await world.stripe.customers.create({});
    await isOf(cardless);
    const standing = await standingOf(organization);
    expect(standing).toMatchObject({ state: 'needs_person', why: expect.stringContaining('no card') });
    expect(standing.next).not.toContain('declined');
    const { data: holds } = (await world.admin.get('/api/v1/holds', { params: { organization_id: organization.id } })).data;
    expect(holds).toMatchObject([{ released_at: null, stops: null }]);

    await isOf(customerId);
    expect(await standingOf(organization)).toMatchObject({ state: 'card_declined' });
    await isOf((await world.organization({ fingerprint: newFingerprint() })).customerId);
    expect(await standingOf(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
  });

  test('a customer without a card, from when it is named until it has one', async () => {
    const { id: customer } = await world.stripe.customers.create({});
    const organization = await world.organization({ spend: 1, settings: { stripe_customer_id: customer } });
    const cardless = { state: 'needs_person', why: expect.stringContaining('no card') };
    expect(await standingOf(organization)).toMatchObject({ ...cardless, balance: '9.00' });
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject(cardless);
    await world.spend(organization.teamId, 9.5);
    await world.sweep();
    await world.setBudget(organization.teamId, 30);
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject(cardless);
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: organization.customerId });
    await world.eventually(async () => (await standingOf(organization)).state === 'ok', 'the event of the sweep is decided on');
  });

  test('limits that leave nothing to charge, and a block, before anything asks for a recharge', async () => {
    const limited = await world.organization({ spend: 1, settings: { max_daily_amount: '0.20' } });
    const { updated_at: since } = (await world.admin.get(`/api/v1/organizations/${limited.id}`)).data;
    const nothing = { state: 'limit_reached', since, why: expect.stringContaining('less than the least charge') };
    expect(await standingOf(limited)).toMatchObject(nothing);
    const small = await world.organization({ spend: 1, settings: { max_charge: '14.99' } });
    expect(await standingOf(small)).toMatchObject({
      state: 'limit_reached',
      why: expect.stringMatching(/^max_charge is 14\.99 USD, and a balance at its minimum needs \d+\.00 USD, so each such charge is held/),
      next: `bill org set ${small.id} --max-charge <amount>`,
    });
    expect(await listed()).toContain(small.id);
    const blocked = await world.organization({ settings: { blocked: true } });
    expect(await standingOf(blocked)).toMatchObject({ state: 'off', next: `bill org set ${blocked.id} --blocked off` });
    expect(await listed()).toEqual(expect.arrayContaining([limited.id, blocked.id]));
  });

  test('a dispute', async () => {
    const { organization, intentId, rechargeId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    const standing = await standingOf(organization);
    expect(standing).toMatchObject({ state: 'held', why: `dispute ${id} of recharge ${rechargeId}: 20.50 USD, fraudulent (disputed)` });
    expect(await world.alerted(organization)).toEqual(HELD);
    await releaseAsTold(standing);
    expect(await standingOf(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
  });

  test('a balance that was low, until a dispute is won and our own write has raised it', async () => {
    const { organization, intentId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    await world.sweep();
    expect(await standingOf(organization)).toMatchObject({
      state: 'held',
      next: expect.stringContaining('where its balance is still low'),
    });
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'given_back');
    expect(await standingOf(organization)).toMatchObject({ state: 'ok', balance: '20.00', why: null });
  });

  test('a team that was not found, until a person has asked for it', async () => {
    const organization = await world.organization();
    await world.sql.query('update organization_balance_config set litellm_seen_at = null where c_organization_id = $1', [organization.id]);
    await world.sql.query('delete from balance_sample where organization_id = $1', [organization.id]);
    await world.deleteTeam(organization.teamId);
    await sync();
    expect(await standingOf(organization)).toMatchObject({ state: 'litellm_differs', next: expect.stringContaining('--create-team ') });
    const { data } = await world.admin.patch(`/api/v1/organizations/${organization.id}`, { create_team: true });
    expect(data).toMatchObject({ state: 'ok', why: expect.stringMatching(/^the next synchronisation makes its team/) });
  });

  test('a recharge that a person has to settle, and one that goes on', async () => {
    const organization = await world.organization();
    const { goOn, rechargeId } = await world.chargedButNotGranted(organization);
    expect(await standingOf(organization)).toMatchObject({
      state: 'recharging',
      why: expect.stringContaining(`20.50 USD by ${rechargeId} is charged`),
    });
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

  test('a recharge that a person has accepted, after which the balance is the one that was seen', async () => {
    const organization = await world.organization();
    const { goOn, rechargeId } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 31);
    await goOn();
    await world.eventually(async () => (await standingOf(organization)).state === 'needs_person', 'it is parked');
    await world.sweep();
    await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'accept', reason: 'it was raised by hand' });
    expect(await standingOf(organization)).toMatchObject({ balance: '20.50', balance_at: expect.any(String) });
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
    for (const cursor of ['zz', 'WzFd', Buffer.from('["a","b"]').toString('base64url')]) {
      const { status, data } = await world.admin.get('/api/v1/status', { params: { cursor } });
      expect([status, data.detail]).toEqual([422, expect.stringContaining('is not a cursor of this list')]);
    }
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
    const isPolled = async () => (await lines()).some(({ check, state }) => check === `workers of ${world.name}` && state === 'ok');
    await world.eventually(isPolled, 'the worker has asked for work');
  });

  test('a LiteLLM and a Stripe that do not answer', async () => {
    await world.withAnotherApi({ KMS_BASE_URL: 'http://127.0.0.1:1', STRIPE_API_BASE: 'http://127.0.0.1:1' }, async (url) => {
      const standIn = expect.stringMatching(
        /^the stand-in for Stripe at http:\/\/127\.0\.0\.1:1 \(STRIPE_API_BASE\) gives no usable answer: .*STRIPE_SECRET_KEY/,
      );
      expect(await lines(url)).toContainEqual(expect.objectContaining({ check: 'Stripe', next: standIn }));
      for (const check of ['LiteLLM', 'Stripe'])
        expect(await lines(url)).toContainEqual({
          check,
          state: 'wrong',
          seen: expect.stringMatching(/; since \d{4}-.* UTC \(\d+ s ago\), or longer$/),
          next: expect.stringContaining('bill doctor'),
        });
    });
    for (const check of ['LiteLLM', 'Stripe']) expect(await lines()).toContainEqual({ check, state: 'ok', seen: 'answers', next: null });
  });

  test('an alert that has its run, and no worker', async () => {
    const organization = await world.organization();
    await world.stopApi();
    try {
      await world.withAnotherApi({ TEMPORAL_TASK_QUEUE: `${world.name}-idle` }, async (url) => {
        world.apiUrl = url;
        const eventId = await world.accepted(organization);
        const stop = `this is put right: workers of ${world.name}-idle: none asks for work`;
        const waits = { check: 'alerts under way', state: 'wrong', seen: expect.stringContaining(`not settled before ${stop}`) };
        await world.eventually(async () => (await lines(url)).some(({ seen }) => seen.includes('not settled before')), 'it has its run');
        expect(await lines(url)).toContainEqual(expect.objectContaining(waits));
        const waiting = { state: 'recharging', why: `nothing is decided on ${eventId} yet`, next: `it goes on when ${stop}` };
        expect(await standingOf(organization)).toMatchObject(waiting);
        expect(await listed()).toContain(organization.id);
        const outlook = await world.admin.get(`/api/v1/organizations/${organization.id}/outlook`);
        expect(outlook.data).toMatchObject({ would: 'charge', waits_for: stop.replace('this is put right: ', '') });
        const { data: event } = await world.admin.get(`/webhooks/events/${eventId}`);
        expect(event).toMatchObject({ summary: 'its run has not settled it yet', next: waiting.next });
        await world.sql.query(`update webhook_event set received_at = now() - interval '15 minutes' where id = $1`, [eventId]);
        expect(await standingOf(organization)).toMatchObject({ state: 'needs_person', next: expect.stringContaining('bill doctor') });
        await world.sql.query('delete from webhook_event where id = $1', [eventId]);
      });
    } finally {
      await world.startApi();
    }
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
        expect.objectContaining({
          check: 'Temporal',
          state: 'wrong',
          seen: expect.stringMatching(/; since \d{4}-.* UTC \(\d+ s ago\), or longer$/),
          next: expect.stringContaining('TEMPORAL_ADDRESS'),
        }),
      );
    });
  });
});

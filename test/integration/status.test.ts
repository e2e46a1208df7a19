/**
 * What is wrong now: faults are brought about on the running service. For each the status alone says who, what, since
 * when, why and what to do, and doing it settles it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { HELD, RECHARGED, unsuccessful } from '../support/books.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { ABOUT_TO_BE_CHARGED, type Standing, Standings } from '../support/standings.ts';
import { World } from '../support/world.ts';

type Line = { check: string; state: string; seen: string; next: string | null };

let world: World;
let standings: Standings;
beforeAll(async () => {
  world = await World.start();
  standings = new Standings(world);
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

describe('of an organization', () => {
  test('a card that is declined', async () => {
    const organization = await world.organization();
    const [card] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_chargeDeclinedInsufficientFunds' });
    await world.alerted(organization);
    const standing = await standings.of(organization);
    expect(standing).toMatchObject({
      state: 'card_declined',
      why: expect.stringContaining('insufficient_funds'),
      since: expect.any(String),
    });
    expect(standing.next).toMatch(
      new RegExp(`^it ends at .* UTC, or sooner: one of:\ngive ${organization.customerId} another card at Stripe.*\nbill release`),
    );
    expect(await standings.listed()).toContain(organization.id);

    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_visa' });
    await standings.releaseAsTold(standing);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await standings.of(organization)).toMatchObject({ state: 'ok' });
    expect(await standings.listed()).not.toContain(organization.id);
  });

  test('a balance that our own write has changed: as old as the look at what was spent of it', async () => {
    const { organization, intentId } = await world.recharged();
    const { created_at: balanceAt } = await world.rechargeOf(organization);
    expect(await standings.of(organization)).toMatchObject({ balance: '20.00', balance_at: balanceAt });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    expect(await standings.of(organization)).toMatchObject({ balance: '-0.50', balance_at: balanceAt });
    await world.sweep();
    await world.spend(organization.teamId, 1);
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject({ balance: '-1.50' });
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
      const now = await standings.of(organization);
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

  test('what would refuse a recharge, from the next sweep on, and before anything asks for one', async () => {
    const limited = await world.organization({ settings: { max_monthly_amount: '1.00' } });
    const reset = await world.organization({ spend: 1 });
    await world.editTeam(reset.teamId, { budget_duration: '30d' });
    const blocked = await world.organization({ spend: 1 });
    await world.editTeam(blocked.teamId, { blocked: true });
    await world.sweep();
    expect(await standings.of(limited)).toMatchObject({ state: 'limit_reached', why: expect.stringContaining('monthly') });
    expect(await standings.of(reset)).toMatchObject({ state: 'litellm_differs', why: expect.stringContaining('budget_duration') });
    expect(await standings.of(blocked)).toMatchObject({ state: 'litellm_differs', why: expect.stringContaining('blocked') });
    expect(await standings.listed()).toEqual(expect.arrayContaining([limited.id, reset.id, blocked.id]));

    await world.admin.patch(`/api/v1/organizations/${limited.id}`, { max_monthly_amount: null });
    await world.editTeam(reset.teamId, { budget_duration: null });
    await world.editTeam(blocked.teamId, { blocked: false });
    await world.sweep();
    for (const organization of [reset, blocked]) expect(await standings.of(organization)).toMatchObject({ state: 'ok' });
    await world.eventually(async () => (await standings.of(limited)).state === 'ok', 'it is recharged');
  });

  test('a limit that is used up, with how much of it is', async () => {
    const { organization } = await world.recharged({ settings: { max_daily_recharges: 1 } });
    await world.spend(organization.teamId, 20);
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject({
      state: 'limit_reached',
      why: 'max_daily_recharges is used up for today (1 of 1 today)',
      next: expect.stringContaining('it is charged again from'),
    });
  });

  test('a limit that an alert has met between two sweeps, beside the balance that was seen then', async () => {
    const { organization } = await world.recharged({ settings: { max_daily_recharges: 1 } });
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject({ state: 'ok', balance: '20.00' });
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization)).toEqual(unsuccessful('daily_limit_reached'));
    expect(await standings.of(organization)).toMatchObject({ state: 'limit_reached', balance: '0.00' });
  });

  test('a card that is held because of another organization', async () => {
    const fingerprint = newFingerprint();
    const { organization: paying } = await world.recharged({ fingerprint });
    const declined = await world.organization({ fingerprint });
    const [card] = (await world.stripe.customers.listPaymentMethods(declined.customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_chargeDeclinedInsufficientFunds' });
    await world.alerted(declined);
    for (const organization of [paying, declined]) {
      expect(await standings.of(organization)).toMatchObject({ state: 'card_declined' });
      expect(await standings.listed()).toContain(organization.id);
      const { data } = await world.admin.get('/api/v1/holds', { params: { organization_id: organization.id, open: true } });
      expect(data.data).toMatchObject([{ scope: 'card', reason: 'declined' }]);
    }
    await standings.releaseAsTold(await standings.of(paying));
  });

  test("another customer: nothing is said of the old customer's card any more, with a card and without one", async () => {
    const organization = await world.organization();
    const { customerId } = organization;
    const [card] = (await world.stripe.customers.listPaymentMethods(customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: 'pm_card_chargeDeclinedLostCard' });
    await world.alerted(organization);
    expect(await standings.of(organization)).toMatchObject({ state: 'card_declined' });
    const isOf = (customer: string) => world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: customer });

    const { id: cardless } = await world.stripe.customers.create({});
    await isOf(cardless);
    const standing = await standings.of(organization);
    expect(standing).toMatchObject({ state: 'needs_person', why: expect.stringContaining('no card') });
    expect(standing.next).not.toContain('declined');
    const { data: holds } = (await world.admin.get('/api/v1/holds', { params: { organization_id: organization.id } })).data;
    expect(holds).toMatchObject([{ released_at: null, stops: null }]);

    await isOf(customerId);
    expect(await standings.of(organization)).toMatchObject({ state: 'card_declined' });
    await isOf((await world.organization({ fingerprint: newFingerprint() })).customerId);
    expect(await standings.of(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
  });

  test('a customer without a card, from when it is named until it has one', async () => {
    const { id: customer } = await world.stripe.customers.create({});
    const organization = await world.organization({ spend: 1, settings: { stripe_customer_id: customer } });
    const cardless = { state: 'needs_person', why: expect.stringContaining('no card') };
    expect(await standings.of(organization)).toMatchObject({ ...cardless, balance: '9.00' });
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject(cardless);
    await world.spend(organization.teamId, 9.5);
    await world.sweep();
    await world.setBudget(organization.teamId, 30);
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject(cardless);
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: organization.customerId });
    await world.eventually(async () => (await standings.of(organization)).state === 'ok', 'the event of the sweep is decided on');
  });

  test('limits that leave nothing to charge, and a block, before anything asks for a recharge', async () => {
    const limited = await world.organization({ spend: 1, settings: { max_daily_amount: '0.20' } });
    const { updated_at: since } = (await world.admin.get(`/api/v1/organizations/${limited.id}`)).data;
    const nothing = { state: 'limit_reached', since, why: expect.stringContaining('less than the least charge') };
    expect(await standings.of(limited)).toMatchObject(nothing);
    const small = await world.organization({ spend: 1, settings: { max_charge: '14.99' } });
    expect(await standings.of(small)).toMatchObject({
      state: 'limit_reached',
      why: expect.stringMatching(/^max_charge is 14\.99 USD, and a balance at its minimum needs \d+\.00 USD, so each such charge is held/),
      next: `bill org set ${small.id} --max-charge <amount>`,
    });
    expect(await standings.listed()).toContain(small.id);
    const blocked = await world.organization({ settings: { blocked: true } });
    expect(await standings.of(blocked)).toMatchObject({ state: 'off', next: `bill org set ${blocked.id} --blocked off` });
    expect(await standings.listed()).toEqual(expect.arrayContaining([limited.id, blocked.id]));
  });

  test('a dispute', async () => {
    const { organization, intentId, rechargeId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    const standing = await standings.of(organization);
    expect(standing).toMatchObject({ state: 'held', why: `dispute ${id} of recharge ${rechargeId}: 20.50 USD, fraudulent (disputed)` });
    expect(await world.alerted(organization)).toEqual(HELD);
    await standings.releaseAsTold(standing);
    expect(await standings.of(organization)).toMatchObject(ABOUT_TO_BE_CHARGED);
  });

  test('a balance that was low, until a dispute is won and our own write has raised it', async () => {
    const { organization, intentId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    await world.sweep();
    expect(await standings.of(organization)).toMatchObject({
      state: 'held',
      next: expect.stringContaining('where its balance is still low'),
    });
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'given_back');
    expect(await standings.of(organization)).toMatchObject({ state: 'ok', balance: '20.00', why: null });
  });

  test('a recharge that a person has to settle, and one that goes on', async () => {
    const organization = await world.organization();
    const { goOn, rechargeId } = await world.chargedButNotGranted(organization);
    expect(await standings.of(organization)).toMatchObject({
      state: 'recharging',
      why: expect.stringContaining(`20.50 USD by ${rechargeId} is charged`),
    });
    await world.setBudget(organization.teamId, 11);
    await goOn();
    await world.eventually(async () => (await standings.of(organization)).state === 'needs_person', 'it is parked');
    expect(await standings.of(organization)).toMatchObject({
      why: expect.stringContaining('max_budget is 11.00, expected 10.00 or 30.50'),
      next: expect.stringContaining(`bill resolve ${rechargeId} --grant`),
    });
    await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'grant', reason: 'it was meant' });
    await world.eventually(async () => (await standings.of(organization)).state === 'ok', 'it is settled');
  });

  test('a recharge that a person has accepted, after which the balance is the one that was seen', async () => {
    const organization = await world.organization();
    const { goOn, rechargeId } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 31);
    await goOn();
    await world.eventually(async () => (await standings.of(organization)).state === 'needs_person', 'it is parked');
    await world.sweep();
    await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'accept', reason: 'it was raised by hand' });
    expect(await standings.of(organization)).toMatchObject({ balance: '20.50', balance_at: expect.any(String) });
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
        expect(await standings.of(organization)).toMatchObject(waiting);
        expect(await standings.listed()).toContain(organization.id);
        const outlook = await world.admin.get(`/api/v1/organizations/${organization.id}/outlook`);
        expect(outlook.data).toMatchObject({ would: 'charge', waits_for: stop.replace('this is put right: ', '') });
        const { data: event } = await world.admin.get(`/webhooks/events/${eventId}`);
        expect(event).toMatchObject({ summary: 'its run has not settled it yet', next: waiting.next });
        await world.sql.query(`update webhook_event set received_at = now() - interval '15 minutes' where id = $1`, [eventId]);
        expect(await standings.of(organization)).toMatchObject({ state: 'needs_person', next: expect.stringContaining('bill doctor') });
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

/**
 * What stops the charges of all: LiteLLM refuses to raise, a key is refused or is of the other mode, an operator throws
 * the kill switch. Each is told once, and one organization's fault is told from everybody's.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { HELD, RECHARGED, REFUNDED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS } from '../support/faults.ts';
import { HOLDS, holdOf, openHolds, told } from '../support/holds.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.close());
afterEach(async () => {
  await world.releaseService();
  await world.clearFaults();
});

describe('a raise that LiteLLM refuses', () => {
  const refuse = (status: number, message: string, teamId?: string) =>
    world.kmsFault({
      method: 'POST',
      path: '/team/update',
      ...(teamId && { contains: teamId }),
      times: ALWAYS,
      action: { kind: 'respond', status, body: { error: { message, type: 'auth_error', param: 'None', code: String(status) } } },
    });

  test('case 64: by 403 stops the charges of all: at most one of twenty is charged in vain, and a probe ends it', async () => {
    const low = await Promise.all(Array.from({ length: 20 }, () => world.organization()));
    // Nothing shows lately that LiteLLM takes a raise, as after a restart or a quiet night.
    await world.sql.query(`update recharge set updated_at = updated_at - interval '1 hour'`);
    await refuse(403, 'this key may not raise max_budget');
    const endings = await Promise.all(low.map((organization) => world.alerted(organization)));
    const charged = endings.filter(({ outcome }) => outcome !== 'held');
    expect(charged).toEqual([REFUNDED]);
    await world.stopWorker();
    await world.stopApi();
    await Promise.all([world.startApi(), world.startWorker()]);
    for (const organization of low) expect(await world.alerted(organization)).toEqual(HELD);
    const books = await Promise.all(low.map((organization) => world.books(organization)));
    expect(books.reduce((sum, { charges }) => sum + charges, 0)).toBe(1);
    const holds = await openHolds(world, 'scope=service');
    expect(holds).toMatchObject([{ reason: 'raise_refused', detail: expect.stringMatching(/403.*proxy_admin/s) }]);
    const opened = await world.sql.query(`select 1 from outbound_event where type = 'hold.opened' and data ->> 'hold_id' = $1`, [
      holds[0]?.id,
    ]);
    expect(opened.rowCount).toBe(1);

    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toHaveLength(1);
    await world.clearFaults();
    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toEqual([]);
    for (const organization of low)
      await world.eventually(async () => (await world.books(organization)).granted === 2050, `${organization.id} is recharged`);
  }, 240_000);

  test('case 65: by 400 stops the charges of that organization', async () => {
    const [capped, free] = [await world.organization(), await world.organization()];
    await refuse(400, 'max_budget exceeds the organization limit', capped.teamId);
    expect(await world.alerted(capped)).toEqual(REFUNDED);
    expect(await world.alerted(capped)).toEqual(HELD);
    expect(await holdOf(world, capped)).toMatchObject({
      scope: 'organization',
      reason: 'raise_refused',
      detail: expect.stringMatching(/exceeds the organization limit/),
    });
    expect(await world.alerted(free)).toEqual(RECHARGED);
    expect(await told(world, capped)).toEqual(['hold.opened', 'recharge.refunded']);
  });
});

describe('a key that is refused', () => {
  test("Stripe's: holds the service after some attempts, and the charge under way ends the hold when the key works again", async () => {
    const [underWay, later] = [await world.organization(), await world.organization()];
    await world.revokeStripeKey(true);
    const eventId = await world.accepted(underWay);
    const [hold] = await world.eventually(async () => {
      const found = await openHolds(world, 'scope=service');
      return found.length > 0 && found;
    }, 'the service is held');
    expect(hold).toMatchObject({ subject: 'stripe', reason: 'key_refused', detail: expect.stringMatching(/STRIPE_SECRET_KEY/) });
    expect(await world.alerted(later)).toEqual(HELD);
    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toHaveLength(1);
    await world.revokeStripeKey(false);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await openHolds(world, 'scope=service')).toEqual([]);
    expect(await world.alerted(later)).toEqual(RECHARGED);
  });

  test("Stripe's, for one call that a charge needs: a probe of other calls does not end the hold", async () => {
    const organization = await world.organization();
    const refused = {
      kind: 'respond',
      status: 403,
      body: { error: { type: 'invalid_request_error', message: 'not for this key' } },
    } as const;
    await world.stripeFault({ path: '/v1/payment_intents/*/confirm', times: ALWAYS, action: refused });
    const eventId = await world.accepted(organization);
    await world.eventually(async () => (await openHolds(world, 'scope=service')).length > 0, 'the service is held');
    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toHaveLength(1);
    await world.clearFaults();
    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toEqual([]);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test("LiteLLM's, by 401: holds the service, and a look that passes ends it", async () => {
    const organization = await world.organization();
    await world.kmsFault({
      path: '/team/info',
      times: ALWAYS,
      action: { kind: 'respond', status: 401, body: { error: { message: 'no' } } },
    });
    const eventId = await world.accepted(organization);
    await world.eventually(async () => (await openHolds(world, 'scope=service')).length > 0, 'the service is held');
    expect(await openHolds(world, 'scope=service')).toMatchObject([{ subject: 'litellm', reason: 'key_refused' }]);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await openHolds(world, 'scope=service')).toEqual([]);
  });

  test("LiteLLM's, by 403 for the one call that reads a balance: a probe of other calls does not end the hold", async () => {
    const organization = await world.organization();
    await world.kmsFault({
      path: '/team/info',
      times: ALWAYS,
      action: { kind: 'respond', status: 403, body: { error: { message: 'Virtual key is not allowed to call this route.' } } },
    });
    const eventId = await world.accepted(organization);
    await world.eventually(async () => (await openHolds(world, 'scope=service')).length > 0, 'the service is held');
    const [held] = await openHolds(world, 'scope=service');
    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toMatchObject([{ id: held?.id, subject: 'litellm', reason: 'key_refused' }]);
    await world.clearFaults();
    await world.sweep();
    expect(await openHolds(world, 'scope=service')).toEqual([]);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('in what no charge needs holds nobody', async () => {
    const refusal = await world.kmsFault({
      path: '/v2/team/list',
      times: ALWAYS,
      action: { kind: 'respond', status: 403, body: { error: { message: 'no' } } },
    });
    await world.sweep().catch(() => {});
    await refusal.struck();
    expect(await openHolds(world, 'scope=service')).toEqual([]);
  });
});

describe('a Stripe key of the other mode', () => {
  const MISSING = {
    type: 'invalid_request_error',
    code: 'resource_missing',
    param: 'id',
    message: 'No such customer; one of this id exists in the other mode.',
  };
  const isMissing = (path: string) =>
    world.stripeFault({ method: 'GET', path, times: ALWAYS, action: { kind: 'respond', status: 404, body: { error: MISSING } } });

  test('case 69: counts against nobody, holds the service, and ends when the key is right', async () => {
    const low = await Promise.all(Array.from({ length: 3 }, () => world.organization()));
    await isMissing('/v1/customers/*');
    for (let round = 0; round < 3; round++) {
      for (const organization of low) expect(await world.alerted(organization)).toEqual(HELD);
    }
    expect(await openHolds(world, 'scope=service')).toMatchObject([
      { subject: 'stripe', reason: 'key_refused', detail: expect.stringMatching(/other mode/) },
    ]);
    for (const organization of low) {
      expect(await told(world, organization)).toEqual([]);
      await expectUncharged(world, organization);
    }
    await world.clearFaults();
    await world.sweep();
    for (const organization of low)
      await world.eventually(async () => (await world.books(organization)).granted === 2050, `${organization.id} is recharged`);
  });

  test('a customer that only one organization misses is that one alone', async () => {
    const [wrong, right] = [await world.organization(), await world.organization()];
    await isMissing(`/v1/customers/${wrong.customerId}`);
    for (let alert = 0; alert < 3; alert++) expect(await world.alerted(wrong)).toEqual(unsuccessful('customer_missing'));
    expect(await world.alerted(right)).toEqual(RECHARGED);
    expect(await told(world, wrong)).toEqual(['refusal.new']);
    await world.clearFaults();
    expect(await world.alerted(wrong)).toEqual(RECHARGED);
  });
});

describe('the kill switch', () => {
  test('case 76: stops new charges of all and lets what is captured end; it is released by hand', async () => {
    const organizations = await Promise.all(Array.from({ length: 10 }, () => world.organization()));
    const writing = await world.kmsFault({ method: 'POST', path: '/team/update', action: { kind: 'hold' } });
    const first = await world.accepted(organizations[0] as Organization);
    await writing.struck();
    const { data: hold, status } = await world.admin.post(HOLDS, { scope: 'service', reason: 'maintenance' });
    expect([status, hold.reason, hold.ended_by]).toEqual([201, 'operator', expect.stringMatching(/person releases/)]);
    await writing.remove();
    expect(await world.closed(first)).toEqual(RECHARGED);
    for (const organization of organizations.slice(1)) {
      expect(await world.alerted(organization)).toEqual(HELD);
      await expectUncharged(world, organization);
    }
    expect((await world.admin.post(`${HOLDS}/${hold.id}/release`, { reason: 'done' })).data).toMatchObject({
      released_by: 'admin key',
      release_reason: 'done',
    });
    expect((await world.admin.post(`${HOLDS}/${hold.id}/release`, { reason: 'done' })).status).toBe(409);
    for (const organization of organizations.slice(1)) expect(await world.alerted(organization)).toEqual(RECHARGED);
  });

  test('stops a charge that has an intent, and whose card was not asked yet', async () => {
    const organization = await world.organization();
    const creating = await world.stripeFault({ method: 'POST', path: '/v1/payment_intents', when: 'after', action: { kind: 'hold' } });
    const eventId = await world.accepted(organization);
    await creating.struck();
    await world.admin.post(HOLDS, { scope: 'organization', subject: organization.id, reason: 'asked to stop' });
    await creating.remove();
    expect(await world.closed(eventId)).toEqual(HELD);
    await expectUncharged(world, organization);
    const [recharge] = await world.rechargesOf(organization);
    expect(recharge).toMatchObject({ status: 'cancelled' });
    expect((await world.stripe.paymentIntents.retrieve(recharge?.payment_intent_id ?? '')).status).toBe('canceled');
  });

  test('does not keep the sweep from reporting at once, when it has ended, whom it met held', async () => {
    const organization = await world.organization();
    const looking = await world.kmsFault({ path: '/team/info', contains: organization.teamId, times: ALWAYS, action: { kind: 'hold' } });
    await world.sweep();
    await looking.struck();
    const { data } = await world.admin.post(HOLDS, { scope: 'service', reason: 'maintenance' });
    await looking.remove();
    const [event] = await world.eventually(async () => {
      const { data: events } = await world.admin.get(`/webhooks/events?organization_id=${organization.id}&processed=true`);
      return events.data.length > 0 && (events.data as { outcome: string }[]);
    }, 'the event of the sweep is closed');
    expect(event?.outcome).toBe('held');
    await world.admin.post(`${HOLDS}/${data.id}/release`, { reason: 'done', by: 'ada' });
    await world.sweep();
    await world.eventually(async () => (await world.books(organization)).granted > 0, 'the organization is recharged');
    await expectChargedOnce(world, organization);
  });

  test('is not thrown twice: the second is told which hold there is', async () => {
    const { data } = await world.admin.post(HOLDS, { scope: 'service', reason: 'maintenance' });
    const again = await world.admin.post(HOLDS, { scope: 'service', reason: 'fraud' });
    expect([again.status, again.data.detail]).toEqual([409, `the service is held already, by ${data.id}: release that first`]);
  });

  test('says what is wrong with a hold that makes no sense', async () => {
    const faults = [
      { scope: 'service', subject: 'acme', reason: 'x' },
      { scope: 'organization', subject: 'ac\0me', reason: 'x' },
      { scope: 'organization', reason: 'x' },
      { scope: 'service', reason: 'x', until: '2001-01-01T00:00:00Z' },
      { scope: 'card', reason: 'x' },
    ];
    for (const fault of faults) expect((await world.admin.post(HOLDS, fault)).status).toBe(422);
    expect((await world.admin.post(HOLDS, { scope: 'organization', subject: 'nobody', reason: 'x' })).status).toBe(404);
    expect((await world.admin.post(`${HOLDS}/hld_nothing/release`, { reason: 'x' })).status).toBe(404);
  });
});

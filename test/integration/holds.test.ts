/**
 * A series of recharges is as safe as one: what stops charges, whom it stops, what ends it, and that it is told
 * once. Each test looks at Stripe's stand-in for what was charged, and at the outbound events for what was told.
 */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { CANCELLED, HELD, RECHARGED, REFUNDED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS } from '../support/faults.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { type Organization, World } from '../support/world.ts';

const HOLDS = '/api/v1/holds';
const DAY = '1 day';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.close());
afterEach(async () => {
  await world.releaseService();
  await world.clearFaults();
});

type Hold = { id: string; scope: string; subject: string; reason: string; detail: string; until: string | null; ended_by: string };

async function openHolds(query: string): Promise<Hold[]> {
  const { data } = await world.admin.get<{ data: Hold[] }>(`${HOLDS}?open=true&${query}`);
  return data.data;
}

async function holdOf({ id }: Organization): Promise<Hold> {
  const [hold] = await openHolds(`organization_id=${id}`);
  if (!hold) throw new Error(`${id} has no open hold`);
  return hold;
}

/** How often a card of the customer was asked for money, in vain or not. */
async function attempts({ customerId }: Organization): Promise<number> {
  return (await world.stripe.charges.list({ customer: customerId, limit: 100 })).data.length;
}

/** The types of what was told about an organization, oldest first. */
async function told({ id }: Pick<Organization, 'id'>): Promise<string[]> {
  const { rows } = await world.sql.query('select type from outbound_event where organization_id = $1 order by id', [id]);
  return rows.map(({ type }) => type).filter((type: string) => type !== 'balance.low');
}

/** The organization's recharges, attempts and holds are as old as if so much more time had passed. */
async function pass(time: string, { id }: Organization): Promise<void> {
  await world.sql.query(
    'update recharge set created_at = created_at - $1::interval, updated_at = updated_at - $1::interval where organization_id = $2',
    [time, id],
  );
  await world.sql.query(
    'update card_attempt set begun_at = begun_at - $1::interval, ended_at = ended_at - $1::interval where organization_id = $2',
    [time, id],
  );
  await world.sql.query('update hold set since = since - $1::interval, until = until - $1::interval where organization_id = $2', [
    time,
    id,
  ]);
}

async function makeCardBehaveLike({ customerId }: Organization, testCard: string): Promise<void> {
  const [card] = (await world.stripe.customers.listPaymentMethods(customerId)).data;
  await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: testCard });
}

describe('a card that is declined', () => {
  test('case 61: softly, is asked once however many alerts come, and again at its step', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    for (let alert = 0; alert < 10; alert++) expect(await world.alerted(organization)).toEqual(HELD);
    expect(await attempts(organization)).toBe(1);
    expect(await told(organization)).toEqual(['recharge.declined', 'hold.opened']);
    expect(await holdOf(organization)).toMatchObject({
      scope: 'card',
      reason: 'declined',
      until: expect.any(String),
      detail: expect.stringMatching(/insufficient_funds/),
    });

    await pass(DAY, organization);
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    for (let alert = 0; alert < 5; alert++) expect(await world.alerted(organization)).toEqual(HELD);
    expect(await attempts(organization)).toBe(2);

    await makeCardBehaveLike(organization, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.holdsPass(organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await openHolds(`organization_id=${organization.id}`)).toEqual([]);
  });

  test('because its bank wants the customer present, says that asking it again alone leads nowhere', async () => {
    const organization = await world.organization({ card: 'pm_card_authenticationRequired' });
    expect(await world.alerted(organization)).toEqual(unsuccessful('action_required'));
    const confirm = 'before it is asked again, the customer has to confirm it with the bank, for use without them';
    expect(await holdOf(organization)).toMatchObject({ reason: 'declined', detail: expect.stringContaining(confirm) });
  });

  test('case 61: is asked thirteen times in 30 days at most, though an operator releases every hold each time', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    for (let hour = 0; hour < 15 * 24; hour += 12) {
      await world.alerted(organization);
      for (const { id } of await openHolds(`organization_id=${organization.id}`)) {
        await world.admin.post(`${HOLDS}/${id}/release`, { reason: 'again' });
      }
      await pass('12 hours', organization);
    }
    expect(await attempts(organization)).toBe(13);
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await holdOf(organization)).toMatchObject({ reason: 'declined', detail: expect.stringMatching(/13 times in 30 days/) });
  });

  test('case 62: is not asked again for another organization that pays with it', async () => {
    const fingerprint = newFingerprint();
    const [one, other] = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    for (const organization of [one, other]) await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(other)).toEqual(HELD);
    expect(await world.alerted(other)).toEqual(HELD);
    expect([await attempts(one), await attempts(other)]).toEqual([1, 0]);
  });

  test('says whose attempt it was, and whom its hold stops: those who pay with the card, until they pay with another', async () => {
    const fingerprint = newFingerprint();
    const [one, other, beside] = [
      await world.organization({ fingerprint }),
      await world.organization({ fingerprint }),
      await world.organization({ budget: 10, spend: 1 }),
    ];
    // Of the same customer, and never charged so far.
    const same = { stripe_customer_id: one.customerId };
    expect((await world.admin.patch(`/api/v1/organizations/${beside.id}`, same)).status).toBe(200);
    expect(await world.alerted(other)).toEqual(RECHARGED);
    await pass(DAY, other);
    for (const organization of [one, other]) await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    const { id: rechargeId } = await world.rechargeOf(one);
    const detail = `the card was declined with insufficient_funds at the attempt of ${one.id} (${rechargeId})`;
    const ids = [one.id, other.id, beside.id].toSorted();
    const hold = await holdOf(one);
    expect(hold).toMatchObject({ detail, stops: { count: 3, organization_ids: ids } });
    for (const { id } of [one, other, beside]) {
      const { data } = await world.admin.get('/api/v1/status', { params: { organization_id: id } });
      const why = `${detail}; it stops 3 organizations: ${ids.join(', ')} (declined)`;
      expect(data.organizations.data).toMatchObject([{ state: 'card_declined', why }]);
      expect((await world.admin.get(`/api/v1/organizations/${id}`)).data.holds).toMatchObject([{ id: hold.id, stops: { count: 3 } }]);
    }
    await world.attachCard(one.customerId, 'pm_card_visa');
    await world.spend(beside.teamId, 10);
    expect(await world.alerted(beside)).toEqual(RECHARGED);
    expect((await world.admin.get(`${HOLDS}/${hold.id}`)).data.stops).toEqual({
      count: 2,
      organization_ids: [one.id, other.id].toSorted(),
    });
    await world.admin.post(`${HOLDS}/${hold.id}/release`, { reason: 'looked at' });
    expect((await world.admin.get(`${HOLDS}/${hold.id}`)).data.stops).toBeNull();
  });

  test('case 62: is asked once when both organizations are low at the same moment', async () => {
    const fingerprint = newFingerprint();
    const pair = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    for (const organization of pair) await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    const endings = await Promise.all(pair.map((organization) => world.alerted(organization)));
    expect(endings.map(({ outcome }) => outcome).sort()).toEqual(['declined', 'held']);
    expect((await Promise.all(pair.map(attempts))).sort()).toEqual([0, 1]);
  });

  test('case 63: for good, is tried once more when the same card has a new expiry', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedLostCard');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    expect(await holdOf(organization)).toMatchObject({ reason: 'card_refused', until: null });
    await pass('300 days', organization);
    expect(await world.alerted(organization)).toEqual(HELD);
    const [card] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { exp_year: (card?.card?.exp_year ?? 0) + 3 });
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await attempts(organization)).toBe(2);
  });

  test('holds nobody back when the customer names another one', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    await world.attachCard(organization.customerId, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
    expect(await told(organization)).toEqual(['recharge.declined', 'hold.opened', 'hold.released', 'recharge.succeeded']);
  });

  test('case 62: holds another organization that pays with it for as long as that does, whatever card the first one names', async () => {
    const fingerprint = newFingerprint();
    const [one, other] = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    for (const organization of [one, other]) await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedLostCard');
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(other)).toEqual(HELD);
    await world.attachCard(one.customerId, 'pm_card_visa');
    expect(await world.alerted(one)).toEqual(RECHARGED);
    expect(await world.alerted(other)).toEqual(HELD);
    expect(await attempts(other)).toBe(0);

    await world.attachCard(other.customerId, 'pm_card_visa');
    expect(await world.alerted(other)).toEqual(RECHARGED);
    expect(await openHolds('scope=card').then((open) => open.filter(({ subject }) => subject.startsWith(fingerprint)))).toEqual([]);
  });

  test('three times in a row holds the organization, until a person releases it', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
      await world.holdsPass(organization);
    }
    await makeCardBehaveLike(organization, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(HELD);
    const hold = await holdOf(organization);
    expect(hold).toMatchObject({ scope: 'organization', reason: 'three_failures', ended_by: expect.stringMatching(/another card/) });
    expect((await world.admin.post(`${HOLDS}/${hold.id}/release`, { reason: 'the customer has paid in' })).status).toBe(200);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
  });

  test('case 71: is not counted where its intent was cancelled before it was asked, as by an attempt that ended then', async () => {
    const [held, free] = [await world.organization(), await world.organization()];
    for (const [organization, ending] of [
      [held, HELD],
      [free, CANCELLED],
    ] as const) {
      const creating = await world.stripeFault({ method: 'POST', path: '/v1/payment_intents', when: 'after', action: { kind: 'hold' } });
      const eventId = await world.accepted(organization);
      await creating.struck();
      const [intent] = (await world.stripe.paymentIntents.list({ customer: organization.customerId })).data;
      await world.stripe.paymentIntents.cancel(intent?.id ?? '');
      if (organization === held)
        await world.admin.post(HOLDS, { scope: 'organization', subject: organization.id, reason: 'asked to stop' });
      // The answer says that the intent is unconfirmed still, so the confirm is refused, and then it is read.
      await creating.remove();
      expect(await world.closed(eventId)).toEqual(ending);
      expect((await world.sql.query('select 1 from card_attempt where organization_id = $1', [organization.id])).rowCount).toBe(0);
      expect((await openHolds(`organization_id=${organization.id}`)).map(({ reason }) => reason)).toEqual(
        organization === held ? ['operator'] : [],
      );
    }
  });

  test('case 71: is not counted where no network was asked', async () => {
    const organization = await world.organization();
    await makeCardBehaveLike(organization, 'pm_card_radarBlock');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    for (let alert = 0; alert < 3; alert++) expect(await world.alerted(organization)).toEqual(HELD);
    expect(await holdOf(organization)).toMatchObject({ reason: 'declined', detail: expect.stringMatching(/Stripe has blocked/) });
    expect((await world.sql.query('select 1 from card_attempt where organization_id = $1', [organization.id])).rowCount).toBe(0);
  });
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
    const holds = await openHolds('scope=service');
    expect(holds).toMatchObject([{ reason: 'raise_refused', detail: expect.stringMatching(/403.*proxy_admin/s) }]);
    const opened = await world.sql.query(`select 1 from outbound_event where type = 'hold.opened' and data ->> 'hold_id' = $1`, [
      holds[0]?.id,
    ]);
    expect(opened.rowCount).toBe(1);

    await world.sweep();
    expect(await openHolds('scope=service')).toHaveLength(1);
    await world.clearFaults();
    await world.sweep();
    expect(await openHolds('scope=service')).toEqual([]);
    for (const organization of low)
      await world.eventually(async () => (await world.books(organization)).granted === 2050, `${organization.id} is recharged`);
  }, 240_000);

  test('case 65: by 400 stops the charges of that organization', async () => {
    const [capped, free] = [await world.organization(), await world.organization()];
    await refuse(400, 'max_budget exceeds the organization limit', capped.teamId);
    expect(await world.alerted(capped)).toEqual(REFUNDED);
    expect(await world.alerted(capped)).toEqual(HELD);
    expect(await holdOf(capped)).toMatchObject({
      scope: 'organization',
      reason: 'raise_refused',
      detail: expect.stringMatching(/exceeds the organization limit/),
    });
    expect(await world.alerted(free)).toEqual(RECHARGED);
    expect(await told(capped)).toEqual(['hold.opened', 'recharge.refunded']);
  });
});

describe('a key that is refused', () => {
  test("Stripe's: holds the service after some attempts, and the charge under way ends the hold when the key works again", async () => {
    const [underWay, later] = [await world.organization(), await world.organization()];
    await world.revokeStripeKey(true);
    const eventId = await world.accepted(underWay);
    const [hold] = await world.eventually(async () => {
      const found = await openHolds('scope=service');
      return found.length > 0 && found;
    }, 'the service is held');
    expect(hold).toMatchObject({ subject: 'stripe', reason: 'key_refused', detail: expect.stringMatching(/STRIPE_SECRET_KEY/) });
    expect(await world.alerted(later)).toEqual(HELD);
    await world.sweep();
    expect(await openHolds('scope=service')).toHaveLength(1);
    await world.revokeStripeKey(false);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await openHolds('scope=service')).toEqual([]);
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
    await world.eventually(async () => (await openHolds('scope=service')).length > 0, 'the service is held');
    await world.sweep();
    expect(await openHolds('scope=service')).toHaveLength(1);
    await world.clearFaults();
    await world.sweep();
    expect(await openHolds('scope=service')).toEqual([]);
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
    await world.eventually(async () => (await openHolds('scope=service')).length > 0, 'the service is held');
    expect(await openHolds('scope=service')).toMatchObject([{ subject: 'litellm', reason: 'key_refused' }]);
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await openHolds('scope=service')).toEqual([]);
  });

  test("LiteLLM's, by 403 for the one call that reads a balance: a probe of other calls does not end the hold", async () => {
    const organization = await world.organization();
    await world.kmsFault({
      path: '/team/info',
      times: ALWAYS,
      action: { kind: 'respond', status: 403, body: { error: { message: 'Virtual key is not allowed to call this route.' } } },
    });
    const eventId = await world.accepted(organization);
    await world.eventually(async () => (await openHolds('scope=service')).length > 0, 'the service is held');
    const [held] = await openHolds('scope=service');
    await world.sweep();
    expect(await openHolds('scope=service')).toMatchObject([{ id: held?.id, subject: 'litellm', reason: 'key_refused' }]);
    await world.clearFaults();
    await world.sweep();
    expect(await openHolds('scope=service')).toEqual([]);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('in what no charge needs holds nobody', async () => {
    await world.kmsFault({
      path: '/v2/team/list',
      times: ALWAYS,
      action: { kind: 'respond', status: 403, body: { error: { message: 'no' } } },
    });
    await world.sweep().catch(() => {});
    expect(await openHolds('scope=service')).toEqual([]);
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
    expect(await openHolds('scope=service')).toMatchObject([
      { subject: 'stripe', reason: 'key_refused', detail: expect.stringMatching(/other mode/) },
    ]);
    for (const organization of low) {
      expect(await told(organization)).toEqual([]);
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
    expect(await told(wrong)).toEqual(['refusal.new']);
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

describe('a team that LiteLLM blocks while its charge waits', () => {
  const HOLD = { kind: 'hold' } as const;

  test.each([
    ['without an intent', { method: 'GET', path: '/v1/customers/*' }],
    ['with an intent that is not confirmed', { method: 'POST', path: '/v1/payment_intents', when: 'after' }],
  ] as const)('is not charged for: %s', async (_, call) => {
    const organization = await world.organization();
    const waiting = await world.stripeFault({ ...call, contains: organization.customerId, action: HOLD });
    const eventId = await world.accepted(organization);
    await waiting.struck();
    await world.editTeam(organization.teamId, { blocked: true });
    await pass('1 minute', organization);
    await waiting.remove();
    expect(await world.closed(eventId)).toEqual(unsuccessful('team_blocked'));
    await expectUncharged(world, organization);
    await world.editTeam(organization.teamId, { blocked: false });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
  });

  test('is not charged for when its organization was blocked here, whatever LiteLLM shows', async () => {
    const organization = await world.organization({ settings: { blocked: true } });
    for (let alert = 0; alert < 2; alert++) expect(await world.alerted(organization)).toEqual(unsuccessful('team_blocked'));
    await expectUncharged(world, organization);
    expect(await told(organization)).toEqual(['refusal.new']);

    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { blocked: false });
    const waiting = await world.stripeFault({ method: 'GET', path: '/v1/customers/*', contains: organization.customerId, action: HOLD });
    const eventId = await world.accepted(organization);
    await waiting.struck();
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { blocked: true });
    await waiting.remove();
    expect(await world.closed(eventId)).toEqual(unsuccessful('team_blocked'));
    await expectUncharged(world, organization);
  });

  test('is not charged for before LiteLLM can be read again', async () => {
    const organization = await world.organization();
    const waiting = await world.stripeFault({ method: 'GET', path: '/v1/customers/*', contains: organization.customerId, action: HOLD });
    const eventId = await world.accepted(organization);
    await waiting.struck();
    await pass('1 minute', organization);
    const reading = await world.kmsFault({
      path: '/team/info',
      contains: organization.teamId,
      times: ALWAYS,
      action: { kind: 'respond', status: 503 },
    });
    await waiting.remove();
    await reading.struck(2);
    await expectUncharged(world, organization);
    await reading.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });
});

describe('a budget that was lowered in LiteLLM', () => {
  test.each([0, 7])('case 68: as that of a team that was deleted and made anew with %d, is not paid for again', async (budget) => {
    const organization = await world.organization();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await pass(DAY, organization);
    await world.deleteTeam(organization.teamId);
    await world.kms.post('/team/new', { team_id: organization.teamId, max_budget: budget });
    if (budget > 0) await world.spend(organization.teamId, budget);
    await world.sweep();
    await world.eventually(async () => (await openHolds(`organization_id=${organization.id}`)).length > 0, 'a hold is opened');
    expect(await holdOf(organization)).toMatchObject({ reason: 'budget_lowered' });
    await world.sweep();
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await attempts(organization)).toBe(1);
  });

  test('is charged again when it is restored, however many others have been held for longer', async () => {
    const organization = await world.organization();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await pass(DAY, organization);
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 5 });
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 30.5 });
    await world.sql.query(
      `insert into hold (id, scope, subject, reason, detail, opened_by, since)
       select 'hld_0-' || n || reason, 'organization', 'former-' || n, reason, 'a test', 'a test', now() - interval '1 year'
       from generate_series(1, 120) n, unnest(array['raise_refused', 'budget_lowered']) reason`,
    );
    await world.sweep();
    await world.sql.query(`delete from hold where detail = 'a test'`);
    expect(await openHolds(`organization_id=${organization.id}`)).toEqual([]);
  });

  test('and restored is no difference, also where a person has released the hold before a probe has seen it', async () => {
    const organization = await world.organization();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await pass(DAY, organization);
    await world.setBudget(organization.teamId, 5);
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.setBudget(organization.teamId, 30.5);
    await world.admin.post(`${HOLDS}/${(await holdOf(organization)).id}/release`, { reason: 'restored in LiteLLM' });
    expect(await world.findingsOf(organization)).toEqual([]);
    const { data: run } = await world.admin.post('/api/v1/sync', { organization_ids: [organization.id] });
    const path = `/api/v1/sync/${run.id}`;
    const { data } = await world.eventually(async () => {
      const answer = await world.admin.get(path);
      return answer.data.finished_at && answer;
    }, 'the synchronisation ends');
    expect(data.items).toEqual([]);
  });

  test('case 68: is not paid for again before a person has said which is right', async () => {
    const organization = await world.organization();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await pass(DAY, organization);
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 5 });
    expect(await world.alerted(organization)).toEqual(HELD);
    const hold = await holdOf(organization);
    expect(hold).toMatchObject({ reason: 'budget_lowered', detail: expect.stringMatching(/is 5\.00.*left 30\.50/s) });
    expect(await attempts(organization)).toBe(1);

    // Restored by hand: the probe sees it.
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 30.5 });
    await world.sweep();
    expect(await openHolds(`organization_id=${organization.id}`)).toEqual([]);

    // Lowered again, and accepted.
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 5 });
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.admin.post(`${HOLDS}/${(await holdOf(organization)).id}/release`, { reason: 'the customer got money back' });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await attempts(organization)).toBe(2);
  });
});

describe('a hold with an end', () => {
  const HOUR_MS = 60 * 60_000;

  test('is left as it is by one that is refused because of it', async () => {
    const { id: subject } = await world.organization();
    const wish = { scope: 'organization', subject, reason: 'maintenance' };
    const until = new Date(Date.now() + HOUR_MS).toISOString();
    const { data: hold } = await world.admin.post(HOLDS, { ...wish, until });
    expect((await world.admin.post(HOLDS, wish)).status).toBe(409);
    expect((await world.admin.get(`${HOLDS}/${hold.id}`)).data.until).toBe(until);
  });

  test('ends at that time, whatever the clock of the process that was told shows', async () => {
    const { id: subject } = await world.organization();
    const now = Date.now();
    const until = new Date(now + HOUR_MS).toISOString();
    const clock = jest.spyOn(Date, 'now').mockReturnValue(now + HOUR_MS / 2);
    const wish = { scope: 'organization', subject, reason: 'maintenance', until };
    const { data } = await world.admin.post(HOLDS, wish).finally(() => clock.mockRestore());
    expect(data.until).toBe(until);
  });
});

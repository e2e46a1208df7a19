/**
 * What stops the charges of one card or of one organization, whom it stops, what ends it, and that it is told once. Each
 * test looks at Stripe's stand-in for what was charged, and at the outbound events for what was told.
 */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { CANCELLED, HELD, RECHARGED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS } from '../support/faults.ts';
import { HOLDS, holdOf, openHolds, told } from '../support/holds.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { type Organization, World } from '../support/world.ts';

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

describe('a card that is declined', () => {
  test('case 61: softly, is asked once however many alerts come, and again at its step', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    for (let alert = 0; alert < 10; alert++) expect(await world.alerted(organization)).toEqual(HELD);
    expect(await world.chargeAttempts(organization)).toBe(1);
    expect(await told(world, organization)).toEqual(['recharge.declined', 'hold.opened']);
    expect(await holdOf(world, organization)).toMatchObject({
      scope: 'card',
      reason: 'declined',
      until: expect.any(String),
      detail: expect.stringMatching(/insufficient_funds/),
    });

    await pass(DAY, organization);
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    for (let alert = 0; alert < 5; alert++) expect(await world.alerted(organization)).toEqual(HELD);
    expect(await world.chargeAttempts(organization)).toBe(2);

    await world.makeCardBehaveLike(organization, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.holdsPass(organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await openHolds(world, `organization_id=${organization.id}`)).toEqual([]);
  });

  test('because its bank wants the customer present, says that asking it again alone leads nowhere', async () => {
    const organization = await world.organization({ card: 'pm_card_authenticationRequired' });
    expect(await world.alerted(organization)).toEqual(unsuccessful('action_required'));
    const confirm = 'before it is asked again, the customer has to confirm it with the bank, for use without them';
    expect(await holdOf(world, organization)).toMatchObject({ reason: 'declined', detail: expect.stringContaining(confirm) });
  });

  test('case 61: is asked thirteen times in 30 days at most, though an operator releases every hold each time', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    for (let hour = 0; hour < 15 * 24; hour += 12) {
      await world.alerted(organization);
      for (const { id } of await openHolds(world, `organization_id=${organization.id}`)) {
        await world.admin.post(`${HOLDS}/${id}/release`, { reason: 'again' });
      }
      await pass('12 hours', organization);
    }
    expect(await world.chargeAttempts(organization)).toBe(13);
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await holdOf(world, organization)).toMatchObject({ reason: 'declined', detail: expect.stringMatching(/13 times in 30 days/) });
  });

  test('case 62: is not asked again for another organization that pays with it', async () => {
    const fingerprint = newFingerprint();
    const [one, other] = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    for (const organization of [one, other]) await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(other)).toEqual(HELD);
    expect(await world.alerted(other)).toEqual(HELD);
    expect([await world.chargeAttempts(one), await world.chargeAttempts(other)]).toEqual([1, 0]);
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
    for (const organization of [one, other]) await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    const { id: rechargeId } = await world.rechargeOf(one);
    const detail = `the card was declined with insufficient_funds at the attempt of ${one.id} (${rechargeId})`;
    const ids = [one.id, other.id, beside.id].toSorted();
    const hold = await holdOf(world, one);
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
    for (const organization of pair) await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    const endings = await Promise.all(pair.map((organization) => world.alerted(organization)));
    expect(endings.map(({ outcome }) => outcome).sort()).toEqual(['declined', 'held']);
    expect((await Promise.all(pair.map((organization) => world.chargeAttempts(organization)))).sort()).toEqual([0, 1]);
  });

  test('case 63: for good, is tried once more when the same card has a new expiry', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedLostCard');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    expect(await holdOf(world, organization)).toMatchObject({ reason: 'card_refused', until: null });
    await pass('300 days', organization);
    expect(await world.alerted(organization)).toEqual(HELD);
    const [card] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
    await world.stripeKnob(`payment_methods/${card?.id}`, { exp_year: (card?.card?.exp_year ?? 0) + 3 });
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await world.chargeAttempts(organization)).toBe(2);
  });

  test('holds nobody back when the customer names another one', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    await world.attachCard(organization.customerId, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
    expect(await told(world, organization)).toEqual(['recharge.declined', 'hold.opened', 'hold.released', 'recharge.succeeded']);
  });

  test('case 62: holds another organization that pays with it for as long as that does, whatever card the first one names', async () => {
    const fingerprint = newFingerprint();
    const [one, other] = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    for (const organization of [one, other]) await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedLostCard');
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(other)).toEqual(HELD);
    await world.attachCard(one.customerId, 'pm_card_visa');
    expect(await world.alerted(one)).toEqual(RECHARGED);
    expect(await world.alerted(other)).toEqual(HELD);
    expect(await world.chargeAttempts(other)).toBe(0);

    await world.attachCard(other.customerId, 'pm_card_visa');
    expect(await world.alerted(other)).toEqual(RECHARGED);
    expect(await openHolds(world, 'scope=card').then((open) => open.filter(({ subject }) => subject.startsWith(fingerprint)))).toEqual([]);
  });

  test('three times in a row holds the organization, until a person releases it', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_chargeDeclinedInsufficientFunds');
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
      await world.holdsPass(organization);
    }
    await world.makeCardBehaveLike(organization, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(HELD);
    const hold = await holdOf(world, organization);
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
      expect((await openHolds(world, `organization_id=${organization.id}`)).map(({ reason }) => reason)).toEqual(
        organization === held ? ['operator'] : [],
      );
    }
  });

  test('case 71: is not counted where no network was asked', async () => {
    const organization = await world.organization();
    await world.makeCardBehaveLike(organization, 'pm_card_radarBlock');
    expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
    for (let alert = 0; alert < 3; alert++) expect(await world.alerted(organization)).toEqual(HELD);
    expect(await holdOf(world, organization)).toMatchObject({ reason: 'declined', detail: expect.stringMatching(/Stripe has blocked/) });
    expect((await world.sql.query('select 1 from card_attempt where organization_id = $1', [organization.id])).rowCount).toBe(0);
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
    expect(await told(world, organization)).toEqual(['refusal.new']);

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
    await world.eventually(async () => (await openHolds(world, `organization_id=${organization.id}`)).length > 0, 'a hold is opened');
    expect(await holdOf(world, organization)).toMatchObject({ reason: 'budget_lowered' });
    await world.sweep();
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await world.chargeAttempts(organization)).toBe(1);
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
    expect(await openHolds(world, `organization_id=${organization.id}`)).toEqual([]);
  });

  test('and restored is no difference, also where a person has released the hold before a probe has seen it', async () => {
    const organization = await world.organization();
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await pass(DAY, organization);
    await world.setBudget(organization.teamId, 5);
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.setBudget(organization.teamId, 30.5);
    await world.admin.post(`${HOLDS}/${(await holdOf(world, organization)).id}/release`, { reason: 'restored in LiteLLM' });
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
    const hold = await holdOf(world, organization);
    expect(hold).toMatchObject({ reason: 'budget_lowered', detail: expect.stringMatching(/is 5\.00.*left 30\.50/s) });
    expect(await world.chargeAttempts(organization)).toBe(1);

    // Restored by hand: the probe sees it.
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 30.5 });
    await world.sweep();
    expect(await openHolds(world, `organization_id=${organization.id}`)).toEqual([]);

    // Lowered again, and accepted.
    await world.kms.post('/team/update', { team_id: organization.teamId, max_budget: 5 });
    expect(await world.alerted(organization)).toEqual(HELD);
    await world.admin.post(`${HOLDS}/${(await holdOf(world, organization)).id}/release`, { reason: 'the customer got money back' });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.chargeAttempts(organization)).toBe(2);
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

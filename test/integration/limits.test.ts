/** The bounds of what an organization is charged: at once, in a row, in a day, and not at all. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { BUDGET_AFTER, CHARGED_ONCE, RECHARGED, SUCCEEDED, unsuccessful } from '../support/books.ts';
import { expectUncharged } from '../support/expectations.ts';
import { type Organization, World } from '../support/world.ts';

const HELD = unsuccessful('held');

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

type ShownHold = { id: string; reason: string; detail: string };

async function holdsOf({ id }: Organization): Promise<ShownHold[]> {
  const { data } = await world.admin.get(`/api/v1/organizations/${id}`);
  return data.holds;
}

async function release(organization: Organization): Promise<void> {
  const [hold] = await holdsOf(organization);
  const { status } = await world.admin.post(`/api/v1/holds/${hold?.id}/release`, { reason: 'looked at' });
  expect(status).toBe(200);
}

/** Recharges of the organization that succeeded, so many minutes ago. */
async function wereRecharged({ id, teamId, customerId }: Organization, ...minutesAgo: number[]): Promise<void> {
  for (const minutes of minutesAgo) {
    const serial = `${id}-${minutes}`;
    await world.sql.query(
      `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256, processed, success, outcome, processed_at, dispatched_at)
       values ($1, 'sweep', 'balance_low', $2, $3, '{}', '', true, true, 'succeeded', now(), now())`,
      [`evt_${serial}`, teamId, id],
    );
    await world.sql.query(
      `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
         quota_granted, balance_seen, payment_intent_id, keys_spent, timeline, created_at)
       values ($1, $2, $3, $4, 'sweep', 'succeeded', $5, 100, 'usd', 1, 0, $6, 0, '[]', now() - $7 * interval '1 minute')`,
      [`rch_${serial}`, `evt_${serial}`, id, teamId, customerId, `pi_${serial}`, minutes],
    );
  }
}

test('what a person has approved in one currency is not charged in another: 2050 JPY are not 20.50 USD', async () => {
  const organization = await world.organization({ settings: { currency: 'jpy', quota_per_unit: '0.01', max_charge: '500' } });
  expect(await world.alerted(organization)).toEqual(HELD);
  await release(organization);
  const settings = { currency: 'usd', quota_per_unit: '1', max_charge: '5.00' };
  expect((await world.admin.patch(`/api/v1/organizations/${organization.id}`, settings)).status).toBe(200);
  expect(await world.alerted(organization)).toEqual(HELD);
  expect(await holdsOf(organization)).toMatchObject([{ reason: 'runaway', detail: expect.stringMatching(/^20\.50 USD/) }]);
  await expectUncharged(world, organization);
});

test('what a person has approved of one customer is not charged to another, nor for another team', async () => {
  const settings = { max_charge: '5.00' };
  const [organization, other] = [await world.organization({ settings }), await world.organization()];
  expect(await world.alerted(organization)).toEqual(HELD);
  await release(organization);
  const changed = await world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: other.customerId });
  expect(changed.status).toBe(200);
  expect(await world.alerted(organization)).toEqual(HELD);
  await release(organization);
  const teamId = await world.anotherTeam(organization, { budget: 10, spend: 10.5 });
  expect(await world.alerted({ teamId })).toEqual(HELD);
  await expectUncharged(world, organization);
  await expectUncharged(world, other);
});

test('resuming an organization approves no amount and no budget that nobody has looked at', async () => {
  const organization = await world.organization({ budget: 1, spend: 60_000 });
  const report = { spend: 60_000, max_budget: 1 };
  const path = `/api/v1/organizations/${organization.id}`;
  expect(await world.alerted(organization, report)).toEqual(HELD);
  await world.admin.post(`${path}/suspend`, { reason: 'the customer is away' });
  const { data } = await world.admin.post(`${path}/resume`);
  expect(data.holds.map(({ reason }: ShownHold) => reason)).toEqual(['runaway']);
  expect(await world.alerted(organization, report)).toEqual(HELD);
  await expectUncharged(world, organization);
});

describe('case 66: spend of 60,000 on a target of 20', () => {
  test('case 66: is charged nothing and held, and when a person releases the hold, what was shown is charged once', async () => {
    const organization = await world.organization({ budget: 1, spend: 60_000 });
    const report = { spend: 60_000, max_budget: 1 };
    expect(await world.alerted(organization, report)).toEqual(HELD);
    expect(await world.alerted(organization, report)).toEqual(HELD);
    await expectUncharged(world, organization);
    expect(await holdsOf(organization)).toMatchObject([
      { reason: 'runaway', detail: expect.stringMatching(/^60019\.00 USD would bring .* more than max_charge \(60\.00 USD\)/) },
    ]);

    await release(organization);
    expect(await world.alerted(organization, report)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(60_020);
    expect((await world.books(organization)).captured).toBe(6_001_900);

    // Used: the same again is held again. What is ordinary waits for the limits of the day and the month.
    await world.spend(organization.teamId, 60_000);
    expect(await world.alerted(organization, { spend: 120_000, max_budget: 60_020 })).toEqual(HELD);
    expect((await world.books(organization)).charges).toBe(1);
  });

  test.each([
    ['was declined', 'pm_card_chargeCustomerFail', 'declined'],
    ['wants its owner present', 'pm_card_authenticationRequired', 'action_required'],
  ] as const)('is not approved by what is a day old, nor used up by a card that %s', async (_, refusedCard, outcome) => {
    const organization = await world.organization({ budget: 1, spend: 60_000 });
    const report = { spend: 60_000, max_budget: 1 };
    const cardIs = async (testCard: string) => {
      const [card] = (await world.stripe.customers.listPaymentMethods(organization.customerId)).data;
      await world.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: testCard });
    };
    await world.alerted(organization, report);
    await release(organization);
    await cardIs(refusedCard);
    expect(await world.alerted(organization, report)).toEqual(unsuccessful(outcome));
    await cardIs('pm_card_visa');
    for (const { id } of await holdsOf(organization)) await world.admin.post(`/api/v1/holds/${id}/release`, { reason: 'works again' });
    await world.sql.query("update hold set released_at = now(), released_by = 'test' where scope = 'card' and organization_id = $1", [
      organization.id,
    ]);
    await world.sql.query(
      "update hold set released_at = released_at - interval '24 hours 1 second' where organization_id = $1 and reason = 'runaway'",
      [organization.id],
    );
    expect(await world.alerted(organization, report)).toEqual(HELD);
    await world.sql.query(
      "update hold set released_at = released_at + interval '1 minute' where organization_id = $1 and reason = 'runaway' and released_at is not null",
      [organization.id],
    );
    await world.sql.query('delete from hold where organization_id = $1 and released_at is null', [organization.id]);
    expect(await world.alerted(organization, report)).toEqual(RECHARGED);
  });
});

describe('many recharges in a row', () => {
  const LONG_AGO = 20 * 24 * 60;

  test('case 67: where one a day is normal, the sixth of an hour is held before its charge, and goes on when it is released', async () => {
    const organization = await world.organization();
    await wereRecharged(organization, LONG_AGO, LONG_AGO + 1440, 50, 40, 30, 20, 10);
    expect(await world.alerted(organization)).toEqual(HELD);
    await expectUncharged(world, organization);
    expect(await holdsOf(organization)).toMatchObject([
      {
        reason: 'runaway',
        detail: expect.stringMatching(/^5 recharges succeeded in the last hour, in no hour before more than 1; 20\.50 USD/),
      },
    ]);

    await release(organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    // The count has begun anew.
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(RECHARGED);
  });

  test.each([
    ['an hour of as many was normal before', [LONG_AGO, LONG_AGO + 30, 50, 40, 30, 20, 10, 5]],
    ['the organization is young', [5 * 1440, 50, 40, 30, 20, 10]],
    ['they are of more than an hour', [LONG_AGO, 70, 40, 30, 20, 10]],
  ])('are charged when %s', async (_why, minutesAgo) => {
    const organization = await world.organization({ settings: { max_daily_recharges: 100 } });
    await wereRecharged(organization, ...minutesAgo);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
  });
});

describe('the amount of a day', () => {
  test('is charged in part as long as the part brings the balance above the minimum, and refused after that', async () => {
    const organization = await world.organization({ settings: { max_daily_amount: '10.00' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, captured: 1_000, granted: 1_000 });
    expect(await world.budgetOf(organization.teamId)).toBe(20);
    const { rows } = await world.sql.query(
      "select data from outbound_event where organization_id = $1 and type = 'limit.reached' order by key",
      [organization.id],
    );
    expect(rows.map(({ data }) => [data.limit, data.percent, data.used, data.allowed])).toEqual([
      ['max_daily_amount', 100, '10.00', '10.00'],
      ['max_daily_amount', 80, '10.00', '10.00'],
      ['max_daily_amount', 90, '10.00', '10.00'],
    ]);
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: 20 })).toEqual(unsuccessful('daily_amount_reached'));
  });

  test('fifty crossings of one organization at once are charged up to it, exactly', async () => {
    const organization = await world.organization({ settings: { max_daily_amount: '20.50', max_daily_recharges: 100 } });
    const alerts = Array.from({ length: 50 }, (_, copy) => world.alert(organization.teamId, { body: { max_budget: 10 + copy / 1000 } }));
    const events = (await Promise.all(alerts)).map(({ data }) => data.event_id as string);
    const outcomes = await Promise.all(events.map(async (eventId) => (await world.closed(eventId)).outcome));
    await world.spend(organization.teamId, 30);
    const further = await Promise.all(
      Array.from({ length: 10 }, (_, copy) => world.alerted(organization, { max_budget: 20 + copy / 1000 })),
    );
    for (const outcome of [...outcomes, ...further.map((ending) => ending.outcome)])
      expect([SUCCEEDED, 'recharge_open', 'above_minimum', 'daily_amount_reached']).toContain(outcome);
    const { captured, granted, prepaid } = await world.books(organization);
    expect([captured, granted, prepaid]).toEqual([2_050, 2_050, 0]);
  });
});

describe('LiteLLM refuses calls while money is left', () => {
  /** A call that reserves the rest: LiteLLM counts it as spent, to the whole budget. */
  const refusal = { spend: 10, max_budget: 10 };

  test('case 104: a quarter of what lies between minimum and target is used: recharged up to the target, once', async () => {
    const organization = await world.organization({ budget: 10, spend: 4 });
    expect(await world.alerted(organization, refusal)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(24);
    expect(await world.alerted(organization, refusal)).toEqual({ outcome: 'above_minimum', success: true });
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, captured: 1_400, granted: 1_400 });
  });
});

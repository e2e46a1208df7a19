/** A customer has another card, or the same one renewed: what that ends is over when Stripe says so. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { HELD, UNTOUCHED, unsuccessful } from '../support/books.ts';
import { newFingerprint } from '../support/stand-ins.ts';
import { type Organization, World } from '../support/world.ts';

const REFUSED_FOR_GOOD = 'pm_card_chargeDeclinedLostCard';

let world: World;
beforeAll(async () => {
  world = await World.start({ STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_cards' });
});
beforeEach(() => world.stripeKnob('webhooks', { enabled: true }));
afterAll(() => world.close());

type ShownHold = { scope: string; reason: string; released_by: string | null; stops?: unknown };

/** Of the organization and its cards, the newest first. */
async function holdsOf({ id }: Organization): Promise<ShownHold[]> {
  return (await world.admin.get('/api/v1/holds', { params: { organization_id: id } })).data.data;
}

async function isReleased(organization: Organization, reason: string): Promise<ShownHold> {
  return world.eventually(
    async () => (await holdsOf(organization)).find((hold) => hold.reason === reason && hold.released_by !== null),
    `the hold ${reason} is released`,
  );
}

/** Waits until every event that Stripe has sent so far is taken in and handled. */
async function handled(): Promise<void> {
  const isDelivered = async () => (await world.stripe.events.list({ limit: 100 })).data.every((event) => event.pending_webhooks === 0);
  await world.eventually(isDelivered, 'every event is delivered');
  const unhandled = 'select 1 from stripe_event where handled_at is null';
  await world.eventually(async () => (await world.sql.query(unhandled)).rowCount === 0, 'every event is handled');
}

async function cardOf({ customerId }: Organization): Promise<string> {
  const [card] = (await world.stripe.customers.listPaymentMethods(customerId)).data;
  return String(card?.id);
}

/** Whose only card its issuer refuses for good; it is held because of that. */
async function refusedForGood(): Promise<Organization & { card: string }> {
  const organization = await world.organization();
  const card = await cardOf(organization);
  await world.stripeKnob(`payment_methods/${card}`, { behaves_like: REFUSED_FOR_GOOD });
  expect(await world.alerted(organization)).toEqual(unsuccessful('declined'));
  await handled();
  expect(await holdsOf(organization)).toMatchObject([{ scope: 'card', reason: 'card_refused', released_by: null }]);
  return { ...organization, card };
}

async function expectRecharged(organization: Organization): Promise<void> {
  expect(await world.alerted(organization)).toMatchObject({ success: true });
  expect((await world.books(organization)).charges).toBe(1);
}

describe('a hold on a refused card', () => {
  test('ends when the customer names another card', async () => {
    const organization = await refusedForGood();
    await world.attachCard(organization.customerId, 'pm_card_visa');
    expect(await isReleased(organization, 'card_refused')).toMatchObject({ released_by: 'another card' });
    await expectRecharged(organization);
  });

  test('ends when the card is renewed under the same id', async () => {
    const organization = await refusedForGood();
    await world.stripeKnob(`payment_methods/${organization.card}`, { behaves_like: 'pm_card_visa', exp_month: 11, exp_year: 2039 });
    await isReleased(organization, 'card_refused');
    await expectRecharged(organization);
  });

  test('ends when the card is removed, and another one is left', async () => {
    const organization = await refusedForGood();
    await world.stripe.customers.update(organization.customerId, { invoice_settings: { default_payment_method: '' } });
    await world.stripe.paymentMethods.attach('pm_card_mastercard', { customer: organization.customerId });
    await handled();
    expect(await holdsOf(organization)).toMatchObject([{ released_by: null }]);
    await world.stripe.paymentMethods.detach(organization.card);
    await isReleased(organization, 'card_refused');
    await expectRecharged(organization);
  });

  test('stays when the customer changes otherwise, or adds a card that is not the default', async () => {
    const organization = await refusedForGood();
    await world.stripe.customers.update(organization.customerId, { name: 'another name' });
    await world.stripe.paymentMethods.attach('pm_card_mastercard', { customer: organization.customerId });
    await handled();
    expect(await holdsOf(organization)).toMatchObject([{ released_by: null }]);
    expect(await world.alerted(organization)).toEqual(HELD);
    expect(await world.books(organization)).toEqual(UNTOUCHED);
  });

  test("stays when another customer's card changes", async () => {
    const organization = await refusedForGood();
    const other = await world.organization();
    await world.attachCard(other.customerId, 'pm_card_visa');
    await handled();
    expect(await holdsOf(organization)).toMatchObject([{ released_by: null }]);
  });
});

test('a hold after three failures ends with another card', async () => {
  const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
  for (const reason of ['first', 'second', 'third']) {
    expect({ reason, ...(await world.alerted(organization)) }).toMatchObject({ reason, outcome: 'declined' });
    await world.holdsPass(organization);
  }
  expect(await holdsOf(organization)).toContainEqual(expect.objectContaining({ reason: 'three_failures', released_by: null }));
  await world.attachCard(organization.customerId, 'pm_card_visa', newFingerprint());
  await isReleased(organization, 'three_failures');
  await expectRecharged(organization);
});

test('what a person or Stripe has held stays, whatever the card', async () => {
  const organization = await refusedForGood();
  await world.admin.post('/api/v1/holds', { scope: 'organization', subject: organization.id, reason: 'looking at it' });
  await world.attachCard(organization.customerId, 'pm_card_visa');
  await isReleased(organization, 'card_refused');
  expect(await holdsOf(organization)).toContainEqual(expect.objectContaining({ reason: 'operator', released_by: null }));
  expect(await world.alerted(organization)).toEqual(HELD);
});

/** How the sweep's own events of the organization have ended, the oldest first, when each is closed. */
async function outcomesOfSweeps({ id }: Organization): Promise<string[]> {
  const events = async () =>
    (
      await world.sql.query("select processed, outcome from webhook_event where organization_id = $1 and source = 'sweep' order by id", [
        id,
      ])
    ).rows;
  return world.eventually(async () => {
    const rows = await events();
    return rows.every(({ processed }) => processed) && rows.map(({ outcome }) => outcome);
  }, 'every event of the sweep is closed');
}

test('the next sweep charges the new card, without a pause', async () => {
  const organization = await refusedForGood();
  await world.sweep();
  expect(await outcomesOfSweeps(organization)).toEqual(['held']);
  await world.attachCard(organization.customerId, 'pm_card_visa');
  await isReleased(organization, 'card_refused');
  await world.sweep();
  await world.eventually(async () => (await world.books(organization)).charges === 1, 'the sweep has the new card charged');
});

describe('of two customers with the card that is refused for good', () => {
  /** The first was refused, and the second was charged with the card before. */
  async function sharing(): Promise<[Organization, Organization]> {
    const fingerprint = newFingerprint();
    const [one, other] = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    expect(await world.alerted(other)).toMatchObject({ success: true });
    await world.stripeKnob(`payment_methods/${await cardOf(one)}`, { behaves_like: REFUSED_FOR_GOOD });
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    await handled();
    return [one, other];
  }

  async function states(...organizations: Organization[]): Promise<string[]> {
    const stateOf = async ({ id }: Organization) =>
      (await world.admin.get('/api/v1/status', { params: { organization_id: id } })).data.organizations.data[0].state;
    return Promise.all(organizations.map(stateOf));
  }

  test('the one that names another card is charged by the next sweep, and the hold stays for the other', async () => {
    const [one, other] = await sharing();
    await world.sweep();
    expect(await outcomesOfSweeps(one)).toEqual(['held']);
    expect(await states(one, other)).toEqual(['card_declined', 'card_declined']);
    await world.attachCard(one.customerId, 'pm_card_visa');
    await handled();
    expect(await states(one, other)).toEqual(['recharging', 'card_declined']);
    expect(await holdsOf(one)).toMatchObject([{ released_by: null, stops: { organization_ids: [other.id] } }]);
    await world.sweep();
    expect(await outcomesOfSweeps(one)).toEqual(['held', 'succeeded']);
  });

  test('the one that was called off before its card was asked is named among those that the hold stops', async () => {
    const fingerprint = newFingerprint();
    const [one, other] = [await world.organization({ fingerprint }), await world.organization({ fingerprint })];
    await world.stripeKnob(`payment_methods/${await cardOf(one)}`, { behaves_like: REFUSED_FOR_GOOD });
    expect(await world.alerted(one)).toEqual(unsuccessful('declined'));
    expect(await world.alerted(other)).toEqual(HELD);
    const ids = [one.id, other.id].toSorted();
    expect(await holdsOf(other)).toMatchObject([{ reason: 'card_refused', stops: { count: 2, organization_ids: ids } }]);
    const { data } = await world.admin.get('/api/v1/status', { params: { organization_id: other.id } });
    expect(data.organizations.data[0].why).toContain(`it stops 2 organizations: ${ids.join(', ')}`);
    // Its balance is not low any more, and the next recharge is stopped all the same.
    await world.setBudget(other.teamId, 100);
    await world.sweep();
    const listed = (await world.admin.get('/api/v1/status', { params: { limit: 200 } })).data.organizations.data;
    expect(listed).toContainEqual(expect.objectContaining({ organization_id: other.id, state: 'card_declined' }));
  });

  test('the hold ends when both have another card, before either is charged again', async () => {
    const [one, other] = await sharing();
    for (const { customerId } of [one, other]) {
      await world.attachCard(customerId, 'pm_card_visa');
      await handled();
    }
    expect(await holdsOf(one)).toMatchObject([{ released_by: 'another card' }]);
  });

  test.each([
    ['first', true],
    ['last', false],
  ])('the hold ends when one has another card, and %s the other another customer', async (_order, isFirst) => {
    const [one, other] = await sharing();
    const moved = async () => {
      const { id: customer } = await world.stripe.customers.create({});
      await world.admin.patch(`/api/v1/organizations/${other.id}`, { stripe_customer_id: customer });
      return customer;
    };
    const before = isFirst ? await moved() : null;
    await world.attachCard(one.customerId, 'pm_card_visa');
    await handled();
    if (before === null) {
      expect(await holdsOf(one)).toMatchObject([{ released_by: null }]);
      await world.attachCard(await moved(), 'pm_card_visa');
      await handled();
    }
    expect(await holdsOf(one)).toMatchObject([{ released_by: 'another card' }]);
  });

  test('the hold stops the first again when it has the card again', async () => {
    const [one, other] = await sharing();
    const card = await cardOf(one);
    await world.attachCard(one.customerId, 'pm_card_visa');
    await handled();
    await world.stripe.customers.update(one.customerId, { invoice_settings: { default_payment_method: card } });
    await handled();
    expect(await states(one, other)).toEqual(['card_declined', 'card_declined']);
    expect(await world.alerted(one)).toEqual(HELD);
  });

  test('the hold stops the second again when it has the card again, after it was charged with another', async () => {
    const [one, other] = await sharing();
    const card = await cardOf(other);
    await world.attachCard(other.customerId, 'pm_card_visa');
    await handled();
    await world.spend(other.teamId, 20);
    expect(await world.alerted(other)).toMatchObject({ success: true });
    await world.stripe.customers.update(other.customerId, { invoice_settings: { default_payment_method: card } });
    await handled();
    await world.spend(other.teamId, 20);
    expect(await world.alerted(other)).toEqual(HELD);
    expect(await states(one, other)).toEqual(['card_declined', 'card_declined']);
    await world.attachCard(one.customerId, 'pm_card_visa');
    await handled();
    expect(await holdsOf(one)).toMatchObject([{ released_by: null }]);
  });
});

test('the next sweep charges the first card of a customer who had none, without a pause, and the refusal is forgotten', async () => {
  const organization = await world.organization();
  await world.stripe.paymentMethods.detach(await cardOf(organization));
  await handled();
  for (let look = 0; look < 2; look++) await world.sweep();
  expect(await outcomesOfSweeps(organization)).toEqual(['no_payment_method']);
  // Nothing of what the customer pays with.
  await world.stripe.customers.update(organization.customerId, { name: 'another name' });
  await handled();
  await world.sweep();
  expect(await outcomesOfSweeps(organization)).toEqual(['no_payment_method']);

  await world.attachCard(organization.customerId, 'pm_card_visa');
  await handled();
  const refusals = 'select from refusal where organization_id = $1';
  expect((await world.sql.query(refusals, [organization.id])).rowCount).toBe(0);
  await world.sweep();
  expect(await outcomesOfSweeps(organization)).toEqual(['no_payment_method', 'succeeded']);
});

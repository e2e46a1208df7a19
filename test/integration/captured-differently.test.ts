import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { NEEDS_ATTENTION, REFUNDED } from '../support/books.ts';
import { CONFIRM, HOLD } from '../support/faults.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.close());
afterEach(() => world.clearFaults());

type Parked = { organization: Organization; eventId: string; rechargeId: string; intentId: string };

/** An intent of 20.50 that somebody has changed at Stripe before it was confirmed. */
async function capturedAs(changes: { amount?: number; currency?: string }, settings: Record<string, unknown> = {}): Promise<Parked> {
  const organization = await world.organization({ settings });
  const waiting = await world.stripeFault({ ...CONFIRM, contains: organization.customerId, action: HOLD });
  const eventId = await world.accepted(organization);
  await waiting.struck();
  const [recharge] = await world.rechargesOf(organization);
  const intentId = recharge?.payment_intent_id ?? '';
  await world.stripe.paymentIntents.update(intentId, changes);
  await waiting.remove();
  expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
  return { organization, eventId, rechargeId: recharge?.id ?? '', intentId };
}

/** Captured as it was asked for, and parked because the budget was edited: from 10 to 11. */
async function heldInFull(): Promise<Parked> {
  const organization = await world.organization();
  const { eventId, rechargeId, goOn } = await world.chargedButNotGranted(organization);
  await world.setBudget(organization.teamId, 11);
  await goOn();
  expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
  const [recharge] = await world.rechargesOf(organization);
  return { organization, eventId, rechargeId, intentId: recharge?.payment_intent_id ?? '' };
}

function resolve({ rechargeId }: Parked, resolution: 'grant' | 'refund' | 'accept') {
  return world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution, reason: 'looked at it', by: 'ada' });
}

describe.each([
  ['less', { amount: 1500, quota: 15, shown: '15.00' }],
  ['more', { amount: 2600, quota: 26, shown: '26.00' }],
])('case 79: %s was captured than was asked for', (_, { amount, quota, shown }) => {
  test('the recharge shows what was captured, and so does what is told', async () => {
    const { organization, rechargeId } = await capturedAs({ amount });
    const { data } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
    expect(data).toMatchObject({ status: 'needs_attention', amount: shown, quota: shown });
    const { rows } = await world.sql.query(
      "select data->>'amount' as amount, data->>'detail' as detail from outbound_event where organization_id = $1 and type = 'recharge.needs_attention'",
      [organization.id],
    );
    expect(rows).toEqual([{ amount: shown, detail: `Stripe captured ${amount} usd, expected 2050 usd` }]);
  });

  test('granting gives what it has paid for', async () => {
    const parked = await capturedAs({ amount });
    await resolve(parked, 'grant');
    await world.rechargeIs(parked.eventId, 'succeeded');
    expect(await world.budgetOf(parked.organization.teamId)).toBe(10 + quota);
    expect(await world.accounts(parked.organization)).toMatchObject({ captured: amount, refunded: 0, granted: amount, prepaid: 0, quota });
  });

  test('refunding gives back all of it', async () => {
    const parked = await capturedAs({ amount });
    await resolve(parked, 'refund');
    await world.rechargeIs(parked.eventId, 'refunded');
    expect(await world.budgetOf(parked.organization.teamId)).toBe(10);
    expect(await world.accounts(parked.organization)).toMatchObject({
      captured: amount,
      refunded: amount,
      granted: 0,
      prepaid: 0,
      quota: 0,
    });
  });

  test('accepting counts it as granted, and the budget stays', async () => {
    const parked = await capturedAs({ amount });
    await resolve(parked, 'accept');
    expect(await world.budgetOf(parked.organization.teamId)).toBe(10);
    expect(await world.accounts(parked.organization)).toMatchObject({ captured: amount, granted: amount, prepaid: 0, quota });
  });
});

test('case 79: quota that is not at par is granted in proportion, rounded down', async () => {
  const parked = await capturedAs({ amount: 1001 }, { quota_per_unit: '0.333333' });
  await resolve(parked, 'grant');
  await world.rechargeIs(parked.eventId, 'succeeded');
  const { quota, prepaid } = await world.accounts(parked.organization);
  expect(prepaid).toBe(0);
  expect(quota).toBeGreaterThan(10.01 * 0.333333 - 0.00001);
  expect(quota).toBeLessThanOrEqual(10.01 * 0.333333);
});

test('case 79: another currency buys no quota: it is refunded at Stripe, and then accepted', async () => {
  const parked = await capturedAs({ currency: 'eur' });
  const { organization, intentId } = parked;
  let refund = { id: '' };
  for (const resolution of ['grant', 'refund', 'accept'] as const) {
    if (resolution === 'accept') refund = await world.stripe.refunds.create({ payment_intent: intentId });
    const { status, data } = await resolve(parked, resolution);
    expect([resolution, status]).toEqual([resolution, resolution === 'accept' ? 200 : 409]);
    if (status === 409) expect(data.detail).toMatch(/eur, not usd: refund it in Stripe, then accept it/);
  }
  expect(await world.budgetOf(organization.teamId)).toBe(10);
  expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0, quota: 0 });
  // The refund that was made at Stripe has no quota to take: a person has the last word there too.
  await world.findingsOf(parked.organization);
  await world.reversalIs(refund.id, 'needs_attention');
  expect(await world.findingsOf(parked.organization)).toMatchObject([{ kind: 'hold_stands' }, { kind: 'reversal_parked' }]);
});

describe('case 79: a part was refunded at Stripe while the recharge waits for a person', () => {
  const PART = 500;
  const AFTER_ALL = { captured: 2050, prepaid: 0 };

  test('refunding gives back the rest', async () => {
    const parked = await heldInFull();
    await world.stripe.refunds.create({ payment_intent: parked.intentId, amount: PART });
    await resolve(parked, 'refund');
    await world.rechargeIs(parked.eventId, 'refunded');
    expect(await world.accounts(parked.organization)).toMatchObject({ ...AFTER_ALL, refunded: 2050, granted: 0, quota: 0 });
    expect(await world.budgetOf(parked.organization.teamId)).toBe(11);
    const { data } = await world.admin.get(`/api/v1/reversals?organization_id=${parked.organization.id}`);
    expect(data.data).toEqual([]);
    expect(await world.findingsOf(parked.organization)).toEqual([]);
  });

  test('refunding asks for nothing where all of it went back, in two parts', async () => {
    const parked = await heldInFull();
    for (const amount of [PART, 2050 - PART]) await world.stripe.refunds.create({ payment_intent: parked.intentId, amount });
    await resolve(parked, 'refund');
    await world.rechargeIs(parked.eventId, 'refunded');
    expect(await world.accounts(parked.organization)).toMatchObject({ ...AFTER_ALL, refunded: 2050, granted: 0, quota: 0 });
    expect((await world.stripe.refunds.list({ payment_intent: parked.intentId })).data).toHaveLength(2);
  });

  test('granting gives the quota of the rest in the end', async () => {
    const parked = await heldInFull();
    const refund = await world.stripe.refunds.create({ payment_intent: parked.intentId, amount: PART });
    await resolve(parked, 'grant');
    await world.rechargeIs(parked.eventId, 'succeeded');
    await world.findingsOf(parked.organization);
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.budgetOf(parked.organization.teamId)).toBe(26.5);
    expect(await world.accounts(parked.organization)).toMatchObject({ ...AFTER_ALL, refunded: PART, granted: 1550, quota: 15.5 });
  });
});

test('a part is refunded at Stripe after our request for all of it has failed: the rest is asked for, and all goes back', async () => {
  const organization = await world.organization();
  const { eventId, intentId, goOn } = await world.chargedButNotGranted(organization);
  await world.stripeFault({ method: 'POST', path: '/v1/refunds', when: 'before', saved: true, action: { kind: 'respond', status: 500 } });
  const look = await world.stripeFault({ method: 'GET', path: '/v1/refunds', contains: intentId, skip: 1, action: HOLD });
  await world.deleteTeam(organization.teamId);
  await goOn();
  await look.struck();
  await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
  await look.remove();
  expect(await world.closed(eventId)).toEqual(REFUNDED);
  expect(await world.accounts(organization)).toMatchObject({ captured: 2050, refunded: 2050, granted: 0, prepaid: 0 });
});

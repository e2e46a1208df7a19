/**
 * Money that goes back to the customer after its quota was granted: the quota follows it, once, in whatever
 * order we hear of it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import * as ledger from '../../src/database/ledger.ts';
import { BUDGET_AFTER, HELD, NEEDS_ATTENTION, RECHARGED } from '../support/books.ts';
import { ALWAYS, type StandingFault } from '../support/faults.ts';
import { ReversalScene } from '../support/reversals.ts';
import { failedAttempts } from '../support/runs.ts';
import type { World } from '../support/world.ts';

let scene: ReversalScene;
let world: World;
beforeAll(async () => {
  scene = await ReversalScene.start();
  ({ world } = scene);
});
afterEach(() => scene.calm());
afterAll(() => scene.close());

describe('case 44: a refund made elsewhere', () => {
  test('takes the quota back and suspends the organization, until a person resumes it', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    expect(await world.reversalIs(refund.id, 'taken_back')).toMatchObject({
      kind: 'refund',
      taken_before: '30.500000',
      taken_after: '10.000000',
    });
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    await scene.expectBalanced(organization);
    expect(await scene.heldFor(organization)).toBe(`refund ${refund.id} of recharge ${rechargeId} was made in Stripe: 20.50 USD`);

    expect(await world.alerted(organization)).toEqual(HELD);
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await world.recharge(organization);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await scene.expectBalanced(organization);
  });

  test('while a person holds the organization for a time is named by that hold, which then does not end by itself', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const until = new Date(Date.now() + 60 * 60_000).toISOString();
    const wish = { scope: 'organization', subject: organization.id, reason: 'maintenance', until };
    const { data: hold } = await world.admin.post('/api/v1/holds', wish);
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    const { data } = await world.admin.get(`/api/v1/holds/${hold.id}`);
    const detail = `maintenance; refund ${refund.id} of recharge ${rechargeId} was made in Stripe: 20.50 USD`;
    expect(data).toMatchObject({ until: null, detail });
  });

  test('of a part takes that part, and the next part takes its own', async () => {
    const { organization, intentId } = await world.recharged();
    const first = await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
    await world.reversalIs(first.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(25.5);
    await scene.expectBalanced(organization);
    expect(await world.rechargesOf(organization)).toMatchObject([{ status: 'succeeded', returned: '5.00' }]);
    const second = await world.stripe.refunds.create({ payment_intent: intentId, amount: 1550 });
    await world.reversalIs(second.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test('in parts that no micro-dollar divides evenly never takes more than was granted', async () => {
    const { organization, intentId } = await world.recharged({ settings: { quota_per_unit: '1.333333' } });
    const { captured } = await world.accounts(organization);
    const parts = [701, 333, captured - 701 - 333];
    const refunds = await Promise.all(parts.map((amount) => world.stripe.refunds.create({ payment_intent: intentId, amount })));
    for (const { id } of refunds) await world.reversalIs(id, 'taken_back');
    await scene.expectBalanced(organization);
    expect(await world.budgetOf(organization.teamId)).toBeGreaterThanOrEqual(10);
    expect(await world.budgetOf(organization.teamId)).toBeCloseTo(10, 5);
  });

  test('that we hear of again and again is taken back once', async () => {
    const paid = await world.recharged();
    const { organization, rechargeId, intentId } = paid;
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    await scene.tellEverythingAgain(paid);
    // Under ids that nobody has seen.
    await world.sql.query(
      `insert into stripe_event (id, type, object_id, payment_intent_id)
       select 'evt_again_' || n || $1, 'refund.updated', 're_' || n || $1, $1 from generate_series(1, 5) n`,
      [intentId],
    );
    await scene.tellEverythingAgain(paid);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    await scene.expectBalanced(organization);
  });

  test.each([
    ['fails in the end', (id: string) => world.stripeKnob(`refunds/${id}`, { status: 'failed' })],
    ['is canceled', (id: string) => world.stripe.refunds.cancel(id)],
  ])('that is pending takes the quota back at once, and gives it back when it %s', async (_what, end) => {
    const paid = await world.recharged();
    const { organization, rechargeId, intentId } = paid;
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await end(refund.id);
    await world.reversalIs(refund.id, 'given_back');
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await scene.tellEverythingAgain(paid);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund', 'recovery', 'grant']);
    await scene.expectBalanced(organization);
    expect(await scene.heldFor(organization)).toContain(refund.id);
  });

  test.each([5, 0])(
    'of a team whose budget a person has lowered to %d takes that, and gives back just that when it fails',
    async (lowered) => {
      const { organization, rechargeId, intentId } = await world.recharged();
      await world.setBudget(organization.teamId, lowered);
      await world.stripeKnob('refunds/mode', { status: 'pending' });
      const refund = await world.stripe.refunds.create({ payment_intent: intentId });
      await world.reversalIs(refund.id, 'taken_back');
      expect(await world.budgetOf(organization.teamId)).toBe(0);
      // All of the money has gone. Of the quota the ledger has taken what was there; that person has removed
      // the rest.
      expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0, quota: 20.5 - lowered });
      await world.stripeKnob(`refunds/${refund.id}`, { status: 'failed' });
      await world.reversalIs(refund.id, 'given_back');
      expect(await world.budgetOf(organization.teamId)).toBe(lowered);
      expect(await world.accounts(organization)).toMatchObject({ granted: 2050, prepaid: 0, quota: 20.5 });
      expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund', 'recovery', 'grant']);
      expect(await ledger.verify(scene.database.fork(), organization.id)).toMatchObject({ faults: [] });
    },
  );
});

describe('case 44: a dispute', () => {
  test('takes the quota back and freezes auto-recharge; won, it gives it back', async () => {
    const paid = await world.recharged();
    const { organization, rechargeId, intentId } = paid;
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
    expect(await scene.heldFor(organization)).toBe(`dispute ${id} of recharge ${rechargeId}: 20.50 USD, fraudulent`);
    expect(await world.rechargeOf(organization)).toMatchObject({ status: 'succeeded', amount: '20.50', returned: '20.50' });
    expect(await world.alerted(organization)).toEqual(HELD);

    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.reversalIs(id, 'given_back');
    expect(await world.rechargeOf(organization)).toMatchObject({ status: 'succeeded', returned: '0.00' });
    await scene.tellEverythingAgain(paid);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant']);
    await scene.expectBalanced(organization);
    expect(await scene.heldFor(organization)).toBeNull();
  });

  test('of a payment for a team that another organization has by now takes nothing of it: a person decides', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const { teamId } = organization;
    await world.anotherTeam(organization, { budget: 50, spend: 0 });
    const { status } = await world.admin.post('/api/v1/organizations', {
      c_organization_id: `${organization.id}-next`,
      stripe_customer_id: organization.customerId,
      litellm_team_id: teamId,
      minimum_balance: '2.00',
      target_balance: '20.00',
    });
    expect(status).toBe(201);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    expect(await world.reversalIs(id, 'needs_attention')).toMatchObject({
      failure_message: expect.stringContaining(`${organization.id}-next`),
    });
    expect(await world.budgetOf(teamId)).toBe(BUDGET_AFTER);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant']);
    expect((await world.admin.post(`/api/v1/reversals/${id}/resolve`, { resolution: 'accept', reason: 'agreed with both' })).status).toBe(
      200,
    );
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0 });
    expect(await world.budgetOf(teamId)).toBe(BUDGET_AFTER);
  });

  test('that is lost gives nothing back', async () => {
    const paid = await world.recharged();
    const { organization, rechargeId, intentId } = paid;
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 1000 });
    await world.reversalIs(id, 'taken_back');
    await world.stripeKnob(`disputes/${id}`, { status: 'lost' });
    await scene.tellEverythingAgain(paid);
    expect(await scene.reversal(id)).toMatchObject({ status: 'taken_back' });
    expect(await world.budgetOf(organization.teamId)).toBe(20.5);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    await scene.expectBalanced(organization);
  });

  test('case 85: in another currency than the charge is one of the whole: all of the quota goes, and comes back with it', async () => {
    const paid = await world.recharged();
    const { organization, rechargeId, intentId } = paid;
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 900, currency: 'eur' });
    await world.reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    expect(await scene.reversal(id)).toMatchObject({ amount_minor: '2050', currency: 'usd', quota: '20.500000' });

    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.reversalIs(id, 'given_back');
    await scene.tellEverythingAgain(paid);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant']);
  });

  test('that comes after another one is shown by the same hold, which ends when both are won', async () => {
    const { organization, intentId } = await world.recharged();
    await world.spend(organization.teamId, 20);
    const again = await world.recharge(organization, { spend: 30.5, max_budget: 30.5 });
    const first = await world.stripeKnob<{ id: string }>('disputes', { payment_intent: intentId, amount: 500 });
    await world.reversalIs(first.id, 'taken_back');
    const second = await world.stripeKnob<{ id: string }>('disputes', { payment_intent: again.intentId, amount: 300 });
    await world.reversalIs(second.id, 'taken_back');
    expect(await scene.heldFor(organization)).toMatch(new RegExp(`${first.id} .*5\\.00 USD.*${second.id} .*3\\.00 USD`));
    for (const { id } of [first, second]) {
      const { data } = await world.admin.get(`/api/v1/recharges/${id}`);
      expect(data.holds).toMatchObject([{ reason: 'disputed' }]);
    }
    await world.stripeKnob(`disputes/${first.id}`, { status: 'won' });
    await world.reversalIs(first.id, 'given_back');
    expect(await scene.heldFor(organization)).not.toBeNull();
    await world.stripeKnob(`disputes/${second.id}`, { status: 'won' });
    await world.reversalIs(second.id, 'given_back');
    expect(await scene.heldFor(organization)).toBeNull();
  });

  test('that is won and then reinstated takes the quota back again, until it is won again', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const dispute = await world.stripeKnob<{ id: string }>('disputes', { payment_intent: intentId });
    const { id } = dispute;
    await world.reversalIs(id, 'taken_back');
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.reversalIs(id, 'given_back');

    const shown = await showsDispute(dispute, { intentId, status: 'needs_response' });
    await scene.hearOf(id, intentId, 'charge.dispute.funds_withdrawn');
    await world.reversalIs(`${id}.2`, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    const first = ['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant'];
    expect(await scene.transfersOf(rechargeId)).toEqual([...first, 'reversal', 'chargeback']);

    await shown.remove();
    await scene.hearOf(id, intentId, 'charge.dispute.closed');
    await world.reversalIs(`${id}.2`, 'given_back');
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect(await scene.transfersOf(rechargeId)).toEqual([...first, 'reversal', 'chargeback', 'recovery', 'grant']);
    await scene.expectBalanced(organization);
    expect(await scene.reversal(id)).toMatchObject({ status: 'given_back', taken_before: '30.500000', taken_after: '10.000000' });
  });

  test('that we hear of when it has been won takes nothing, and is a reason to look all the same', async () => {
    await scene.hear(false);
    const paid = await world.recharged();
    const { organization, rechargeId, intentId } = paid;
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await scene.hear(true);
    await scene.tellEverythingAgain(paid);
    await world.reversalIs(id, 'given_back');
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant']);
    await scene.expectBalanced(organization);
    expect(await scene.heldFor(organization)).toContain(id);
  });

  test('that took nothing leaves the budget expected that the last recharge has left: one that is lower holds the organization', async () => {
    const paid = await world.recharged();
    const { organization, intentId } = paid;
    await scene.hear(false);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await scene.hear(true);
    await scene.tellEverythingAgain(paid);
    await world.reversalIs(id, 'given_back');
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await world.setBudget(organization.teamId, 12);
    expect(await world.alerted(organization, { max_budget: 12 })).toEqual(HELD);
    expect(await scene.heldFor(organization)).toContain('our last write left 30.50');
  });

  test('that begins as an inquiry takes the quota back when it becomes a dispute, not before', async () => {
    const paid = await world.recharged();
    const { organization, intentId } = paid;
    const { id, shown } = await inquiry(intentId, 'warning_needs_response');
    await scene.tellEverythingAgain(paid);
    expect(await shown.strikes()).toBeGreaterThan(0);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect(await scene.heldFor(organization)).toBeNull();
    await world.clearFaults();
    await scene.hearOf(id, intentId, 'charge.dispute.funds_withdrawn');
    await world.reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test('opened while the recharge is still being granted waits for it', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, intentId, goOn } = await world.chargedButNotGranted(organization);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await failedAttempts(world.reversalRunOf(rechargeId));
    expect([await scene.reversal(id), await world.budgetOf(organization.teamId)]).toEqual([undefined, 10]);
    await goOn();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await world.reversalIs(id, 'taken_back');
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });
});

/** Stripe shows the dispute in a status that the stand-in cannot bring it to, until the fault is removed. */
function showsDispute(dispute: object, { intentId, status }: { intentId: string; status: string }): Promise<StandingFault> {
  const body = { object: 'list', data: [{ ...dispute, status }], has_more: false, url: '/v1/disputes' };
  const action = { kind: 'respond', status: 200, body } as const;
  return world.stripeFault({ method: 'GET', path: '/v1/disputes', contains: intentId, times: ALWAYS, action });
}

/** A dispute that is only an inquiry so far. */
async function inquiry(intentId: string, status: string): Promise<{ id: string; shown: StandingFault }> {
  await scene.hear(false);
  const dispute = await world.stripeKnob<{ id: string }>('disputes', { payment_intent: intentId });
  const shown = await showsDispute(dispute, { intentId, status });
  await scene.hear(true);
  return { id: dispute.id, shown };
}

describe('case 43: a refund races a dispute', () => {
  test('made elsewhere and pending, it fails, and the quota is taken back for the dispute alone', async () => {
    const { organization, intentId } = await world.recharged();
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.reversalIs(refund.id, 'given_back');
    await world.reversalIs(dispute.id, 'taken_back');
    expect(await world.accounts(organization)).toMatchObject({ refunded: 0, disputed: 2050, granted: 0 });
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test('heard of in one go, it comes to the same', async () => {
    const paid = await world.recharged();
    const { organization, intentId } = paid;
    await scene.hear(false);
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    await world.stripe.refunds.create({ payment_intent: intentId });
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
    await scene.hear(true);
    await scene.tellEverythingAgain(paid);
    await world.reversalIs(dispute.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test.each([
    ['ours, due when the dispute is open already, is refused', 0],
    ['ours, on its way when the dispute opens, fails', 1],
  ])('%s: nothing is paid twice, and a person decides', async (_name, refunds) => {
    const organization = await world.organization();
    const { goOn, ...charged } = await world.chargedButNotGranted(organization);
    const { eventId, intentId } = charged;
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    if (refunds === 0) await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.deleteTeam(organization.teamId);
    await goOn();
    if (refunds === 1) {
      await world.refundOf(eventId);
      await world.stripeKnob('disputes', { payment_intent: intentId });
    }
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    await scene.tellEverythingAgain(charged);
    expect((await world.stripe.refunds.list({ payment_intent: intentId })).data.map(({ status }) => status)).toEqual(
      Array(refunds).fill('failed'),
    );
    expect(await world.accounts(organization)).toMatchObject({ captured: 2050, refunded: 0, disputed: 2050, granted: 0, prepaid: 2050 });
  });
});

test('case 42: a refund of ours that fails weeks later reopens the recharge: the money is held, and a person decides', async () => {
  const organization = await world.organization();
  const paid = await scene.refundedByUs(organization);
  const { rechargeId, intentId } = paid;
  await scene.tellEverythingAgain(paid);
  // Our own refund is no reversal.
  expect((await world.sql.query('select 1 from reversal where recharge_id = $1', [rechargeId])).rows).toEqual([]);
  expect(await scene.heldFor(organization)).toContain('refuses to raise');
  await scene.expectBalanced(organization);

  const [refund] = (await world.stripe.refunds.list({ payment_intent: intentId })).data;
  await world.stripeKnob(`refunds/${refund?.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
  await world.rechargeIs(paid.eventId, 'needs_attention');
  await scene.tellEverythingAgain(paid);
  const { data: recharge } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
  expect(recharge.failure).toMatchObject({ code: 'refund_failed', message: expect.stringContaining('lost_or_stolen_card') });
  expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'refund', 'recovery']);
  expect(await world.accounts(organization)).toMatchObject({ captured: 2050, refunded: 0, granted: 0, prepaid: 2050 });
  expect(await world.alerted(organization)).toEqual(HELD);
});

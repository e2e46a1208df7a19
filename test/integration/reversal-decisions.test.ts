/** Reversals that no rule covers: they stay visible, hold up nothing else, and a person settles them. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import * as ledger from '../../src/database/ledger.ts';
import { BUDGET_AFTER, HELD, NEEDS_ATTENTION, RECHARGED, REFUNDED } from '../support/books.ts';
import { ALWAYS, UNAVAILABLE } from '../support/faults.ts';
import { ReversalScene } from '../support/reversals.ts';
import type { Organization, RechargeIds, World } from '../support/world.ts';

let scene: ReversalScene;
let world: World;
beforeAll(async () => {
  scene = await ReversalScene.start();
  ({ world } = scene);
});
afterEach(() => scene.calm());
afterAll(() => scene.close());

describe('what nobody can settle but a person stays visible, and holds up nothing else', () => {
  test('somebody edits the budget between our plan and our write', async () => {
    const { organization, intentId } = await world.recharged();
    const refusal = await world.refuseBudget(organization);
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    const goOn = await world.betweenAttempts(organization, refusal);
    await world.setBudget(organization.teamId, 28);
    await goOn();
    const { failure_message } = await world.reversalIs(refund.id, 'needs_attention');
    expect(failure_message).toContain('max_budget is 28.00, expected 30.50 or 10.00');
    expect([await world.budgetOf(organization.teamId), await scene.budgetWriter(organization)]).toEqual([28, null]);
  });

  test('LiteLLM refuses the lower budget', async () => {
    const { organization, intentId } = await world.recharged();
    const message = 'max_budget must be strictly greater than soft_budget';
    await world.refuseBudget(organization, { kind: 'respond', status: 400, body: { error: { message } } });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    const { failure_message } = await world.reversalIs(refund.id, 'needs_attention');
    expect(failure_message).toContain('soft_budget');
    expect([await world.budgetOf(organization.teamId), await scene.budgetWriter(organization)]).toEqual([BUDGET_AFTER, null]);
  });

  test('the team is gone: the quota went with it, and cannot be given back to it', async () => {
    const { organization, intentId, rechargeId } = await world.recharged();
    await world.deleteTeam(organization.teamId);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.reversalIs(id, 'taken_back');
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback']);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    expect((await world.reversalIs(id, 'needs_attention')).failure_message).toContain('the team is gone');
    expect(await scene.budgetWriter(organization)).toBeNull();
  });
});

describe('money that goes twice, or that was never granted', () => {
  test('a dispute after a refund of a part takes the rest of the quota, and no more', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
    await world.reversalIs(refund.id, 'taken_back');
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 2050 });
    expect(await world.reversalIs(dispute.id, 'taken_back')).toMatchObject({ taken_before: '25.500000', taken_after: '10.000000' });
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund', 'reversal', 'chargeback']);
    const { granted, prepaid, quota } = await world.accounts(organization);
    expect({ granted, prepaid, quota }).toEqual({ granted: 0, prepaid: 0, quota: 0 });
  });

  test('case 43: a dispute of what we have refunded suspends the organization and is left to a person', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, intentId, goOn } = await world.chargedButNotGranted(organization);
    await world.deleteTeam(organization.teamId);
    await goOn();
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 2050 });
    expect((await world.reversalIs(dispute.id, 'needs_attention')).failure_message).toContain('settle it at Stripe');
    expect(await scene.heldFor(organization)).toBe(`dispute ${dispute.id} of recharge ${rechargeId}: 20.50 USD, fraudulent`);
    const { data: answer } = await world.admin.post(`/api/v1/reversals/${dispute.id}/resolve`, {
      resolution: 'accept',
      reason: 'answered',
    });
    expect(answer.status).toBe('taken_back');
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'refund']);
    expect((await world.accounts(organization)).prepaid).toBe(0);
  });

  /** The merchant refunds, the customer disputes all the same, and a person has answered it. */
  async function disputedAndRefunded() {
    const { organization, rechargeId, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    const { id: disputeId } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.reversalIs(disputeId, 'needs_attention');
    await world.admin.post(`/api/v1/reversals/${disputeId}/resolve`, { resolution: 'accept', reason: 'answered with the refund' });
    return { organization, rechargeId, disputeId };
  }

  test('a dispute of what was refunded, answered and then won, ends its hold, and nothing is booked', async () => {
    const { organization, rechargeId, disputeId } = await disputedAndRefunded();
    expect(await scene.heldFor(organization)).toContain(disputeId);
    await world.stripeKnob(`disputes/${disputeId}`, { status: 'won' });
    await world.reversalIs(disputeId, 'given_back');
    expect(await scene.heldFor(organization)).toBeNull();
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
  });

  test('a dispute that found no quota leaves the budget expected that the refund has left: a lower one holds', async () => {
    const { organization } = await disputedAndRefunded();
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await world.setBudget(organization.teamId, 5);
    expect(await world.alerted(organization, { max_budget: 5 })).toEqual(HELD);
    expect(await scene.heldFor(organization)).toContain('our last write left 10.00');
  });
});

test('quota of a former team that is taken back leaves the budget accepted that a person has accepted for the present one', async () => {
  const { organization, intentId } = await world.recharged();
  const teamId = await world.anotherTeam(organization, { budget: 10, spend: 9 });
  const present = { ...organization, teamId };
  await world.recharge(present);
  await world.setBudget(teamId, 11);
  const accepted = await world.admin.post(`/api/v1/organizations/${organization.id}/accept-budget`, { reason: 'it was meant' });
  expect(accepted.status).toBe(200);
  const { id } = await world.stripe.refunds.create({ payment_intent: intentId });
  await world.reversalIs(id, 'taken_back');
  await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
  expect(await world.alerted(present, { max_budget: 11 })).toEqual(RECHARGED);
});

test('a person grants what was disputed while it was held: the quota follows the money all the same', async () => {
  const organization = await world.organization();
  const { eventId, rechargeId, intentId, goOn } = await world.chargedButNotGranted(organization);
  await world.setBudget(organization.teamId, 12);
  await goOn();
  expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'grant', reason: 'the edit was ours' });
  expect(await world.reversalIs(dispute.id, 'taken_back')).toMatchObject({ taken_before: '32.500000', taken_after: '12.000000' });
  await scene.expectBalanced(organization, { start: 12 });
});

describe('what was refunded at Stripe while it was held for a person', () => {
  async function parkedAndRefunded(amount: number) {
    const organization = await world.organization();
    const { eventId, rechargeId, intentId, goOn } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 12);
    await goOn();
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    const { id: refundId } = await world.stripe.refunds.create({ payment_intent: intentId, amount });
    const resolve = (resolution: string) =>
      world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution, reason: 'refunded in the dashboard' });
    return { organization, eventId, rechargeId, intentId, refundId, resolve };
  }

  test('does not count as granted, which would take quota from the budget that it has never given', async () => {
    const { organization, eventId, refundId, resolve } = await parkedAndRefunded(2050);
    const { status, data } = await resolve('accept');
    expect([status, data.detail]).toEqual([
      409,
      expect.stringMatching(new RegExp(`20\\.50 USD .*refunded at Stripe.*${refundId}.*--refund`)),
    ]);
    expect((await resolve('refund')).status).toBe(200);
    await world.rechargeIs(eventId, 'refunded');
    expect(await world.budgetOf(organization.teamId)).toBe(12);
    await scene.expectBalanced(organization, { start: 12 });
  });

  test('in part goes back in whole by the refund of the rest', async () => {
    const { organization, eventId, resolve } = await parkedAndRefunded(500);
    expect((await resolve('accept')).status).toBe(409);
    expect((await resolve('refund')).status).toBe(200);
    await world.rechargeIs(eventId, 'refunded');
    expect(await world.accounts(organization)).toMatchObject({ refunded: 2050, granted: 0, prepaid: 0 });
    expect(await world.budgetOf(organization.teamId)).toBe(12);
  });

  test('may be granted: its quota is given, and follows the refund', async () => {
    const { organization, refundId, resolve } = await parkedAndRefunded(2050);
    expect((await resolve('grant')).status).toBe(200);
    await world.reversalIs(refundId, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(12);
    await scene.expectBalanced(organization, { start: 12 });
  });
});

test.each([500, 1025])(
  'a part (%d) that was refunded elsewhere fails while our refund of the rest is under way: it goes back too',
  async (part) => {
    const organization = await world.organization();
    const { eventId, intentId, goOn } = await world.chargedButNotGranted(organization);
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const { id: elsewhere } = await world.stripe.refunds.create({ payment_intent: intentId, amount: part });
    await world.deleteTeam(organization.teamId);
    await goOn();
    const ours = await world.refundOf(eventId);
    await world.stripeKnob('refunds/mode', { status: 'succeeded' });
    await world.stripeKnob(`refunds/${elsewhere}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
    await world.stripeKnob(`refunds/${ours}`, { status: 'succeeded' });
    await world.rechargeIs(eventId, 'refunded');
    expect(await world.accounts(organization)).toMatchObject({ refunded: 2050, granted: 0, prepaid: 0 });
    const gone = (await world.stripe.refunds.list({ payment_intent: intentId })).data.filter(({ status }) => status === 'succeeded');
    expect(gone.map(({ amount }) => amount).toSorted((a, b) => a - b)).toEqual([part, 2050 - part]);
  },
);

test('a person grants what nobody has disputed: no run looks for what has gone back', async () => {
  const organization = await world.organization();
  const { eventId, rechargeId, goOn } = await world.chargedButNotGranted(organization);
  await world.setBudget(organization.teamId, 12);
  await goOn();
  expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
  const wish = { resolution: 'grant', reason: 'the edit was ours', by: 'ann' };
  await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, wish);
  await world.rechargeIs(eventId, 'succeeded');
  // Not why it was parked before.
  const [shown] = await world.rechargesOf(organization);
  expect(shown?.failure).toMatchObject({ code: null, message: 'ann decided to grant it: the edit was ours' });
  const later = await world.accepted(await world.organization({ settings: { auto_recharge_enabled: false } }));
  expect(await world.runs(`WorkflowId = 'reversal/${rechargeId}'`, later)).toEqual([]);
});

test('case 43: our refund fails after a dispute was noted for it, and a person grants: the quota follows the dispute', async () => {
  const organization = await world.organization();
  const { eventId, rechargeId, intentId } = await scene.refundedByUs(organization);
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 2050 });
  await world.reversalIs(dispute.id, 'needs_attention');
  await world.admin.post(`/api/v1/reversals/${dispute.id}/resolve`, { resolution: 'accept', reason: 'answered' });
  const [refund] = (await world.stripe.refunds.list({ payment_intent: intentId })).data;
  await world.stripeKnob(`refunds/${refund?.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
  await world.rechargeIs(eventId, 'needs_attention');
  await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'grant', reason: 'not looked at the dispute' });
  await world.eventually(async () => (await scene.reversal(dispute.id))?.taken_after === '10.000000', 'the quota is taken back');
  await world.reversalIs(dispute.id, 'taken_back');
  // It opens anew, and the hold that it has opened names it once.
  expect(await scene.heldFor(organization)).toBe(`dispute ${dispute.id} of recharge ${rechargeId}: 20.50 USD, fraudulent`);
  expect(await world.budgetOf(organization.teamId)).toBe(10);
  await scene.expectBalanced(organization);
});

describe('a refund of ours fails when it was recorded long ago', () => {
  /** What Stripe has refunded of a recharge by our wish fails: the money is held again. */
  async function fails({ eventId, intentId, rechargeId }: RechargeIds): Promise<void> {
    const { data: refunds } = await world.stripe.refunds.list({ payment_intent: intentId });
    const ours = refunds.find(({ metadata }) => metadata?.['recharge_id'] === rechargeId);
    await world.stripeKnob(`refunds/${ours?.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
    await world.rechargeIs(eventId, 'needs_attention');
  }

  const resolve = ({ rechargeId }: RechargeIds, resolution: string) =>
    world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution, reason: 'looked at it' });

  test('of a team that another organization has by now: a person grants, and that budget is left to the other', async () => {
    const organization = await world.organization();
    const paid = await scene.refundedByUs(organization);
    const { id, teamId, customerId } = organization;
    await world.anotherTeam(organization, { budget: 50, spend: 0 });
    const next = { c_organization_id: `${id}-next`, stripe_customer_id: customerId, litellm_team_id: teamId };
    const settings = { minimum_balance: '2.00', target_balance: '20.00', auto_recharge_enabled: false };
    expect((await world.admin.post('/api/v1/organizations', { ...next, ...settings })).status).toBe(201);
    await fails(paid);
    expect((await resolve(paid, 'grant')).status).toBe(200);
    await world.eventually(
      async () => (await world.rechargeOf(organization)).failure?.message.includes(`${id}-next`),
      'it is parked for the other organization',
    );
    expect(await world.budgetOf(teamId)).toBe(10);
    expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 2050 });
  });

  test('of a team that the organization has left, and nobody has: a person grants, nobody gets the quota, and the money goes back', async () => {
    const organization = await world.organization();
    const paid = await scene.refundedByUs(organization);
    const { teamId } = organization;
    const present = await world.anotherTeam(organization, { budget: 50, spend: 0 });
    await fails(paid);
    expect((await resolve(paid, 'grant')).status).toBe(200);
    const reason = `organization ${organization.id} has left team ${teamId}, and has ${present} by now, and the quota was for ${teamId}: refund it`;
    await world.eventually(async () => (await world.rechargeOf(organization)).failure?.message === reason, 'it is parked');
    expect(await Promise.all([teamId, present].map((team) => world.budgetOf(team)))).toEqual([10, 50]);
    expect((await resolve(paid, 'refund')).status).toBe(200);
    await world.rechargeIs(paid.eventId, 'refunded');
    expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0 });
  });

  test('after another recharge: a person grants, and the budget that this leaves is the one that is expected', async () => {
    const organization = await world.organization();
    const paid = await scene.refundedByUs(organization);
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await world.recharge(organization);
    await fails(paid);
    expect((await resolve(paid, 'grant')).status).toBe(200);
    await world.rechargeIs(paid.eventId, 'succeeded');
    expect(await world.budgetOf(organization.teamId)).toBe(51);
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  describe('where somebody had refunded a part of it at Stripe before', () => {
    const PART = 500;

    async function refundedInParts(): Promise<RechargeIds & { organization: Organization; elsewhere: string }> {
      const organization = await world.organization();
      const { goOn, ...paid } = await world.chargedButNotGranted(organization);
      const { id: elsewhere } = await world.stripe.refunds.create({ payment_intent: paid.intentId, amount: PART });
      await world.deleteTeam(organization.teamId);
      await goOn();
      await world.rechargeIs(paid.eventId, 'refunded');
      await world.makeTeam({ team_id: organization.teamId, max_budget: 10 });
      return { ...paid, organization, elsewhere };
    }

    test('a person refunds again: the rest goes back, and nothing is held', async () => {
      const { organization, ...paid } = await refundedInParts();
      await fails(paid);
      expect(await world.accounts(organization)).toMatchObject({ captured: 2050, refunded: PART, prepaid: 2050 - PART });
      expect((await resolve(paid, 'refund')).status).toBe(200);
      await world.rechargeIs(paid.eventId, 'refunded');
      await scene.expectBalanced(organization);
      expect(await world.accounts(organization)).toMatchObject({ refunded: 2050, granted: 0 });
    });

    test('a person grants: quota is given for the rest', async () => {
      const { organization, ...paid } = await refundedInParts();
      await fails(paid);
      expect((await resolve(paid, 'grant')).status).toBe(200);
      await world.rechargeIs(paid.eventId, 'succeeded');
      await scene.tellEverythingAgain(paid);
      await scene.expectBalanced(organization);
      expect(await world.budgetOf(organization.teamId)).toBe(25.5);
    });

    test('a person accepts: the rest counts as granted', async () => {
      const { organization, ...paid } = await refundedInParts();
      await fails(paid);
      await world.setBudget(organization.teamId, 25.5);
      expect((await resolve(paid, 'accept')).status).toBe(200);
      await scene.tellEverythingAgain(paid);
      await scene.expectBalanced(organization);
      expect(await world.budgetOf(organization.teamId)).toBe(25.5);
    });

    test('the other part fails: its money is held too, and a person decides', async () => {
      const { organization, elsewhere, ...paid } = await refundedInParts();
      await world.stripeKnob(`refunds/${elsewhere}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
      await world.rechargeIs(paid.eventId, 'needs_attention');
      expect(await world.accounts(organization)).toMatchObject({ refunded: 2050 - PART, granted: 0, prepaid: PART });
      expect((await resolve(paid, 'refund')).status).toBe(200);
      await world.rechargeIs(paid.eventId, 'refunded');
      await scene.expectBalanced(organization);
      expect(await world.accounts(organization)).toMatchObject({ refunded: 2050, granted: 0 });
    });

    describe('and after a person has decided on the rest, the other part fails too', () => {
      async function bothFail({ eventId, rechargeId, ...paid }: Awaited<ReturnType<typeof refundedInParts>>): Promise<void> {
        await fails({ eventId, rechargeId, ...paid });
        await world.setBudget(paid.organization.teamId, 25.5);
        expect((await resolve({ eventId, rechargeId, ...paid }, 'accept')).status).toBe(200);
        await world.stripeKnob(`refunds/${paid.elsewhere}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
        await world.reversalIs(paid.elsewhere, 'given_back');
      }

      test('its money is ours again, and its quota is given', async () => {
        const paid = await refundedInParts();
        const sample = 'insert into balance_sample (organization_id, quota, spend, at) values ($1, 25.5, 0, now())';
        await world.sql.query(sample, [paid.organization.id]);
        await bothFail(paid);
        expect(await world.budgetOf(paid.organization.teamId)).toBe(30.5);
        const path = `/api/v1/organizations/${paid.organization.id}`;
        const [known, live] = [await world.admin.get(path), await world.admin.get(`${path}/balance`)];
        expect(known.data.balance).toBe(live.data.balance);
        expect(await world.accounts(paid.organization)).toMatchObject({ granted: 2050, prepaid: 0 });
        await scene.expectBalanced(paid.organization);
        await scene.tellEverythingAgain(paid);
        expect(await world.findingsOf(paid.organization)).toEqual([]);
      });

      test('a dispute of all of it takes all of it', async () => {
        const paid = await refundedInParts();
        await bothFail(paid);
        const dispute = await world.stripeKnob('disputes', { payment_intent: paid.intentId, amount: 2050 });
        expect(await world.reversalIs(dispute.id, 'taken_back')).toMatchObject({ taken_before: '30.500000', taken_after: '10.000000' });
        await scene.expectBalanced(paid.organization);
      });
    });
  });
});

describe('a person accepts a parked reversal', () => {
  /** A reversal whose budget somebody has edited between our plan and our write. */
  async function parked() {
    const paid = await world.recharged();
    const { organization, intentId } = paid;
    const refusal = await world.refuseBudget(organization);
    const { id: refundId } = await world.stripe.refunds.create({ payment_intent: intentId });
    const goOn = await world.betweenAttempts(organization, refusal);
    await world.setBudget(organization.teamId, 28);
    await goOn();
    await world.reversalIs(refundId, 'needs_attention');
    return { ...paid, refundId };
  }

  test('with the budget put right: the ledger follows the money, and who, when and why are kept', async () => {
    const { organization, rechargeId, refundId } = await parked();
    const { data: list } = await world.admin.get('/api/v1/reversals', {
      params: { organization_id: organization.id, status: 'needs_attention' },
    });
    expect(list.data.map(({ id }: { id: string }) => id)).toEqual([refundId]);
    await world.setBudget(organization.teamId, 10);
    const wish = { resolution: 'accept', reason: 'set by hand', by: 'ann' };
    const { status, data } = await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish);
    expect([status, data]).toMatchObject([200, { id: refundId, status: 'taken_back', recharge_id: rechargeId }]);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    await scene.expectBalanced(organization);
    const { data: recharge } = await world.admin.get(`/api/v1/recharges/${rechargeId}`);
    expect(recharge.timeline.at(-1)).toMatchObject({ status: 'succeeded', reversal: refundId, by: 'ann', reason: 'set by hand' });
  });

  test('with the quota taken from what somebody has made of the budget: that is no difference, and the next recharge starts from it', async () => {
    const { organization, refundId } = await parked();
    await world.setBudget(organization.teamId, 7.5);
    const wish = { resolution: 'accept', reason: '28.00 was right, less 20.50', by: 'ann' };
    expect((await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish)).status).toBe(200);
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    expect(await world.findingsOf(organization)).toEqual([]);
    expect(await world.alerted(organization, { max_budget: 7.5 })).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  });

  test('nobody takes the write that was planned for the one that the person has made, should the database be restored', async () => {
    const { organization, rechargeId, refundId } = await parked();
    await world.setBudget(organization.teamId, 7.5);
    const wish = { resolution: 'accept', reason: '28.00 was right, less 20.50', by: 'ann' };
    expect((await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish)).status).toBe(200);
    const team = { organizationId: organization.id, teamId: organization.teamId };
    expect(await ledger.stepsSince(scene.database.fork(), team, rechargeId)).toEqual([{ before: null, after: null }]);
  });

  test('when the money has come again meanwhile: nothing is booked, and no quota is given on top', async () => {
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    const paid = await parked();
    const { organization, rechargeId, refundId } = paid;
    await world.stripeKnob(`refunds/${refundId}`, { status: 'failed', failure_reason: 'declined' });
    await world.setBudget(organization.teamId, BUDGET_AFTER);
    const { status, data } = await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, {
      resolution: 'accept',
      reason: 'set by hand',
    });
    expect([status, data]).toMatchObject([200, { status: 'given_back' }]);
    await scene.tellEverythingAgain(paid);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant']);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await scene.expectBalanced(organization);
  });

  test('not while Stripe cannot say where the money is: the reversal stays as it is', async () => {
    const { refundId } = await parked();
    const outage = await world.stripeFault({ method: 'GET', path: '/v1/refunds', times: ALWAYS, action: UNAVAILABLE });
    const wish = { resolution: 'accept', reason: 'set by hand' };
    const { status, data } = await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish);
    expect([status, data.type]).toEqual([503, 'urn:bill-service:problem:unavailable']);
    expect(data.detail).toMatch(/no usable answer came: Stripe: .*503/);
    expect(await scene.reversal(refundId)).toMatchObject({ status: 'needs_attention' });
    await outage.remove();
    expect((await world.admin.post(`/api/v1/reversals/${refundId}/resolve`, wish)).status).toBe(200);
  });

  test('once, and only a reversal that there is, with a reason, by accepting it', async () => {
    const { refundId } = await parked();
    const wish = { resolution: 'accept', reason: 'set by hand' };
    const resolve = (id: string, body: object) => world.admin.post(`/api/v1/reversals/${id}/resolve`, body).then(({ status }) => status);
    expect(await resolve('re_nobody', wish)).toBe(404);
    expect(await resolve(refundId, { resolution: 'grant', reason: 'no' })).toBe(422);
    expect(await resolve(refundId, { resolution: 'accept' })).toBe(422);
    expect(await resolve(refundId, { resolution: 'accept', reason: 'half \ud800' })).toBe(422);
    expect((await Promise.all([resolve(refundId, wish), resolve(refundId, wish)])).sort()).toEqual([200, 409]);
  });
});

/** The story of one thing, by any id that a person may hold: what happened, how it stands, and what settles it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ShownRecharge } from '../../src/cli/commands/show.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

async function shown(id: string): Promise<ShownRecharge> {
  const { status, data } = await world.admin.get(`/api/v1/recharges/${encodeURIComponent(id)}`);
  expect(status).toBe(200);
  return data;
}

const told = ({ story }: ShownRecharge) => story.map(({ what }) => what);

describe('a recharge', () => {
  test('is found by its own id, and by that of its event, PaymentIntent, refund, dispute and workflows', async () => {
    const { rechargeId, eventId, intentId, organization } = await world.recharged();
    const { id: disputeId } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(disputeId, 'taken_back');
    const workflows = [`recharge/${organization.id}/${eventId}`, `recharge/${eventId}`, `reversal/${rechargeId}`];
    for (const id of [rechargeId, eventId, intentId, disputeId, ...workflows])
      expect({ id, found: (await shown(id)).id }).toEqual({ id, found: rechargeId });
    expect((await world.admin.get(`/api/v1/reversals/${disputeId}`)).data).toMatchObject({ id: disputeId, recharge_id: rechargeId });
  });

  test('that leads nowhere says which ids do', async () => {
    const { status, data } = await world.admin.get('/api/v1/recharges/pi_nobody');
    expect([status, data.detail]).toEqual([
      404,
      'no recharge belongs to pi_nobody: it takes the id of a recharge, event, PaymentIntent, refund, dispute or workflow',
    ]);
  });

  test('that was granted, disputed and won tells each step in the order of time', async () => {
    const { rechargeId, eventId, intentId, organization } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    const [hold] = (await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`)).data.data;
    const disputed = await shown(rechargeId);
    expect(told(disputed)).toEqual([
      `LiteLLM reported budget_crossed (${eventId})`,
      'the balance was -0.50: 20.50 USD was reserved',
      `PaymentIntent ${intentId} was made, and the card asked`,
      `20.50 USD was captured by ${intentId}`,
      'the budget was raised from 10.00 to 30.50',
      `dispute ${id}: 20.50 USD went back to the customer`,
      `hold ${hold.id} (disputed) began: dispute ${id} of recharge ${rechargeId}`,
      `${id}: quota was taken, the budget went from 30.50 to 10.00`,
    ]);
    expect(disputed.summary).toBe(
      `20.50 USD was paid, and the budget raised from 10.00 to 30.50; dispute ${id} took money back: its quota has followed`,
    );
    expect(disputed.next).toBeNull();
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'given_back');
    expect((await shown(id)).summary).toContain(`dispute ${id} took money back: the money has come back, and the quota with it`);
  });

  test('that a person has to settle says how, and then who has', async () => {
    const organization = await world.organization();
    const { goOn, rechargeId } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 11);
    await goOn();
    const parked = await world.eventually(async () => {
      const recharge = await shown(rechargeId);
      return recharge.status === 'needs_attention' && recharge;
    }, 'it is parked');
    expect(parked).toMatchObject({ next: `bill resolve ${rechargeId} --grant | --refund | --accept "reason"` });
    expect(parked.summary).toMatch(/^20\.50 USD waits for a person: max_budget is 11\.00/);
    const decision = { resolution: 'accept', reason: 'it was raised by hand', by: 'ada' };
    await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, decision);
    const settled = await shown(rechargeId);
    expect(told(settled).at(-1)).toBe('ada decided to accept it: it was raised by hand');
    expect(settled.next).toBeNull();
  });

  test('that was declined says why, in the words of Stripe', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    await world.alerted(organization);
    const { id } = await world.rechargeOf(organization);
    const declined = await shown(id);
    expect(declined.summary).toMatch(/^20\.50 USD was not paid: /);
    expect(told(declined).at(-1)).toMatch(/^(the card was not charged: .+ \(.+\)|hold hld_\w+ \(declined\) began: .+)$/);
  });
});

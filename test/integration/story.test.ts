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
    const [hold] = (await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`)).data.data;
    const { latest_charge: chargeId } = await world.stripe.paymentIntents.retrieve(intentId);
    await world.sql.query(
      `insert into stripe_event (id, type, object_id, payment_intent_id, handled_at) values ('evt_ofStripe', 'refund.created', 're_1', $1, now())`,
      [intentId],
    );
    for (const id of [rechargeId, eventId, intentId, disputeId, hold.id, String(chargeId), 'evt_ofStripe', ...workflows])
      expect({ id, found: (await shown(id)).id }).toEqual({ id, found: rechargeId });
    for (const id of [disputeId, rechargeId, intentId, `reversal/${rechargeId}`, hold.id])
      expect((await world.admin.get(`/api/v1/reversals/${encodeURIComponent(id)}`)).data).toMatchObject({
        id: disputeId,
        recharge_id: rechargeId,
      });
    for (const id of [intentId, rechargeId, String(chargeId)])
      expect((await world.admin.get(`/webhooks/events/${id}`)).data).toMatchObject({
        id: eventId,
        summary: 'its recharge ended as succeeded',
      });
  });

  test('that leads nowhere says which ids do', async () => {
    const { status, data } = await world.admin.get('/api/v1/recharges/pi_nobody');
    expect([status, data.detail]).toEqual([
      404,
      'no recharge belongs to pi_nobody: it takes the id of a recharge, event, PaymentIntent, charge, refund, dispute, hold or workflow',
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
      `hold ${hold.id} (disputed) began: dispute ${id} of recharge ${rechargeId}: 20.50 USD, fraudulent`,
      `${id}: quota was taken, the budget went from 30.50 to 10.00`,
    ]);
    expect(disputed.summary).toBe(
      `20.50 USD was paid, and the budget raised from 10.00 to 30.50; dispute ${id} took money back: its quota has followed`,
    );
    expect(disputed.next).toBe(
      `${hold.id} (disputed) stops further charges; the dispute is won (evidence is given at Stripe), or a person releases it: bill release ${hold.id} "reason"`,
    );
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'given_back');
    const won = await shown(id);
    expect(won.summary).toContain(`dispute ${id} took money back: the money has come back, and the quota with it`);
    expect(told(won)).toEqual(expect.arrayContaining(told(disputed)));
    expect(told(won)).toContain(`hold ${hold.id} ended, by ${id}: the dispute is won`);
    expect(won.next).toBeNull();
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
    expect(parked).toMatchObject({ next: expect.stringContaining(`\nbill resolve ${rechargeId} --grant "reason"`) });
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

describe('an event', () => {
  const event = async (id: string) => (await world.admin.get(`/webhooks/events/${id}`)).data;

  test('that led to no charge says why, and what settles it as long as that stands', async () => {
    const organization = await world.organization({ settings: { max_daily_recharges: 0 } });
    const eventId = await world.accepted(organization);
    await world.closed(eventId);
    expect(await event(eventId)).toMatchObject({
      summary: 'nothing was charged: max_daily_recharges is 0, so nothing is ever charged: set it to 1 at least',
      next: `bill org set ${organization.id} --max-daily <n>`,
    });
    const { data } = await world.sql
      .query("select data from outbound_event where type = 'refusal.new' and organization_id = $1", [organization.id])
      .then(({ rows }) => rows[0]);
    expect([data.detail, data.action]).toEqual([
      'max_daily_recharges is 0, so nothing is ever charged: set it to 1 at least',
      `bill org set ${organization.id} --max-daily <n>`,
    ]);
  });

  test('that met a hold names the hold that applied then', async () => {
    const organization = await world.organization();
    const wish = { scope: 'organization', subject: organization.id, reason: 'unpaid invoices' };
    const { data: hold } = await world.admin.post('/api/v1/holds', wish);
    const eventId = await world.accepted(organization);
    await world.closed(eventId);
    const held = `nothing was charged, held (operator): unpaid invoices; a person releases it (${hold.id})`;
    expect(await event(eventId)).toMatchObject({ summary: held, next: `bill release ${hold.id} "reason"` });
    await world.admin.post(`/api/v1/holds/${hold.id}/release`, { reason: 'paid' });
    expect(await event(eventId)).toMatchObject({ summary: expect.stringMatching(/; it ended at \S+Z$/), next: null });
  });

  test('of a team that nobody has says so, and one that is nowhere says which ids there are', async () => {
    const { data } = await world.alert('nobodys-team');
    expect(await event(data.event_id)).toMatchObject({ summary: 'no organization has the LiteLLM team nobodys-team' });
    expect((await event('pi_nobody')).detail).toContain('it takes the id of a recharge, event, PaymentIntent, charge,');
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { errorOf, StripeStandIn, USD_10 } from './stripe-stand-in.ts';

let standIn: StripeStandIn;
let stripe: Stripe;

beforeAll(async () => {
  standIn = await StripeStandIn.start();
  stripe = standIn.stripe;
});
afterEach(() => standIn.calm());
afterAll(() => standIn.close());

describe('refunds and disputes', () => {
  test('two partial refunds add up, and then nothing is left', async () => {
    const { id: payment_intent } = await standIn.paid();
    await stripe.refunds.create({ payment_intent, amount: 400, metadata: { recharge: '7' } });
    expect(await errorOf(stripe.refunds.create({ payment_intent, amount: 601 }))).toMatchObject({ statusCode: 400, param: 'amount' });
    await stripe.refunds.create({ payment_intent });
    expect(await errorOf(stripe.refunds.create({ payment_intent }))).toMatchObject({ statusCode: 400, code: 'charge_already_refunded' });
    const refunds = await stripe.refunds.list({ payment_intent });
    expect(refunds.data.map(({ amount }) => amount)).toEqual([600, 400]);
    const [charge] = (await stripe.charges.list({ payment_intent })).data;
    expect(charge).toMatchObject({ refunded: true, amount_refunded: 1000 });
  });

  test('a payment that took no money cannot be refunded', async () => {
    const { id: payment_intent } = await stripe.paymentIntents.create({ ...USD_10 });
    expect(await errorOf(stripe.refunds.create({ payment_intent }))).toMatchObject({
      statusCode: 400,
      message: expect.stringContaining('does not have a successful charge'),
    });
  });

  test('a pending refund that fails gives its amount back to the charge', async () => {
    await standIn.knob('refunds/mode', { status: 'pending' });
    const { id: payment_intent } = await standIn.paid();
    const refund = await stripe.refunds.create({ payment_intent });
    expect(refund.status).toBe('pending');
    await standIn.knob(`refunds/${refund.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
    expect(await stripe.refunds.retrieve(refund.id)).toMatchObject({ status: 'failed', failure_reason: 'lost_or_stolen_card' });
    expect((await stripe.refunds.create({ payment_intent })).amount).toBe(1000);
  });

  test('a refund that succeeded can fail weeks later, with refund.failed', async () => {
    const { id: payment_intent } = await standIn.paid();
    const refund = await stripe.refunds.create({ payment_intent });
    await standIn.knob(`refunds/${refund.id}`, { status: 'failed' });
    const [event] = (await stripe.events.list({ type: 'refund.failed', limit: 1 })).data;
    expect(event?.data.object).toMatchObject({ id: refund.id, status: 'failed' });
  });

  test('only a pending refund can be canceled', async () => {
    const { id: payment_intent } = await standIn.paid();
    const done = await stripe.refunds.create({ payment_intent, amount: 100 });
    expect(await errorOf(stripe.refunds.cancel(done.id))).toMatchObject({ statusCode: 400 });
    await standIn.knob('refunds/mode', { status: 'pending' });
    const waiting = await stripe.refunds.create({ payment_intent, amount: 100 });
    expect((await stripe.refunds.cancel(waiting.id)).status).toBe('canceled');
    expect((await stripe.charges.list({ payment_intent })).data[0]?.amount_refunded).toBe(100);
  });

  test('a disputed charge refuses refunds until the dispute is won', async () => {
    const { id: payment_intent } = await standIn.paid();
    const dispute = (await standIn.knob('disputes', { payment_intent })) as Stripe.Dispute;
    expect(dispute).toMatchObject({ status: 'needs_response', amount: 1000 });
    expect(await errorOf(stripe.refunds.create({ payment_intent }))).toMatchObject({ statusCode: 400, code: 'charge_disputed' });
    await standIn.knob(`disputes/${dispute.id}`, { status: 'won' });
    expect((await stripe.disputes.retrieve(dispute.id)).status).toBe('won');
    expect((await stripe.refunds.create({ payment_intent })).status).toBe('succeeded');
  });

  test('a dispute fails the refund that was on its way', async () => {
    await standIn.knob('refunds/mode', { status: 'pending' });
    const { id: payment_intent } = await standIn.paid();
    const { id } = await stripe.refunds.create({ payment_intent });
    await standIn.knob('disputes', { payment_intent });
    expect(await stripe.refunds.retrieve(id)).toMatchObject({ status: 'failed', failure_reason: 'charge_for_pending_refund_disputed' });
  });
});

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { errorOf, StripeStandIn } from './stripe-stand-in.ts';

let standIn: StripeStandIn;
let stripe: Stripe;

beforeAll(async () => {
  standIn = await StripeStandIn.start();
  stripe = standIn.stripe;
});
afterAll(() => standIn.close());

async function warned(
  wish: object = {},
): Promise<{ intent: Stripe.PaymentIntent; charge: string; warning: Stripe.Radar.EarlyFraudWarning }> {
  const intent = await standIn.paid();
  const charge = intent.latest_charge as string;
  const warning = (await standIn.knob(`charges/${charge}/early_fraud_warning`, wish)) as Stripe.Radar.EarlyFraudWarning;
  return { intent, charge, warning };
}

test('an early fraud warning names charge and intent, and is an event', async () => {
  const { intent, charge, warning } = await warned();
  expect(warning).toEqual({
    id: expect.stringMatching(/^issfr_\w{24}$/),
    object: 'radar.early_fraud_warning',
    actionable: true,
    charge,
    created: expect.any(Number),
    fraud_type: 'made_with_stolen_card',
    livemode: false,
    payment_intent: intent.id,
  });
  expect(await stripe.radar.earlyFraudWarnings.retrieve(warning.id)).toMatchObject(warning);
  const [event] = (await stripe.events.list({ limit: 1 })).data;
  expect(event).toMatchObject({ type: 'radar.early_fraud_warning.created', data: { object: warning } });
});

test('it may leave the intent to its charge, and is found by the intent all the same', async () => {
  const { intent, warning } = await warned({ with_payment_intent: false, fraud_type: 'misc', actionable: false });
  expect(warning).toMatchObject({ fraud_type: 'misc', actionable: false });
  expect(warning).not.toHaveProperty('payment_intent');
  expect((await stripe.radar.earlyFraudWarnings.list({ payment_intent: intent.id })).data).toEqual([warning]);
});

test('of a charge that is refunded whole it is not actionable', async () => {
  const { id, latest_charge } = await standIn.paid();
  await stripe.refunds.create({ payment_intent: id });
  expect(await standIn.knob(`charges/${latest_charge}/early_fraud_warning`)).toMatchObject({ actionable: false });
});

test('warnings are listed by charge and time of creation, behind a cursor', async () => {
  const [first, second] = [await warned(), await warned()];
  const idsOf = async (query: Stripe.Radar.EarlyFraudWarningListParams) =>
    (await stripe.radar.earlyFraudWarnings.list(query)).data.map(({ id }) => id);
  expect(await idsOf({ charge: first.charge })).toEqual([first.warning.id]);
  expect(await idsOf({ limit: 1, starting_after: second.warning.id })).toEqual([first.warning.id]);
  const { created } = first.warning;
  expect(await idsOf({ charge: first.charge, created: { gte: created } })).toEqual([first.warning.id]);
  expect(await idsOf({ charge: first.charge, created: { gt: created } })).toEqual([]);
});

test('only a charge that succeeded is warned of, with a type that Stripe has', async () => {
  const { latest_charge } = await standIn.paid('pm_usBankAccount');
  await expect(standIn.knob(`charges/${latest_charge}/early_fraud_warning`)).rejects.toThrow('has not succeeded');
  await expect(warned({ fraud_type: 'bad_luck' })).rejects.toThrow('fraud_type');
  expect(await errorOf(stripe.radar.earlyFraudWarnings.retrieve('issfr_none'))).toMatchObject({
    statusCode: 404,
    code: 'resource_missing',
  });
});

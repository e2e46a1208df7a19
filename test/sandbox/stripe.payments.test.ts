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

describe('a payment', () => {
  test('is created unconfirmed, then confirmed off-session, and captures once', async () => {
    const intent = await stripe.paymentIntents.create({ ...USD_10, ...(await standIn.customerWith()), metadata: { recharge: '7' } });
    expect(intent).toMatchObject({ status: 'requires_confirmation', amount_received: 0, latest_charge: null });
    const confirmed = await stripe.paymentIntents.confirm(intent.id, { off_session: true, expand: ['latest_charge', 'payment_method'] });
    expect(confirmed).toMatchObject({
      status: 'succeeded',
      amount_received: 1000,
      latest_charge: { status: 'succeeded', captured: true, amount: 1000, payment_intent: intent.id },
      payment_method: { card: { last4: '4242' } },
      metadata: { recharge: '7' },
    });
    const again = await errorOf(stripe.paymentIntents.confirm(intent.id));
    expect(again).toMatchObject({ statusCode: 400, code: 'payment_intent_unexpected_state', payment_intent: { status: 'succeeded' } });
    expect(again.message).toContain('already succeeded');
    expect(await standIn.capturedCharges(intent.id)).toHaveLength(1);
  });

  test.each([
    ['pm_card_chargeDeclined', 'card_declined', 'generic_decline', 'try_again_later'],
    ['pm_card_visa_chargeDeclinedInsufficientFunds', 'card_declined', 'insufficient_funds', 'try_again_later'],
    ['pm_card_chargeDeclinedLostCard', 'card_declined', 'lost_card', 'do_not_try_again'],
    ['pm_card_chargeDeclinedStolenCard', 'card_declined', 'stolen_card', 'do_not_try_again'],
    ['pm_card_chargeDeclinedExpiredCard', 'expired_card', 'expired_card', 'confirm_card_data'],
    ['pm_card_chargeDeclinedIncorrectCvc', 'incorrect_cvc', 'incorrect_cvc', 'confirm_card_data'],
    ['pm_card_chargeDeclinedProcessingError', 'processing_error', 'processing_error', 'try_again_later'],
    ['pm_card_chargeDeclinedVelocityLimitExceeded', 'card_declined', 'card_velocity_exceeded', 'try_again_later'],
    ['pm_card_chargeDeclinedFraudulent', 'card_declined', 'fraudulent', undefined],
  ])('with %s is declined: %s, %s, %s', async (payment_method, code, decline_code, advice_code) => {
    const error = await errorOf(stripe.paymentIntents.create({ ...USD_10, payment_method, confirm: true }));
    expect(error).toMatchObject({ type: 'StripeCardError', statusCode: 402, code, decline_code });
    expect((error.raw as { advice_code?: string }).advice_code).toBe(advice_code);
    const intent = await stripe.paymentIntents.retrieve(error.payment_intent?.id as string, { expand: ['latest_charge'] });
    expect(intent).toMatchObject({
      status: 'requires_payment_method',
      amount_received: 0,
      payment_method: null,
      last_payment_error: { code, decline_code, charge: error.charge },
      latest_charge: { id: error.charge, status: 'failed', captured: false },
    });
  });

  test('that Stripe blocks is declined as fraudulent, and the bank was never asked', async () => {
    const error = await errorOf(stripe.paymentIntents.create({ ...USD_10, payment_method: 'pm_card_radarBlock', confirm: true }));
    expect(error).toMatchObject({ statusCode: 402, code: 'card_declined', decline_code: 'fraudulent' });
    expect(await stripe.charges.retrieve(error.charge as string)).toMatchObject({
      status: 'failed',
      outcome: { type: 'blocked', network_status: 'not_sent_to_network', reason: 'highest_risk_level', risk_level: 'highest' },
    });
  });

  test('that the bank declines has what the card network says, when the network says something', async () => {
    const source = await standIn.customerWith('pm_card_chargeCustomerFail');
    const pay = () => errorOf(stripe.paymentIntents.create({ ...USD_10, ...source, confirm: true, off_session: true }));
    const outcomeOf = async ({ charge }: Stripe.errors.StripeError) => (await stripe.charges.retrieve(charge as string)).outcome;
    const silent = await pay();
    expect(silent).not.toHaveProperty('network_decline_code', expect.anything());
    expect(await outcomeOf(silent)).toMatchObject({ network_decline_code: null, network_advice_code: null });

    const codes = { network_advice_code: '03', network_decline_code: '41' };
    await standIn.knob(`payment_methods/${source.payment_method}`, codes);
    const error = await pay();
    expect(error).toMatchObject(codes);
    expect(await stripe.paymentIntents.retrieve(error.payment_intent?.id as string)).toMatchObject({ last_payment_error: codes });
    expect(await outcomeOf(error)).toMatchObject({ type: 'issuer_declined', network_status: 'declined_by_network', ...codes });
  });

  test('is declined when a saved card has been reported lost, and another card then pays it', async () => {
    const { customer, payment_method } = await standIn.customerWith();
    await standIn.knob(`payment_methods/${payment_method}`, { behaves_like: 'pm_card_chargeDeclinedLostCard' });
    const { id } = await stripe.paymentIntents.create({ ...USD_10, customer, payment_method });
    expect(await errorOf(stripe.paymentIntents.confirm(id, { off_session: true }))).toMatchObject({ decline_code: 'lost_card' });
    const other = await stripe.paymentMethods.attach('pm_card_mastercard', { customer });
    expect(await stripe.paymentIntents.confirm(id, { payment_method: other.id, off_session: true })).toMatchObject({
      status: 'succeeded',
      last_payment_error: null,
    });
    const attempts = (await stripe.charges.list({ payment_intent: id })).data.map(({ status }) => status);
    expect(attempts).toEqual(['succeeded', 'failed']);
  });

  test.each([
    [{ off_session: true }, 'authentication_required'],
    [{ error_on_requires_action: true }, 'authentication_not_handled'],
  ])('that needs authentication is refused with %j', async (how, decline_code) => {
    const source = await standIn.customerWith('pm_card_authenticationRequired');
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...source });
    const error = await errorOf(stripe.paymentIntents.confirm(id, how));
    expect(error).toMatchObject({ statusCode: 402, type: 'StripeCardError', code: 'authentication_required', decline_code });
    expect(await stripe.paymentIntents.retrieve(id)).toMatchObject({ status: 'requires_payment_method', next_action: null });
  });

  test('refused off-session is paid by the customer on-session, who authenticates', async () => {
    const source = await standIn.customerWith('pm_card_authenticationRequiredOnSetup');
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...source });
    await errorOf(stripe.paymentIntents.confirm(id, { off_session: true }));
    const { payment_method } = source;
    const waiting = await stripe.paymentIntents.confirm(id, { payment_method, return_url: 'https://example.com/paid' });
    expect(waiting).toMatchObject({ status: 'requires_action', next_action: { type: 'redirect_to_url' } });
    await standIn.knob(`payment_intents/${id}/complete_authentication`, { outcome: 'succeeded' });
    expect((await stripe.paymentIntents.retrieve(id)).status).toBe('succeeded');
    // Set up by that, this card pays off-session from then on.
    const next = await stripe.paymentIntents.create({ ...USD_10, ...source, confirm: true, off_session: true });
    expect(next.status).toBe('succeeded');
  });

  test('falls back to requires_payment_method when authentication fails', async () => {
    const source = await standIn.customerWith('pm_card_authenticationRequired');
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...source, confirm: true });
    await standIn.knob(`payment_intents/${id}/complete_authentication`, { outcome: 'failed' });
    expect(await stripe.paymentIntents.retrieve(id)).toMatchObject({
      status: 'requires_payment_method',
      last_payment_error: { code: 'payment_intent_authentication_failure' },
    });
  });

  test.each([
    ['succeeded', { status: 'succeeded', amount_received: 1000, latest_charge: { status: 'succeeded' } }],
    ['failed', { status: 'requires_payment_method', amount_received: 0, latest_charge: { status: 'failed', captured: false } }],
  ])('by bank debit is processing until it has %s', async (outcome, expected) => {
    const intent = await standIn.paid('pm_usBankAccount');
    expect(intent).toMatchObject({ status: 'processing', amount_received: 0 });
    expect(await errorOf(stripe.paymentIntents.cancel(intent.id))).toMatchObject({ code: 'payment_intent_unexpected_state' });
    await standIn.knob(`payment_intents/${intent.id}/settle`, { outcome });
    expect(await stripe.paymentIntents.retrieve(intent.id, { expand: ['latest_charge'] })).toMatchObject(expected);
  });

  test('authorized first is captured in part, and only once', async () => {
    const { id } = await stripe.paymentIntents.create({
      ...USD_10,
      ...(await standIn.customerWith()),
      confirm: true,
      capture_method: 'manual',
    });
    expect(await stripe.paymentIntents.retrieve(id)).toMatchObject({
      status: 'requires_capture',
      amount_capturable: 1000,
      amount_received: 0,
    });
    expect(await errorOf(stripe.paymentIntents.capture(id, { amount_to_capture: 1001 }))).toMatchObject({ param: 'amount_to_capture' });
    expect(await stripe.paymentIntents.capture(id, { amount_to_capture: 600 })).toMatchObject({
      status: 'succeeded',
      amount_received: 600,
    });
    expect(await errorOf(stripe.paymentIntents.capture(id))).toMatchObject({ code: 'payment_intent_unexpected_state' });
    expect(await errorOf(stripe.refunds.create({ payment_intent: id, amount: 601 }))).toMatchObject({ param: 'amount' });
    expect((await stripe.refunds.create({ payment_intent: id })).amount).toBe(600);
  });

  test('canceled before it succeeded is never charged', async () => {
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...(await standIn.customerWith()) });
    const canceled = await stripe.paymentIntents.cancel(id, { cancellation_reason: 'abandoned' });
    expect(canceled).toMatchObject({ status: 'canceled', cancellation_reason: 'abandoned', canceled_at: expect.any(Number) });
    expect(await errorOf(stripe.paymentIntents.confirm(id))).toMatchObject({ code: 'payment_intent_unexpected_state' });
    expect(await standIn.capturedCharges(id)).toHaveLength(0);
  });

  test('that has succeeded cannot be canceled', async () => {
    const { id } = await standIn.paid();
    expect(await errorOf(stripe.paymentIntents.cancel(id))).toMatchObject({
      code: 'payment_intent_unexpected_state',
      payment_intent: { status: 'succeeded' },
    });
  });

  test.each([
    ['usd', 49, 'amount_too_small'],
    ['jpy', 49, 'amount_too_small'],
    ['gbp', 29, 'amount_too_small'],
    ['usd', 100_000_000, 'amount_too_large'],
    ['usd', 0, 'parameter_invalid_integer'],
    ['usd', 10.5, 'parameter_invalid_integer'],
    ['kwd', 1001, undefined],
    ['xyz', 1000, undefined],
  ])('in %s of %d minor units is refused: %s', async (currency, amount, code) => {
    const error = await errorOf(stripe.paymentIntents.create({ currency, amount }));
    expect(error).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    expect(error.code).toBe(code);
  });

  test.each([
    ['usd', 50],
    ['jpy', 50],
    ['kwd', 1010],
    ['usd', 99_999_999],
  ])('in %s of %d minor units is accepted', async (currency, amount) => {
    expect((await stripe.paymentIntents.create({ currency, amount })).status).toBe('requires_payment_method');
  });

  test('with an unknown, a missing or a premature parameter is refused by name', async () => {
    const create = (parameters: object) => errorOf(stripe.paymentIntents.create(parameters as Stripe.PaymentIntentCreateParams));
    expect(await create({ ...USD_10, colour: 'red' })).toMatchObject({ code: 'parameter_unknown', param: 'colour' });
    expect(await create({ currency: 'usd' })).toMatchObject({ code: 'parameter_missing', param: 'amount' });
    expect(await create({ ...USD_10, off_session: true })).toMatchObject({ param: 'off_session' });
    expect(await create({ ...USD_10, expand: ['lates_charge'] })).toMatchObject({ param: 'expand' });
  });

  test('that may redirect needs a return_url to be confirmed', async () => {
    const source = await standIn.customerWith();
    const redirecting = stripe.paymentIntents.create({ amount: 1000, currency: 'usd', ...source, confirm: true });
    expect(await errorOf(redirecting)).toMatchObject({ statusCode: 400, message: expect.stringContaining('return_url') });
    const automatic_payment_methods = { enabled: true, allow_redirects: 'never' as const };
    const staying = await stripe.paymentIntents.create({
      amount: 1000,
      currency: 'usd',
      ...source,
      confirm: true,
      automatic_payment_methods,
    });
    expect(staying.status).toBe('succeeded');
  });

  test('is listed by customer and time of creation', async () => {
    const { id, customer, created } = await standIn.paid();
    const listed = (query: object) => stripe.paymentIntents.list({ customer: customer as string, ...query });
    expect((await listed({ created: { gte: created } })).data.map((intent) => intent.id)).toEqual([id]);
    expect((await listed({ created: { gt: created } })).data).toEqual([]);
  });

  test('that does not exist is 404 in a path and 400 in a parameter', async () => {
    expect(await errorOf(stripe.paymentIntents.retrieve('pi_none'))).toMatchObject({ statusCode: 404, code: 'resource_missing' });
    expect(await errorOf(stripe.refunds.create({ payment_intent: 'pi_none' }))).toMatchObject({
      statusCode: 400,
      code: 'resource_missing',
    });
  });
});

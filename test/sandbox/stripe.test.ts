import { mkdtempSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import Stripe from 'stripe';
import type { FaultRequest } from '../../sandbox/faults.ts';
import type { SandboxServer } from '../../sandbox/http.ts';
import { launch } from '../../sandbox/launch.ts';
import type * as ours from '../../sandbox/stripe/objects.ts';
import { type StripeState, startStripe } from '../../sandbox/stripe/server.ts';

const WEBHOOK_SECRET = 'whsec_test';

let server: SandboxServer;
let stripe: Stripe;

function clientOf(port: number, key = 'sk_test_alpha'): Stripe {
  return new Stripe(key, { host: '127.0.0.1', port, protocol: 'http', maxNetworkRetries: 0, telemetry: false });
}

async function knob(path: string, body: object = {}): Promise<unknown> {
  const response = await fetch(`${server.url}/_sandbox/${path}`, { method: 'POST', body: JSON.stringify(body) });
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(answer));
  return answer;
}

async function state(): Promise<StripeState> {
  return (await (await fetch(`${server.url}/_sandbox/state`)).json()) as StripeState;
}

/** The error that a call ends with; fails when it does not. */
async function errorOf(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeError) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

/** A customer with a default card, and what charging it takes. */
async function customerWith(testCard = 'pm_card_visa') {
  const customer = await stripe.customers.create({
    payment_method: testCard,
    invoice_settings: { default_payment_method: testCard },
  });
  const payment_method = customer.invoice_settings.default_payment_method as string;
  return { customer: customer.id, payment_method };
}

const USD_10 = { amount: 1000, currency: 'usd', payment_method_types: ['card', 'us_bank_account'] };

/** A charged payment intent. */
async function paid(testCard = 'pm_card_visa'): Promise<Stripe.PaymentIntent> {
  return stripe.paymentIntents.create({ ...USD_10, ...(await customerWith(testCard)), confirm: true, off_session: true });
}

function fault(request: FaultRequest): void {
  server.faults.add(request);
}

async function capturedCharges(intentId: string) {
  return (await state()).charges.filter((charge) => charge.payment_intent === intentId && charge.captured);
}

beforeAll(async () => {
  server = await startStripe({ port: 0 });
  stripe = clientOf(server.port);
});

afterAll(() => server.close());

afterEach(async () => {
  await fetch(`${server.url}/_sandbox/faults`, { method: 'DELETE' });
  await knob('refunds/mode', { status: 'succeeded' });
});

describe('secret keys', () => {
  test('a request without a key is refused with 401', async () => {
    const response = await fetch(`${server.url}/v1/account`);
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
  });

  test('Basic authentication carries the key as the user name', async () => {
    const authorization = `Basic ${Buffer.from('sk_test_alpha:').toString('base64')}`;
    expect((await fetch(`${server.url}/v1/account`, { headers: { authorization } })).status).toBe(200);
  });

  test.each(['sk_live_alpha', 'pk_test_alpha', 'sk_test_revoked_alpha'])('%s is refused', async (key) => {
    expect(await errorOf(clientOf(server.port, key).balance.retrieve())).toMatchObject({ statusCode: 401 });
  });

  test('a revoked key stops working until it is restored', async () => {
    await knob('keys', { revoked: ['sk_test_alpha'] });
    expect(await errorOf(stripe.accounts.retrieveCurrent())).toMatchObject({ statusCode: 401, code: 'api_key_expired' });
    await knob('keys', { revoked: [] });
    expect((await stripe.accounts.retrieveCurrent()).object).toBe('account');
  });
});

describe('customers and payment methods', () => {
  test('a test card becomes a payment method of its own for each customer', async () => {
    const [one, two] = [await customerWith(), await customerWith()];
    expect(one.payment_method).toMatch(/^pm_\w{24}$/);
    expect(one.payment_method).not.toBe(two.payment_method);
    const { data } = await stripe.customers.listPaymentMethods(one.customer, { type: 'card' });
    expect(data.map(({ id }) => id)).toEqual([one.payment_method]);
  });

  test('the default payment method must be attached to the customer', async () => {
    const [one, two] = [await customerWith(), await customerWith()];
    const foreign = stripe.customers.update(one.customer, { invoice_settings: { default_payment_method: two.payment_method } });
    expect(await errorOf(foreign)).toMatchObject({ statusCode: 400, code: 'resource_missing' });
  });

  test('an update changes what it names, and an empty metadata value removes the key', async () => {
    const { id } = await stripe.customers.create({ email: 'a@example.com', metadata: { team: 'blue', plan: 'x' } });
    const updated = await stripe.customers.update(id, { name: 'Ada', metadata: { plan: '' } });
    expect(updated).toMatchObject({ email: 'a@example.com', name: 'Ada', metadata: { team: 'blue' } });
    expect(updated.metadata).not.toHaveProperty('plan');
  });

  test('a deleted customer is answered as deleted and cannot be charged', async () => {
    const { customer, payment_method } = await customerWith();
    const intent = await stripe.paymentIntents.create({ ...USD_10, customer, payment_method });
    await stripe.customers.del(customer);
    expect(await stripe.customers.retrieve(customer)).toEqual({ id: customer, object: 'customer', deleted: true });
    const missing = { statusCode: 400, code: 'resource_missing', param: 'customer' };
    expect(await errorOf(stripe.paymentIntents.create({ ...USD_10, customer }))).toMatchObject(missing);
    expect(await errorOf(stripe.paymentIntents.confirm(intent.id))).toMatchObject(missing);
  });

  test('a detached card can neither be charged nor attached again', async () => {
    const { customer, payment_method } = await customerWith();
    await stripe.paymentMethods.detach(payment_method);
    const charge = stripe.paymentIntents.create({ ...USD_10, customer, payment_method });
    expect(await errorOf(charge)).toMatchObject({ statusCode: 400, message: expect.stringContaining('It may not be used again') });
    expect(await errorOf(stripe.paymentMethods.attach(payment_method, { customer }))).toMatchObject({ statusCode: 400 });
    expect((await stripe.customers.retrieve(customer)) as Stripe.Customer).toMatchObject({
      invoice_settings: { default_payment_method: null },
    });
  });

  test('a card charged without a customer cannot be charged again', async () => {
    const { payment_method } = await stripe.paymentIntents.create({ ...USD_10, payment_method: 'pm_card_visa', confirm: true });
    const again = stripe.paymentIntents.create({ ...USD_10, payment_method: payment_method as string });
    expect(await errorOf(again)).toMatchObject({ message: expect.stringContaining('It may not be used again') });
  });

  test("another customer's card cannot be charged", async () => {
    const [one, two] = [await customerWith(), await customerWith()];
    const charge = stripe.paymentIntents.create({ ...USD_10, customer: one.customer, payment_method: two.payment_method });
    expect(await errorOf(charge)).toMatchObject({ statusCode: 400, code: 'resource_missing', param: 'payment_method' });
  });

  test('a card that declines as such cannot be attached, one that declines later can', async () => {
    const { id: customer } = await stripe.customers.create();
    const attach = stripe.paymentMethods.attach('pm_card_chargeDeclined', { customer });
    expect(await errorOf(attach)).toMatchObject({ statusCode: 402, code: 'card_declined' });
    expect((await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })).customer).toBe(customer);
    expect(await errorOf(paid('pm_card_chargeCustomerFail'))).toMatchObject({ code: 'card_declined', decline_code: 'generic_decline' });
  });

  test('a list goes on behind its cursor', async () => {
    const ids = [];
    for (let i = 0; i < 3; i++) ids.unshift((await stripe.customers.create()).id);
    const first = await stripe.customers.list({ limit: 2 });
    const second = await stripe.customers.list({ limit: 1, starting_after: first.data[1]?.id as string });
    expect([...first.data, ...second.data].map(({ id }) => id)).toEqual(ids);
    expect(first.has_more).toBe(true);
  });
});

describe('a payment', () => {
  test('is created unconfirmed, then confirmed off-session, and captures once', async () => {
    const intent = await stripe.paymentIntents.create({ ...USD_10, ...(await customerWith()), metadata: { recharge: '7' } });
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
    expect(await capturedCharges(intent.id)).toHaveLength(1);
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

  test('is declined when a saved card has been reported lost, and another card then pays it', async () => {
    const { customer, payment_method } = await customerWith();
    await knob(`payment_methods/${payment_method}`, { behaves_like: 'pm_card_chargeDeclinedLostCard' });
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
    const source = await customerWith('pm_card_authenticationRequired');
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...source });
    const error = await errorOf(stripe.paymentIntents.confirm(id, how));
    expect(error).toMatchObject({ statusCode: 402, type: 'StripeCardError', code: 'authentication_required', decline_code });
    expect(await stripe.paymentIntents.retrieve(id)).toMatchObject({ status: 'requires_payment_method', next_action: null });
  });

  test('refused off-session is paid by the customer on-session, who authenticates', async () => {
    const source = await customerWith('pm_card_authenticationRequiredOnSetup');
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...source });
    await errorOf(stripe.paymentIntents.confirm(id, { off_session: true }));
    const { payment_method } = source;
    const waiting = await stripe.paymentIntents.confirm(id, { payment_method, return_url: 'https://example.com/paid' });
    expect(waiting).toMatchObject({ status: 'requires_action', next_action: { type: 'redirect_to_url' } });
    await knob(`payment_intents/${id}/complete_authentication`, { outcome: 'succeeded' });
    expect((await stripe.paymentIntents.retrieve(id)).status).toBe('succeeded');
    // Set up by that, this card pays off-session from then on.
    const next = await stripe.paymentIntents.create({ ...USD_10, ...source, confirm: true, off_session: true });
    expect(next.status).toBe('succeeded');
  });

  test('falls back to requires_payment_method when authentication fails', async () => {
    const source = await customerWith('pm_card_authenticationRequired');
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...source, confirm: true });
    await knob(`payment_intents/${id}/complete_authentication`, { outcome: 'failed' });
    expect(await stripe.paymentIntents.retrieve(id)).toMatchObject({
      status: 'requires_payment_method',
      last_payment_error: { code: 'payment_intent_authentication_failure' },
    });
  });

  test.each([
    ['succeeded', { status: 'succeeded', amount_received: 1000, latest_charge: { status: 'succeeded' } }],
    ['failed', { status: 'requires_payment_method', amount_received: 0, latest_charge: { status: 'failed', captured: false } }],
  ])('by bank debit is processing until it has %s', async (outcome, expected) => {
    const intent = await paid('pm_usBankAccount');
    expect(intent).toMatchObject({ status: 'processing', amount_received: 0 });
    expect(await errorOf(stripe.paymentIntents.cancel(intent.id))).toMatchObject({ code: 'payment_intent_unexpected_state' });
    await knob(`payment_intents/${intent.id}/settle`, { outcome });
    expect(await stripe.paymentIntents.retrieve(intent.id, { expand: ['latest_charge'] })).toMatchObject(expected);
  });

  test('authorized first is captured in part, and only once', async () => {
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...(await customerWith()), confirm: true, capture_method: 'manual' });
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
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...(await customerWith()) });
    const canceled = await stripe.paymentIntents.cancel(id, { cancellation_reason: 'abandoned' });
    expect(canceled).toMatchObject({ status: 'canceled', cancellation_reason: 'abandoned', canceled_at: expect.any(Number) });
    expect(await errorOf(stripe.paymentIntents.confirm(id))).toMatchObject({ code: 'payment_intent_unexpected_state' });
    expect(await capturedCharges(id)).toHaveLength(0);
  });

  test('that has succeeded cannot be canceled', async () => {
    const { id } = await paid();
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
    const source = await customerWith();
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
    const { id, customer, created } = await paid();
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

describe('refunds and disputes', () => {
  test('two partial refunds add up, and then nothing is left', async () => {
    const { id: payment_intent } = await paid();
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
    await knob('refunds/mode', { status: 'pending' });
    const { id: payment_intent } = await paid();
    const refund = await stripe.refunds.create({ payment_intent });
    expect(refund.status).toBe('pending');
    await knob(`refunds/${refund.id}`, { status: 'failed', failure_reason: 'lost_or_stolen_card' });
    expect(await stripe.refunds.retrieve(refund.id)).toMatchObject({ status: 'failed', failure_reason: 'lost_or_stolen_card' });
    expect((await stripe.refunds.create({ payment_intent })).amount).toBe(1000);
  });

  test('a refund that succeeded can fail weeks later, with refund.failed', async () => {
    const { id: payment_intent } = await paid();
    const refund = await stripe.refunds.create({ payment_intent });
    await knob(`refunds/${refund.id}`, { status: 'failed' });
    const [event] = (await stripe.events.list({ type: 'refund.failed', limit: 1 })).data;
    expect(event?.data.object).toMatchObject({ id: refund.id, status: 'failed' });
  });

  test('only a pending refund can be canceled', async () => {
    const { id: payment_intent } = await paid();
    const done = await stripe.refunds.create({ payment_intent, amount: 100 });
    expect(await errorOf(stripe.refunds.cancel(done.id))).toMatchObject({ statusCode: 400 });
    await knob('refunds/mode', { status: 'pending' });
    const waiting = await stripe.refunds.create({ payment_intent, amount: 100 });
    expect((await stripe.refunds.cancel(waiting.id)).status).toBe('canceled');
    expect((await stripe.charges.list({ payment_intent })).data[0]?.amount_refunded).toBe(100);
  });

  test('a disputed charge refuses refunds until the dispute is won', async () => {
    const { id: payment_intent } = await paid();
    const dispute = (await knob('disputes', { payment_intent })) as Stripe.Dispute;
    expect(dispute).toMatchObject({ status: 'needs_response', amount: 1000 });
    expect(await errorOf(stripe.refunds.create({ payment_intent }))).toMatchObject({ statusCode: 400, code: 'charge_disputed' });
    await knob(`disputes/${dispute.id}`, { status: 'won' });
    expect((await stripe.disputes.retrieve(dispute.id)).status).toBe('won');
    expect((await stripe.refunds.create({ payment_intent })).status).toBe('succeeded');
  });

  test('a dispute fails the refund that was on its way', async () => {
    await knob('refunds/mode', { status: 'pending' });
    const { id: payment_intent } = await paid();
    const { id } = await stripe.refunds.create({ payment_intent });
    await knob('disputes', { payment_intent });
    expect(await stripe.refunds.retrieve(id)).toMatchObject({ status: 'failed', failure_reason: 'charge_for_pending_refund_disputed' });
  });
});

describe('idempotency keys', () => {
  test('a repeated call is answered with the first answer and charges once', async () => {
    const parameters = { ...USD_10, ...(await customerWith()), confirm: true, off_session: true };
    const first = await stripe.paymentIntents.create(parameters, { idempotencyKey: 'twice' });
    const second = await stripe.paymentIntents.create(parameters, { idempotencyKey: 'twice' });
    expect(second).toEqual(first);
    expect(second.lastResponse.headers).toMatchObject({
      'idempotent-replayed': 'true',
      'original-request': first.lastResponse.requestId,
      'idempotency-key': 'twice',
    });
    expect(second.lastResponse.requestId).not.toBe(first.lastResponse.requestId);
    expect((await stripe.paymentIntents.list({ customer: parameters.customer })).data).toHaveLength(1);
  });

  test('a decline is saved too', async () => {
    const parameters = { ...USD_10, payment_method: 'pm_card_chargeDeclined', confirm: true };
    const first = await errorOf(stripe.paymentIntents.create(parameters, { idempotencyKey: 'declined' }));
    const second = await errorOf(stripe.paymentIntents.create(parameters, { idempotencyKey: 'declined' }));
    expect(second.payment_intent?.id).toBe(first.payment_intent?.id);
  });

  test('other parameters or another endpoint are an idempotency_error', async () => {
    await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'reused' });
    const dearer = stripe.paymentIntents.create({ ...USD_10, amount: 2000 }, { idempotencyKey: 'reused' });
    expect(await errorOf(dearer)).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
    const elsewhere = stripe.customers.create({}, { idempotencyKey: 'reused' });
    expect(await errorOf(elsewhere)).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
  });

  test('failed parameter validation is not saved, so the key serves the corrected call', async () => {
    const wrong = { currency: 'usd' } as Stripe.PaymentIntentCreateParams;
    await errorOf(stripe.paymentIntents.create(wrong, { idempotencyKey: 'corrected' }));
    expect((await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'corrected' })).amount).toBe(1000);
  });

  test('a revoked key is not saved, so the call passes after rotation', async () => {
    await knob('keys', { revoked: ['sk_test_alpha'] });
    await errorOf(stripe.paymentIntents.create(USD_10, { idempotencyKey: 'rotated' }));
    await knob('keys', { revoked: [] });
    expect((await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'rotated' })).amount).toBe(1000);
  });

  test('a second call while the first one runs is 409 idempotency_key_in_use', async () => {
    fault({ path: '/v1/payment_intents', saved: true, action: { kind: 'delay', ms: 200 } });
    const first = stripe.paymentIntents.create(USD_10, { idempotencyKey: 'at-once' });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const second = await errorOf(stripe.paymentIntents.create(USD_10, { idempotencyKey: 'at-once' }));
    expect(second).toMatchObject({ statusCode: 409, code: 'idempotency_key_in_use' });
    const third = await first.then(() => stripe.paymentIntents.create(USD_10, { idempotencyKey: 'at-once' }));
    expect(third.id).toBe((await first).id);
  });

  test('a pruned key is a new request', async () => {
    const first = await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'pruned' });
    await knob('idempotency/prune');
    expect((await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'pruned' })).id).not.toBe(first.id);
  });

  test('a key is forgotten after 24 hours, not before', async () => {
    const create = () => stripe.paymentIntents.create(USD_10, { idempotencyKey: 'old' });
    const { id } = await create();
    const start = Date.now();
    const clock = jest.spyOn(Date, 'now');
    try {
      clock.mockReturnValue(start + 24 * 3600_000 - 1000);
      expect((await create()).id).toBe(id);
      clock.mockReturnValue(start + 24 * 3600_000 + 1000);
      expect((await create()).id).not.toBe(id);
    } finally {
      clock.mockRestore();
    }
  });
});

describe('faults', () => {
  const confirmPath = '/v1/payment_intents/*/confirm';

  /** An unconfirmed intent and its keyed confirmation, which can be called again. */
  async function confirmation(key: string) {
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...(await customerWith()) });
    return { id, confirm: () => stripe.paymentIntents.confirm(id, { off_session: true }, { idempotencyKey: key }) };
  }

  test.each([
    ['cut_body', { kind: 'cut_body' as const }],
    ['reset', { kind: 'reset' as const }],
  ])('an answer lost after the capture (%s): the same key finds the one charge', async (name, action) => {
    const { id, confirm } = await confirmation(`lost-${name}`);
    fault({ path: confirmPath, when: 'after', times: 2, action });
    await errorOf(confirm());
    await fetch(`${server.url}/_sandbox/faults`, { method: 'DELETE' });
    expect((await confirm()).status).toBe('succeeded');
    expect(await capturedCharges(id)).toHaveLength(1);
  });

  test('a 500 saved while the charge succeeded is replayed, and the intent tells that money was taken', async () => {
    const { id, confirm } = await confirmation('saved-after');
    fault({ path: confirmPath, when: 'after', saved: true, action: { kind: 'respond', status: 500 } });
    expect(await errorOf(confirm())).toMatchObject({ statusCode: 500, rawType: 'api_error' });
    expect(await errorOf(confirm())).toMatchObject({ statusCode: 500, headers: { 'idempotent-replayed': 'true' } });
    expect((await stripe.paymentIntents.retrieve(id)).status).toBe('succeeded');
  });

  test('a 500 saved before the charge is replayed, and nothing was taken', async () => {
    const { id, confirm } = await confirmation('saved-before');
    const headers = { 'stripe-should-retry': 'false' };
    fault({ path: confirmPath, when: 'before', saved: true, action: { kind: 'respond', status: 500, headers } });
    await errorOf(confirm());
    expect(await errorOf(confirm())).toMatchObject({ statusCode: 500, headers });
    expect((await stripe.paymentIntents.retrieve(id)).status).toBe('requires_confirmation');
    expect(await capturedCharges(id)).toHaveLength(0);
  });

  test('a 429 comes from before the layer: nothing ran, and the key is free', async () => {
    const { confirm } = await confirmation('limited');
    const body = { error: { type: 'invalid_request_error', code: 'rate_limit', message: 'slow down' } };
    fault({ path: confirmPath, action: { kind: 'respond', status: 429, body } });
    expect(await errorOf(confirm())).toMatchObject({ type: 'StripeRateLimitError' });
    const passed = await confirm();
    expect(passed.status).toBe('succeeded');
    expect(passed.lastResponse.headers).not.toHaveProperty('idempotent-replayed');
  });
});

describe('events and webhooks', () => {
  let receiver: Server;
  let received: { body: string; signature: string }[] = [];
  let answers: number[] = [];

  beforeAll(async () => {
    receiver = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      received.push({ body, signature: String(request.headers['stripe-signature']) });
      response.writeHead(answers.shift() ?? 200).end();
    });
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  });

  afterAll(() => new Promise((resolve) => receiver.close(resolve)));

  /** Runs with the receiver as the only webhook endpoint of a server of its own. */
  async function withWebhooks(run: () => Promise<void>): Promise<void> {
    const [sharedServer, sharedClient] = [server, stripe];
    received = [];
    answers = [];
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
    server = await startStripe({ port: 0, webhook: { url, secret: WEBHOOK_SECRET } });
    stripe = clientOf(server.port);
    try {
      await run();
    } finally {
      await server.close();
      [server, stripe] = [sharedServer, sharedClient];
    }
  }

  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    for (let waited_ms = 0; !(await condition()); waited_ms += 20) {
      if (waited_ms > 4000) throw new Error('waited for too long');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  test('each step of a payment is an event, told with the request that caused it', async () => {
    const { id } = await paid();
    const { data } = await stripe.events.list({ limit: 3 });
    expect(data.map(({ type }) => type)).toEqual(['payment_intent.succeeded', 'charge.succeeded', 'payment_intent.created']);
    expect(data[0]).toMatchObject({ data: { object: { id, status: 'succeeded' } }, request: { id: expect.stringMatching(/^req_/) } });
    // The object as it was then, not as it is now.
    expect(data[2]?.data.object).toMatchObject({ id, status: 'requires_confirmation' });
  });

  test('a list of events filters by types', async () => {
    await paid();
    const { data } = await stripe.events.list({ types: ['charge.succeeded', 'payment_intent.created'], limit: 2 });
    expect(data.map(({ type }) => type)).toEqual(['charge.succeeded', 'payment_intent.created']);
  });

  test('events arrive signed, and no webhook is pending afterwards', () =>
    withWebhooks(async () => {
      const { id } = await stripe.customers.create();
      await until(() => received.length === 1);
      const [{ body, signature } = { body: '', signature: '' }] = received;
      const event = stripe.webhooks.constructEvent(body, signature, WEBHOOK_SECRET);
      expect(event).toMatchObject({ type: 'customer.created', data: { object: { id } } });
      expect(() => stripe.webhooks.constructEvent(`${body} `, signature, WEBHOOK_SECRET)).toThrow('signature');
      await until(async () => (await stripe.events.retrieve(event.id)).pending_webhooks === 0);
    }));

  test('a delivery that is not answered with 2xx is tried again', () =>
    withWebhooks(async () => {
      answers = [500, 301];
      await stripe.customers.create();
      await until(() => received.length === 3);
      await until(async () => (await state()).deliveries.length === 3);
      expect((await state()).deliveries.map(({ attempt, status }) => [attempt, status])).toEqual([
        [1, 500],
        [2, 301],
        [3, 200],
      ]);
    }));

  test('events lost while webhooks are off can be resent', () =>
    withWebhooks(async () => {
      await knob('webhooks', { enabled: false });
      await stripe.customers.create();
      await knob('webhooks', { enabled: true });
      const [event] = (await stripe.events.list()).data;
      expect(received).toHaveLength(0);
      await knob(`events/${event?.id}/resend`);
      await until(() => received.length === 1);
    }));

  test('an endpoint made by the API gets the events that it asked for, under its own secret', () =>
    withWebhooks(async () => {
      await knob('webhooks', { enabled: true });
      const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/second`;
      const endpoint = await stripe.webhookEndpoints.create({ url, enabled_events: ['customer.deleted'] });
      const { id } = await stripe.customers.create();
      await stripe.customers.del(id);
      await until(() => received.length === 3);
      const verified = received.filter(({ body, signature }) => {
        try {
          return stripe.webhooks.constructEvent(body, signature, endpoint.secret as string).type === 'customer.deleted';
        } catch {
          return false;
        }
      });
      expect(verified).toHaveLength(1);
    }));
});

describe('the server', () => {
  test('takes the latency that it was given, with the idempotency key in use meanwhile', async () => {
    const slow = await startStripe({ port: 0, latencyMs: 100 });
    try {
      const client = clientOf(slow.port);
      const start = performance.now();
      const create = () => client.customers.create({}, { idempotencyKey: 'slow' });
      const [first, second] = await Promise.allSettled([create(), create()]);
      expect(performance.now() - start).toBeGreaterThan(95);
      expect([first.status, second.status].sort()).toEqual(['fulfilled', 'rejected']);
    } finally {
      await slow.close();
    }
  });

  test('keeps only what Stripe has, under the same names and types', async () => {
    await paid();
    const kept = await state();
    // The compiler checks; the assertion only uses what it checked. A payment error holds a payment method in short.
    const intents: Pick<Stripe.PaymentIntent, Exclude<keyof ours.PaymentIntent, 'last_payment_error'>>[] = kept.payment_intents;
    const charges: Pick<Stripe.Charge, keyof ours.Charge>[] = kept.charges;
    const refunds: Pick<Stripe.Refund, keyof ours.Refund>[] = kept.refunds;
    const disputes: Pick<Stripe.Dispute, keyof ours.Dispute>[] = kept.disputes;
    expect([intents, charges, refunds, disputes].every((objects) => objects.length > 0)).toBe(true);
  });

  test('an unknown path is answered as Stripe does', async () => {
    expect(await errorOf(stripe.rawRequest('GET', '/v1/nope'))).toMatchObject({
      statusCode: 404,
      message: expect.stringContaining('Unrecognized request URL (GET: /v1/nope)'),
    });
  });

  test('names from a form do not reach the prototype', async () => {
    const authorization = 'Bearer sk_test_alpha';
    const body = 'metadata[__proto__]=x&metadata[constructor]=y';
    const response = await fetch(`${server.url}/v1/customers`, { method: 'POST', headers: { authorization }, body });
    expect(Object.keys(((await response.json()) as Stripe.Customer).metadata)).toEqual(['__proto__', 'constructor']);
  });

  test('every API call is in the request log with its key and status', async () => {
    await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'logged' });
    await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'logged' });
    const logged = (await state()).requests.filter(({ idempotency_key }) => idempotency_key === 'logged');
    expect(logged).toMatchObject([
      { method: 'POST', path: '/v1/payment_intents', status: 200, replayed: false },
      { status: 200, replayed: true },
    ]);
  });

  test('runs by itself, settles debits after a while, and finds its state again', async () => {
    const [sharedServer, sharedClient] = [server, stripe];
    const stateFile = join(mkdtempSync(join(tmpdir(), 'stripe-')), 'state.json');
    const first = await launch('stripe', { port: 0, state: stateFile, 'settle-after-ms': 50 });
    stripe = clientOf(Number(new URL(first.ready['url'] as string).port));
    const debit = await paid('pm_usBankAccount');
    const card = await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'kept' });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await stripe.paymentIntents.retrieve(debit.id)).status).toBe('succeeded');
    await first.stop();

    const second = await startStripe({ port: 0, stateFile });
    stripe = clientOf(second.port);
    try {
      expect(await stripe.paymentIntents.retrieve(debit.id)).toMatchObject({ status: 'succeeded', amount_received: 1000 });
      expect((await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'kept' })).id).toBe(card.id);
    } finally {
      await second.close();
      [server, stripe] = [sharedServer, sharedClient];
    }
  });
});

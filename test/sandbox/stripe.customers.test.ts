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

describe('secret keys', () => {
  test('a request without a key is refused with 401', async () => {
    const response = await fetch(`${standIn.url}/v1/account`);
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
  });

  test('Basic authentication carries the key as the user name', async () => {
    const authorization = `Basic ${Buffer.from('sk_test_alpha:').toString('base64')}`;
    expect((await fetch(`${standIn.url}/v1/account`, { headers: { authorization } })).status).toBe(200);
  });

  test.each(['sk_live_alpha', 'pk_test_alpha', 'sk_test_revoked_alpha'])('%s is refused', async (key) => {
    expect(await errorOf(standIn.clientWith(key).balance.retrieve())).toMatchObject({ statusCode: 401 });
  });

  test('a revoked key stops working until it is restored', async () => {
    await standIn.knob('keys', { revoked: ['sk_test_alpha'] });
    expect(await errorOf(stripe.accounts.retrieveCurrent())).toMatchObject({ statusCode: 401, code: 'api_key_expired' });
    await standIn.knob('keys', { revoked: [] });
    expect((await stripe.accounts.retrieveCurrent()).object).toBe('account');
  });
});

describe('customers and payment methods', () => {
  test('a test card becomes a payment method of its own for each customer', async () => {
    const [one, two] = [await standIn.customerWith(), await standIn.customerWith()];
    expect(one.payment_method).toMatch(/^pm_\w{24}$/);
    expect(one.payment_method).not.toBe(two.payment_method);
    const { data } = await stripe.customers.listPaymentMethods(one.customer, { type: 'card' });
    expect(data.map(({ id }) => id)).toEqual([one.payment_method]);
  });

  test('the default payment method must be attached to the customer', async () => {
    const [one, two] = [await standIn.customerWith(), await standIn.customerWith()];
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
    const { customer, payment_method } = await standIn.customerWith();
    const intent = await stripe.paymentIntents.create({ ...USD_10, customer, payment_method });
    await stripe.customers.del(customer);
    expect(await stripe.customers.retrieve(customer)).toEqual({ id: customer, object: 'customer', deleted: true });
    const missing = { statusCode: 400, code: 'resource_missing', param: 'customer' };
    expect(await errorOf(stripe.paymentIntents.create({ ...USD_10, customer }))).toMatchObject(missing);
    expect(await errorOf(stripe.paymentIntents.confirm(intent.id))).toMatchObject(missing);
  });

  test('a detached card can neither be charged nor attached again', async () => {
    const { customer, payment_method } = await standIn.customerWith();
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
    const [one, two] = [await standIn.customerWith(), await standIn.customerWith()];
    const charge = stripe.paymentIntents.create({ ...USD_10, customer: one.customer, payment_method: two.payment_method });
    expect(await errorOf(charge)).toMatchObject({ statusCode: 400, code: 'resource_missing', param: 'payment_method' });
  });

  test('a card that declines as such cannot be attached, one that declines later can', async () => {
    const { id: customer } = await stripe.customers.create();
    const attach = stripe.paymentMethods.attach('pm_card_chargeDeclined', { customer });
    expect(await errorOf(attach)).toMatchObject({ statusCode: 402, code: 'card_declined' });
    expect((await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })).customer).toBe(customer);
    expect(await errorOf(standIn.paid('pm_card_chargeCustomerFail'))).toMatchObject({
      code: 'card_declined',
      decline_code: 'generic_decline',
    });
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

describe('a saved card', () => {
  const cardOf = async (id: string) => (await stripe.paymentMethods.retrieve(id)).card;

  test('has the fingerprint of its number, whoever saved it, and each charge shows it', async () => {
    const [one, two] = [await standIn.customerWith(), await standIn.customerWith()];
    const another = await standIn.customerWith('pm_card_mastercard');
    const fingerprint = (await cardOf(one.payment_method))?.fingerprint;
    expect(fingerprint).toMatch(/^[A-Za-z0-9]{16}$/);
    expect((await cardOf(two.payment_method))?.fingerprint).toBe(fingerprint);
    expect((await cardOf(another.payment_method))?.fingerprint).not.toBe(fingerprint);
    const { latest_charge } = await stripe.paymentIntents.create({ ...USD_10, ...one, confirm: true, expand: ['latest_charge'] });
    expect(latest_charge).toMatchObject({ payment_method_details: { type: 'card', card: { brand: 'visa', last4: '4242', fingerprint } } });
  });

  test('is given another number by the knob, without an event', async () => {
    const { payment_method } = await standIn.customerWith();
    await standIn.knob(`payment_methods/${payment_method}`, { fingerprint: 'aaaaaaaaaaaaaaa1' });
    expect(await cardOf(payment_method)).toMatchObject({ last4: '4242', fingerprint: 'aaaaaaaaaaaaaaa1' });
    expect((await stripe.events.list({ limit: 1 })).data[0]?.type).not.toBe('payment_method.automatically_updated');
  });

  test('keeps fingerprint and expiry when it behaves like another one', async () => {
    const { payment_method } = await standIn.customerWith();
    const before = await cardOf(payment_method);
    await standIn.knob(`payment_methods/${payment_method}`, { behaves_like: 'pm_card_chargeDeclinedExpiredCard' });
    expect(await cardOf(payment_method)).toEqual(before);
  });

  test('gets a new expiry under the same id, and a charge before it keeps the old one', async () => {
    const { payment_method, customer } = await standIn.customerWith();
    const charge = await stripe.paymentIntents.create({ ...USD_10, customer, payment_method, confirm: true, expand: ['latest_charge'] });
    const before = await cardOf(payment_method);
    await standIn.knob(`payment_methods/${payment_method}`, { exp_month: 1, exp_year: 2040 });
    expect(await cardOf(payment_method)).toEqual({ ...before, exp_month: 1, exp_year: 2040 });
    const [event] = (await stripe.events.list({ limit: 1 })).data;
    expect(event).toMatchObject({
      type: 'payment_method.automatically_updated',
      data: { object: { id: payment_method, card: { exp_year: 2040 } }, previous_attributes: { card: { exp_year: before?.exp_year } } },
    });
    const { data } = await stripe.charges.list({ payment_intent: charge.id });
    expect(data[0]?.payment_method_details?.card?.exp_year).toBe(before?.exp_year);
  });

  test.each([
    { fingerprint: 'short' },
    { fingerprint: 'aaaaaaaaaaaaaaa-' },
    { exp_month: 0 },
    { exp_month: 13 },
    { exp_year: 40 },
    { exp_year: 2040, behaves_like: 'pm_card_none' },
    { last4: '4242' },
  ])('refuses the change %j, whole', async (change) => {
    const { payment_method } = await standIn.customerWith();
    const before = await cardOf(payment_method);
    await expect(standIn.knob(`payment_methods/${payment_method}`, change)).rejects.toThrow('invalid_request_error');
    expect(await cardOf(payment_method)).toEqual(before);
  });
});

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { launch } from '../../sandbox/launch.ts';
import type * as ours from '../../sandbox/stripe/objects.ts';
import type { StripeState } from '../../sandbox/stripe/server.ts';
import { errorOf, paymentAt, StripeStandIn, stripeClient, USD_10 } from './stripe-stand-in.ts';
import { until } from './until.ts';

const LATENCY_MS = 100;
/** Longer than the test. */
const AN_HOUR_MS = 3_600_000;

let standIn: StripeStandIn;
let stripe: Stripe;

beforeAll(async () => {
  standIn = await StripeStandIn.start();
  stripe = standIn.stripe;
});
afterEach(() => standIn.calm());
afterAll(() => standIn.close());

describe('the server', () => {
  test('takes the latency that it was given', async () => {
    const slow = await StripeStandIn.start({ latencyMs: LATENCY_MS });
    try {
      const start = performance.now();
      await slow.stripe.customers.create();
      // The timer may fire in the millisecond before.
      expect(performance.now() - start).toBeGreaterThan(LATENCY_MS - 1);
    } finally {
      await slow.close();
    }
  });

  test.each([
    ['its latency', { 'latency-ms': AN_HOUR_MS }, undefined],
    ['a delay that is saved', {}, { path: '/v1/customers', saved: true, action: { kind: 'delay', ms: AN_HOUR_MS } }],
  ])('has an idempotency key in use while a call waits for %s', async (_, options, fault) => {
    const slow = await launch('stripe', { port: 0, ...options });
    const url = slow.ready['url'] as string;
    if (fault) await fetch(`${url}/_sandbox/faults`, { method: 'POST', body: JSON.stringify(fault) });
    const create = () => stripeClient(url).customers.create({}, { idempotencyKey: 'slow' });
    const first = errorOf(create());
    const inUse = async () => ((await (await fetch(`${url}/_sandbox/state`)).json()) as StripeState).idempotency_keys.length === 1;
    await until(inUse, 'the first call is under way');
    expect(await errorOf(create())).toMatchObject({ statusCode: 409, code: 'idempotency_key_in_use' });
    await slow.stop();
    expect(await first).toMatchObject({ type: 'StripeConnectionError' });
  });

  test('keeps only what Stripe has, under the same names and types', async () => {
    const [refunded, disputed] = [await standIn.paid(), await standIn.paid()];
    await stripe.refunds.create({ payment_intent: refunded.id });
    await standIn.knob('disputes', { payment_intent: disputed.id });
    await standIn.knob(`charges/${disputed.latest_charge}/early_fraud_warning`);
    const kept = await standIn.state();
    // The compiler checks; the assertion only uses what it checked. A payment error holds a payment method in
    // short, a charge its details in short.
    const intents: Pick<Stripe.PaymentIntent, Exclude<keyof ours.PaymentIntent, 'last_payment_error'>>[] = kept.payment_intents;
    const charges: Pick<Stripe.Charge, Exclude<keyof ours.Charge, 'payment_method_details'>>[] = kept.charges;
    const refunds: Pick<Stripe.Refund, keyof ours.Refund>[] = kept.refunds;
    const disputes: Pick<Stripe.Dispute, keyof ours.Dispute>[] = kept.disputes;
    const warnings: Pick<Stripe.Radar.EarlyFraudWarning, keyof ours.EarlyFraudWarning>[] = kept.early_fraud_warnings;
    expect([intents, charges, refunds, disputes, warnings].every((objects) => objects.length > 0)).toBe(true);
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
    const response = await fetch(`${standIn.url}/v1/customers`, { method: 'POST', headers: { authorization }, body });
    expect(Object.keys(((await response.json()) as Stripe.Customer).metadata)).toEqual(['__proto__', 'constructor']);
  });

  test('every API call is in the request log with its key and status', async () => {
    await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'logged' });
    await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'logged' });
    const logged = (await standIn.state()).requests.filter(({ idempotency_key }) => idempotency_key === 'logged');
    expect(logged).toMatchObject([
      { method: 'POST', path: '/v1/payment_intents', status: 200, replayed: false },
      { status: 200, replayed: true },
    ]);
  });

  test('runs by itself, settles debits after a while, and finds its state again', async () => {
    const stateFile = join(mkdtempSync(join(tmpdir(), 'stripe-')), 'state.json');
    const first = await launch('stripe', { port: 0, state: stateFile, 'settle-after-ms': 50 });
    const before = stripeClient(first.ready['url'] as string);
    const debit = await paymentAt(before, 'pm_usBankAccount');
    const card = await before.paymentIntents.create(USD_10, { idempotencyKey: 'kept' });
    await until(async () => (await before.paymentIntents.retrieve(debit.id)).status === 'succeeded', 'the debit has settled');
    await first.stop();

    const second = await StripeStandIn.start({ stateFile });
    try {
      const after = second.stripe.paymentIntents;
      expect(await after.retrieve(debit.id)).toMatchObject({ status: 'succeeded', amount_received: 1000 });
      expect((await after.create(USD_10, { idempotencyKey: 'kept' })).id).toBe(card.id);
    } finally {
      await second.close();
    }
  });
});

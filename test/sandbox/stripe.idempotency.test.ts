import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type Stripe from 'stripe';
import { IdempotencyLayer } from '../../sandbox/stripe/idempotency.ts';
import { errorOf, StripeStandIn, USD_10 } from './stripe-stand-in.ts';

let standIn: StripeStandIn;
let stripe: Stripe;

beforeAll(async () => {
  standIn = await StripeStandIn.start();
  stripe = standIn.stripe;
});
afterEach(() => standIn.calm());
afterAll(() => standIn.close());

describe('idempotency keys', () => {
  test('a repeated call is answered with the first answer and charges once', async () => {
    const parameters = { ...USD_10, ...(await standIn.customerWith()), confirm: true, off_session: true };
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
    await standIn.knob('keys', { revoked: ['sk_test_alpha'] });
    await errorOf(stripe.paymentIntents.create(USD_10, { idempotencyKey: 'rotated' }));
    await standIn.knob('keys', { revoked: [] });
    expect((await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'rotated' })).amount).toBe(1000);
  });

  test('a second call while the first one runs is 409 idempotency_key_in_use, a third one after it finds the answer', async () => {
    const layer = new IdempotencyLayer();
    const call = { key: 'at-once', method: 'POST', path: '/v1/payment_intents', parameters: 'amount=1000', requestId: 'req_1' };
    const answer = { status: 200, text: '{"id":"pi_1"}' };
    let end = () => {};
    const running = new Promise<void>((resolve) => {
      end = resolve;
    });
    const first = layer.once(call, async () => {
      await running;
      return { ...answer, executed: true };
    });
    const never = () => Promise.reject(new Error('it ran a second time'));
    await expect(layer.once({ ...call, requestId: 'req_2' }, never)).rejects.toMatchObject({
      status: 409,
      body: { type: 'idempotency_error', code: 'idempotency_key_in_use' },
    });
    end();
    expect(await first).toEqual(answer);
    expect(await layer.once({ ...call, requestId: 'req_3' }, never)).toEqual({ ...answer, replayOf: 'req_1' });
  });

  test('a pruned key is a new request', async () => {
    const first = await stripe.paymentIntents.create(USD_10, { idempotencyKey: 'pruned' });
    await standIn.knob('idempotency/prune');
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
    const { id } = await stripe.paymentIntents.create({ ...USD_10, ...(await standIn.customerWith()) });
    return { id, confirm: () => stripe.paymentIntents.confirm(id, { off_session: true }, { idempotencyKey: key }) };
  }

  test.each([
    ['cut_body', { kind: 'cut_body' as const }],
    ['reset', { kind: 'reset' as const }],
  ])('an answer lost after the capture (%s): the same key finds the one charge', async (name, action) => {
    const { id, confirm } = await confirmation(`lost-${name}`);
    standIn.fault({ path: confirmPath, when: 'after', times: 2, action });
    await errorOf(confirm());
    await standIn.clearFaults();
    expect((await confirm()).status).toBe('succeeded');
    expect(await standIn.capturedCharges(id)).toHaveLength(1);
  });

  test('a 500 saved while the charge succeeded is replayed, and the intent tells that money was taken', async () => {
    const { id, confirm } = await confirmation('saved-after');
    standIn.fault({ path: confirmPath, when: 'after', saved: true, action: { kind: 'respond', status: 500 } });
    expect(await errorOf(confirm())).toMatchObject({ statusCode: 500, rawType: 'api_error' });
    expect(await errorOf(confirm())).toMatchObject({ statusCode: 500, headers: { 'idempotent-replayed': 'true' } });
    expect((await stripe.paymentIntents.retrieve(id)).status).toBe('succeeded');
  });

  test('a 500 saved before the charge is replayed, and nothing was taken', async () => {
    const { id, confirm } = await confirmation('saved-before');
    const headers = { 'stripe-should-retry': 'false' };
    standIn.fault({ path: confirmPath, when: 'before', saved: true, action: { kind: 'respond', status: 500, headers } });
    await errorOf(confirm());
    expect(await errorOf(confirm())).toMatchObject({ statusCode: 500, headers });
    expect((await stripe.paymentIntents.retrieve(id)).status).toBe('requires_confirmation');
    expect(await standIn.capturedCharges(id)).toHaveLength(0);
  });

  test('a 429 comes from before the layer: nothing ran, and the key is free', async () => {
    const { confirm } = await confirmation('limited');
    const body = { error: { type: 'invalid_request_error', code: 'rate_limit', message: 'slow down' } };
    standIn.fault({ path: confirmPath, action: { kind: 'respond', status: 429, body } });
    expect(await errorOf(confirm())).toMatchObject({ type: 'StripeRateLimitError' });
    const passed = await confirm();
    expect(passed.status).toBe('succeeded');
    expect(passed.lastResponse.headers).not.toHaveProperty('idempotent-replayed');
  });
});

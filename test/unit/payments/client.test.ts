/**
 * The wall around Stripe: whatever goes wrong, a PaymentsError leaves, and nothing of the request with it.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { currency, minorUnits, parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { PaymentsClient } from '../../../src/payments/client.ts';
import { PaymentsError } from '../../../src/payments/errors.ts';
import { STRIPE_CALLS } from '../../../src/payments/transport.ts';
import { eventually } from '../../support/time.ts';

const SECRET_KEY = 'sk_test_planted_key';

const ORDER = {
  id: 'rch_1',
  eventId: 'evt_1',
  organizationId: 'acme',
  litellmTeamId: 'acme-team',
  stripeCustomerId: 'cus_1',
  amountMinor: minorUnits(2050),
  currency: currency('usd'),
  quotaGranted: parseQuota('20.50'),
  balanceSeen: parseQuota('-0.50'),
  keysSpent: 0,
};

const WRITE_NAME = { reversalId: 'du_1', direction: 'take' } as const;
const PROBE = '/is-all-sent-there';

/** Every call of the client: one that is missing here does not type-check. */
const CALLS: Record<Exclude<keyof PaymentsClient, 'load'>, (payments: PaymentsClient) => Promise<unknown>> = {
  chooseCard: (payments) => payments.chooseCard('cus_1'),
  knowsCustomer: (payments) => payments.knowsCustomer('cus_1'),
  createIntent: (payments) => payments.createIntent(ORDER, { paymentMethodId: 'pm_1', installation: 'ins_1' }),
  confirmIntent: (payments) => payments.confirmIntent(ORDER, 'pi_1'),
  readIntent: (payments) => payments.readIntent('pi_1'),
  cancelIntent: (payments) => payments.cancelIntent(ORDER, 'pi_1'),
  rememberWrite: (payments) => payments.rememberWrite('pi_1', WRITE_NAME, { before: quotaMicros(2), after: quotaMicros(1), upon: '' }),
  rememberedWrite: (payments) => payments.rememberedWrite('pi_1', WRITE_NAME),
  cardAndNewestIntents: (payments) => payments.cardAndNewestIntents('cus_1', 20),
  intentsBehind: (payments) => payments.intentsBehind('pi_1', { customerId: 'cus_1', limit: 100 }),
  intentsSince: (payments) => payments.intentsSince(new Date(), 100),
  refund: (payments) => payments.refund(ORDER, { intentId: 'pi_1' }),
  refundsOf: (payments) => payments.refundsOf('pi_1'),
  disputesOf: (payments) => payments.disputesOf('pi_1'),
  returnedMoneyOf: (payments) => payments.returnedMoneyOf('pi_1'),
  returnedSince: (payments) => Array.fromAsync(payments.returnedSince(new Date())),
  intentOfCharge: (payments) => payments.intentOfCharge('ch_1'),
  fraudWarning: (payments) => payments.fraudWarning({ id: 'issfr_1', chargeId: 'ch_1' }),
  fraudWarningsSince: (payments) => Array.fromAsync(payments.fraudWarningsSince(new Date())),
  forbiddenCalls: (payments) => payments.forbiddenCalls(),
  ping: (payments) => payments.ping(),
};

type Answer = { status: number; body: string };
let answer: Answer;
let server: Server;
let payments: PaymentsClient;

beforeAll(async () => {
  server = createServer((_request, response) => {
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  payments = new PaymentsClient({ secretKey: SECRET_KEY, apiBase: `http://127.0.0.1:${port}` });
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const ECHO = JSON.stringify({ error: { type: 'invalid_request_error', message: `Invalid API Key provided: ${SECRET_KEY}` } });

describe.each<[string, Answer, Partial<PaymentsError>]>([
  ['a refused key, repeated', { status: 401, body: ECHO }, { kind: 'key', status: 401 }],
  ['too many requests', { status: 429, body: ECHO }, { kind: 'busy', status: 429 }],
  ['a bad day of Stripe', { status: 500, body: ECHO }, { kind: 'unknown', status: 500 }],
  ["a gateway's own JSON", { status: 503, body: '{"message":"Service Unavailable"}' }, { kind: 'unknown', status: 503 }],
  ['HTML', { status: 200, body: `<html>${SECRET_KEY}</html>` }, { kind: 'unknown' }],
  ['JSON that was cut', { status: 200, body: '{"object":"payment_int' }, { kind: 'unknown' }],
])('%s', (_what, given, expected) => {
  test.each(Object.entries(CALLS))('%s throws what anybody may read', async (_name, call) => {
    answer = given;
    const error = await call(payments).then(
      () => undefined,
      (reason) => reason,
    );
    expect(error).toBeInstanceOf(PaymentsError);
    expect(error).toMatchObject(expected);
    expect(inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true })).not.toContain(SECRET_KEY);
  });
});

test('a key that may not make a call is told apart from one that may', async () => {
  answer = { status: 404, body: JSON.stringify({ error: { type: 'invalid_request_error', code: 'resource_missing', message: 'no' } }) };
  expect(await payments.forbiddenCalls()).toEqual([]);
  answer = { status: 403, body: JSON.stringify({ error: { type: 'invalid_request_error', message: 'not permitted' } }) };
  expect(await payments.forbiddenCalls()).toHaveLength(10);
});

test('a customer that the key does not know has no card and no payments', async () => {
  answer = { status: 404, body: JSON.stringify({ error: { type: 'invalid_request_error', code: 'resource_missing', message: 'no' } }) };
  expect(await payments.cardAndNewestIntents('cus_1', 20)).toEqual({
    choice: { kind: 'customer_missing', message: expect.any(String) },
    intents: [],
    hasMore: false,
  });
});

test('a warning that Stripe does not show, as to a restricted key, is what its event names', async () => {
  const charge = { id: 'issfr_1', chargeId: 'ch_1' };
  for (const status of [403, 404]) {
    answer = { status, body: JSON.stringify({ error: { type: 'invalid_request_error', message: 'no' } }) };
    expect(await payments.fraudWarning(charge)).toMatchObject({ ...charge, intentId: null, amountMinor: null, isActionable: true });
    expect(await payments.fraudWarning({ id: 'issfr_1', chargeId: null })).toBeUndefined();
    await expect(Array.fromAsync(payments.fraudWarningsSince(new Date()))).rejects.toMatchObject({ status });
  }
});

test.each(['money', 'bulk'] as const)(
  'of the lane %s only so many calls go to Stripe at once, and one too many is refused and never sent',
  async (lane) => {
    const { atOnce, waiting } = STRIPE_CALLS[lane];
    const underWay: ServerResponse[] = [];
    let hangs = true;
    const hanging = createServer((request, response) => {
      if (hangs && request.url !== PROBE) underWay.push(response);
      else response.end();
    });
    await new Promise<void>((resolve) => hanging.listen(0, '127.0.0.1', resolve));
    const apiBase = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`;
    const client = new PaymentsClient({ secretKey: SECRET_KEY, apiBase }, lane);

    const calls = Promise.allSettled(Array.from({ length: atOnce + waiting }, () => client.ping()));
    const message = `Stripe was not called: ${atOnce} calls are under way and ${waiting} wait`;
    await expect(client.confirmIntent(ORDER, 'pi_1')).rejects.toMatchObject({ name: 'PaymentsError', kind: 'busy', status: null, message });
    await eventually(async () => underWay.length >= atOnce, 'as many as fit are under way');
    // Sent after all that the client has sent already.
    await fetch(`${apiBase}${PROBE}`);
    expect(underWay).toHaveLength(atOnce);

    hangs = false;
    for (const response of underWay) response.end();
    await calls;
    hanging.closeAllConnections();
    hanging.close();
  },
);

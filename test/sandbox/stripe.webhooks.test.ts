import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { StripeStandIn } from './stripe-stand-in.ts';
import { until } from './until.ts';

const WEBHOOK_SECRET = 'whsec_test';

let receiver: Server;
let receiverUrl: string;
let received: { body: string; signature: string }[] = [];
/** The statuses of the next answers; 200 when there are none. */
let answers: number[] = [];
let standIn: StripeStandIn;
let stripe: Stripe;

beforeAll(async () => {
  receiver = createServer(async (request, response) => {
    received.push({ body: await text(request), signature: String(request.headers['stripe-signature']) });
    response.writeHead(answers.shift() ?? 200).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  receiverUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
});
beforeEach(async () => {
  received = [];
  answers = [];
  standIn = await StripeStandIn.start({ webhook: { url: receiverUrl, secret: WEBHOOK_SECRET } });
  stripe = standIn.stripe;
});
afterEach(() => standIn.close());
afterAll(() => new Promise((resolve) => receiver.close(resolve)));

/** Waits until every event has arrived at all its endpoints, or is lost. */
function allDelivered(): Promise<void> {
  return until(async () => (await stripe.events.list()).data.every((event) => event.pending_webhooks === 0), 'no webhook is pending');
}

/** What has arrived under a secret, in any order. */
function verified(secret: string): string[] {
  return received.flatMap(({ body, signature }) => {
    try {
      return [stripe.webhooks.constructEvent(body, signature, secret).type];
    } catch {
      return [];
    }
  });
}

test('each step of a payment is an event, told with the request that caused it', async () => {
  const { id } = await standIn.paid();
  const { data } = await stripe.events.list({ limit: 3 });
  expect(data.map(({ type }) => type)).toEqual(['payment_intent.succeeded', 'charge.succeeded', 'payment_intent.created']);
  expect(data[0]).toMatchObject({ data: { object: { id, status: 'succeeded' } }, request: { id: expect.stringMatching(/^req_/) } });
  // The object as it was then, not as it is now.
  expect(data[2]?.data.object).toMatchObject({ id, status: 'requires_confirmation' });
});

test('a list of events filters by types', async () => {
  await standIn.paid();
  const { data } = await stripe.events.list({ types: ['charge.succeeded', 'payment_intent.created'], limit: 2 });
  expect(data.map(({ type }) => type)).toEqual(['charge.succeeded', 'payment_intent.created']);
});

test('events arrive signed, and no webhook is pending afterwards', async () => {
  const { id } = await stripe.customers.create();
  await allDelivered();
  const [{ body, signature } = { body: '', signature: '' }, ...others] = received;
  expect(others).toEqual([]);
  const event = stripe.webhooks.constructEvent(body, signature, WEBHOOK_SECRET);
  expect(event).toMatchObject({ type: 'customer.created', data: { object: { id } } });
  expect(() => stripe.webhooks.constructEvent(`${body} `, signature, WEBHOOK_SECRET)).toThrow('signature');
});

test('a delivery that is not answered with 2xx is tried again', async () => {
  answers = [500, 301];
  await stripe.customers.create();
  await allDelivered();
  expect((await standIn.state()).deliveries.map(({ attempt, status }) => [attempt, status])).toEqual([
    [1, 500],
    [2, 301],
    [3, 200],
  ]);
});

test('events are lost while webhooks are off, and can be resent', async () => {
  await standIn.knob('webhooks', { enabled: false });
  await stripe.customers.create({ name: 'lost' });
  await standIn.knob('webhooks', { enabled: true });
  const [lost] = (await stripe.events.list()).data;
  await stripe.customers.create({ name: 'seen' });
  await allDelivered();
  expect(received).toEqual([{ body: expect.stringContaining('"seen"'), signature: expect.any(String) }]);
  await standIn.knob(`events/${lost?.id}/resend`);
  await allDelivered();
  expect(received.map(({ body }) => JSON.parse(body).data.object.name)).toEqual(['seen', 'lost']);
});

test('an endpoint made by the API gets the events that it asked for, under its own secret', async () => {
  const endpoint = await stripe.webhookEndpoints.create({ url: `${receiverUrl}second`, enabled_events: ['customer.deleted'] });
  const { id } = await stripe.customers.create();
  await stripe.customers.del(id);
  await allDelivered();
  expect(verified(endpoint.secret as string)).toEqual(['customer.deleted']);
  expect(verified(WEBHOOK_SECRET).toSorted()).toEqual(['customer.created', 'customer.deleted']);
});

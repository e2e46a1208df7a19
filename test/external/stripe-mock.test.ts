/**
 * Every call that we make to Stripe, against Stripe's own stripe-mock, which checks parameters by Stripe's
 * OpenAPI and remembers nothing, and against our stand-in, which has to take and refuse the same. Run by `npm
 * run test:stripe-mock`.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import Stripe from 'stripe';
import { launch } from '../../sandbox/launch.ts';
import type { Recharge } from '../../src/database/entities.ts';
import { parseQuota } from '../../src/domain/money.ts';
import { PaymentsClient } from '../../src/payments/client.ts';
import { startStripeMock } from './stripe-mock.ts';
import { openTap, type Tap } from './tap.ts';

const SECRET_KEY = 'sk_test_external';
const AMOUNT_MINOR = 2050;
const WITHOUT_REDIRECTS = { enabled: true, allow_redirects: 'never' } as const;

type Scene = {
  payments: PaymentsClient;
  recharge: Recharge;
  paymentMethodId: string;
  intentId: string;
  paidIntentId: string;
  warning: { id: string; chargeId: string };
};

const WRITE_NAME = { reversalId: 'du_1ABCDEFGHIJKLMNOPQRSTUVWX.12', direction: 'take' } as const;
const WRITE = { before: parseQuota('30.50'), after: parseQuota('10'), upon: 'rch_1' };

type Call = Exclude<keyof PaymentsClient, 'load'>;

/** Every call of the client: one that is missing here does not type-check. */
const CALLS: Record<Call, (scene: Scene) => Promise<unknown>> = {
  chooseCard: ({ payments, recharge }) => payments.chooseCard(recharge.stripeCustomerId),
  knowsCustomer: ({ payments, recharge }) => payments.knowsCustomer(recharge.stripeCustomerId),
  createIntent: ({ payments, recharge, paymentMethodId }) => payments.createIntent(recharge, { paymentMethodId, installation: 'ins_1' }),
  confirmIntent: ({ payments, recharge, intentId }) => payments.confirmIntent(recharge, intentId),
  readIntent: ({ payments, intentId }) => payments.readIntent(intentId),
  cancelIntent: ({ payments, recharge, intentId }) => payments.cancelIntent(recharge, intentId),
  rememberWrite: ({ payments, paidIntentId }) => payments.rememberWrite(paidIntentId, WRITE_NAME, WRITE),
  rememberedWrite: ({ payments, paidIntentId }) => payments.rememberedWrite(paidIntentId, WRITE_NAME),
  cardAndNewestIntents: ({ payments, recharge }) => payments.cardAndNewestIntents(recharge.stripeCustomerId, 20),
  intentsBehind: ({ payments, recharge, intentId }) =>
    payments.intentsBehind(intentId, { customerId: recharge.stripeCustomerId, limit: 100 }),
  intentsSince: ({ payments, intentId }) => payments.intentsSince(new Date(), 100, intentId),
  refundsOf: ({ payments, paidIntentId }) => payments.refundsOf(paidIntentId),
  refund: ({ payments, recharge, paidIntentId }) => payments.refund(recharge, { intentId: paidIntentId }),
  disputesOf: ({ payments, paidIntentId }) => payments.disputesOf(paidIntentId),
  returnedMoneyOf: ({ payments, paidIntentId }) => payments.returnedMoneyOf(paidIntentId),
  returnedSince: ({ payments }) => Array.fromAsync(payments.returnedSince(new Date())),
  intentOfCharge: ({ payments, warning }) => payments.intentOfCharge(warning.chargeId ?? 'ch_1'),
  fraudWarning: ({ payments, warning }) => payments.fraudWarning(warning),
  fraudWarningsSince: ({ payments }) => Array.fromAsync(payments.fraudWarningsSince(new Date())),
  forbiddenCalls: ({ payments }) => payments.forbiddenCalls(),
  ping: ({ payments }) => payments.ping(),
};

/** What each call sends, and what of it would be wrong. */
const SENT: { call: Call; route: string; parameters: string[]; wrong: Record<string, string | undefined> }[] = [
  { call: 'chooseCard', route: 'GET /v1/customers/:id', parameters: ['expand[0]'], wrong: {} },
  { call: 'knowsCustomer', route: 'GET /v1/customers/:id', parameters: [], wrong: {} },
  {
    call: 'chooseCard',
    route: 'GET /v1/customers/:id/payment_methods',
    parameters: ['limit', 'type'],
    wrong: { limit: 'many', type: 'gold' },
  },
  {
    call: 'createIntent',
    route: 'POST /v1/payment_intents',
    parameters: [
      'amount',
      'automatic_payment_methods[allow_redirects]',
      'automatic_payment_methods[enabled]',
      'currency',
      'customer',
      'description',
      'metadata',
      'payment_method',
    ],
    wrong: {
      amount: 'much',
      currency: undefined,
      'automatic_payment_methods[allow_redirects]': 'sometimes',
      'automatic_payment_methods[enabled]': 'perhaps',
      metadata: 'none',
    },
  },
  {
    call: 'confirmIntent',
    route: 'POST /v1/payment_intents/:id/confirm',
    parameters: ['error_on_requires_action', 'off_session'],
    wrong: { error_on_requires_action: 'perhaps', off_session: 'perhaps' },
  },
  { call: 'readIntent', route: 'GET /v1/payment_intents/:id', parameters: ['expand[0]'], wrong: {} },
  {
    call: 'cancelIntent',
    route: 'POST /v1/payment_intents/:id/cancel',
    parameters: ['cancellation_reason'],
    wrong: { cancellation_reason: 'boredom' },
  },
  { call: 'rememberWrite', route: 'POST /v1/payment_intents/:id', parameters: ['metadata'], wrong: { metadata: 'none' } },
  { call: 'rememberedWrite', route: 'GET /v1/payment_intents/:id', parameters: [], wrong: {} },
  {
    call: 'refund',
    route: 'POST /v1/refunds',
    parameters: ['amount', 'metadata', 'payment_intent'],
    wrong: { amount: 'much', metadata: 'none' },
  },
  { call: 'refundsOf', route: 'GET /v1/refunds', parameters: ['limit', 'payment_intent'], wrong: { limit: 'many' } },
  { call: 'disputesOf', route: 'GET /v1/disputes', parameters: ['limit', 'payment_intent'], wrong: { limit: 'many' } },
  {
    call: 'intentsSince',
    route: 'GET /v1/payment_intents',
    parameters: ['created[gte]', 'limit', 'starting_after'],
    wrong: { created: 'yesterday', limit: 'many' },
  },
  { call: 'returnedMoneyOf', route: 'GET /v1/refunds', parameters: ['limit', 'payment_intent'], wrong: {} },
  { call: 'returnedSince', route: 'GET /v1/refunds', parameters: ['created[gte]', 'limit'], wrong: { created: 'yesterday' } },
  { call: 'returnedSince', route: 'GET /v1/disputes', parameters: ['created[gte]', 'limit'], wrong: { created: 'yesterday' } },
  { call: 'fraudWarning', route: 'GET /v1/radar/early_fraud_warnings/:id', parameters: [], wrong: {} },
  { call: 'fraudWarning', route: 'GET /v1/charges/:id', parameters: [], wrong: {} },
  {
    call: 'fraudWarningsSince',
    route: 'GET /v1/radar/early_fraud_warnings',
    parameters: ['created[gte]', 'expand[0]', 'limit'],
    wrong: { created: 'yesterday', limit: 'many' },
  },
  { call: 'ping', route: 'GET /v1/balance', parameters: [], wrong: {} },
];

const REFUSAL = { name: 'PaymentsError', kind: 'refused', status: 400 };
const REFUSED = SENT.flatMap(({ call, route, wrong }) =>
  Object.entries({ ...wrong, surprise: '1' }).map(([parameter, value]) => ({ call, route, parameter, value })),
);

const SERVERS = {
  "Stripe's stripe-mock": startStripeMock,
  'our stand-in': async () => {
    const server = await launch('stripe', { port: 0 });
    return { url: server.ready['url'] ?? '', stop: server.stop };
  },
};

describe.each(Object.entries(SERVERS))('%s', (_name, start) => {
  let server: Awaited<ReturnType<typeof start>>;
  let tap: Tap;
  beforeAll(async () => {
    server = await start();
    tap = await openTap(server.url);
  });
  beforeEach(() => {
    tap.calls.length = 0;
    tap.falsification = undefined;
  });
  afterAll(async () => {
    await tap?.close();
    await server?.stop();
  });

  test.each(SENT)('takes $route with the parameters of $call', async ({ call, route, parameters }) => {
    await CALLS[call](await scene());
    expect(tap.calls).toContainEqual({ route, parameters, status: 200 });
  });

  test.each(REFUSED)('refuses $route of $call with $parameter $value', async ({ call, ...falsification }) => {
    tap.falsification = falsification;
    await expect(CALLS[call](await scene())).rejects.toMatchObject(REFUSAL);
  });

  test('gets nothing but the calls above', async () => {
    for (const call of Object.values(CALLS)) await call(await scene());
    expect(new Set(tap.calls.map(({ route }) => route))).toEqual(new Set(SENT.map(({ route }) => route)));
  });

  /** A customer with a card, a payment under way and one made, all past the tap; and a new recharge. */
  async function scene(): Promise<Scene> {
    const { hostname, port } = new URL(server.url);
    const stripe = new Stripe(SECRET_KEY, { host: hostname, port, protocol: 'http' });
    const customer = await stripe.customers.create({ name: 'acme' });
    const card = await stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id });
    const payment = { amount: AMOUNT_MINOR, currency: 'usd', customer: customer.id, payment_method: card.id };
    const intent = await stripe.paymentIntents.create({ ...payment, automatic_payment_methods: WITHOUT_REDIRECTS });
    const paid = await stripe.paymentIntents.create({ ...payment, automatic_payment_methods: WITHOUT_REDIRECTS, confirm: true });
    const recharge = {
      id: `rch_${randomBytes(8).toString('hex')}`,
      eventId: 'evt_external',
      organizationId: 'acme',
      litellmTeamId: 'acme-team',
      stripeCustomerId: customer.id,
      amountMinor: AMOUNT_MINOR,
      currency: 'usd',
      quotaGranted: parseQuota('20.50'),
      balanceSeen: parseQuota('-0.50'),
      keysSpent: 0,
    } as Recharge;
    const payments = new PaymentsClient({ secretKey: SECRET_KEY, apiBase: tap.url });
    const warning = await warningOf(String(paid.latest_charge ?? 'ch_external'));
    return { payments, recharge, paymentMethodId: card.id, intentId: intent.id, paidIntentId: paid.id, warning };
  }

  /** Stripe's mock has every warning that is asked for, and no charge of a payment; ours has to make it. */
  async function warningOf(chargeId: string): Promise<Scene['warning']> {
    const made = await fetch(`${server.url}/_sandbox/charges/${chargeId}/early_fraud_warning`, { method: 'POST' });
    return { id: made.ok ? ((await made.json()) as { id: string }).id : 'issfr_external', chargeId };
  }
});

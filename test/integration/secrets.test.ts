/**
 * Secrets stay where they belong, whoever repeats them to us: after faults that echo every key, none is in a
 * log line of any level, in a workflow's history, in an answer of the API, in an outbound event, or in the
 * database beside the alerts.
 */

import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import axios from 'axios';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { HMAC_SECRET, URL_TOKEN } from '../support/alerts.ts';
import { createDatabase, TEMPLATE_DATABASE } from '../support/databases.ts';
import { CONFIRM, READ_BUDGET, WRITE_BUDGET } from '../support/faults.ts';
import { ADMIN_API_KEY, type Organization, type OrganizationWish, World } from '../support/world.ts';

const STRIPE_KEY = 'sk_test_planted_key_of_stripe';
const KMS_KEY = 'sk-planted-key-of-litellm';
const TEAM_KEY = 'sk-planted-key-of-a-team';
const DATABASE_PASSWORD = 'planted-password-of-postgresql';
const STRIPE_WEBHOOK_SECRET = 'whsec_planted_secret_of_stripe_events';
const NOTIFY_SECRET = 'whsec_cGxhbnRlZC1ub3RpZnktc2VjcmV0LW9mLW9wZXJhdG9y';
const NOTIFY_URL_KEY = 'planted-key-in-the-url-of-the-receiver';
const CARD_NUMBER = '4242424242424242';
const CLIENT_SECRET = /pi_\w+_secret_\w+/;
/** What we ask for (`Bearer <key>`) and what we have struck out (`Bearer ***`) is none. */
const AUTHORIZATION = /bearer\s+[^<*\s]/i;

/** What each of the two has seen of ours, and may repeat. */
const STRIPE_ECHO = `Authorization: Bearer ${STRIPE_KEY} (${STRIPE_KEY}) with card ${CARD_NUMBER}, events signed with ${STRIPE_WEBHOOK_SECRET}`;
const KMS_ECHO = `Authorization: Bearer ${KMS_KEY} (${KMS_KEY}) for ${TEAM_KEY}`;
const stripeError = (type: string) => ({ error: { type, message: STRIPE_ECHO } });
const kmsError = (type: string) => ({ error: { type, message: KMS_ECHO } });
const respond = (status: number, body: unknown) => ({ kind: 'respond', status, body }) as const;

type Faults = { stripe?: FaultRequest[]; kms?: FaultRequest[]; wish?: OrganizationWish };

const STORIES: Record<string, Faults> = {
  'Stripe refuses its key and says which': {
    stripe: [{ path: '/v1/customers/*', times: 2, action: respond(401, stripeError('invalid_request_error')) }],
  },
  'Stripe has a bad day': {
    stripe: [
      { ...CONFIRM, when: 'after', action: respond(500, stripeError('api_error')) },
      { method: 'GET', path: '/v1/payment_intents/*', action: respond(502, `<html>${STRIPE_ECHO}</html>`) },
      { method: 'GET', path: '/v1/payment_intents/*', action: respond(503, { message: STRIPE_ECHO }) },
      { method: 'GET', path: '/v1/payment_intents/*', action: { kind: 'reset' } },
    ],
  },
  'Stripe declines the card': { wish: { card: 'pm_card_chargeCustomerFail' } },
  'LiteLLM refuses its key and says which': { kms: [{ ...READ_BUDGET, times: 2, action: respond(401, kmsError('auth_error')) }] },
  'LiteLLM has a bad day': {
    kms: [
      { ...READ_BUDGET, action: respond(500, { detail: { error: KMS_ECHO } }) },
      { ...READ_BUDGET, action: respond(502, `<html>${KMS_ECHO}</html>`) },
      { ...READ_BUDGET, action: { kind: 'cut_body' } },
      { ...WRITE_BUDGET, when: 'after', action: { kind: 'reset' } },
    ],
  },
  'LiteLLM will not take the budget, and the charge is refunded': {
    kms: [{ ...WRITE_BUDGET, action: respond(403, kmsError('forbidden')) }],
  },
};

let world: World;
let receiver: Server;
const log: string[] = [];
const answers: string[] = [];
const outbound: string[] = [];
const histories: string[] = [];
const stored: string[] = [];
const organizations: Organization[] = [];

beforeAll(async () => {
  // Refuses the first of every event, and repeats what it was sent.
  const seen = new Set<unknown>();
  receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      outbound.push(body);
      response.statusCode = seen.has(request.headers['webhook-id']) ? 200 : 500;
      seen.add(request.headers['webhook-id']);
      response.end(`${NOTIFY_SECRET} ${JSON.stringify(request.headers)}`);
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const databaseUrl = new URL(await createDatabase(`test_secrets_${randomBytes(6).toString('hex')}`, TEMPLATE_DATABASE));
  databaseUrl.password = DATABASE_PASSWORD;
  const { port } = receiver.address() as AddressInfo;
  world = await World.start(
    {
      DATABASE_URL: databaseUrl.href,
      STRIPE_SECRET_KEY: STRIPE_KEY,
      STRIPE_WEBHOOK_SECRETS: STRIPE_WEBHOOK_SECRET,
      KMS_API_KEY: KMS_KEY,
      NOTIFY_WEBHOOK_URL: `http://127.0.0.1:${port}/?key=${NOTIFY_URL_KEY}`,
      NOTIFY_WEBHOOK_SECRET: NOTIFY_SECRET,
      LOG_LEVEL: 'trace',
    },
    { write: (line) => log.push(line) },
  );
  for (const { stripe = [], kms = [], wish } of Object.values(STORIES)) {
    const organization = await world.organization(wish);
    organizations.push(organization);
    for (const fault of stripe) await world.stripeFault(fault);
    for (const fault of kms) await world.kmsFault(fault);
    await world.alerted(organization);
  }
  await askEverything();
  await collectHistories();
  for (const table of ['organization_balance_config', 'webhook_event', 'recharge', 'ledger_transfer', 'stripe_event', 'reversal']) {
    const { rows } = await world.sql.query(`select * from ${table}`);
    stored.push(...rows.map((row) => JSON.stringify(row)));
  }
});
afterAll(async () => {
  await world.close();
  receiver.close();
});

/** What the API answers to friend and foe, while those it asks are in trouble. */
async function askEverything(): Promise<void> {
  await world.stripeFault({ path: '/v1/balance', times: 10, action: respond(401, stripeError('invalid_request_error')) });
  await world.kmsFault({ path: '**', times: 10, action: respond(500, kmsError('auth_error')) });
  const anyone = axios.create({ baseURL: world.apiUrl, validateStatus: () => true });
  const path = '/webhooks/litellm/limit-exceeded';
  const [organization] = organizations;
  const asked = [
    anyone.get('/health'),
    anyone.get('/ready'),
    anyone.get('/api/v1/organizations', { headers: { Authorization: 'Bearer wrong-key' } }),
    anyone.post(`${path}?token=${URL_TOKEN}`, '{', { headers: { 'content-type': 'application/json' } }),
    anyone.post(`${path}?token=wrong`, '{}', { headers: { 'content-type': 'application/json' } }),
    anyone.post('/webhooks/stripe', '{}', { headers: { 'content-type': 'application/json', 'stripe-signature': 't=1,v1=00' } }),
    ...[
      '/api/v1/organizations',
      `/api/v1/organizations/${organization?.id}`,
      '/api/v1/recharges',
      '/webhooks/events',
      '/api/v1/nothing',
    ].map((route) => world.admin.get(route)),
    world.admin.post('/api/v1/organizations', { c_organization_id: 'x' }),
    world.withAnotherApi({ DATABASE_URL: `postgres://bill:${DATABASE_PASSWORD}@127.0.0.1:9/bill`, PORT: '0' }, async (url) => {
      const broken = axios.create({ baseURL: url, validateStatus: () => true });
      for (const answer of [
        await broken.get('/ready'),
        await broken.post(`${path}?token=${URL_TOKEN}`, { event: 'budget_crossed' }),
        await broken.get('/api/v1/organizations', { headers: { Authorization: `Bearer ${ADMIN_API_KEY}` } }),
      ])
        keep(answer);
    }),
  ];
  for (const answer of await Promise.all(asked)) if (answer) keep(answer);
  const { data } = await world.admin.get('/api/v1/recharges');
  for (const { id } of data.data) keep(await world.admin.get(`/api/v1/recharges/${id}`));
  await world.clearFaults();
}

function keep({ status, headers, data }: { status: number; headers: unknown; data: unknown }): void {
  answers.push(JSON.stringify({ status, headers, data }));
}

/** Of every run in the world's task queue: as JSON, and each payload decoded. */
async function collectHistories(): Promise<void> {
  await world.temporal.workflow.execute('reconcileWorkflow', { workflowId: `reconcile/${world.name}`, taskQueue: world.name, args: [{}] });
  const runs = await world.eventually(async () => {
    const found = [];
    for await (const { workflowId, runId } of world.temporal.workflow.list({ query: `TaskQueue = '${world.name}'` }))
      found.push({ workflowId, runId });
    return found.length > organizations.length && found;
  }, 'every run is listed');
  for (const { workflowId, runId } of runs) {
    const json = historyToJSON(await world.temporal.workflow.getHandle(workflowId, runId).fetchHistory());
    histories.push(json, ...Array.from(json.matchAll(/"data":\s*"([^"]+)"/g), ([, data = '']) => Buffer.from(data, 'base64').toString()));
  }
}

const PLACES: [string, string[]][] = [
  ['the log', log],
  ['the histories of the workflows', histories],
  ['the answers of the API', answers],
  ['outbound events', outbound],
  ['the database', stored],
];

describe('case 57: after faults that repeat every secret', () => {
  test('all of them have struck, and what is looked through tells of them', () => {
    // Of an activity: what a workflow logs is lost where its task is taken up again.
    expect(log.join()).toContain('refunded: the quota could not be raised');
    expect(histories.join()).toContain('"organizationId":"org-1"');
    for (const failure of [FAILURE.stripeKeyRefused, FAILURE.stripeUnavailable, FAILURE.kmsUnauthenticated, FAILURE.budgetRefused])
      expect(histories.join()).toContain(failure);
    expect(answers.join()).toContain('"c_organization_id":"org-1"');
    expect(answers.join()).toContain('status 401');
    expect(outbound.join()).toContain('recharge.refunded');
    expect(stored.join()).toContain('refunded');
  });

  describe.each(PLACES)('%s', (_place, texts) => {
    test.each([
      ["Stripe's key", STRIPE_KEY],
      ["LiteLLM's key", KMS_KEY],
      ['the key of a team', TEAM_KEY],
      ['the password of the database', DATABASE_PASSWORD],
      ['the HMAC secret', HMAC_SECRET],
      ['the token of the URL', URL_TOKEN],
      ['the key of the admin API', ADMIN_API_KEY],
      ["the secret of Stripe's events", STRIPE_WEBHOOK_SECRET],
      ['the secret of outbound events', NOTIFY_SECRET],
      ["the key in the receiver's URL", NOTIFY_URL_KEY],
      ['a card number', CARD_NUMBER],
      ["an intent's client secret", CLIENT_SECRET],
      ['an Authorization header', AUTHORIZATION],
    ])('holds nothing of %s', (_secret, secret) => {
      expect(texts).not.toEqual([]);
      expect(texts.filter((text) => (typeof secret === 'string' ? text.includes(secret) : secret.test(text))).slice(0, 3)).toEqual([]);
    });

    test('holds no key that LiteLLM has made', () => {
      for (const { teamKey } of organizations) expect(texts.filter((text) => text.includes(teamKey))).toEqual([]);
    });
  });
});

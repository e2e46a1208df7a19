/**
 * What Stripe posts, and what somebody posts who is not Stripe: who is believed, what is kept, what it wakes,
 * and that losing it costs time only.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { request as openRequest } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { startApi } from '../../src/api.ts';
import { readConfig } from '../../src/config.ts';
import { Database } from '../../src/database/database.ts';
import * as stripeEvents from '../../src/database/stripe-events.ts';
import { createLogger } from '../../src/observability/log.ts';
import { CHARGED_ONCE, DECLINED, RECHARGED, UNTOUCHED } from '../support/books.ts';
import { createDatabase, TEMPLATE_DATABASE } from '../support/databases.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { idle } from '../support/runs.ts';
import { delivered, eventsOf, followed, tellEverythingAgain } from '../support/stripe-events.ts';
import { type Organization, type RechargeIds, World } from '../support/world.ts';

const SECRET = 'whsec_signs_what_the_stand_in_sends';
const NEXT_SECRET = 'whsec_comes_next';
const MAX_BYTES = 512 * 1024;

let world: World;
beforeAll(async () => {
  world = await World.start({ STRIPE_WEBHOOK_SECRETS: `${SECRET},${NEXT_SECRET}` });
});
afterEach(() => deliver(true));
afterAll(() => world.close());

type Answer = { status: number; body: Record<string, unknown> };

/** Posts bytes as they are, with headers as they are: repeated, empty or missing ones too. */
function post(body: Buffer | string, headers: Record<string, string | string[]>, url = world.apiUrl): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, agent: false as const };
    const request = openRequest(`${url}/webhooks/stripe`, options, async (response) => {
      const chunks: Buffer[] = await response.toArray();
      resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) });
    });
    request.once('error', reject);
    request.end(body);
  });
}

const eventId = () => `evt_${randomBytes(8).toString('hex')}`;
const seconds = () => Math.floor(Date.now() / 1000);

function bodyOf(
  id: string,
  object: Record<string, unknown> = { id: 'ch_foreign', payment_intent: 'pi_foreign' },
  type = 'charge.refunded',
) {
  return JSON.stringify({ id, object: 'event', type, data: { object } }, null, 2);
}

function digest(body: string | Buffer, at: number | string, secret: string): string {
  return createHmac('sha256', secret).update(`${at}.`).update(body).digest('hex');
}

function signature(body: string | Buffer, { secret = SECRET, at = seconds() as number | string } = {}): string {
  return `t=${at},v1=${digest(body, at, secret)}`;
}

function signed(body: string | Buffer, how: Parameters<typeof signature>[1] = {}): Promise<Answer> {
  return post(body, { 'stripe-signature': signature(body, how) });
}

async function rowsOf(id: string): Promise<Record<string, unknown>[]> {
  return (await world.sql.query('select * from stripe_event where id = $1', [id])).rows;
}

function handled(id: string): Promise<unknown> {
  return world.eventually(async () => (await rowsOf(id))[0]?.['handled_at'] as Date | undefined, `event ${id} handled`);
}

/** Off, every event is lost, as in an outage that outlasts Stripe's retries. */
function deliver(enabled: boolean): Promise<unknown> {
  return world.stripeKnob('webhooks', { enabled });
}

describe('an event is believed', () => {
  test.each([SECRET, NEXT_SECRET])('by any of the secrets, and is there when it is answered: %s', async (secret) => {
    const id = eventId();
    const answer = await signed(bodyOf(id), { secret });
    expect(answer).toEqual({ status: 200, body: { event_id: id, status: 'accepted' } });
    expect(await rowsOf(id)).toMatchObject([{ type: 'charge.refunded', object_id: 'ch_foreign', payment_intent_id: 'pi_foreign' }]);
    await handled(id);
  });

  test('with a signature for each secret, as while one is rolled', async () => {
    const [id, at] = [eventId(), seconds()];
    const body = bodyOf(id);
    const header = `t=${at},v1=${digest(body, at, 'whsec_of_the_past')},v1=${digest(body, at, NEXT_SECRET)}`;
    expect(await post(body, { 'stripe-signature': header })).toMatchObject({ status: 200 });
    await handled(id);
  });

  test('only once it is durable: while the row cannot be written, there is no answer', async () => {
    const id = eventId();
    const blocker = await world.sql.connect();
    await blocker.query('begin; lock table stripe_event in share mode');
    let isAnswered = false;
    const answer = signed(bodyOf(id)).finally(() => {
      isAnswered = true;
    });
    await world.waitsForLock('insert into');
    const wasAnswered = isAnswered;
    await blocker.query('rollback');
    blocker.release();
    expect(wasAnswered).toBe(false);
    expect(await answer).toMatchObject({ status: 200, body: { status: 'accepted' } });
    expect(await rowsOf(id)).toHaveLength(1);
    await handled(id);
  });
});

describe('an event is not believed, and leaves no row', () => {
  const body = bodyOf('evt_not_believed');
  const CASES: [string, () => Record<string, string | string[]>][] = [
    ['without a signature', () => ({})],
    ['with an empty one', () => ({ 'stripe-signature': '' })],
    ['with the header twice', () => ({ 'stripe-signature': [signature(body), signature(body)] })],
    ['with a signature by somebody else', () => ({ 'stripe-signature': signature(body, { secret: 'whsec_of_somebody' }) })],
    ['with a signature over other bytes', () => ({ 'stripe-signature': signature(bodyOf('evt_another')) })],
    ['with a signature of the same event serialised anew', () => ({ 'stripe-signature': signature(JSON.stringify(JSON.parse(body))) })],
    ['without a time', () => ({ 'stripe-signature': `v1=${digest(body, seconds(), SECRET)}` })],
    ['without a v1', () => ({ 'stripe-signature': signature(body).replace('v1', 'v0') })],
    ['with an empty v1', () => ({ 'stripe-signature': `t=${seconds()},v1=` })],
    ['from six minutes ago', () => ({ 'stripe-signature': signature(body, { at: seconds() - 360 }) })],
    ['from six minutes ahead', () => ({ 'stripe-signature': signature(body, { at: seconds() + 360 }) })],
    ['at a time in milliseconds', () => ({ 'stripe-signature': signature(body, { at: Date.now() }) })],
    ['at no time', () => ({ 'stripe-signature': signature(body, { at: 'NaN' }) })],
    ['before time began', () => ({ 'stripe-signature': signature(body, { at: -seconds() }) })],
  ];
  test.each(CASES)('%s', async (_name, headers) => {
    expect(await post(body, headers())).toMatchObject({ status: 401, body: { type: 'urn:bill-service:problem:unauthenticated' } });
    expect(await rowsOf('evt_not_believed')).toEqual([]);
  });

  test('where no secret is set', async () => {
    const api = await startApi(readConfig({ ...world.env, PORT: '0', STRIPE_WEBHOOK_SECRETS: '' }), createLogger('silent'));
    const answer = await post(body, { 'stripe-signature': signature(body, { secret: '' }) }, `http://127.0.0.1:${api.port}`);
    await api.stop();
    expect(answer.status).toBe(401);
    expect(await rowsOf('evt_not_believed')).toEqual([]);
  });
});

describe('an event cannot be read', () => {
  test('over the limit, told in advance or not', async () => {
    const body = Buffer.alloc(MAX_BYTES + 1, ' ');
    expect(await signed(body)).toMatchObject({ status: 413 });
    expect(await post(body, { 'stripe-signature': signature(body), 'transfer-encoding': 'chunked' })).toMatchObject({ status: 413 });
  });

  test('at the limit it can', async () => {
    const id = eventId();
    expect(await signed(bodyOf(id).padEnd(MAX_BYTES, ' '))).toMatchObject({ status: 200 });
    await handled(id);
  });

  test.each(['not json', '{}', '{"type":"v1.billing"}'])('authentic, and yet %s', async (body) => {
    expect(await signed(body)).toMatchObject({ status: 400, body: { type: 'urn:bill-service:problem:malformed' } });
  });

  test('case 87: a thin one is answered, counted once, and followed by nothing', async () => {
    const body = '{"id":"evt_thin","object":"v2.core.event","type":"v1.billing","related_object":{"id":"pi_1"}}';
    const answers = [await signed(body), await signed(body)];
    expect(answers).toEqual(Array(2).fill(expect.objectContaining({ status: 200, body: { event_id: 'evt_thin', status: 'ignored' } })));
    expect(await rowsOf('evt_thin')).toMatchObject([
      { type: 'v1.billing', is_ignored: true, handled_at: expect.anything(), dispatch_attempts: 0 },
    ]);
  });

  test('case 87: one of a type that nobody knows is answered, handled, and changes nothing', async () => {
    const id = eventId();
    const body = JSON.stringify({ id, type: 'treasury.moon_landed', data: { object: { id: 'moon_1', object: 'treasury.moon' } } });
    expect(await signed(body)).toMatchObject({ status: 200, body: { event_id: id, status: 'accepted' } });
    await handled(id);
  });

  test('as anything but JSON', async () => {
    const body = bodyOf('evt_form');
    const headers = { 'stripe-signature': signature(body), 'content-type': 'text/plain' };
    expect(await post(body, headers)).toMatchObject({ status: 415 });
    expect(await rowsOf('evt_form')).toEqual([]);
  });
});

describe('an event is stored once', () => {
  test('though it is sent fifty times at once, and again later', async () => {
    const id = eventId();
    const answers = await Promise.all(Array.from({ length: 50 }, () => signed(bodyOf(id))));
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200));
    expect(answers.filter(({ body }) => body['status'] === 'accepted')).toHaveLength(1);
    await handled(id);
    expect(await signed(bodyOf(id))).toEqual({ status: 200, body: { event_id: id, status: 'duplicate' } });
    expect(await rowsOf(id)).toHaveLength(1);
  });

  test('and another of the same object and type waits only beside one that has been taken up', async () => {
    const database = await Database.open(await createDatabase(`${world.name}_events`, TEMPLATE_DATABASE));
    const em = database.fork();
    const notice = (id: string, objectId = 're_1', type = 'refund.updated') => ({
      id,
      type,
      objectId,
      paymentIntentId: 'pi_1',
      chargeId: null,
      customerId: null,
    });
    try {
      expect(await stripeEvents.receive(em, notice('evt_1'))).toBe(true);
      expect(await stripeEvents.receive(em, notice('evt_2'))).toBe(false);
      expect(await stripeEvents.receive(em, notice('evt_3', 're_2'))).toBe(true);
      expect(await stripeEvents.receive(em, notice('evt_4', 're_1', 'refund.failed'))).toBe(true);

      // Whoever has taken evt_1 up may have looked at the refund already: what has changed since must not be
      // lost.
      const ids = async () => (await stripeEvents.claim(em, { limit: 10, leaseMs: 60_000 })).map(({ id }) => id).sort();
      expect(await ids()).toEqual(['evt_1', 'evt_3', 'evt_4']);
      expect(await stripeEvents.receive(em, notice('evt_5'))).toBe(true);
      expect(await ids()).toEqual(['evt_5']);

      // Each gets its turn again when it was given back, and none when it is done with.
      await stripeEvents.markHandled(em, 'evt_5');
      await stripeEvents.releaseClaim(em, 'evt_5', 0);
      await stripeEvents.releaseClaim(em, 'evt_1', 0);
      expect(await ids()).toEqual(['evt_1']);
      await stripeEvents.markHandled(em, 'evt_1');
      expect(await stripeEvents.receive(em, notice('evt_1'))).toBe(false);
      expect(await stripeEvents.receive(em, notice('evt_6'))).toBe(true);
    } finally {
      await database.close();
    }
  });
});

describe('an event that is not for us is done with', () => {
  test.each([
    ['of an intent that is not ours', { id: 'du_1', object: 'dispute', payment_intent: 'pi_of_somebody' }, 'charge.dispute.created'],
    ['of a charge without an intent', { id: 'ch_1', object: 'charge', payment_intent: null }, 'charge.refunded'],
    ['that nobody asked for', { id: 'cus_1', object: 'customer' }, 'customer.created'],
    ['of an intent that never was', { id: "pi_'; drop table recharge; --", object: 'payment_intent' }, 'payment_intent.succeeded'],
  ])('%s', async (_name, object, type) => {
    const id = eventId();
    expect(await signed(bodyOf(id, object, type))).toMatchObject({ status: 200 });
    await handled(id);
    const later = await world.accepted(await world.organization({ settings: { auto_recharge_enabled: false } }));
    expect(await world.runs("WorkflowType = 'reversalWorkflow'", later)).toEqual([]);
  });

  test('of a customer of ours who pays for something else: quota and books stay', async () => {
    const organization = await world.organization();
    const intent = await world.payElsewhere(organization);
    await world.stripe.refunds.create({ payment_intent: intent.id });
    await delivered(world, intent.id);
    for (const { id } of await eventsOf(world, intent.id)) await handled(id);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    expect(await world.books(organization)).toEqual({ ...UNTOUCHED, charges: 1, captured: 500, refunded: 500 });
    expect((await world.admin.get(`/api/v1/organizations/${organization.id}`)).data.holds).toEqual([]);
  });
});

describe('an event of a recharge starts no run', () => {
  /** The runs that look for returned money, once every event of the intent has been dispatched. */
  async function runsAfter(ids: RechargeIds): Promise<string[]> {
    await delivered(world, ids.intentId);
    await followed(world, ids);
    const later = await world.accepted(await world.organization({ settings: { auto_recharge_enabled: false } }));
    return world.runs(`WorkflowId = 'reversal/${ids.rechargeId}'`, later);
  }

  test('when it tells of a charge that goes through', async () => {
    const ids = await world.recharged();
    const types = (await eventsOf(world, ids.intentId)).map(({ type }) => type);
    expect(types).toContain('charge.succeeded');
    expect(await runsAfter(ids)).toEqual([]);
  });

  test('when it tells of a refund that the recharge has asked for: its own run follows that', async () => {
    const organization = await world.organization();
    const { goOn, ...ids } = await world.chargedButNotGranted(organization);
    await world.stripeKnob('refunds/mode', { status: 'pending' });
    await world.deleteTeam(organization.teamId);
    await goOn();
    const refundId = await world.refundOf(ids.eventId);
    expect(await runsAfter(ids)).toEqual([]);
    await world.stripeKnob(`refunds/${refundId}`, { status: 'succeeded' });
    await world.stripeKnob('refunds/mode', { status: 'succeeded' });
    await world.rechargeIs(ids.eventId, 'refunded');
    expect(await runsAfter(ids)).toEqual([]);
  });

  test('unless money goes back by it, and the run says which', async () => {
    const { rechargeId, intentId, organization } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    const run = await world.reversalRunOf(rechargeId).describe();
    expect(await run.staticSummary()).toBe(`${organization.id}: refund ${refund.id} of ${rechargeId}`);
  });

  test('case 44: and the end of a dispute ends the run that has waited for it', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.reversalIs(id, 'taken_back');
    await world.stripeKnob(`disputes/${id}`, { status: 'lost' });
    await world.reversalRunOf(rechargeId).result();
    // Its hold says that no winning is waited for any more, and is told once more.
    const lost = `${id} is decided, and the money stays with the customer: only a person ends this hold`;
    const detail = `dispute ${id} of recharge ${rechargeId}: 20.50 USD, fraudulent`;
    const { data: holds } = await world.admin.get(`/api/v1/holds?organization_id=${organization.id}&open=true`);
    expect(holds.data).toMatchObject([{ reason: 'disputed', detail: `${detail}; ${lost}`, ended_by: 'a person releases it' }]);
    const { rows } = await world.sql.query(
      `select data->>'detail' as detail from outbound_event where organization_id = $1 and type = 'hold.opened' order by id`,
      [organization.id],
    );
    expect(rows.map((row) => row.detail)).toEqual([detail, `${detail}; ${lost}`]);
  });
});

test('an event whose dispatcher died with it is handed on by the next', async () => {
  const id = eventId();
  await world.sql.query(
    `insert into stripe_event (id, type, object_id, claimed_until, dispatch_attempts) values ($1, 'charge.refunded', 'ch_left', now(), 1)`,
    [id],
  );
  await handled(id);
});

describe('a bank debit', () => {
  test.each([
    ['succeeded', RECHARGED, CHARGED_ONCE],
    ['failed', DECLINED, UNTOUCHED],
  ])('case 33: is looked at as soon as Stripe says that it has %s', async (outcome, closed, books) => {
    const { organization, eventId, intentId } = await processing();
    const run = await world.runOf(eventId);
    // Each look doubles the pause, from 10 s: now it outlasts any delivery.
    for (let look = 0; look < 3; look++) {
      await run.signal('stripeChanged');
      await idle(run);
    }
    await world.stripeKnob(`payment_intents/${intentId}/settle`, { outcome });
    expect(await world.closed(eventId)).toEqual(closed);
    const { events } = await run.fetchHistory();
    expect(events?.filter(({ timerFiredEventAttributes: fired }) => fired)).toEqual([]);
    expect(await world.books(organization)).toEqual(books);
  });

  test('case 33: whose events are lost is looked at a little later, and once', async () => {
    await deliver(false);
    const { organization, ...ids } = await processing();
    await world.stripeKnob(`payment_intents/${ids.intentId}/settle`, { outcome: 'succeeded' });
    expect(await world.closed(ids.eventId)).toEqual(RECHARGED);
    await deliver(true);
    // They come after all, when everything is over.
    await tellEverythingAgain(world, ids);
    await expectChargedOnce(world, organization);
  });
});

/**
 * A recharge that the bank is still working on, its run in a pause: it has heard all that Stripe has said.
 */
async function processing(): Promise<RechargeIds & { organization: Organization }> {
  const organization = await world.organization({ card: 'pm_usBankAccount' });
  const ids = await world.rechargeIs(await world.accepted(organization), 'processing');
  await delivered(world, ids.intentId);
  await followed(world, ids);
  return { organization, ...ids };
}

test.each([
  ['in their order', (ids: string[]) => ids],
  ['in the reverse order', (ids: string[]) => ids.toReversed()],
  ['all of them twice, the later half first', (ids: string[]) => [...ids.slice(ids.length / 2), ...ids, ...ids.slice(0, ids.length / 2)]],
])('the events of a charge, a refund and a dispute that was lost come %s: the same in the end', async (_name, arrange) => {
  await deliver(false);
  const { organization, ...ids } = await world.recharged();
  const { intentId } = ids;
  await world.stripe.refunds.create({ payment_intent: intentId, amount: 1000 });
  const dispute = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 1050 });
  await world.stripeKnob(`disputes/${dispute.id}`, { status: 'lost' });
  await deliver(true);
  await tellEverythingAgain(world, ids, arrange);
  expect(await world.accounts(organization)).toEqual({
    captured: 2050,
    refunded: 1000,
    disputed: 1050,
    granted: 0,
    prepaid: 0,
    quota: 0,
  });
  expect(await world.budgetOf(organization.teamId)).toBe(10);
});

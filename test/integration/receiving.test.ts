/** What comes in, in the database: stored once, also at the same moment, and handed to one dispatcher at a time. */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Database } from '../../src/database/database.ts';
import { isDatabaseOutage } from '../../src/database/errors.ts';
import { newId } from '../../src/database/ids.ts';
import { LimitedClient } from '../../src/database/limited-client.ts';
import { batchReceiver, type IncomingEvent, type Receipt } from '../../src/database/receiving.ts';
import * as stripeEvents from '../../src/database/stripe-events.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { GroupCommit, LANES } from '../../src/inbox/group-commit.ts';
import { DatabaseRoom } from '../support/database-room.ts';
import { insertEvent } from '../support/events.ts';
import { withoutMaterialPlans } from '../support/plans.ts';
import { eventually } from '../support/time.ts';

let room: DatabaseRoom;
beforeAll(async () => {
  room = await DatabaseRoom.open();
});
afterAll(() => room.close());

describe.each<[string, typeof webhookEvents | typeof stripeEvents, () => Promise<string>]>([
  ['webhook_event', webhookEvents, async () => insertEvent(room.sql, await room.organization())],
  [
    'stripe_event',
    stripeEvents,
    async () => {
      const id = newId('evt');
      await stripeEvents.receive(room.em, {
        id,
        type: 'charge.refunded',
        objectId: id,
        paymentIntentId: null,
        chargeId: null,
        customerId: null,
      });
      return id;
    },
  ],
])('a row of %s', (table, events, add) => {
  const claimed = async (leaseMs: number, except: string[] = []) =>
    (await events.claim(room.database.fork(), { limit: 1_000, leaseMs, except })).map(({ id }) => id);
  const markDone = 'markDispatched' in events ? events.markDispatched : events.markHandled;

  test('is claimed by one dispatcher at a time, and again when the lease has ended', async () => {
    const id = await add();
    expect(await claimed(60_000)).toContain(id);
    expect(await claimed(60_000)).not.toContain(id);
    await room.sql.query(`update ${table} set claimed_until = now() - interval '1 second' where id = $1`, [id]);
    expect(await claimed(60_000)).toContain(id);
  });

  test('is claimed together with no more than were asked for, whatever the plan', async () => {
    await claimed(60_000);
    for (let each = 0; each < 5; each++) await add();
    const planned = await Database.open(withoutMaterialPlans(room.url));
    expect(await events.claim(planned.fork(), { limit: 2, leaseMs: 60_000 })).toHaveLength(2);
    await planned.close();
  });

  test('is left out while another dispatcher is claiming it', async () => {
    const id = await add();
    const other = await room.sql.connect();
    await other.query('begin');
    await other.query(`select from ${table} where id = $1 for update`, [id]);
    expect(await claimed(60_000)).not.toContain(id);
    await other.query('rollback');
    other.release();
    expect(await claimed(60_000)).toContain(id);
  });

  test('is left to others by a dispatcher that has failed with it', async () => {
    const id = await add();
    expect(await claimed(60_000, [id])).not.toContain(id);
    expect(await claimed(60_000)).toContain(id);
  });

  test('can be claimed at once when it was released without delay, and not when it was with one', async () => {
    const id = await add();
    await claimed(60_000);
    await events.releaseClaim(room.em, id, 60_000);
    expect(await claimed(60_000)).not.toContain(id);
    await events.releaseClaim(room.em, id, -1);
    expect(await claimed(60_000)).toContain(id);
  });

  test('is claimed no more when it was handled, and a late release changes nothing', async () => {
    const id = await add();
    await claimed(60_000);
    await markDone(room.em, id);
    await events.releaseClaim(room.em, id, -1);
    expect(await claimed(60_000)).not.toContain(id);
    const { rows } = await room.sql.query(`select claimed_until from ${table} where id = $1`, [id]);
    expect(rows).toEqual([{ claimed_until: null }]);
  });
});

describe('what comes in at the same moment', () => {
  const receiver = () => {
    const inbox = new GroupCommit({ store: batchReceiver(room.database, LANES), isOutage: isDatabaseOutage });
    return (events: readonly IncomingEvent[]) => Promise.all(events.map((event) => inbox.add(event, 1_000)));
  };
  let receive: ReturnType<typeof receiver>;
  beforeAll(() => {
    receive = receiver();
  });

  /** An alert of an organization's team, its crossing open to copies. */
  const alertOf = (organizationId: string, wish: Partial<IncomingEvent> = {}): IncomingEvent => ({
    source: 'webhook',
    eventType: 'budget_crossed',
    teamId: `team-${organizationId}`,
    payload: { spend: 1, text: 'quotes " and \\ and {,}' },
    bodySha256: 'digest',
    deliveryId: null,
    crossing: `crossing-${organizationId}`,
    ...wish,
  });
  const eventsOf = async (organizationId: string) =>
    (await room.sql.query('select * from webhook_event where organization_id = $1 order by id', [organizationId])).rows;
  const statuses = (receipts: readonly Receipt[]) => receipts.map(({ status }) => status);

  test('two hundred alerts are one statement, in one message', async () => {
    const ids = await Promise.all(Array.from({ length: 200 }, () => room.organization()));
    const [alone, others] = [jest.spyOn(LimitedClient.prototype, 'alone'), jest.spyOn(LimitedClient.prototype, 'query')];
    const receipts = await receive(ids.map((id) => alertOf(id, { deliveryId: newId('evt') })));
    expect([alone.mock.calls.length, others.mock.calls.length]).toEqual([1, 0]);
    jest.restoreAllMocks();
    expect(statuses(receipts)).toEqual(Array(200).fill('accepted'));
    for (const [index, id] of ids.entries()) expect(await eventsOf(id)).toMatchObject([{ id: receipts[index]?.eventId, copies: 0 }]);
  });

  test('is told apart within one batch as it is one after the other', async () => {
    const [id, other] = [await room.organization(), await room.organization()];
    const alone = jest.spyOn(LimitedClient.prototype, 'alone');
    const [first, again, changed, copy, nameless, ofOther, ignored, unknown, unknownAgain] = await receive([
      alertOf(id, { deliveryId: `a-${id}` }),
      alertOf(id, { deliveryId: `a-${id}` }),
      alertOf(id, { deliveryId: `a-${id}`, bodySha256: 'another' }),
      alertOf(id, { deliveryId: `b-${id}`, payload: { spend: 7.5 } }),
      alertOf(id, { payload: { spend: 'a text' } }),
      alertOf(other),
      alertOf(id, { crossing: null, eventType: 'spend_tracked' }),
      alertOf('nobody'),
      alertOf('nobody'),
    ]);
    // Not one by one, because the batch has failed.
    expect(alone).toHaveBeenCalledTimes(1);
    jest.restoreAllMocks();
    const eventId = first?.eventId;
    expect(first).toEqual({ eventId, status: 'accepted' });
    for (const each of [again, copy, nameless]) expect(each).toEqual({ eventId, status: 'duplicate' });
    expect(changed?.status).toBe('conflict');
    expect(ofOther).toEqual({ eventId: (await eventsOf(other))[0]?.id, status: 'accepted' });
    expect(statuses([ignored, unknown, unknownAgain] as Receipt[])).toEqual(['ignored', 'accepted', 'accepted']);
    expect(unknown?.eventId).not.toBe(unknownAgain?.eventId);
    expect(await eventsOf(id)).toMatchObject([
      { id: eventId, copies: 2, highest_spend: '7.5', last_copy_at: expect.any(Date), processed: false },
      { outcome: 'ignored', success: true, copies: 0, last_copy_at: null },
    ]);
    // And again, now that all of it is stored.
    expect(
      statuses(
        await receive([
          alertOf(id, { deliveryId: `b-${id}`, payload: { spend: 7.5 } }),
          alertOf(id, { deliveryId: `b-${id}`, bodySha256: 'another' }),
          alertOf(id, { deliveryId: `c-${id}` }),
        ]),
      ),
    ).toEqual(['duplicate', 'conflict', 'duplicate']);
    expect(await eventsOf(id)).toMatchObject([{ id: eventId, copies: 3 }, { outcome: 'ignored' }]);
  });

  test('is accepted once also where other processes and older rows have it', async () => {
    const id = await room.organization();
    const old = await insertEvent(room.sql, id);
    await room.sql.query('update webhook_event set delivery_id = $1 where id = $2', [`old-${id}`, old]);
    const [known, otherBody] = await receive([
      alertOf(id, { deliveryId: `old-${id}`, bodySha256: '' }),
      alertOf(id, { deliveryId: `old-${id}` }),
    ]);
    expect([known, otherBody?.status]).toEqual([{ eventId: old, status: 'duplicate' }, 'conflict']);

    const ids = await Promise.all(Array.from({ length: 20 }, () => room.organization()));
    const receivers = Array.from({ length: 6 }, receiver);
    // Each in an order of its own, with the same delivery ids.
    const answers = await Promise.all(
      receivers.map((send, n) =>
        send(ids.map((_, k) => ids[(k * 7 + n * 3) % ids.length] as string).map((each) => alertOf(each, { deliveryId: `race-${each}` }))),
      ),
    );
    expect(statuses(answers.flat()).filter((status) => status === 'accepted')).toHaveLength(ids.length);
    for (const each of ids) expect(await eventsOf(each)).toMatchObject([{ delivery_id: `race-${each}`, copies: 0 }]);
  });

  test('a row that PostgreSQL refuses fails alone', async () => {
    const ids = await Promise.all(Array.from({ length: 9 }, () => room.organization()));
    await room.sql.query(`alter table webhook_event add constraint of_a_test check (team_id <> 'team-${ids[4]}') not valid`);
    const inbox = new GroupCommit({ store: batchReceiver(room.database, LANES), isOutage: isDatabaseOutage });
    const answers = await Promise.allSettled(ids.map((id) => inbox.add(alertOf(id, { deliveryId: `alone-${id}` }), 1)));
    await room.sql.query('alter table webhook_event drop constraint of_a_test');
    expect(answers.map(({ status }) => status)).toEqual(ids.map((_, n) => (n === 4 ? 'rejected' : 'fulfilled')));
    expect(await eventsOf(ids[4] as string)).toEqual([]);
    expect((await room.sql.query('select from webhook_delivery where delivery_id = $1', [`alone-${ids[4]}`])).rowCount).toBe(0);
    expect(statuses(await receive([alertOf(ids[4] as string, { deliveryId: `alone-${ids[4]}` })]))).toEqual(['accepted']);
  });

  test('fails when its connection is lost while it is stored, and ends nothing else: the next is stored over another', async () => {
    const [id, other] = [await room.organization(), await room.organization()];
    const store = batchReceiver(room.database, 1);
    expect(statuses(await store([alertOf(id)]))).toEqual(['accepted']);
    const lock = await room.sql.connect();
    await lock.query('begin; lock table webhook_event in exclusive mode');
    const stuck = store([alertOf(other)]).then(
      () => 'stored',
      (error) => isDatabaseOutage(error),
    );
    const end = `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like '%with incoming%' and pid <> pg_backend_pid()`;
    await eventually(async () => (await room.sql.query(end)).rowCount, 'the statement waits for the lock');
    expect(await stuck).toBe(true);
    await lock.query('rollback');
    lock.release();
    expect(statuses(await store([alertOf(id), alertOf(other)]))).toEqual(['duplicate', 'accepted']);
  });

  test('is stored all the same behind a pooler that does not follow prepared statements, without one from then on', async () => {
    const [id, other] = [await room.organization(), await room.organization()];
    const store = batchReceiver(room.database, 1);
    const alone = jest.spyOn(LimitedClient.prototype, 'alone');
    alone.mockRejectedValueOnce(Object.assign(new Error('prepared statement "bill" does not exist'), { code: '26000' }));
    expect(statuses([...(await store([alertOf(id)])), ...(await store([alertOf(other)]))])).toEqual(['accepted', 'accepted']);
    expect(alone.mock.calls.map(([{ name }]) => name)).toEqual([expect.stringMatching(/^bill_/), undefined, undefined]);
    jest.restoreAllMocks();
  });

  test('a copy is counted while the event is open, and the next one after that is an event', async () => {
    const id = await room.organization();
    const [first, , third] = [...(await receive([alertOf(id)])), ...(await receive([alertOf(id)])), ...(await receive([alertOf(id)]))];
    expect(third).toEqual({ eventId: first?.eventId, status: 'duplicate' });
    await webhookEvents.close(room.em, first?.eventId as string, 'above_minimum');
    const [next] = await receive([alertOf(id)]);
    expect(next?.status).toBe('accepted');
    expect(await webhookEvents.receive(room.em, alertOf(id))).toEqual({ eventId: next?.eventId, status: 'duplicate' });
    expect(await eventsOf(id)).toMatchObject([{ copies: 2 }, { id: next?.eventId, copies: 1 }]);
  });
});

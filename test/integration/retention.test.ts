/** What is past its time goes, and only that: on real tables, with the ages of src/domain/retention.ts. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Database } from '../../src/database/database.ts';
import { newId } from '../../src/database/ids.ts';
import { removePage } from '../../src/database/retention.ts';
import { type ExpiringTable, RETENTION } from '../../src/domain/retention.ts';
import { type RetentionWorkflow, WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { insertEvent } from '../support/events.ts';
import { World } from '../support/world.ts';

let world: World;
let database: Database;
const logged: string[] = [];
beforeAll(async () => {
  world = await World.start({ LOG_LEVEL: 'info' }, { write: (line: string) => void logged.push(line) });
  database = await Database.open(world.config.databaseUrl);
});
afterAll(async () => {
  await database?.close();
  await world?.close();
});

/** Runs the workflow once, as the schedule does. */
const runRetention = () =>
  world.temporal.workflow.execute<RetentionWorkflow>(WORKFLOW_TYPES.retention, {
    workflowId: `retention/${newId('evt')}`,
    taskQueue: world.name,
  });

/** Puts a row's time so many days back. */
async function age(table: string, column: string, id: string, days: number): Promise<void> {
  const key = table === 'litellm_team' ? 'team_id' : 'id';
  await world.sql.query(`update ${table} set ${column} = now() - $2 * interval '1 day' where ${key} = $1`, [id, days]);
}

/** A day past its time, and a day before it. */
function ages(table: ExpiringTable): { old: number; young: number } {
  const { days } = RETENTION[table];
  return { old: days + 1, young: days - 1 };
}

async function idsOf(table: string, ids: string[]): Promise<string[]> {
  const key = table === 'litellm_team' ? 'team_id' : 'id';
  const { rows } = await world.sql.query(`select ${key}::text as id from ${table} where ${key}::text = any ($1)`, [ids]);
  return rows.map(({ id }) => id).toSorted();
}

async function payloadOf(id: string): Promise<unknown> {
  return (await world.sql.query('select payload from webhook_event where id = $1', [id])).rows[0]?.payload;
}

/** An event without a delivery id that is closed, so many days ago. */
async function closedEvent({ days, duplicateOf = null }: { days: number; duplicateOf?: string | null }): Promise<string> {
  const id = newId('evt');
  await world.sql.query(
    `insert into webhook_event (id, source, event_type, payload, body_sha256, duplicate_of, processed, success, outcome, received_at, processed_at)
     values ($1, 'webhook', 'budget_crossed', '{"spend": 1}', '', $2, true, true, 'duplicate', now(), now() - $3 * interval '1 day')`,
    [id, duplicateOf, days],
  );
  return id;
}

describe('of the events', () => {
  const { old, young } = ages('webhook_event');

  test('one with a delivery id is emptied and stays: a replay is a duplicate, and another body 409', async () => {
    const organization = await world.organization();
    const id = `msg_of_${organization.id}`;
    const { data: first } = await world.alert(organization.teamId, { id });
    await world.closed(first.event_id);
    await age('webhook_event', 'processed_at', first.event_id, old);
    await runRetention();
    expect(await payloadOf(first.event_id)).toEqual({});
    expect((await world.alert(organization.teamId, { id })).data).toEqual({ event_id: first.event_id, status: 'duplicate' });
    expect((await world.alert(organization.teamId, { id, body: { spend: 99 } })).status).toBe(409);
    expect(await world.rechargeOf(organization)).toMatchObject({ status: 'succeeded' });
  });

  test('one without a delivery id goes, a younger one stays', async () => {
    const [gone, stays] = [await closedEvent({ days: old }), await closedEvent({ days: young })];
    await runRetention();
    expect(await idsOf('webhook_event', [gone, stays])).toEqual([stays]);
    expect(await payloadOf(stays)).toEqual({ spend: 1 });
  });

  test('one that is open stays as it is, however old', async () => {
    const { id } = await world.organization({ spend: 0 });
    const open = await insertEvent(world.sql, id);
    await world.sql.query(`update webhook_event set payload = '{"spend": 1}', received_at = now() - interval '5 years' where id = $1`, [
      open,
    ]);
    await removePage(database.fork(), 'webhook_event');
    expect(await payloadOf(open)).toEqual({ spend: 1 });
  });

  test('one whose recharge is open stays as it is, however old', async () => {
    const organization = await world.organization();
    const { eventId, goOn } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 77);
    await goOn();
    await world.closed(eventId);
    await age('webhook_event', 'processed_at', eventId, old);
    const before = await payloadOf(eventId);
    await runRetention();
    expect(await world.rechargeOf(organization)).toMatchObject({ status: 'needs_attention' });
    expect(await payloadOf(eventId)).toEqual(before);
    expect(before).not.toEqual({});
  });

  test('one goes when its copies have gone, and stays for a copy that stays', async () => {
    const original = await closedEvent({ days: old });
    const copy = await closedEvent({ days: young, duplicateOf: original });
    await runRetention();
    expect(await idsOf('webhook_event', [original, copy])).toEqual([original, copy].toSorted());
    await age('webhook_event', 'processed_at', copy, old);
    await runRetention();
    await runRetention();
    expect(await idsOf('webhook_event', [original, copy])).toEqual([]);

    const kept = await closedEvent({ days: old });
    const delivered = await closedEvent({ days: old, duplicateOf: kept });
    await world.sql.query('update webhook_event set delivery_id = $1 where id = $1', [delivered]);
    await runRetention();
    expect(await idsOf('webhook_event', [kept, delivered])).toEqual([kept, delivered].toSorted());
    expect(await payloadOf(kept)).toEqual({});
  });
});

describe('of the outbound events', () => {
  const { old, young } = ages('outbound_event');

  async function outboundEvent(
    days: number,
    { type = 'recharge.succeeded', delivery, triedForDays = 1 }: { type?: string; delivery?: string; triedForDays?: number } = {},
  ): Promise<string> {
    const id = newId('obe');
    await world.sql.query(
      `insert into outbound_event (id, type, key, data, created_at, routed_at) values ($1, $2, $1, '{}', now() - $3 * interval '1 day', now())`,
      [id, type, days],
    );
    if (delivery !== undefined)
      await world.sql.query(
        `insert into outbound_delivery (id, event_id, endpoint_id, retry_until, due_at, ${delivery})
         values ($1, $2, 'oep_1', now() + $3 * interval '1 day', now() + interval '1 day', now())`,
        [newId('obd'), id, triedForDays],
      );
    return id;
  }

  test('one that was delivered, given up, or missed by a disabled endpoint goes with its deliveries, and what is told once for ever stays', async () => {
    await world.sql.query(
      `insert into outbound_endpoint (id, url, disabled_at, disabled_reason) values ('oep_1', 'http://127.0.0.1:9', now(), 'a test')`,
    );
    const gone = [
      await outboundEvent(old, { delivery: 'delivered_at' }),
      await outboundEvent(old, { delivery: 'given_up_at' }),
      await outboundEvent(old),
      // The endpoint is disabled.
      await outboundEvent(old, { delivery: 'claimed_until', triedForDays: -1 }),
    ];
    const stay = [
      await outboundEvent(young, { delivery: 'delivered_at' }),
      await outboundEvent(old, { delivery: 'claimed_until' }),
      await outboundEvent(old, { type: 'drift.detected' }),
      await outboundEvent(old, { type: 'recharge.overdue' }),
    ];
    const { outbound_event: removed } = await runRetention();
    expect(removed).toEqual({ deleted: gone.length, emptied: 0 });
    expect(await idsOf('outbound_event', [...gone, ...stay])).toEqual(stay.toSorted());
    const { rows } = await world.sql.query('select event_id from outbound_delivery order by 1');
    expect(rows.map(({ event_id }) => event_id)).toEqual(stay.slice(0, 2).toSorted());
  });

  test('one whose endpoint is enabled stays until it is given up, however old', async () => {
    await world.sql.query(`update outbound_endpoint set disabled_at = null, disabled_reason = null where id = 'oep_1'`);
    const id = await outboundEvent(old, { delivery: 'claimed_until', triedForDays: -1 });
    await runRetention();
    expect(await idsOf('outbound_event', [id])).toEqual([id]);
  });

  test('one that no dispatcher has come to yet stays, however old', async () => {
    const id = await outboundEvent(old);
    await world.stopApi();
    await world.sql.query('update outbound_event set routed_at = null where id = $1', [id]);
    await runRetention();
    expect(await idsOf('outbound_event', [id])).toEqual([id]);
    await world.startApi();
  });
});

describe.each<{ table: ExpiringTable; column: string; make: string; unfinished?: string }>([
  {
    table: 'stripe_event',
    column: 'received_at',
    make: `insert into stripe_event (id, type, object_id, handled_at) values ($1, 'payment_intent.succeeded', $1, now())`,
    unfinished: `update stripe_event set handled_at = null, claimed_until = now() + interval '1 hour' where id = $1`,
  },
  {
    table: 'sync_run',
    column: 'started_at',
    make: `insert into sync_run (id, dry_run, status, counts, finished_at) values ($1, false, 'succeeded', '{}', now())`,
    unfinished: `update sync_run set status = 'running', finished_at = null where id = $1`,
  },
  {
    table: 'litellm_team',
    column: 'gone_at',
    make: `insert into litellm_team (team_id, spend, blocked, has_budget_limits, members_count, keys_count, seen_at) values ($1, 0, false, false, 0, 0, now())`,
    unfinished: `update litellm_team set blocked_by_us = true where team_id = $1`,
  },
])('of $table', ({ table, column, make, unfinished }) => {
  test('what is past its time goes, what is younger or not settled stays', async () => {
    const { old, young } = ages(table);
    const [gone, stays, unsettled] = [newId('evt'), newId('evt'), newId('evt')] as [string, string, string];
    for (const id of [gone, stays, unsettled]) await world.sql.query(make, [id]);
    await age(table, column, gone, old);
    await age(table, column, stays, young);
    await age(table, column, unsettled, old);
    if (unfinished) await world.sql.query(unfinished, [unsettled]);
    const { [table]: removed } = await runRetention();
    expect(removed).toEqual({ deleted: 1, emptied: 0 });
    expect(await idsOf(table, [gone, stays, unsettled])).toEqual([stays, unsettled].toSorted());
  });
});

test('of the balances that were seen, what is past its time goes', async () => {
  const { id } = await world.organization({ spend: 0 });
  const { old, young } = ages('balance_sample');
  await world.sql.query(
    `insert into balance_sample (organization_id, at, spend) select $1, now() - days * interval '1 day', days from unnest($2::int[]) days`,
    [id, [old, young]],
  );
  await runRetention();
  const { rows } = await world.sql.query('select spend::integer from balance_sample where organization_id = $1', [id]);
  const ofItsCreation = { spend: 0 };
  expect(rows.toSorted((one, other) => one.spend - other.spend)).toEqual([ofItsCreation, { spend: young }]);
});

test('more than a page goes in one run', async () => {
  await world.sql.query(
    `insert into stripe_event (id, type, object_id, received_at, handled_at)
     select 'evt_many' || n, 'payment_intent.succeeded', 'pi_' || n, now() - interval '1 year', now() from generate_series(1, 2500) n`,
  );
  expect((await runRetention()).stripe_event).toEqual({ deleted: 2500, emptied: 0 });
  const lines = logged.map((line) => JSON.parse(line));
  expect(lines).toContainEqual(expect.objectContaining({ table: 'stripe_event', deleted: 2500, emptied: 0 }));
});

test('a table that cannot be read is named, and the others are cleared all the same', async () => {
  const event = await closedEvent({ days: ages('webhook_event').old });
  await world.sql.query('alter table stripe_event rename to stripe_event_elsewhere');
  try {
    const rows = await runRetention();
    expect(rows.stripe_event).toEqual({ deleted: 0, emptied: 0, failed: expect.stringMatching(/^PostgreSQL: \w+ \(42P01\)$/) });
    expect(Object.keys(rows)).toEqual(Object.keys(RETENTION));
    expect(await idsOf('webhook_event', [event])).toEqual([]);
  } finally {
    await world.sql.query('alter table stripe_event_elsewhere rename to stripe_event');
  }
});

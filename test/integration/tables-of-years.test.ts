/**
 * The database after years: no statement that the service runs reads more rows for each row that was ever stored,
 * and no row goes by a look at every other.
 *
 * The statements are not written here. They are what the service has sent while one of everything happened in a
 * small world, and each is then run, and rolled back, on a database of years. What counts is how many rows it
 * really reads.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { examine } from '../../src/cli/doctor/doctor.ts';
import { Database } from '../../src/database/database.ts';
import { FiguresReader } from '../../src/database/figures.ts';
import { WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { collectStatements, rowsRead } from '../support/statements.ts';
import { type Organization, World } from '../support/world.ts';
import { fillWithYears, ROWS } from '../support/years.ts';

/** Of one table: some pages, what is joined to them, and what waits to be settled. */
const MOST_ROWS = ROWS / 6;

/** What may read a whole table, by a part of the statement, with the reason. */
const MAY_READ_ALL: readonly { statement: RegExp; because: string }[] = [
  {
    statement: /^select "o0"\.\* from "outbound_event" as "o0" where "o0"\."type" = \?/,
    because: 'a person lists a rare type: the list goes back from the newest until its page is full',
  },
  {
    statement: /^update litellm_team set gone_at = now\(\)/,
    because: 'once in each synchronisation, which has read as many teams from LiteLLM',
  },
  {
    statement: /^select o\.c_organization_id as id from organization_balance_config o left join lateral \(select at from balance_sample/,
    because: 'once in each sweep, which has read as many teams from LiteLLM: which of ours it has not seen',
  },
  {
    statement: /^select c_organization_id .* where true and known_time_zone/,
    because: 'bill doctor looks at every organization',
  },
  {
    statement: /^select count\(\*\) as count from organization_balance_config/,
    because: 'the status says of how many organizations it speaks',
  },
  {
    statement: /^select kind, currency, sum\(amount_minor\) as amount from ledger_transfer/,
    because: 'a process adds up the ledger once; then only what is new',
  },
];

/** The tables with one row for each thing that has happened, whoever it happened to. */
const GROWING = [
  'webhook_event',
  'recharge',
  'ledger_transfer',
  'reversal',
  'card_attempt',
  'hold',
  'outbound_event',
  'outbound_delivery',
  'stripe_event',
  'balance_sample',
  'sync_run',
  'sync_item',
];

let world: World;
let client: pg.PoolClient;
let statements: Map<string, string>;

beforeAll(async () => {
  statements = collectStatements();
  world = await World.start({
    STRIPE_WEBHOOK_SECRETS: 'whsec_signs_the_events',
    NOTIFY_WEBHOOK_URL: 'http://127.0.0.1:9/notify',
    NOTIFY_WEBHOOK_SECRET: 'a-secret-that-signs-what-is-told',
  });
  await oneOfEverything();
  await world.stopApi();
  await world.stopWorker();
  await fillWithYears(world.sql);
  client = await world.sql.connect();
});
afterAll(async () => {
  client?.release();
  await world?.close();
});

async function oneOfEverything(): Promise<void> {
  const { organization, intentId } = await world.recharged();
  await world.alert(organization.teamId, { body: { event: 'spend_tracked' } });
  await world.alert(`${world.name}-of-nobody`);
  await world.alerted(await world.organization({ card: 'pm_card_chargeCustomerFail' }));
  const refused = await world.organization({ settings: { max_daily_recharges: 0 } });
  await world.alerted(refused);
  await world.admin.post('/api/v1/holds', { scope: 'organization', subject: refused.id, reason: 'a test' });
  await world.alerted(refused);

  const { id: dispute } = await world.stripeKnob('disputes', { payment_intent: intentId });
  await world.reversalIs(dispute, 'taken_back');
  await world.stripeKnob(`disputes/${dispute}`, { status: 'won' });
  await world.reversalIs(dispute, 'given_back');

  const parked = await world.organization();
  const { eventId, goOn } = await world.chargedButNotGranted(parked);
  await world.setBudget(parked.teamId, 77);
  await goOn();
  await world.closed(eventId);
  await world.admin.post(`/api/v1/recharges/${(await world.rechargeOf(parked)).id}/resolve`, { resolution: 'refund', reason: 'a test' });
  await world.rechargeIs(eventId, 'refunded');

  const unlucky = await world.organization();
  await world.revokeStripeKey(true);
  await world.accepted(unlucky);
  await world.eventually(
    async () => (await world.sql.query(`select from hold where reason = 'key_refused'`)).rowCount,
    'the key is refused',
  );
  await world.revokeStripeKey(false);
  for (const type of ['sweep', 'sync', 'reconcile', 'retention', 'sweep'] as const)
    await world.temporal.workflow.execute(WORKFLOW_TYPES[type], { workflowId: `${type}/${world.name}`, taskQueue: world.name, args: [] });

  await readEverything(organization);
  await examine(world.config);
  const database = await Database.open(world.config.databaseUrl);
  await new FiguresReader(database).read();
  await database.close();
}

/** Every list, with each of its filters. */
async function readEverything({ id, teamId }: Organization): Promise<void> {
  const lists: Record<string, string[]> = {
    'webhooks/events': [
      `team_id=${teamId}`,
      `organization_id=${id}`,
      'event_type=budget_crossed',
      'processed=false',
      'success=false',
      'outcome=held',
    ],
    'api/v1/organizations': [],
    'api/v1/recharges': [`organization_id=${id}`, 'status=refunded', 'stuck=true'],
    'api/v1/reversals': [`organization_id=${id}`, 'status=needs_attention'],
    'api/v1/holds': [`organization_id=${id}`, 'scope=service', 'reason=key_refused', 'open=true'],
    'api/v1/outbound-events': [`organization_id=${id}`, 'type=reversal.closed', 'failed=true'],
    'api/v1/outbound-endpoints': [],
    'api/v1/sync': [],
    'api/v1/status': ['all=true', `organization_id=${id}`],
  };
  for (const [list, filters] of Object.entries(lists)) {
    for (const filter of ['', ...filters]) {
      const { data, status } = await world.admin.get(`/${list}?limit=1&${filter}`);
      expect({ list, filter, status }).toEqual({ list, filter, status: 200 });
      if (data.next_cursor) await world.admin.get(`/${list}?limit=1&${filter}&cursor=${encodeURIComponent(data.next_cursor)}`);
    }
  }
  const recharge = (await world.admin.get(`/api/v1/recharges?organization_id=${id}&limit=1`)).data.data[0];
  for (const anyId of [recharge.id, recharge.event_id, recharge.payment_intent_id]) await world.admin.get(`/api/v1/recharges/${anyId}`);
  const { data: held } = (await world.admin.get('/webhooks/events?outcome=held&limit=1')).data;
  for (const event of [recharge.event_id, held[0]?.id]) await world.admin.get(`/webhooks/events/${event}`);
  for (const path of [`organizations/${id}`, `organizations/${id}/balance`, `organizations/${id}/teams`])
    await world.admin.get(`/api/v1/${path}`);
}

test('the small world has read every table that grows', () => {
  const shapes = [...statements.keys()].join('\n');
  expect(GROWING.filter((table) => !new RegExp(`(from|join) "?${table}\\b`).test(shapes))).toEqual([]);
});

test('no statement reads a table to its end, but for those that have a reason', async () => {
  const offences: string[] = [];
  const excused = new Set<string>();
  for (const [shape, statement] of statements) {
    const excuse = MAY_READ_ALL.find((each) => each.statement.test(shape));
    const read = await rowsRead(client, statement).catch((error) => {
      if (error.code !== UNIQUE_VIOLATION) throw error;
      return new Map<string, number>();
    });
    for (const [table, rows] of read) {
      if (rows <= MOST_ROWS) continue;
      if (excuse) excused.add(String(excuse.statement));
      else offences.push(`${rows} rows of ${table}: ${shape}`);
    }
  }
  expect(offences).toEqual([]);
  expect([...excused].toSorted()).toEqual(MAY_READ_ALL.map((each) => String(each.statement)).toSorted());
});

/** What was entered once cannot be entered again. */
const UNIQUE_VIOLATION = '23505';

/** Columns that refer to another table, and are searched by no index, with the reason. */
const SEARCHED_BY_NOBODY: Record<string, string> = {
  'outbound_delivery.endpoint_id': 'an endpoint is deleted by a person, of ten at most: a tenth of the table or more goes with it',
};

test('every reference to another table is searched by an index', async () => {
  const { rows } = await world.sql.query<{ reference: string }>(
    `select c.conrelid::regclass || '.' || string_agg(a.attname, ',' order by k.position) as reference
     from pg_constraint c
     cross join lateral unnest(c.conkey) with ordinality k (attnum, position)
     join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum
     where c.contype = 'f' and c.connamespace = 'public'::regnamespace
       and not exists (
         select from pg_index i where i.indrelid = c.conrelid and i.indisvalid
           and (i.indkey::int2[])[0:array_length(c.conkey, 1) - 1] @> c.conkey
           and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = '(' || a.attname || ' IS NOT NULL)'))
     group by c.oid, c.conrelid order by 1`,
  );
  expect(rows.map(({ reference }) => reference)).toEqual(Object.keys(SEARCHED_BY_NOBODY));
});

/** Whom a hold on a card stops, where thousands of organizations pay by one customer. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { Database } from '../../src/database/database.ts';
import { standingOn, stoppedBy } from '../../src/database/stopping-holds.ts';
import { migratedDatabase } from '../support/databases.ts';

const ORGANIZATIONS = 10_000;
/** A look at each of them for each of the others takes ten times as long, one look at each a tenth of it. */
const STATEMENT_TIMEOUT_MS = 3_000;

let database: Database;
beforeAll(async () => {
  const connectionString = await migratedDatabase();
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query(
    `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, minimum_balance,
       target_balance, currency, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone)
     select 'org-' || lpad(n::text, 5, '0'), 'n', 'cus_reseller', 't-' || n, 10, 50, 'usd', 1, true, 10, 'UTC'
     from generate_series(1, ${ORGANIZATIONS}) n`,
  );
  await client.query(
    `insert into hold (id, scope, subject, reason, detail, opened_by, organization_id)
     values ('hld_1', 'card', 'fp 2030-01', 'declined', 'no funds', 'rch_1', 'org-00001')`,
  );
  await client.query('analyze');
  await client.end();
  database = await Database.open(connectionString, { statementTimeoutMs: STATEMENT_TIMEOUT_MS });
});
afterAll(() => database.close());

test('all of them are counted, and the first five named', async () => {
  const ids = [1, 2, 3, 4, 5].map((n) => `org-0000${n}`);
  const stops = { count: ORGANIZATIONS, ids };
  expect(await stoppedBy(database.fork(), ['hld_1'])).toEqual(new Map([['hld_1', stops]]));
  const standing = await standingOn(database.fork(), ids);
  expect([...standing.keys()].toSorted()).toEqual(ids);
  for (const holds of standing.values()) expect(holds).toMatchObject([{ id: 'hld_1', reason: 'declined', until: null, stops }]);
});

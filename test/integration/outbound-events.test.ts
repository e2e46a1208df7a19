/** Outbound events in the database: told once, in the transaction of what they tell of. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { Database } from '../../src/database/database.ts';
import { tell } from '../../src/database/outbound-events.ts';
import { createDatabase } from '../support/databases.ts';
import { TEMPLATE_DATABASE } from '../support/global-setup.ts';

let database: Database;
let sql: pg.Pool;
beforeAll(async () => {
  const url = await createDatabase(`test_${randomBytes(6).toString('hex')}`, TEMPLATE_DATABASE);
  database = await Database.open(url);
  sql = new pg.Pool({ connectionString: url, max: 2 });
}, 60_000);
afterAll(async () => {
  await sql.end();
  await database.close();
});

function drift(subject: string) {
  const data = { kind: 'ledger_changed', subject, seen: 'a gap', expected: 'an unbroken chain', action: 'bill ledger verify' };
  return { type: 'drift.detected' as const, organizationId: 'acme', key: `finding/${subject}`, data };
}

async function toldOf(key: string) {
  return (await sql.query('select type, organization_id, data from outbound_event where key = $1', [key])).rows;
}

test('an event is entered with its organization and its facts', async () => {
  expect(await tell(database.fork(), drift('one'))).toBe(true);
  expect(await toldOf('finding/one')).toEqual([
    { type: 'drift.detected', organization_id: 'acme', data: { organization_id: 'acme', ...drift('one').data } },
  ]);
});

test('of two events with one key the first stands', async () => {
  await tell(database.fork(), drift('two'));
  expect(await tell(database.fork(), { ...drift('two'), organizationId: 'other' })).toBe(false);
  expect(await toldOf('finding/two')).toMatchObject([{ organization_id: 'acme' }]);
});

test('an event goes with a transaction that is rolled back', async () => {
  const moving = database.fork().transactional(async (tx) => {
    await tell(tx, drift('three'));
    throw new Error('the move fails');
  });
  await expect(moving).rejects.toThrow('the move fails');
  expect(await toldOf('finding/three')).toEqual([]);
});

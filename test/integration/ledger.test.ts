/** The ledger cannot be changed, and a change made past every guard shows. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Database } from '../../src/database/database.ts';
import * as ledger from '../../src/database/ledger.ts';
import { RECHARGED } from '../support/books.ts';
import { World } from '../support/world.ts';

let world: World;
let database: Database;
beforeAll(async () => {
  world = await World.start();
  database = await Database.open(world.config.databaseUrl);
});
afterAll(async () => {
  await database.close();
  await world.close();
});

/** An organization with `recharges` settled ones, so with twice as many transfers. */
async function organizationWithHistory(recharges: number): Promise<string> {
  const organization = await world.organization();
  for (let i = 0; i < recharges; i++) {
    if (i > 0) await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: 10 + i })).toEqual(RECHARGED);
  }
  return organization.id;
}

/** What somebody with the superuser's rights could do: no privilege and no trigger in the way. */
async function tamper(...statements: string[]): Promise<void> {
  const client = await world.sql.connect();
  try {
    await client.query("set session_replication_role = 'replica'");
    for (const statement of statements) await client.query(statement);
  } finally {
    client.release(true);
  }
}

async function faultsOf(organizationId: string): Promise<string[]> {
  const { faults } = await ledger.verify(database.fork(), organizationId);
  return faults.map(({ sequence, fault }) => `${sequence}: ${fault}`);
}

test.each(['update ledger_transfer set amount_minor = 1', 'delete from ledger_transfer', 'truncate ledger_transfer'])(
  '%s is refused',
  async (statement) => {
    await organizationWithHistory(1);
    await expect(world.sql.query(statement)).rejects.toThrow(/append-only|permission denied/);
  },
);

test('case 58: an untouched ledger verifies', async () => {
  const id = await organizationWithHistory(2);
  expect(await ledger.verify(database.fork(), id)).toEqual({ transfers: 4, faults: [] });
});

test('a transfer that is entered while its chain is verified is no fault', async () => {
  const id = await organizationWithHistory(1);
  const writer = await world.sql.connect();
  await writer.query('begin');
  await writer.query('lock table ledger_transfer in access exclusive mode');
  const verifying = faultsOf(id);
  await world.waitsForLock('"ledger_transfer"');
  await writer.query(
    `insert into ledger_transfer (id, organization_id, recharge_id, kind, reference, debit_account, credit_account, amount_minor, currency, quota_micros)
     select 'ltr_late', organization_id, id, 'reversal', 're_late', 'granted', 'prepaid', 1, currency, 1 from recharge where organization_id = $1`,
    [id],
  );
  await writer.query('commit');
  writer.release();
  expect(await verifying).toEqual([]);
  expect(await faultsOf(id)).toEqual([]);
});

test.each<[string, (id: string) => string[], string[]]>([
  [
    'a changed amount',
    (id) => [`update ledger_transfer set amount_minor = amount_minor + 1 where organization_id = '${id}' and sequence = 2`],
    ['2: it has been changed'],
  ],
  [
    'a changed amount with its hash made to fit',
    (id) => [
      `update ledger_transfer t set amount_minor = amount_minor + 1 where organization_id = '${id}' and sequence = 2`,
      `update ledger_transfer t set hash = ledger_transfer_digest(t) where organization_id = '${id}' and sequence = 2`,
    ],
    ['3: it does not follow from the transfer before it'],
  ],
  [
    'a removed transfer',
    (id) => [`delete from ledger_transfer where organization_id = '${id}' and sequence = 3`],
    ['4: transfer 3 is missing before it'],
  ],
  [
    'the last transfer removed',
    (id) => [`delete from ledger_transfer where organization_id = '${id}' and sequence = 4`],
    ["4: the chain ends at 3, the organization's last transfer was 4"],
  ],
  [
    'two transfers exchanged',
    (id) => [
      `update ledger_transfer set sequence = 99 where organization_id = '${id}' and sequence = 2`,
      `update ledger_transfer set sequence = 2 where organization_id = '${id}' and sequence = 3`,
      `update ledger_transfer set sequence = 3 where organization_id = '${id}' and sequence = 99`,
    ],
    [
      '2: it does not follow from the transfer before it',
      '3: it does not follow from the transfer before it',
      '4: it does not follow from the transfer before it',
    ],
  ],
])('case 58: %s is found', async (_what, statements, expected) => {
  const id = await organizationWithHistory(2);
  await tamper(...statements(id));
  expect(await faultsOf(id)).toEqual(expected);
});

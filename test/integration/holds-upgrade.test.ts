/** What stopped charges in the version before, and a process of that version beside this one. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import * as cardHolds from '../../src/database/card-holds.ts';
import { Database } from '../../src/database/database.ts';
import * as holds from '../../src/database/holds.ts';
import { newId } from '../../src/database/ids.ts';
import * as organizations from '../../src/database/organizations.ts';
import { migratedDatabase } from '../support/databases.ts';
import { insertEvent } from '../support/events.ts';
import { settingsOf } from '../support/settings.ts';

let database: Database;
let sql: pg.Pool;
beforeAll(async () => {
  const url = await migratedDatabase();
  database = await Database.open(url);
  sql = new pg.Pool({ connectionString: url, max: 2 });
});
afterAll(async () => {
  await sql.end();
  await database.close();
});

async function organization(id: string): Promise<string> {
  await organizations.create(database.fork(), id, settingsOf(id));
  return id;
}

/** As a process of the version before writes it. */
async function suspend(id: string, reason: string | null): Promise<void> {
  const query =
    'update organization_balance_config set suspended_at = case when $2::text is not null then now() end, suspended_reason = $2 where c_organization_id = $1';
  await sql.query(query, [id, reason]);
}

async function recharge(
  organizationId: string,
  { card, status, declineCode = null }: { card: string; status: string; declineCode?: string | null },
) {
  const [id, event] = [newId('rch'), await insertEvent(sql, organizationId)];
  await sql.query(
    `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
       quota_granted, balance_seen, payment_intent_id, payment_method_id, decline_code, failure_message, timeline)
     values ($1, $2, $3, 'team', 'webhook', $4, 'cus_1', 2000, 'usd', 20, 5, $1, $5, $6, $6, '[]')`,
    [id, event, organizationId, status, card, declineCode],
  );
}

async function openHolds(): Promise<object[]> {
  const { rows } = await sql.query('select scope, subject, reason, detail from hold where released_at is null order by subject');
  return rows;
}

test('a process of the version before that suspends opens a hold, and one that resumes ends it', async () => {
  const id = await organization('beside');
  await suspend(id, 'unpaid');
  expect(await openHolds()).toEqual([{ scope: 'organization', subject: id, reason: 'operator', detail: 'unpaid' }]);
  await suspend(id, null);
  expect(await openHolds()).toEqual([]);
});

test('a process of the version before sees a hold as a suspension, until it ends', async () => {
  const id = await organization('seen');
  const isSuspended = async () =>
    (await sql.query('select suspended_at is not null as is from organization_balance_config where c_organization_id = $1', [id])).rows[0]
      .is;
  const em = database.fork();
  const hold = await holds.open(em, {
    scope: 'organization',
    subject: id,
    reason: 'runaway',
    detail: 'x',
    openedBy: 'y',
    organizationId: id,
  });
  expect(await isSuspended()).toBe(true);
  await holds.release(em, hold.id, { by: 'ada', reason: null });
  expect(await isSuspended()).toBe(false);
});

test('what stopped charges when this version comes is held: who was suspended or disputed, and a card that was declined for good', async () => {
  await sql.query('drop table hold, card_attempt cascade');
  await sql.query('alter table recharge drop column card_fingerprint, drop column card_expiry');
  await sql.query('drop trigger organization_suspended on organization_balance_config');
  await sql.query('drop function mirror_holds, hold_what_is_suspended');
  await sql.query("delete from bill_migration where name = '0010-holds-and-attempts'");
  const [suspended, disputed, declined, recovered] = [
    await organization('a'),
    await organization('b'),
    await organization('c'),
    await organization('d'),
  ];
  await organization('free');
  await suspend(suspended, 'unpaid');
  await suspend(disputed, 'dispute du_1 of recharge rch_1');
  await recharge(declined, { card: 'pm_lost', status: 'declined', declineCode: 'lost_card' });
  await recharge(declined, { card: 'pm_poor', status: 'declined', declineCode: 'insufficient_funds' });
  await recharge(recovered, { card: 'pm_found', status: 'declined', declineCode: 'lost_card' });
  await recharge(recovered, { card: 'pm_found', status: 'succeeded' });

  expect(await database.migrate()).toEqual(['0010-holds-and-attempts']);
  expect(await openHolds()).toEqual([
    { scope: 'organization', subject: suspended, reason: 'operator', detail: 'unpaid' },
    { scope: 'organization', subject: disputed, reason: 'disputed', detail: 'dispute du_1 of recharge rch_1' },
    { scope: 'card', subject: 'pm_lost', reason: 'card_refused', detail: 'lost_card' },
  ]);
  // Only its id is known of such a card, whatever fingerprint it turns out to have.
  const card = { id: 'pm_lost', fingerprint: 'Xt5EWLLDS7FJjR1c', expiry: '12/2030' };
  expect(await cardHolds.isCardInQuestion(database.fork(), declined)).toBe(true);
  expect(await holds.applyingTo(database.fork(), declined, card)).toMatchObject([{ reason: 'card_refused' }]);
  expect(await holds.applyingTo(database.fork(), declined, { ...card, id: 'pm_other' })).toEqual([]);
});

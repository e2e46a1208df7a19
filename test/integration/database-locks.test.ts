/** What the database room decides while another transaction is under way: claims of a budget, holds, approvals. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as budgets from '../../src/database/budgets.ts';
import * as cardHolds from '../../src/database/card-holds.ts';
import * as holds from '../../src/database/holds.ts';
import { newId } from '../../src/database/ids.ts';
import * as organizations from '../../src/database/organizations.ts';
import { paidBy } from '../../src/database/recharge-history.ts';
import { reserve } from '../../src/database/reservations.ts';
import * as reversals from '../../src/database/reversals.ts';
import { minorUnits, type QuotaMicros, quotaFromDollars } from '../../src/domain/money.ts';
import type { ReversalDecision } from '../../src/domain/reversal.ts';
import { DatabaseRoom } from '../support/database-room.ts';
import { insertEvent } from '../support/events.ts';
import { settingsOf } from '../support/settings.ts';

let room: DatabaseRoom;
beforeAll(async () => {
  room = await DatabaseRoom.open();
});
afterAll(() => room.close());

describe("a claim of the budget that has waited for the organization's lock", () => {
  const setWriter = (to: string) => `update organization_balance_config set budget_writer = ${to} where c_organization_id = $1`;
  test.each([
    ['is made where another writer has just released it', "'another'", setWriter('null'), 'ours'],
    ['is not made where another writer has just claimed it', 'null', setWriter("'another'"), 'another'],
    ['is not made for a writer that was just settled', 'null', "update recharge set status = 'succeeded' where organization_id = $1", null],
  ])('%s', async (_name, before, meanwhile, holder) => {
    const id = await room.organization();
    const writer = await room.recharge(id, 'charged');
    await room.sql.query(setWriter(before), [id]);
    const other = await room.sql.connect();
    await other.query('begin');
    await other.query('select from organization_balance_config where c_organization_id = $1 for update', [id]);
    const claim = budgets.claim(room.em, id, { id: writer, status: 'charged' });
    await room.waitsForLock();
    await other.query(meanwhile, [id]);
    await other.query('commit');
    other.release();
    expect(await claim).toBe(holder === 'ours');
    expect((await organizations.find(room.em, id))?.budgetWriter).toBe(holder === 'ours' ? writer : holder);
  });
});

test('a card that replaces a held one is noted behind the lock of the organization, as a reservation does', async () => {
  const [id, other] = [await room.organization(), await room.organization()];
  const paid = await room.recharge(other);
  await room.sql.query("update recharge set payment_method_id = 'pm_1', card_fingerprint = 'shared' where id = $1", [paid]);
  const refused = { scope: 'card', subject: 'shared', reason: 'card_refused', detail: 'refused', openedBy: 'ann' } as const;
  const hold = await holds.open(room.em, { ...refused, organizationId: id, cardId: 'pm_2' });
  const reservation = await room.sql.connect();
  await reservation.query('begin');
  await reservation.query('select from organization_balance_config where c_organization_id = $1 for update', [id]);
  const noted = cardHolds.releaseForChangedCard(room.em, id, { id: 'pm_3', fingerprint: 'another', expiry: '' });
  await room.waitsForLock();
  const noting = reservation.query('insert into card_replaced values ($1, $2) on conflict do nothing', [id, hold.id]);
  await noting.then(() => reservation.query('commit')).finally(() => reservation.release(true));
  await noted;
  expect((await room.sql.query('select hold_id from card_replaced where organization_id = $1', [id])).rows).toEqual([{ hold_id: hold.id }]);
});

test('the hold that has refused an event is none whose time was over, and which nobody has released yet', async () => {
  const id = await room.organization();
  const hold = { scope: 'organization', subject: id, openedBy: 'ann', organizationId: id } as const;
  const past = new Date(Date.now() - 60_000);
  const over = await holds.open(room.em, { ...hold, reason: 'operator', detail: 'for an hour' });
  await room.sql.query("update hold set since = now() - interval '1 hour', until = $2 where id = $1", [over.id, past]);
  const standing = await holds.open(room.em, { ...hold, reason: 'runaway', detail: 'until it is released' });
  await room.sql.query("update hold set since = now() - interval '2 minutes' where id = $1", [standing.id]);
  expect((await holds.appliedAt(room.em, id, new Date()))?.id).toBe(standing.id);
  expect((await holds.appliedAt(room.em, id, new Date(past.getTime() - 1)))?.id).toBe(over.id);
});

test('an approval is used up by the reservation that it was given to, also by one whose transaction began before it', async () => {
  const organizationId = await room.organization();
  const id = await insertEvent(room.sql, organizationId);
  const approved = minorUnits(60_000);
  const hold = { scope: 'organization', subject: organizationId, reason: 'runaway', detail: 'a loop', openedBy: 'test' } as const;
  const { id: holdId } = await holds.open(room.em, { ...hold, organizationId, amountMinor: approved });
  const [quota, balance, quotaBefore] = ([600, 5, 10] as const).map((dollars) => quotaFromDollars(dollars)) as [
    QuotaMicros,
    QuotaMicros,
    QuotaMicros,
  ];
  const reserved = await room.em.transactional(async (tx) => {
    await tx.execute('select 1');
    await holds.release(room.database.fork(), holdId, { by: 'ann', reason: 'looked at' });
    return reserve(
      tx,
      { id, source: 'webhook' },
      {
        organizationId,
        seenVersion: 0,
        seenTeamId: settingsOf(organizationId).litellmTeamId,
        decide: (_policy, { approvedAmount: amount }) => ({
          kind: 'recharge',
          amount: amount ?? minorUnits(0),
          quota,
          balance,
          quotaBefore,
        }),
      },
    );
  });
  expect(reserved).toMatchObject({ kind: 'reserved', recharge: { amountMinor: approved } });
  expect((await paidBy(room.em, organizationId)).approvedAmount).toBeNull();
});

describe('a hold on a card that two organizations were charged with last, and one has another card', () => {
  const card = { id: 'pm_2', fingerprint: 'another', expiry: '12/2031' };

  async function isOpenAfter(customers: readonly [string, string]): Promise<boolean> {
    const subject = newId('hld');
    const paying = async (stripeCustomerId: string) => {
      const id = await room.organization({ stripeCustomerId });
      const rechargeId = await room.recharge(id, 'declined');
      await room.sql.query(
        `update recharge set payment_method_id = 'pm_1', card_fingerprint = $1, card_expiry = '', stripe_customer_id = $3 where id = $2`,
        [subject, rechargeId, stripeCustomerId],
      );
      return id;
    };
    const [one] = [await paying(customers[0]), await paying(customers[1])];
    const hold = { scope: 'card', subject, reason: 'card_refused', detail: 'stolen', openedBy: 'rch_1', cardId: 'pm_1' } as const;
    const { id } = await holds.open(room.em, { ...hold, organizationId: one });
    await cardHolds.releaseForChangedCard(room.em, one, card);
    return (await holds.get(room.em, id)).releasedAt === null;
  }

  test('stays for the other one', async () => {
    expect(await isOpenAfter(['cus_one', 'cus_other'])).toBe(true);
  });

  test('ends where both are of one customer, which has the other card for both', async () => {
    expect(await isOpenAfter(['cus_both', 'cus_both'])).toBe(false);
  });
});

test('a dispute that is won ends no hold while another one stands, also one whose transaction began before the hold', async () => {
  const organizationId = await room.organization();
  const [first, second] = [await room.recharge(organizationId), await room.recharge(organizationId)];
  const disputed = (id: string) => (): ReversalDecision => ({
    open: [{ id, kind: 'dispute', status: 'open', amountMinor: minorUnits(2000), quota: quotaFromDollars(20) }],
    steps: [],
    parked: [],
    isFinal: false,
  });
  await room.em.transactional(async (tx) => {
    await tx.execute('select 1');
    await reversals.open(room.database.fork(), { id: first, organizationId }, disputed(`du_${first}`));
    await reversals.open(tx, { id: second, organizationId }, disputed(`du_${second}`));
  });
  expect(await reversals.dismiss(room.em, await reversals.get(room.em, `du_${first}`))).toBe(true);
  expect(await holds.applyingTo(room.em, organizationId)).toMatchObject([{ reason: 'disputed' }]);
  expect(await reversals.dismiss(room.em, await reversals.get(room.em, `du_${second}`))).toBe(true);
  expect(await holds.applyingTo(room.em, organizationId)).toEqual([]);
});

/** The database room by itself: fresh reads, the clock of rows, pages, leases, and what comes in at once. */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import pg from 'pg';
import * as budgets from '../../src/database/budgets.ts';
import * as cardHolds from '../../src/database/card-holds.ts';
import { Database, type EntityManager } from '../../src/database/database.ts';
import { isDatabaseOutage } from '../../src/database/errors.ts';
import * as holds from '../../src/database/holds.ts';
import { newId } from '../../src/database/ids.ts';
import { LimitedClient } from '../../src/database/limited-client.ts';
import * as organizations from '../../src/database/organizations.ts';
import { BadCursorError, type Page, type PageRequest } from '../../src/database/page.ts';
import { batchReceiver, type IncomingEvent, type Receipt } from '../../src/database/receiving.ts';
import { paidBy } from '../../src/database/recharge-history.ts';
import * as recharges from '../../src/database/recharges.ts';
import { reserve } from '../../src/database/reservations.ts';
import * as reversals from '../../src/database/reversals.ts';
import * as stripeEvents from '../../src/database/stripe-events.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import * as teams from '../../src/database/teams.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { minorUnits, type QuotaMicros, quotaFromDollars } from '../../src/domain/money.ts';
import type { ReversalDecision } from '../../src/domain/reversal.ts';
import { GroupCommit, LANES } from '../../src/inbox/group-commit.ts';
import { migratedDatabase } from '../support/databases.ts';
import { insertEvent } from '../support/events.ts';
import { withoutMaterialPlans } from '../support/plans.ts';
import { startProxy } from '../support/proxy.ts';
import { settingsOf } from '../support/settings.ts';
import { eventually } from '../support/time.ts';

let url: string;
let database: Database;
let sql: pg.Pool;
let em: EntityManager;
beforeAll(async () => {
  url = await migratedDatabase();
  database = await Database.open(url);
  sql = new pg.Pool({ connectionString: url, max: 2 });
  em = database.fork();
}, 60_000);
afterAll(async () => {
  await sql.end();
  await database.close();
});

let serial = 0;
async function organization(on = em, id = `org-${++serial}`): Promise<string> {
  await organizations.create(on, id, settingsOf(id));
  return id;
}

async function recharge(organizationId: string, status = 'succeeded'): Promise<string> {
  const [id, event] = [newId('rch'), await insertEvent(sql, organizationId)];
  await sql.query(
    `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
       quota_granted, balance_seen, payment_intent_id, timeline)
     values ($1, $2, $3, 'team', 'webhook', $4, 'cus_1', 2000, 'usd', 20, 5, $1, '[]')`,
    [id, event, organizationId, status],
  );
  return id;
}

/** Money of the recharge that went back without us, and for which no quota was left. */
async function reversal(id: string, rechargeId: string, organizationId: string): Promise<string> {
  await sql.query(
    `insert into reversal (id, kind, recharge_id, organization_id, litellm_team_id, status, amount_minor, currency, quota)
     values ($1, 'refund', $2, $3, 'team', 'needs_attention', 1, 'usd', 0)`,
    [id, rechargeId, organizationId],
  );
  return id;
}

const ACCEPTED = { by: 'ann', reason: 'settled at Stripe', isGone: true };

describe("a claim of the budget that has waited for the organization's lock", () => {
  const setWriter = (to: string) => `update organization_balance_config set budget_writer = ${to} where c_organization_id = $1`;
  test.each([
    ['is made where another writer has just released it', "'another'", setWriter('null'), 'ours'],
    ['is not made where another writer has just claimed it', 'null', setWriter("'another'"), 'another'],
    ['is not made for a writer that was just settled', 'null', "update recharge set status = 'succeeded' where organization_id = $1", null],
  ])('%s', async (_name, before, meanwhile, holder) => {
    const id = await organization();
    const writer = await recharge(id, 'charged');
    await sql.query(setWriter(before), [id]);
    const other = await sql.connect();
    await other.query('begin');
    await other.query('select from organization_balance_config where c_organization_id = $1 for update', [id]);
    const claim = budgets.claim(em, id, { id: writer, status: 'charged' });
    await eventually(async () => (await sql.query('select from pg_locks where not granted')).rowCount, 'the claim waits');
    await other.query(meanwhile, [id]);
    await other.query('commit');
    other.release();
    expect(await claim).toBe(holder === 'ours');
    expect((await organizations.find(em, id))?.budgetWriter).toBe(holder === 'ours' ? writer : holder);
  });
});

test('a card that replaces a held one is noted behind the lock of the organization, as a reservation does', async () => {
  const [id, other] = [await organization(), await organization()];
  const paid = await recharge(other);
  await sql.query("update recharge set payment_method_id = 'pm_1', card_fingerprint = 'shared' where id = $1", [paid]);
  const refused = { scope: 'card', subject: 'shared', reason: 'card_refused', detail: 'refused', openedBy: 'ann' } as const;
  const hold = await holds.open(em, { ...refused, organizationId: id, cardId: 'pm_2' });
  const reservation = await sql.connect();
  await reservation.query('begin');
  await reservation.query('select from organization_balance_config where c_organization_id = $1 for update', [id]);
  const noted = cardHolds.releaseForChangedCard(em, id, { id: 'pm_3', fingerprint: 'another', expiry: '' });
  await eventually(async () => (await sql.query('select from pg_locks where not granted')).rowCount, 'the note waits');
  const noting = reservation.query('insert into card_replaced values ($1, $2) on conflict do nothing', [id, hold.id]);
  await noting.then(() => reservation.query('commit')).finally(() => reservation.release(true));
  await noted;
  expect((await sql.query('select hold_id from card_replaced where organization_id = $1', [id])).rows).toEqual([{ hold_id: hold.id }]);
});

test('the hold that has refused an event is none whose time was over, and which nobody has released yet', async () => {
  const id = await organization();
  const hold = { scope: 'organization', subject: id, openedBy: 'ann', organizationId: id } as const;
  const past = new Date(Date.now() - 60_000);
  const over = await holds.open(em, { ...hold, reason: 'operator', detail: 'for an hour' });
  await sql.query("update hold set since = now() - interval '1 hour', until = $2 where id = $1", [over.id, past]);
  const standing = await holds.open(em, { ...hold, reason: 'runaway', detail: 'until it is released' });
  await sql.query("update hold set since = now() - interval '2 minutes' where id = $1", [standing.id]);
  expect((await holds.appliedAt(em, id, new Date()))?.id).toBe(standing.id);
  expect((await holds.appliedAt(em, id, new Date(past.getTime() - 1)))?.id).toBe(over.id);
});

describe('a read', () => {
  test('returns what the database has now, whatever the same unit of work read before', async () => {
    const id = await organization();
    const before = await organizations.find(em, id);
    await sql.query("update organization_balance_config set name = 'renamed' where c_organization_id = $1", [id]);
    const after = await organizations.find(em, id);
    expect([before?.name, after?.name]).toEqual([id, 'renamed']);
    expect((await organizations.ofLitellmTeams(em, [`team-${id}`])).map(({ name }) => name)).toEqual(['renamed']);
  });

  test('does so within a transaction, and sees what the transaction itself has written', async () => {
    const id = await organization();
    const writer = await recharge(id, 'charged');
    await em.transactional(async (tx) => {
      const before = await organizations.find(tx, id);
      await budgets.claim(tx, id, { id: writer, status: 'charged' });
      const after = await organizations.find(tx, id);
      expect([before?.budgetWriter, after?.budgetWriter]).toEqual([null, writer]);
    });
  });

  test('leaves what was read before as it was, also when a move inside a transaction reads the same row', async () => {
    const id = await recharge(await organization(), 'charging');
    const read = await recharges.get(em, id);
    const moved = await recharges.move(em, read, { to: 'needs_attention' });
    expect([read.status, moved.status]).toEqual(['charging', 'needs_attention']);
  });

  test('keeps nothing: a change of what was read is written by no later statement', async () => {
    const id = await organization();
    const writer = await recharge(id, 'charged');
    const read = await organizations.find(em, id);
    Object.assign(read ?? {}, { name: 'never saved' });
    await em.transactional((tx) => budgets.claim(tx, id, { id: writer, status: 'charged' }));
    await em.flush();
    expect((await organizations.find(em, id))?.name).toBe(id);
    expect(em.getUnitOfWork().getIdentityMap().keys()).toEqual([]);
  });
});

describe('PostgreSQL stamps rows, whatever clock this process has', () => {
  test('when they are created and changed', async () => {
    const RealDate = Date;
    const wrong = class extends RealDate {
      constructor(...given: unknown[]) {
        super(...((given.length > 0 ? given : [0]) as [number]));
      }
      static override now = () => 0;
    };
    globalThis.Date = wrong as DateConstructor;
    let [id, rechargeId] = ['', ''];
    try {
      id = await organization();
      await organizations.change(em, id, { name: 'changed' });
      await teams.create(em, { organizationId: id, id: 'blue', name: 'blue', maxBudgetInTeam: null });
      rechargeId = await recharge(id);
      await reversals.accept(em, await reversals.get(em, await reversal(`re_${rechargeId}`, rechargeId, id)), ACCEPTED);
    } finally {
      globalThis.Date = RealDate;
    }
    const { rows } = await sql.query(
      `select bool_and(at between now() - interval '1 hour' and now() + interval '1 hour') as right from (
         select unnest(array[created_at, updated_at]) from organization_balance_config where c_organization_id = $1
         union all select unnest(array[created_at, updated_at]) from team where c_organization_id = $1
         union all select unnest(array[created_at, updated_at]) from reversal where recharge_id = $2) stamp (at)`,
      [id, rechargeId],
    );
    expect(rows).toEqual([{ right: true }]);
  });

  test('a change that waited for the lock of another is stamped after it', async () => {
    const organizationId = await organization();
    const parked = await reversals.get(em, await reversal('re_waits', await recharge(organizationId), organizationId));
    const other = await recharge(organizationId, 'charging');
    const holder = await sql.connect();
    await holder.query('begin');
    await holder.query('select from organization_balance_config where c_organization_id = $1 for update', [organizationId]);
    const waiting = reversals.accept(database.fork(), parked, ACCEPTED);
    await until(async () => (await sql.query("select from pg_stat_activity where wait_event_type = 'Lock'")).rowCount === 1);
    await holder.query('update recharge set updated_at = clock_timestamp() where id = $1', [other]);
    await holder.query('commit');
    holder.release();
    await waiting;
    const { rows } = await sql.query(
      'select v.updated_at > r.updated_at as after from reversal v, recharge r where v.id = $1 and r.id = $2',
      [parked.id, other],
    );
    expect(rows).toEqual([{ after: true }]);
  });
});

test('an approval is used up by the reservation that it was given to, also by one whose transaction began before it', async () => {
  const organizationId = await organization();
  const id = await insertEvent(sql, organizationId);
  const approved = minorUnits(60_000);
  const hold = { scope: 'organization', subject: organizationId, reason: 'runaway', detail: 'a loop', openedBy: 'test' } as const;
  const { id: holdId } = await holds.open(em, { ...hold, organizationId, amountMinor: approved });
  const [quota, balance, quotaBefore] = ([600, 5, 10] as const).map((dollars) => quotaFromDollars(dollars)) as [
    QuotaMicros,
    QuotaMicros,
    QuotaMicros,
  ];
  const reserved = await em.transactional(async (tx) => {
    await tx.execute('select 1');
    await holds.release(database.fork(), holdId, { by: 'ann', reason: 'looked at' });
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
  expect((await paidBy(em, organizationId)).approvedAmount).toBeNull();
});

describe('a hold on a card that two organizations were charged with last, and one has another card', () => {
  const card = { id: 'pm_2', fingerprint: 'another', expiry: '12/2031' };

  async function isOpenAfter(customers: readonly [string, string]): Promise<boolean> {
    const subject = newId('hld');
    const paying = async (stripeCustomerId: string) => {
      const id = `org-${++serial}`;
      await organizations.create(em, id, { ...settingsOf(id), stripeCustomerId });
      const rechargeId = await recharge(id, 'declined');
      await sql.query(
        `update recharge set payment_method_id = 'pm_1', card_fingerprint = $1, card_expiry = '', stripe_customer_id = $3 where id = $2`,
        [subject, rechargeId, stripeCustomerId],
      );
      return id;
    };
    const [one] = [await paying(customers[0]), await paying(customers[1])];
    const hold = { scope: 'card', subject, reason: 'card_refused', detail: 'stolen', openedBy: 'rch_1', cardId: 'pm_1' } as const;
    const { id } = await holds.open(em, { ...hold, organizationId: one });
    await cardHolds.releaseForChangedCard(em, one, card);
    return (await holds.get(em, id)).releasedAt === null;
  }

  test('stays for the other one', async () => {
    expect(await isOpenAfter(['cus_one', 'cus_other'])).toBe(true);
  });

  test('ends where both are of one customer, which has the other card for both', async () => {
    expect(await isOpenAfter(['cus_both', 'cus_both'])).toBe(false);
  });
});

test('a dispute that is won ends no hold while another one stands, also one whose transaction began before the hold', async () => {
  const organizationId = await organization();
  const [first, second] = [await recharge(organizationId), await recharge(organizationId)];
  const disputed = (id: string) => (): ReversalDecision => ({
    open: [{ id, kind: 'dispute', status: 'open', amountMinor: minorUnits(2000), quota: quotaFromDollars(20) }],
    steps: [],
    parked: [],
    isFinal: false,
  });
  await em.transactional(async (tx) => {
    await tx.execute('select 1');
    await reversals.open(database.fork(), { id: first, organizationId }, disputed(`du_${first}`));
    await reversals.open(tx, { id: second, organizationId }, disputed(`du_${second}`));
  });
  expect(await reversals.dismiss(em, await reversals.get(em, `du_${first}`))).toBe(true);
  expect(await holds.applyingTo(em, organizationId)).toMatchObject([{ reason: 'disputed' }]);
  expect(await reversals.dismiss(em, await reversals.get(em, `du_${second}`))).toBe(true);
  expect(await holds.applyingTo(em, organizationId)).toEqual([]);
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}

type Listed = { id: string };
type List = {
  add: (id: string) => Promise<unknown>;
  page: (request: PageRequest) => Promise<Page<Listed>>;
  /** @param at a time in SQL. */
  createdAt: (id: string, at: string) => Promise<unknown>;
  remove: (id: string) => Promise<unknown>;
};

/** Each makes a list that no other test fills. */
const LISTS: Record<string, () => Promise<List>> = {
  organizations: async () => {
    // Alone in a database of their own, for they have no scope.
    const url = await migratedDatabase();
    const own = await Database.open(url);
    const client = new pg.Pool({ connectionString: url, max: 1 });
    opened.push(own, { close: () => client.end() });
    const ownEm = own.fork();
    return {
      add: (id) => organization(ownEm, id),
      page: (request) => organizations.list(ownEm, request),
      createdAt: (id, at) => client.query('update organization_balance_config set created_at = $2 where c_organization_id = $1', [id, at]),
      remove: (id) => client.query('delete from organization_balance_config where c_organization_id = $1', [id]),
    };
  },
  teams: async () => {
    const organizationId = await organization();
    return {
      add: (id) => teams.create(em, { organizationId, id, name: id, maxBudgetInTeam: null }),
      page: (request) => teams.list(em, organizationId, request),
      createdAt: (id, at) =>
        sql.query('update team set created_at = $3 where c_organization_id = $1 and c_team_id = $2', [organizationId, id, at]),
      remove: (id) => sql.query('delete from team where c_organization_id = $1 and c_team_id = $2', [organizationId, id]),
    };
  },
  reversals: async () => {
    const organizationId = await organization();
    const rechargeId = await recharge(organizationId);
    return {
      add: (id) => reversal(id, rechargeId, organizationId),
      page: (request) => reversals.list(em, { organizationId }, request),
      createdAt: (id, at) => sql.query('update reversal set created_at = $2 where id = $1', [id, at]),
      remove: (id) => sql.query('delete from reversal where id = $1', [id]),
    };
  },
};
const opened: { close: () => Promise<void> }[] = [];
afterAll(async () => {
  for (const each of opened) await each.close();
});

describe.each(Object.entries(LISTS))('a list of %s', (name, prepare) => {
  const ids = ['a', 'b', 'c', 'd', 'e'].map((letter) => `${name}-${letter}`);

  test('shows each row once, though all were created within one millisecond', async () => {
    const { add, page, createdAt } = await prepare();
    for (const [i, id] of ids.entries()) {
      await add(id);
      // Two pairs of one microsecond, and a fifth one.
      await createdAt(id, `2026-01-31 12:00:00.12345${Math.floor(i / 2)}+00`);
    }
    expect(await walk(page, 1)).toEqual(ids.toReversed());
    expect(await walk(page, 2)).toEqual(ids.toReversed());
  });

  test('goes on when the last row of a page is deleted before the next one is asked for', async () => {
    const { add, page, remove } = await prepare();
    for (const id of ids) await add(id.replace('-', '-gone-'));
    const first = await page({ limit: 2, cursor: undefined });
    const last = first.data.at(-1)?.id ?? '';
    await remove(last);
    const rest = await walk(page, 2, first.nextCursor);
    expect([...first.data.map(({ id }) => id), ...rest]).toEqual(ids.map((id) => id.replace('-', '-gone-')).toReversed());
  });

  test('takes no cursor but its own', async () => {
    const { page } = await prepare();
    const written = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    for (const cursor of [
      'organizations-a',
      '!',
      written('2026-01-31T12:00:00.123456Z'),
      written(['2026-01-31T12:00:00.123456Z']),
      written(['2026-01-31T12:00:00.123456Z', 1]),
      written(['2026-01-31T12:00:00.123456Z', 'a', 'b']),
      written(['2026-01-31T12:00:00.123456Z', 'a\0']),
      written(['2026-01-31T12:00:00.123Z', 'a']),
      written(['2026-02-30T12:00:00.123456Z', 'a']),
      written(['2026-01-31T24:00:00.000000Z', 'a']),
      written(['0000-01-31T12:00:00.123456Z', 'a']),
      written(['now', 'a']),
      written(null),
    ])
      await expect(page({ limit: 2, cursor })).rejects.toThrow(BadCursorError);
  });
});

async function walk(page: (request: PageRequest) => Promise<Page<Listed>>, limit: number, from?: string | null): Promise<string[]> {
  const seen: string[] = [];
  for (let cursor = from ?? undefined; ; ) {
    const { data, nextCursor } = await page({ limit, cursor });
    seen.push(...data.map(({ id }) => id));
    if (nextCursor === null) return seen;
    cursor = nextCursor;
  }
}

describe('a connection that is lost is replaced', () => {
  /** Connections of a pool, see `src/database/database.ts`. */
  const POOL_MAX = 20;
  const OFTEN = POOL_MAX + 5;
  /** Much longer than a busy machine takes between two statements: a transaction that idles for it is ended. */
  const LIMIT_MS = 3_000;

  test('also in the middle of a transaction, as often as it happens', async () => {
    for (let times = 0; times < OFTEN; times++) {
      const lost = em.transactional(async (tx) => {
        const [row] = await tx.execute<{ pid: number }[]>('select pg_backend_pid() as pid');
        await sql.query('select pg_terminate_backend($1)', [row?.pid]);
        await tx.execute('select 1');
      });
      await expect(lost).rejects.toThrow();
    }
    expect(await em.execute('select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('also while a transaction begins, by all of the pool at once, and ends though nothing answers', async () => {
    const url = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
    const proxy = await startProxy(url.host);
    url.host = proxy.address;
    const behind = await Database.open(url.href, { statementTimeoutMs: LIMIT_MS });
    // Each waits for all, so that the pool makes every connection.
    const begun = Array.from({ length: POOL_MAX }, () => Promise.withResolvers<void>());
    const all = Promise.all(begun.map(({ promise }) => promise));
    const beginWithAll = ({ resolve }: { resolve: () => void }) =>
      behind.fork().transactional(async (tx) => {
        await tx.execute('select 1');
        resolve();
        await all;
      });
    await Promise.all(begun.map(beginWithAll));
    const begin = () => behind.fork().transactional((tx) => tx.execute('select 1'));
    proxy.hold();
    for (const { status } of await Promise.allSettled(Array.from({ length: OFTEN }, begin))) expect(status).toBe('rejected');
    proxy.release();
    await Promise.all(Array.from({ length: OFTEN }, begin));
    await behind.close();
    proxy.cut();
  });

  test('also one to a server that takes no writes any more: after a failover the next one leads to the server that does', async () => {
    const own = await migratedDatabase();
    // A session keeps what it began with, as a connection stays with the server that it was made to.
    const alter = (setting: string) => sql.query(`alter database ${new URL(own).pathname.slice(1)} ${setting}`);
    await alter('set default_transaction_read_only = on');
    const after = await Database.open(own, { poolMax: 1 });
    const store = batchReceiver(after, 1);
    const about = { source: 'webhook', eventType: 'key_created', teamId: null, crossing: null, deliveryId: null } as const;
    const works = [
      () => after.fork().execute('update installation set id = id'),
      () => after.fork().transactional((tx) => tx.execute('update installation set id = id')),
      () => store([{ ...about, payload: {}, bodySha256: '' }]),
      () => after.ping(),
    ];
    for (const work of works) expect(await work().then(() => 'done', isDatabaseOutage)).toBe(true);
    await alter('reset default_transaction_read_only');
    for (const work of works) await expect(work()).resolves.toBeDefined();
    await after.close();
  });

  test('and the look at the server has one of its own while all others are busy', async () => {
    const released = Promise.withResolvers<void>();
    const begun = Array.from({ length: POOL_MAX }, () => Promise.withResolvers<void>());
    const busy = begun.map(({ resolve }) =>
      em.transactional(async (tx) => {
        await tx.execute('select 1');
        resolve();
        await released.promise;
      }),
    );
    await Promise.all(begun.map(({ promise }) => promise));
    expect(await database.ping()).toBeGreaterThan(0);
    released.resolve();
    await Promise.all(busy);
  });
});

describe('a list by id', () => {
  test.each<[string, string, (request: PageRequest) => Promise<Page<Listed>>]>([
    ['recharges', 'rch', (request) => recharges.list(em, {}, request)],
    ['events', 'evt', (request) => webhookEvents.list(em, {}, request)],
    ['keys', 'key', (request) => teams.listKeys(em, { organizationId: 'acme', id: 'blue' }, request)],
    ['synchronisations', 'syn', (request) => syncRuns.list(em, request)],
  ])('of %s takes no cursor but an id of its own', async (_name, prefix, page) => {
    const own = `${prefix}_${'0'.repeat(32)}`;
    expect(await page({ limit: 2, cursor: own })).toEqual({ data: [], nextCursor: null });
    for (const cursor of [own.slice(0, -1), `ltr_${'0'.repeat(32)}`, own.toUpperCase(), `${own}\n`, 'zzz'])
      await expect(page({ limit: 2, cursor })).rejects.toThrow(BadCursorError);
  });

  test('goes on when its last row is deleted between two pages', async () => {
    const runs = [];
    for (let i = 0; i < 3; i++) runs.unshift((await syncRuns.create(em, { organizationIds: null, dryRun: true })).id);
    const first = await syncRuns.list(em, { limit: 2, cursor: undefined });
    await sql.query('delete from sync_run where id = $1', [first.nextCursor]);
    const rest = await walk((request) => syncRuns.list(em, request), 2, first.nextCursor);
    expect([...first.data.map(({ id }) => id), ...rest]).toEqual(runs);
  });
});

describe.each<[string, typeof webhookEvents | typeof stripeEvents, () => Promise<string>]>([
  ['webhook_event', webhookEvents, async () => insertEvent(sql, await organization())],
  [
    'stripe_event',
    stripeEvents,
    async () => {
      const id = newId('evt');
      await stripeEvents.receive(em, {
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
    (await events.claim(database.fork(), { limit: 1_000, leaseMs, except })).map(({ id }) => id);
  const markDone = 'markDispatched' in events ? events.markDispatched : events.markHandled;

  test('is claimed by one dispatcher at a time, and again when the lease has ended', async () => {
    const id = await add();
    expect(await claimed(60_000)).toContain(id);
    expect(await claimed(60_000)).not.toContain(id);
    await sql.query(`update ${table} set claimed_until = now() - interval '1 second' where id = $1`, [id]);
    expect(await claimed(60_000)).toContain(id);
  });

  test('is claimed together with no more than were asked for, whatever the plan', async () => {
    await claimed(60_000);
    for (let each = 0; each < 5; each++) await add();
    const planned = await Database.open(withoutMaterialPlans(url));
    expect(await events.claim(planned.fork(), { limit: 2, leaseMs: 60_000 })).toHaveLength(2);
    await planned.close();
  });

  test('is left out while another dispatcher is claiming it', async () => {
    const id = await add();
    const other = await sql.connect();
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
    await events.releaseClaim(em, id, 60_000);
    expect(await claimed(60_000)).not.toContain(id);
    await events.releaseClaim(em, id, -1);
    expect(await claimed(60_000)).toContain(id);
  });

  test('is claimed no more when it was handled, and a late release changes nothing', async () => {
    const id = await add();
    await claimed(60_000);
    await markDone(em, id);
    await events.releaseClaim(em, id, -1);
    expect(await claimed(60_000)).not.toContain(id);
    const { rows } = await sql.query(`select claimed_until from ${table} where id = $1`, [id]);
    expect(rows).toEqual([{ claimed_until: null }]);
  });
});

describe('what comes in at the same moment', () => {
  const receiver = () => {
    const inbox = new GroupCommit({ store: batchReceiver(database, LANES), isOutage: isDatabaseOutage });
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
    (await sql.query('select * from webhook_event where organization_id = $1 order by id', [organizationId])).rows;
  const statuses = (receipts: readonly Receipt[]) => receipts.map(({ status }) => status);

  test('two hundred alerts are one statement, in one message', async () => {
    const ids = await Promise.all(Array.from({ length: 200 }, () => organization()));
    const [alone, others] = [jest.spyOn(LimitedClient.prototype, 'alone'), jest.spyOn(LimitedClient.prototype, 'query')];
    const receipts = await receive(ids.map((id) => alertOf(id, { deliveryId: newId('evt') })));
    expect([alone.mock.calls.length, others.mock.calls.length]).toEqual([1, 0]);
    jest.restoreAllMocks();
    expect(statuses(receipts)).toEqual(Array(200).fill('accepted'));
    for (const [index, id] of ids.entries()) expect(await eventsOf(id)).toMatchObject([{ id: receipts[index]?.eventId, copies: 0 }]);
  });

  test('is told apart within one batch as it is one after the other', async () => {
    const [id, other] = [await organization(), await organization()];
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
    const id = await organization();
    const old = await insertEvent(sql, id);
    await sql.query('update webhook_event set delivery_id = $1 where id = $2', [`old-${id}`, old]);
    const [known, otherBody] = await receive([
      alertOf(id, { deliveryId: `old-${id}`, bodySha256: '' }),
      alertOf(id, { deliveryId: `old-${id}` }),
    ]);
    expect([known, otherBody?.status]).toEqual([{ eventId: old, status: 'duplicate' }, 'conflict']);

    const ids = await Promise.all(Array.from({ length: 20 }, () => organization()));
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
    const ids = await Promise.all(Array.from({ length: 9 }, () => organization()));
    await sql.query(`alter table webhook_event add constraint of_a_test check (team_id <> 'team-${ids[4]}') not valid`);
    const inbox = new GroupCommit({ store: batchReceiver(database, LANES), isOutage: isDatabaseOutage });
    const answers = await Promise.allSettled(ids.map((id) => inbox.add(alertOf(id, { deliveryId: `alone-${id}` }), 1)));
    await sql.query('alter table webhook_event drop constraint of_a_test');
    expect(answers.map(({ status }) => status)).toEqual(ids.map((_, n) => (n === 4 ? 'rejected' : 'fulfilled')));
    expect(await eventsOf(ids[4] as string)).toEqual([]);
    expect((await sql.query('select from webhook_delivery where delivery_id = $1', [`alone-${ids[4]}`])).rowCount).toBe(0);
    expect(statuses(await receive([alertOf(ids[4] as string, { deliveryId: `alone-${ids[4]}` })]))).toEqual(['accepted']);
  });

  test('fails when its connection is lost while it is stored, and ends nothing else: the next is stored over another', async () => {
    const [id, other] = [await organization(), await organization()];
    const store = batchReceiver(database, 1);
    expect(statuses(await store([alertOf(id)]))).toEqual(['accepted']);
    const lock = await sql.connect();
    await lock.query('begin; lock table webhook_event in exclusive mode');
    const stuck = store([alertOf(other)]).then(
      () => 'stored',
      (error) => isDatabaseOutage(error),
    );
    const end = `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like '%with incoming%' and pid <> pg_backend_pid()`;
    await eventually(async () => (await sql.query(end)).rowCount, 'the statement waits for the lock');
    expect(await stuck).toBe(true);
    await lock.query('rollback');
    lock.release();
    expect(statuses(await store([alertOf(id), alertOf(other)]))).toEqual(['duplicate', 'accepted']);
  });

  test('is stored all the same behind a pooler that does not follow prepared statements, without one from then on', async () => {
    const [id, other] = [await organization(), await organization()];
    const store = batchReceiver(database, 1);
    const alone = jest.spyOn(LimitedClient.prototype, 'alone');
    alone.mockRejectedValueOnce(Object.assign(new Error('prepared statement "bill" does not exist'), { code: '26000' }));
    expect(statuses([...(await store([alertOf(id)])), ...(await store([alertOf(other)]))])).toEqual(['accepted', 'accepted']);
    expect(alone.mock.calls.map(([{ name }]) => name)).toEqual([expect.stringMatching(/^bill_/), undefined, undefined]);
    jest.restoreAllMocks();
  });

  test('a copy is counted while the event is open, and the next one after that is an event', async () => {
    const id = await organization();
    const [first, , third] = [...(await receive([alertOf(id)])), ...(await receive([alertOf(id)])), ...(await receive([alertOf(id)]))];
    expect(third).toEqual({ eventId: first?.eventId, status: 'duplicate' });
    await webhookEvents.close(em, first?.eventId as string, 'above_minimum');
    const [next] = await receive([alertOf(id)]);
    expect(next?.status).toBe('accepted');
    expect(await webhookEvents.receive(em, alertOf(id))).toEqual({ eventId: next?.eventId, status: 'duplicate' });
    expect(await eventsOf(id)).toMatchObject([{ copies: 2 }, { id: next?.eventId, copies: 1 }]);
  });
});

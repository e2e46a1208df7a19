/** The database room by itself: fresh reads, the clock of rows, pages, and connections that are lost. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as budgets from '../../src/database/budgets.ts';
import { Database } from '../../src/database/database.ts';
import { isDatabaseOutage } from '../../src/database/errors.ts';
import * as organizations from '../../src/database/organizations.ts';
import { BadCursorError, type Page, type PageRequest } from '../../src/database/page.ts';
import { batchReceiver } from '../../src/database/receiving.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as reversals from '../../src/database/reversals.ts';
import * as syncRuns from '../../src/database/sync-runs.ts';
import * as teams from '../../src/database/teams.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { DatabaseRoom } from '../support/database-room.ts';
import { migratedDatabase } from '../support/databases.ts';
import { startProxy } from '../support/proxy.ts';

let room: DatabaseRoom;
beforeAll(async () => {
  room = await DatabaseRoom.open();
});
afterAll(() => room.close());

const ACCEPTED = { by: 'ann', reason: 'settled at Stripe', isGone: true };

describe('a read', () => {
  test('returns what the database has now, whatever the same unit of work read before', async () => {
    const id = await room.organization();
    const before = await organizations.find(room.em, id);
    await room.sql.query("update organization_balance_config set name = 'renamed' where c_organization_id = $1", [id]);
    const after = await organizations.find(room.em, id);
    expect([before?.name, after?.name]).toEqual([id, 'renamed']);
    expect((await organizations.ofLitellmTeams(room.em, [`team-${id}`])).map(({ name }) => name)).toEqual(['renamed']);
  });

  test('does so within a transaction, and sees what the transaction itself has written', async () => {
    const id = await room.organization();
    const writer = await room.recharge(id, 'charged');
    await room.em.transactional(async (tx) => {
      const before = await organizations.find(tx, id);
      await budgets.claim(tx, id, { id: writer, status: 'charged' });
      const after = await organizations.find(tx, id);
      expect([before?.budgetWriter, after?.budgetWriter]).toEqual([null, writer]);
    });
  });

  test('leaves what was read before as it was, also when a move inside a transaction reads the same row', async () => {
    const id = await room.recharge(await room.organization(), 'charging');
    const read = await recharges.get(room.em, id);
    const moved = await recharges.move(room.em, read, { to: 'needs_attention' });
    expect([read.status, moved.status]).toEqual(['charging', 'needs_attention']);
  });

  test('keeps nothing: a change of what was read is written by no later statement', async () => {
    const id = await room.organization();
    const writer = await room.recharge(id, 'charged');
    const read = await organizations.find(room.em, id);
    Object.assign(read ?? {}, { name: 'never saved' });
    await room.em.transactional((tx) => budgets.claim(tx, id, { id: writer, status: 'charged' }));
    await room.em.flush();
    expect((await organizations.find(room.em, id))?.name).toBe(id);
    expect(room.em.getUnitOfWork().getIdentityMap().keys()).toEqual([]);
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
      id = await room.organization();
      await organizations.change(room.em, id, { name: 'changed' });
      await teams.create(room.em, { organizationId: id, id: 'blue', name: 'blue', maxBudgetInTeam: null });
      rechargeId = await room.recharge(id);
      await reversals.accept(room.em, await reversals.get(room.em, await room.reversal(`re_${rechargeId}`, rechargeId, id)), ACCEPTED);
    } finally {
      globalThis.Date = RealDate;
    }
    const { rows } = await room.sql.query(
      `select bool_and(at between now() - interval '1 hour' and now() + interval '1 hour') as right from (
         select unnest(array[created_at, updated_at]) from organization_balance_config where c_organization_id = $1
         union all select unnest(array[created_at, updated_at]) from team where c_organization_id = $1
         union all select unnest(array[created_at, updated_at]) from reversal where recharge_id = $2) stamp (at)`,
      [id, rechargeId],
    );
    expect(rows).toEqual([{ right: true }]);
  });

  test('a change that waited for the lock of another is stamped after it', async () => {
    const organizationId = await room.organization();
    const parked = await reversals.get(room.em, await room.reversal('re_waits', await room.recharge(organizationId), organizationId));
    const other = await room.recharge(organizationId, 'charging');
    const holder = await room.sql.connect();
    await holder.query('begin');
    await holder.query('select from organization_balance_config where c_organization_id = $1 for update', [organizationId]);
    const waiting = reversals.accept(room.database.fork(), parked, ACCEPTED);
    await room.waitsForLock();
    await holder.query('update recharge set updated_at = clock_timestamp() where id = $1', [other]);
    await holder.query('commit');
    holder.release();
    await waiting;
    const { rows } = await room.sql.query(
      'select v.updated_at > r.updated_at as after from reversal v, recharge r where v.id = $1 and r.id = $2',
      [parked.id, other],
    );
    expect(rows).toEqual([{ after: true }]);
  });
});

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
    const own = await DatabaseRoom.open();
    opened.push(own);
    return {
      add: (id) => own.organization({}, id),
      page: (request) => organizations.list(own.em, request),
      createdAt: (id, at) => own.sql.query('update organization_balance_config set created_at = $2 where c_organization_id = $1', [id, at]),
      remove: (id) => own.sql.query('delete from organization_balance_config where c_organization_id = $1', [id]),
    };
  },
  teams: async () => {
    const organizationId = await room.organization();
    return {
      add: (id) => teams.create(room.em, { organizationId, id, name: id, maxBudgetInTeam: null }),
      page: (request) => teams.list(room.em, organizationId, request),
      createdAt: (id, at) =>
        room.sql.query('update team set created_at = $3 where c_organization_id = $1 and c_team_id = $2', [organizationId, id, at]),
      remove: (id) => room.sql.query('delete from team where c_organization_id = $1 and c_team_id = $2', [organizationId, id]),
    };
  },
  reversals: async () => {
    const organizationId = await room.organization();
    const rechargeId = await room.recharge(organizationId);
    return {
      add: (id) => room.reversal(id, rechargeId, organizationId),
      page: (request) => reversals.list(room.em, { organizationId }, request),
      createdAt: (id, at) => room.sql.query('update reversal set created_at = $2 where id = $1', [id, at]),
      remove: (id) => room.sql.query('delete from reversal where id = $1', [id]),
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
      const lost = room.em.transactional(async (tx) => {
        const [row] = await tx.execute<{ pid: number }[]>('select pg_backend_pid() as pid');
        await room.sql.query('select pg_terminate_backend($1)', [row?.pid]);
        await tx.execute('select 1');
      });
      await expect(lost).rejects.toThrow();
    }
    expect(await room.em.execute('select 1 as one')).toEqual([{ one: 1 }]);
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
    const alter = (setting: string) => room.sql.query(`alter database ${new URL(own).pathname.slice(1)} ${setting}`);
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
      room.em.transactional(async (tx) => {
        await tx.execute('select 1');
        resolve();
        await released.promise;
      }),
    );
    await Promise.all(begun.map(({ promise }) => promise));
    expect(await room.database.ping()).toBeGreaterThan(0);
    released.resolve();
    await Promise.all(busy);
  });
});

describe('a list by id', () => {
  test.each<[string, string, (request: PageRequest) => Promise<Page<Listed>>]>([
    ['recharges', 'rch', (request) => recharges.list(room.em, {}, request)],
    ['events', 'evt', (request) => webhookEvents.list(room.em, {}, request)],
    ['keys', 'key', (request) => teams.listKeys(room.em, { organizationId: 'acme', id: 'blue' }, request)],
    ['synchronisations', 'syn', (request) => syncRuns.list(room.em, request)],
  ])('of %s takes no cursor but an id of its own', async (_name, prefix, page) => {
    const own = `${prefix}_${'0'.repeat(32)}`;
    expect(await page({ limit: 2, cursor: own })).toEqual({ data: [], nextCursor: null });
    for (const cursor of [own.slice(0, -1), `ltr_${'0'.repeat(32)}`, own.toUpperCase(), `${own}\n`, 'zzz'])
      await expect(page({ limit: 2, cursor })).rejects.toThrow(BadCursorError);
  });

  test('goes on when its last row is deleted between two pages', async () => {
    const runs = [];
    for (let i = 0; i < 3; i++) runs.unshift((await syncRuns.create(room.em, { organizationIds: null, dryRun: true })).id);
    const first = await syncRuns.list(room.em, { limit: 2, cursor: undefined });
    await room.sql.query('delete from sync_run where id = $1', [first.nextCursor]);
    const rest = await walk((request) => syncRuns.list(room.em, request), 2, first.nextCursor);
    expect([...first.data.map(({ id }) => id), ...rest]).toEqual(runs);
  });
});

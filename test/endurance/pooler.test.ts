/**
 * The whole service behind PgBouncer, which knows few start-up parameters and gives the session to somebody
 * else after each transaction. Nothing is set in the pooler for us.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { Database } from '../../src/database/database.ts';
import { RECHARGED } from '../support/books.ts';
import { createDatabase } from '../support/databases.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { findPgBouncer, type PgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { Processes, runBill } from '../support/processes.ts';
import { World } from '../support/world.ts';

const isInstalled = findPgBouncer() !== undefined;
if (!isInstalled) console.warn('pgbouncer is not installed, so nothing is tested behind it: apt-get install pgbouncer');
const behindPgBouncer = isInstalled ? describe : describe.skip;

/** Ends a statement that is stuck; the service's own is 15 s. */
const LIMIT_MS = 500;

behindPgBouncer.each([
  ['session', ['pool_mode = session']],
  ['transaction', ['pool_mode = transaction']],
  // So few that whoever needs a second connection to finish with the first never does.
  ['transaction, one connection,', ['pool_mode = transaction', 'default_pool_size = 1']],
])('behind a pooler in mode %s', (_mode, settings) => {
  let pooler: PgBouncer;
  let direct: pg.Client;
  let database: Database;
  beforeAll(async () => {
    const url = await createDatabase(`test_${randomBytes(6).toString('hex')}`);
    pooler = await startPgBouncer(url, settings);
    direct = new pg.Client({ connectionString: url });
    await direct.connect();
    database = await Database.open(pooler.url, { statementTimeoutMs: LIMIT_MS });
  });
  afterAll(async () => {
    await database.close();
    await pooler.stop();
    await direct.end();
  });

  test('case 96: two migrations at once apply each one once, and know the database that has another name', async () => {
    const both = await Promise.all([0, 1].map(() => Database.open(pooler.url)));
    const applied = (await Promise.all(both.map((each) => each.migrate()))).flat();
    expect(await database.schemaDifference()).toEqual({ missing: [], unknown: [] });
    const { rows } = await direct.query('select name from bill_migration order by id');
    expect(rows.map(({ name }) => name)).toEqual(applied.toSorted());
    await Promise.all(both.map((each) => each.close()));
    expect((await direct.query(`select from pg_database where datname = 'pooled'`)).rowCount).toBe(0);
  });

  test('a statement that is stuck ends, alone and in a transaction', async () => {
    const ended = expect.objectContaining({ code: '57014' }); // query_canceled
    await expect(database.fork().execute('select pg_sleep(60)')).rejects.toEqual(ended);
    await expect(database.fork().transactional((em) => em.execute('select pg_sleep(60)'))).rejects.toEqual(ended);
    await direct.query('begin');
    await direct.query('lock table webhook_event in access exclusive mode');
    await expect(database.fork().execute('select 1 from webhook_event')).rejects.toEqual(ended);
    await direct.query('rollback');
    expect(await database.fork().execute('select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('a transaction that is left alone ends, and its lock with it', async () => {
    const left = database.fork().transactional(async (em) => {
      await em.execute('lock table webhook_event in access exclusive mode');
      await direct.query('select 1 from webhook_event'); // returns when the lock is gone
      await em.execute('select 1');
    });
    await expect(left).rejects.toThrow();
    expect(await database.fork().execute('select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('whoever has the session next finds nothing set in it', async () => {
    const shown = async () => (await database.fork().execute('show statement_timeout'))[0];
    expect(await shown()).toEqual({ statement_timeout: `${LIMIT_MS}ms` });
    const other = new pg.Client({ connectionString: pooler.url });
    await other.connect();
    expect((await other.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '0' }]);
    await other.end();
  });
});

behindPgBouncer('the service behind a pooler', () => {
  const processes = new Processes();
  afterAll(() => processes.killAll());

  test.each([['session'], ['transaction']])(
    'case 96: in mode %s is migrated, charges an alert once while the pooler is restarted, sweeps, reconciles',
    async (mode) => {
      const world = await World.create();
      const pooler = await startPgBouncer(world.env['DATABASE_URL'] ?? '', [`pool_mode = ${mode}`]);
      const overrides = { DATABASE_URL: pooler.url };
      try {
        expect((await runBill(['migrate'], { ...world.env, ...overrides })).code).toBe(0);
        await processes.start('serve', world, { ...overrides, PORT: '0' });
        await processes.start('worker', world, overrides);
        const organization = await world.organization();
        expect(await world.alerted(organization)).toEqual(RECHARGED);
        await expectChargedOnce(world, organization);

        const next = await world.organization();
        const eventId = await world.accepted(next);
        await pooler.restart();
        expect(await world.closed(eventId)).toEqual(RECHARGED);
        await expectChargedOnce(world, next);

        for (const command of ['sweep', 'reconcile']) {
          expect(await runBill([command], { ...world.env, ...overrides })).toMatchObject({ code: 0 });
        }
      } finally {
        await processes.killAll();
        await pooler.stop();
        await world.close();
      }
    },
  );
});

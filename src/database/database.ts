/** The connection to PostgreSQL. Each request and each activity works on its own fork: `database.fork()`. */
import { Migrator } from '@mikro-orm/migrations';
import { type EntityManager, MikroORM } from '@mikro-orm/postgresql';
import pg from 'pg';
import { clientConfig, type DatabaseConnection, readConnectionUrl } from './connection-url.ts';
import { entities } from './entities.ts';
import { LimitedClient, type LimitedClientConfig } from './limited-client.ts';
import { OrganizationsInboxRechargesLedger } from './migrations/0001-organizations-inbox-recharges-ledger.ts';
import { LedgerHashChain } from './migrations/0002-ledger-hash-chain.ts';
import { ReversalsAndStripeEvents } from './migrations/0003-reversals-and-stripe-events.ts';
import { SpendingLimit } from './migrations/0004-spending-limit.ts';
import { BalanceSamples } from './migrations/0005-balance-samples.ts';
import { TeamsAndKeys } from './migrations/0006-teams-and-keys.ts';
import { Synchronisation } from './migrations/0007-synchronisation.ts';
import { TransfersWithoutQuota } from './migrations/0008-transfers-without-quota.ts';
import { OneNameForSuccess } from './migrations/0009-one-name-for-success.ts';
import { HoldsAndAttempts } from './migrations/0010-holds-and-attempts.ts';
import { OutboundEventsAndRefusals } from './migrations/0011-outbound-events-and-refusals.ts';
import { LimitsOfAmounts } from './migrations/0012-limits-of-amounts.ts';
import { StuckRecharges } from './migrations/0013-stuck-recharges.ts';
import { CreateTeam } from './migrations/0014-create-team.ts';
import { EventsOfChargesAndCustomers } from './migrations/0015-events-of-charges-and-customers.ts';
import { Installation } from './migrations/0016-installation.ts';
import { LedgerMarks } from './migrations/0017-ledger-marks.ts';
import { OneRowAlone } from './migrations/0018-one-row-alone.ts';
import { IndexesForGrowth } from './migrations/0019-indexes-for-growth.ts';
import { IgnoredStripeEvents } from './migrations/0020-ignored-stripe-events.ts';
import { IndexesForStories } from './migrations/0021-indexes-for-stories.ts';
import { CopiesAndDeliveries } from './migrations/0022-copies-and-deliveries.ts';
import { ReasonsOfReversals } from './migrations/0023-reasons-of-reversals.ts';
import { PreparedStatement } from './prepared.ts';

export type { EntityManager } from '@mikro-orm/postgresql';

/** Longer than any statement but a migration takes on a healthy database. A stuck one is ended. */
const STATEMENT_TIMEOUT_MS = 15_000;
const POOL_MAX = 20;
/** The look at the server has a connection of its own: a pool that is busy to the last one is no outage. */
const PROBE_POOL_MAX = 1;

/** Any constant serves; it has to be the same in every process. */
const MIGRATION_LOCK = 20260101;
const MIGRATION_TABLE = 'bill_migration';
const MIGRATIONS = [
  OrganizationsInboxRechargesLedger,
  LedgerHashChain,
  ReversalsAndStripeEvents,
  SpendingLimit,
  BalanceSamples,
  TeamsAndKeys,
  Synchronisation,
  TransfersWithoutQuota,
  OneNameForSuccess,
  HoldsAndAttempts,
  OutboundEventsAndRefusals,
  LimitsOfAmounts,
  StuckRecharges,
  CreateTeam,
  EventsOfChargesAndCustomers,
  Installation,
  LedgerMarks,
  OneRowAlone,
  IndexesForGrowth,
  IgnoredStripeEvents,
  IndexesForStories,
  CopiesAndDeliveries,
  ReasonsOfReversals,
];

/** How the tables differ from what this version of the code was written for. */
export type SchemaDifference = {
  /** Migrations that the database does not have. */
  missing: string[];
  /** Migrations of a newer version. */
  unknown: string[];
};

/** Connections of a pool, and statements that wait for one. */
export type PoolLoad = { idle: number; used: number; waiting: number };

/** How this process is connected, as `sslmode` asks, and how PostgreSQL sees its own end of it. */
export type Encryption = { connection: DatabaseConnection; isEncryptedAtServer: boolean; protocol: string | null };

export class Database {
  private readonly orm: MikroORM;
  private readonly connection: DatabaseConnection;
  private readonly config: LimitedClientConfig;
  private readonly probes: pg.Pool;
  private readonly prepared: PreparedStatement<never>[] = [];
  private readonly pool: () => pg.Pool | undefined;

  private constructor(
    orm: MikroORM,
    { connection, config, pool }: { connection: DatabaseConnection; config: LimitedClientConfig; pool: () => pg.Pool | undefined },
  ) {
    this.orm = orm;
    this.connection = connection;
    this.config = config;
    this.pool = pool;
    this.probes = new pg.Pool({ ...config, Client: LimitedClient, min: 0, max: PROBE_POOL_MAX });
    this.probes.on('error', () => {}); // The next look makes another connection.
  }

  /**
   * Does not connect yet: the first query does, and every query after a lost connection does again.
   *
   * @throws ConnectionUrlError
   */
  static async open(url: string, { statementTimeoutMs = STATEMENT_TIMEOUT_MS, poolMax = POOL_MAX } = {}): Promise<Database> {
    const connection = readConnectionUrl(url);
    const config: LimitedClientConfig = { ...clientConfig(connection), limitMs: statementTimeoutMs, sslMode: connection.sslMode };
    let pool: pg.Pool | undefined;
    const onPoolCreated = (created: pg.Pool) => {
      pool = created;
    };
    const orm = await MikroORM.init({
      dbName: connection.database,
      entities,
      extensions: [Migrator],
      pool: { min: 0, max: poolMax },
      driverOptions: { ...config, Client: LimitedClient, onPoolCreated },
      // Every read returns what the database has now, in objects of its own. With an identity map a second
      // read would return the object of the first, with the values of then, and whoever held it would see it
      // change under a later read.
      disableIdentityMap: true,
      // It would look for the database by name and make it, and behind a pooler it may have another name.
      ensureDatabase: false,
      // The caller logs what was applied.
      logger: () => {},
      migrations: {
        tableName: MIGRATION_TABLE,
        migrationsList: MIGRATIONS,
        snapshot: false,
        // In the transaction that `migrateNext` hands over, and so in the session that has the lock.
        allOrNothing: true,
      },
    });
    return new Database(orm, { connection, config, pool: () => pool });
  }

  /** What its pool has to do now. */
  get load(): PoolLoad {
    const { totalCount = 0, idleCount = 0, waitingCount = 0 } = this.pool() ?? {};
    return { idle: idleCount, used: totalCount - idleCount, waiting: waitingCount };
  }

  /** A unit of work of its own. */
  fork(): EntityManager {
    return this.orm.em.fork();
  }

  /** A statement on connections of its own, which are closed with this. */
  prepare<Row extends pg.QueryResultRow>(statement: { text: string; connections: number }): PreparedStatement<Row> {
    const prepared = new PreparedStatement<Row>(this.config, statement);
    this.prepared.push(prepared as PreparedStatement<never>);
    return prepared;
  }

  /**
   * Applies outstanding migrations and returns their names. Safe from several processes at once: one waits
   * for the other. Each is a transaction of its own, which has the lock and is all that has it: a lock of one
   * migration must not last as long as the work of the next, and a pooler keeps nothing for longer.
   */
  async migrate(): Promise<string[]> {
    await this.prepareMigrator();
    const applied: string[] = [];
    for (;;) {
      const name = await this.migrateNext();
      if (name === undefined) return applied;
      applied.push(name);
    }
  }

  private async migrateNext(): Promise<string | undefined> {
    return this.fork().transactional(async (em) => {
      await em.execute('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK]);
      const [name] = (await this.differenceIn(em)).missing;
      const transaction = em.getTransactionContext();
      if (name !== undefined) await this.orm.migrator.up({ migrations: [name], transaction });
      return name;
    });
  }

  /**
   * MikroORM's migrator makes its table, on a connection of its own: two of them at once would both make it.
   * And it looks for the database by name, which may be another one behind a pooler.
   */
  private async prepareMigrator(): Promise<void> {
    const name = await this.fork().transactional(async (em) => {
      await em.execute('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK]);
      await em.execute(
        `create table if not exists ${MIGRATION_TABLE}
           (id serial primary key, name varchar(255) not null, executed_at timestamptz(6) not null default current_timestamp)`,
      );
      const [row] = await em.execute<{ name: string }[]>('select current_database() as name');
      return row?.name;
    });
    this.orm.config.set('dbName', name);
    await this.orm.migrator.getExecuted();
  }

  /** Changes nothing. @throws when the database cannot be read. */
  async schemaDifference(): Promise<SchemaDifference> {
    return this.differenceIn(this.fork());
  }

  private async differenceIn(em: EntityManager): Promise<SchemaDifference> {
    const [table] = await em.execute<{ exists: boolean }[]>('select to_regclass(?) is not null as exists', [MIGRATION_TABLE]);
    const rows = table?.exists ? await em.execute<{ name: string }[]>(`select name from ${MIGRATION_TABLE} order by id`) : [];
    const applied = rows.map(({ name }) => name);
    const known = MIGRATIONS.map((Migration) => new Migration(this.orm.driver, this.orm.config).name);
    return {
      missing: known.filter((name) => !applied.includes(name)),
      unknown: applied.filter((name) => !known.includes(name)),
    };
  }

  /** Round trip to the server in milliseconds. @throws when it cannot be reached or a table is missing. */
  async ping(): Promise<number> {
    const started = performance.now();
    const client = await this.probes.connect();
    try {
      await client.query('select 1 from webhook_event limit 1');
    } finally {
      client.release();
    }
    return performance.now() - started;
  }

  /** Whether what is sent and received is encrypted. @throws when the database cannot be reached. */
  async encryption(): Promise<Encryption> {
    const [row] = await this.fork().execute<{ ssl: boolean; version: string | null }[]>(
      'select ssl, version from pg_stat_ssl where pid = pg_backend_pid()',
    );
    return { connection: this.connection, isEncryptedAtServer: row?.ssl ?? false, protocol: row?.version ?? null };
  }

  async close(): Promise<void> {
    await Promise.all([this.probes.end(), ...this.prepared.map((statement) => statement.close())]);
    await this.orm.close(true);
  }
}

/** The connection to PostgreSQL. Each request and each activity works on its own fork: `database.fork()`. */
import { type EntityManager, MikroORM } from '@mikro-orm/postgresql';
import pg from 'pg';
import { clientConfig, type DatabaseConnection, readConnectionUrl } from './connection-url.ts';
import { entities } from './entities.ts';
import { ReadOnlyError } from './errors.ts';
import { LimitedClient, type LimitedClientConfig } from './limited-client.ts';
import { PreparedStatement } from './prepared.ts';
import { differenceIn, type SchemaDifference } from './schema-version.ts';

export type { EntityManager } from '@mikro-orm/postgresql';
export type { SchemaDifference } from './schema-version.ts';

/** Longer than any statement but a migration takes on a healthy database. A stuck one is ended. */
const STATEMENT_TIMEOUT_MS = 15_000;
const POOL_MAX = 20;
/**
 * A connection that is not used for so long is closed, and no sooner: a new one costs PostgreSQL a process that has to
 * read its catalogue anew.
 */
const IDLE_TIMEOUT_MS = 60_000;
/** The look at the server has a connection of its own: a pool that is busy to the last one is no outage. */
const PROBE_POOL_MAX = 1;

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
      pool: { min: 0, max: poolMax, idleTimeoutMillis: IDLE_TIMEOUT_MS },
      driverOptions: { ...config, Client: LimitedClient, onPoolCreated },
      // Every read returns what the database has now, in objects of its own. With an identity map a second
      // read would return the object of the first, with the values of then, and whoever held it would see it
      // change under a later read.
      disableIdentityMap: true,
      // It would look for the database by name and make it, and behind a pooler it may have another name.
      ensureDatabase: false,
      // Callers log what they do.
      logger: () => {},
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
   * Applies outstanding migrations and returns their names; see migrator.ts. Imported here: no serving process loads
   * MikroORM's migrator.
   */
  async migrate(): Promise<string[]> {
    return (await import('./migrator.ts')).migrate(this.orm);
  }

  /** Changes nothing. @throws when the database cannot be read. */
  async schemaDifference(): Promise<SchemaDifference> {
    return differenceIn(this.fork());
  }

  /** Round trip to the server in milliseconds. @throws when it cannot be reached, takes no writes, or a table is missing. */
  async ping(): Promise<number> {
    const started = performance.now();
    const client = await this.probes.connect();
    let isReadOnly = false;
    try {
      const { rows } = await client.query<{ is_read_only: boolean }>(
        `select current_setting('transaction_read_only')::boolean as is_read_only, exists (select from webhook_event)`,
      );
      isReadOnly = rows[0]?.is_read_only ?? false;
      if (isReadOnly) throw new ReadOnlyError();
    } finally {
      client.release(isReadOnly);
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

/** The connection to PostgreSQL. Each request and each activity works on its own fork: `database.fork()`. */
import { Migrator } from '@mikro-orm/migrations';
import { type EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { entities } from './entities.ts';
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

export type { EntityManager } from '@mikro-orm/postgresql';

/** Longer than any statement but a migration takes on a healthy database. A stuck one is ended. */
const STATEMENT_TIMEOUT_MS = 15_000;
/** How long a request waits for a pool connection before it fails. */
const CONNECT_TIMEOUT_MS = 5_000;
const POOL_MAX = 20;

export class Database {
  private readonly orm: MikroORM;

  private constructor(orm: MikroORM) {
    this.orm = orm;
  }

  /** Does not connect yet: the first query does, and every query after a lost connection does again. */
  static async open(url: string, { statementTimeoutMs = STATEMENT_TIMEOUT_MS } = {}): Promise<Database> {
    const orm = await MikroORM.init({
      clientUrl: url,
      entities,
      extensions: [Migrator],
      pool: { min: 0, max: POOL_MAX },
      driverOptions: {
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        statement_timeout: statementTimeoutMs,
        idle_in_transaction_session_timeout: statementTimeoutMs,
        application_name: 'bill-service',
        keepAlive: true,
      },
      // Every read returns what the database has now, in objects of its own. With an identity map a second
      // read would return the object of the first, with the values of then, and whoever held it would see it
      // change under a later read.
      disableIdentityMap: true,
      // The caller logs what was applied.
      logger: () => {},
      migrations: {
        tableName: 'bill_migration',
        migrationsList: [
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
        ],
        snapshot: false,
        // Each in a transaction of its own: a lock of one must not last as long as the work of the next.
        allOrNothing: false,
      },
    });
    return new Database(orm);
  }

  /** A unit of work of its own. */
  fork(): EntityManager {
    return this.orm.em.fork();
  }

  /**
   * Applies outstanding migrations and returns their names. Safe from several processes at once: one waits
   * for the other.
   */
  async migrate(): Promise<string[]> {
    return this.fork().transactional(async (em) => {
      // Any constant serves; it has to be the same in every process.
      await em.execute('select pg_advisory_xact_lock(20260101)');
      const applied = await this.orm.migrator.up();
      return applied.map((migration) => migration.name);
    });
  }

  /** Names of the migrations that this version has and the database does not have. */
  async pendingMigrations(): Promise<string[]> {
    return (await this.orm.migrator.getPending()).map(({ name }) => name);
  }

  /** Round trip to the server in milliseconds. @throws when it cannot be reached or a table is missing. */
  async ping(): Promise<number> {
    const started = performance.now();
    await this.fork().execute('select 1 from webhook_event limit 1');
    return performance.now() - started;
  }

  async close(): Promise<void> {
    await this.orm.close(true);
  }
}

/** The database room by itself, without the service: a database with every migration, and rows that tests are about. */
import pg from 'pg';
import { Database, type EntityManager } from '../../src/database/database.ts';
import { newId } from '../../src/database/ids.ts';
import * as organizations from '../../src/database/organizations.ts';
import { migratedDatabase } from './databases.ts';
import { insertEvent } from './events.ts';
import { settingsOf } from './settings.ts';
import { eventually } from './time.ts';

export class DatabaseRoom {
  readonly url: string;
  readonly database: Database;
  readonly em: EntityManager;
  /** SQL beside it. */
  readonly sql: pg.Pool;
  private serial = 0;

  private constructor(url: string, database: Database) {
    this.url = url;
    this.database = database;
    this.em = database.fork();
    this.sql = new pg.Pool({ connectionString: url, max: 2 });
  }

  static async open(): Promise<DatabaseRoom> {
    const url = await migratedDatabase();
    return new DatabaseRoom(url, await Database.open(url));
  }

  async close(): Promise<void> {
    await this.sql.end();
    await this.database.close();
  }

  /** Returns its id. */
  async organization(settings: Partial<ReturnType<typeof settingsOf>> = {}, id = `org-${++this.serial}`): Promise<string> {
    await organizations.create(this.em, id, { ...settingsOf(id), ...settings });
    return id;
  }

  /** Of 20.00, with an event of its own. Returns its id. */
  async recharge(organizationId: string, status = 'succeeded'): Promise<string> {
    const [id, event] = [newId('rch'), await insertEvent(this.sql, organizationId)];
    await this.sql.query(
      `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
         quota_granted, balance_seen, payment_intent_id, timeline)
       values ($1, $2, $3, 'team', 'webhook', $4, 'cus_1', 2000, 'usd', 20, 5, $1, '[]')`,
      [id, event, organizationId, status],
    );
    return id;
  }

  /** Money of the recharge that went back without us, and for which no quota was left. Returns its id. */
  async reversal(id: string, rechargeId: string, organizationId: string): Promise<string> {
    await this.sql.query(
      `insert into reversal (id, kind, recharge_id, organization_id, litellm_team_id, status, amount_minor, currency, quota)
       values ($1, 'refund', $2, $3, 'team', 'needs_attention', 1, 'usd', 0)`,
      [id, rechargeId, organizationId],
    );
    return id;
  }

  /** Waits until a transaction waits for the lock of another, in this database. */
  async waitsForLock(): Promise<void> {
    const query = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()`;
    await eventually(async () => (await this.sql.query(query)).rowCount, 'a transaction waits for a lock');
  }
}

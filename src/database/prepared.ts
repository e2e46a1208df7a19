/**
 * A statement that each connection prepares once, on connections of its own: PostgreSQL reads and plans it once, and
 * a busy pool holds up none of its runs.
 */
import { createHash } from 'node:crypto';
import pg from 'pg';
import { LimitedClient, type LimitedClientConfig } from './limited-client.ts';

/**
 * One plan for whatever is asked, and by an index: it stays for the life of the connection, and one that was made
 * while a table was empty would read all of it for ever. Set in each transaction, so that nobody else has it behind a
 * pooler.
 */
const PLANNED_ONCE = 'set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off';

/** A connection that is not used for so long is closed: a network forgets it sooner or later, and says nothing. */
const IDLE_TIMEOUT_MS = 60_000;

/**
 * The answers of a pooler in transaction mode that does not follow prepared statements (PgBouncer before 1.21, or
 * with `max_prepared_statements = 0`): the session that it has given us has never heard of ours, or has it already.
 */
const NOT_FOLLOWED = ['26000', '42P05'];

export class PreparedStatement<Row extends pg.QueryResultRow> {
  private readonly pool: pg.Pool;
  private readonly text: string;
  /**
   * By its text: another version's statement of the same name could be in the session that a pooler gives us. undefined
   * once a pooler was found that does not follow prepared statements: then it is read and planned at each run.
   */
  private name: string | undefined;

  /** Connects when it is first run. @param connections runs at once. */
  constructor(config: LimitedClientConfig, { text, connections }: { text: string; connections: number }) {
    this.text = text;
    this.name = `bill_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
    this.pool = new pg.Pool({
      ...config,
      pipeline: true,
      Client: LimitedClient,
      min: 0,
      max: connections,
      idleTimeoutMillis: IDLE_TIMEOUT_MS,
    });
    this.pool.on('error', () => {}); // The next run makes another connection.
  }

  /**
   * Runs it in a transaction of its own.
   *
   * @throws what PostgreSQL or the connection throws: nothing is stored then, or it is not known whether.
   */
  async run(values: readonly string[]): Promise<Row[]> {
    const client = (await this.pool.connect()) as unknown as LimitedClient & pg.PoolClient;
    try {
      return (await client.alone<Row>({ text: this.text, values, name: this.name }, PLANNED_ONCE)).rows;
    } catch (error) {
      if (this.name === undefined || !NOT_FOLLOWED.includes((error as { code?: string }).code ?? '')) throw error;
    } finally {
      client.release();
    }
    this.name = undefined;
    return this.run(values);
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

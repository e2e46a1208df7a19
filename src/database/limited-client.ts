/**
 * A client of PostgreSQL whose statements end by themselves, and that keeps nothing in its session.
 *
 * A pooler refuses a time limit as a start-up parameter, and gives the session to somebody else after each
 * transaction, together with what was `set` in it. So each transaction sets its own limits, in the message
 * that begins it: that costs no round trip. A statement outside of a transaction is one by itself.
 */
import pg from 'pg';
import type { SslMode } from './connection-url.ts';
import { isDatabaseOutage, isReadOnly, TlsRefusedError, UnansweredError } from './errors.ts';

export type LimitedClientConfig = pg.ClientConfig & {
  /** A statement, or a transaction that does nothing, is ended after this. */
  limitMs: number;
  sslMode: SslMode;
};

/** Without a name it is read and planned at each run. */
export type Prepared = { text: string; values: readonly string[]; name: string | undefined };

/** The server ends a statement first. Without its answer for this much longer, the connection is given up. */
const ANSWER_LATE_MS = 5_000;

const BEGINS = /^(begin|start transaction)\b/i;

export class LimitedClient extends pg.Client {
  private readonly limitMs: number;
  /** Of the pool, while it has handed this client out. */
  declare release?: (isBroken: boolean) => void;
  private readonly sslMode: SslMode;

  /** @param config is there whenever a pool makes a client; its types do not say so. */
  constructor(config?: LimitedClientConfig) {
    if (!config) throw new Error('a client without a limit');
    super(config);
    this.limitMs = config.limitMs;
    this.sslMode = config.sslMode;
    // The statement under way throws it. Without a listener a connection that is lost would end the process.
    this.on('error', () => {});
  }

  /** @throws an error that names the mode when there is no TLS connection as `sslmode` asks for it. */
  override connect(): Promise<pg.Client>;
  override connect(callback: (error: Error) => void): void;
  override connect(callback?: (error: Error) => void): Promise<pg.Client> | undefined {
    if (callback) {
      super.connect((error: Error) => callback(error && this.explained(error)));
      return undefined;
    }
    return super.connect().catch((error: Error) => {
      throw this.explained(error);
    });
  }

  /** For statements of text alone, which is what MikroORM sends. */
  // biome-ignore lint/suspicious/noExplicitAny: pg declares eight overloads.
  override query(...[statement, values, callback]: any[]): any {
    if (typeof statement !== 'string' || values?.length > 0 || callback) throw new Error('this statement would have no time limit');
    return this.limited(statement);
  }

  /**
   * Runs one statement with values in a transaction of its own, within the limits. All of it is one message to the
   * server and one answer.
   *
   * For a client with `pipeline`, which sends a statement without waiting for the answers to those before.
   *
   * @param settings further statements of the transaction, SQL text.
   * @throws when it has failed, or it is not known whether it was committed.
   */
  async alone<Row extends pg.QueryResultRow>({ text, values, name }: Prepared, settings: string): Promise<pg.QueryResult<Row>> {
    const givesUp = this.givingUp();
    const { stream } = this.connection;
    stream.cork();
    const sent = [
      super.query(`begin; ${this.limits()}; ${settings}`),
      super.query<Row>({ text, values: [...values], ...(name !== undefined && { name }) }),
      super.query('commit'),
    ] as const;
    stream.uncork();
    try {
      // The connection is in use until the last of them is answered. The statement's error is that of the others too.
      const [begun, ran, committed] = await Promise.allSettled(sent);
      for (const { reason } of [ran, begun, committed].filter((each) => each.status === 'rejected')) throw reason;
      return (ran as PromiseFulfilledResult<pg.QueryResult<Row>>).value;
    } catch (error) {
      if (isReadOnly(error)) await this.lose();
      throw error;
    } finally {
      clearTimeout(givesUp);
    }
  }

  private limits(): string {
    return `set local statement_timeout = ${this.limitMs}; set local idle_in_transaction_session_timeout = ${this.limitMs}`;
  }

  /** A pooler that has no connection left, or a network that is gone, does not answer at all. */
  private givingUp(): NodeJS.Timeout {
    const afterMs = this.limitMs + ANSWER_LATE_MS;
    return setTimeout(() => this.connection.stream.destroy(new UnansweredError(afterMs)), afterMs);
  }

  private async limited(statement: string): Promise<Results> {
    const givesUp = this.givingUp();
    try {
      if (this.isInTransaction()) return await super.query(statement);
      const limit = `set local statement_timeout = ${this.limitMs}`;
      if (BEGINS.test(statement)) {
        return first(await super.query(`${statement}; ${this.limits()}`));
      }
      return withoutFirst(await super.query(`${limit}; ${statement}`));
    } catch (error) {
      // Kysely gives no connection back whose `begin` or `rollback` has failed: the pool had one less for good.
      // The server rolls back what a lost connection leaves open.
      if (statement === 'rollback') {
        await this.lose();
        return [];
      }
      if (BEGINS.test(statement)) this.release?.(true);
      else if (isReadOnly(error)) await this.lose();
      throw error;
    } finally {
      clearTimeout(givesUp);
    }
  }

  /** Gives the connection up. Returns once it is closed: before that the pool would hand it out again. */
  private async lose(): Promise<void> {
    const { stream } = this.connection;
    const closed = new Promise((resolve) => stream.once('close', resolve));
    stream.destroy();
    if (!stream.closed) await closed;
  }

  private isInTransaction(): boolean {
    const status = this.getTransactionStatus();
    return status === 'T' || status === 'E';
  }

  private explained(error: Error): Error {
    const isOfTls = this.sslMode !== 'disable' && !('severity' in error) && !isDatabaseOutage(error);
    return isOfTls ? new TlsRefusedError(this.sslMode, error.message) : error;
  }
}

/** Of several statements in one message pg returns a list of results; its types do not say so. */
type Results = pg.QueryResult | pg.QueryResult[];

function first(results: Results): pg.QueryResult {
  return [results].flat()[0] as pg.QueryResult;
}

function withoutFirst(results: Results): Results {
  const [, ...others] = [results].flat();
  return others.length === 1 ? (others[0] as pg.QueryResult) : others;
}

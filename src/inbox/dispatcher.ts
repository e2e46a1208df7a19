/**
 * Hands on what a table has taken in: alerts to their workflows, Stripe's events to the runs that wait for them. Any number
 * of dispatchers work side by side: each row is claimed for a while by one of them, and goes to another when that one dies.
 */
import { withDeadline } from '../deadline.ts';
import type { Logger } from '../observability/log.ts';

/** How long a table is left alone when nothing pokes the dispatcher: what another process stored waits this long at most. */
const POLL_INTERVAL_MS = 500;
/** Rows taken at once. */
const BATCH = 50;
/** How long a claim holds: longer than a start takes when Temporal is slow, short enough that a crash delays little. */
const LEASE_MS = 15_000;
/** What Temporal has not answered by then counts as failed; the next attempt finds out. */
const HANDLE_DEADLINE_MS = 10_000;
/** Pause after a failure: doubles from the first to the last. */
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 10_000;

/** A table that is dispatched from. */
export type Source<Row extends { id: string }> = {
  /** For the log. */
  name: string;
  claim: (limit: number, leaseMs: number) => Promise<Row[]>;
  /** Has to bear being called again for the same row: a crash may come between it and `done`. */
  handle: (row: Row) => Promise<void>;
  done: (id: string) => Promise<void>;
  release: (id: string, delayMs: number) => Promise<void>;
};

export class Dispatcher<Row extends { id: string }> {
  private readonly source: Source<Row>;
  private readonly log: Logger;
  private running: Promise<void> | undefined;
  private stopped = false;
  private wake: () => void = () => {};
  private poked = false;
  private failures = 0;

  constructor(source: Source<Row>, log: Logger) {
    this.source = source;
    this.log = log;
  }

  run(): void {
    this.running ??= this.loop();
  }

  /** A row has just been stored: do not wait for the next look. */
  poke(): void {
    this.poked = true;
    this.wake();
  }

  /** Ends after the batch under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.wake();
    await this.running;
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      this.poked = false;
      try {
        const rows = await this.source.claim(BATCH, LEASE_MS);
        await this.dispatchAll(rows);
        if (rows.length === BATCH) continue;
      } catch (error) {
        this.log.error({ source: this.source.name, reason: (error as Error).name }, 'the database cannot be read or written; trying again');
      }
      await this.pause();
    }
  }

  /** Waits for every row, also when one of them fails: nothing may run on when the database is closed. */
  private async dispatchAll(rows: Row[]): Promise<void> {
    const results = await Promise.allSettled(rows.map((row) => this.dispatch(row)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  private async dispatch(row: Row): Promise<void> {
    try {
      await withDeadline(this.source.handle(row), HANDLE_DEADLINE_MS);
      // Only now: a crash before this line does it again, which finds it done.
      await this.source.done(row.id);
      this.failures = 0;
    } catch (error) {
      const delay = Math.min(RETRY_FIRST_MS * 2 ** this.failures++, RETRY_LAST_MS);
      this.log.warn({ source: this.source.name, id: row.id, reason: (error as Error).message, again_in_ms: delay }, 'not handed on');
      await this.source.release(row.id, delay);
    }
  }

  private async pause(): Promise<void> {
    if (this.poked || this.stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_INTERVAL_MS);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/**
 * Dispatches the rows of a table: alerts to their workflows, Stripe's events to the runs that wait for them.
 * Any number of dispatchers run side by side: one of them claims a row for a while, and another one claims it
 * when the first has died.
 */
import type { Claim } from '../database/lease.ts';
import { withDeadline } from '../deadline.ts';
import type { Logger } from '../observability/log.ts';
import type { SpanWish } from '../observability/span.ts';
import { failInTrace, traced } from '../observability/tracing.ts';

/**
 * Between two reads of a table when nothing pokes the dispatcher: a row that another process has stored waits
 * this long at most.
 */
const POLL_INTERVAL_MS = 500;
/** Rows that are handled at the same time. A slow one holds up none of the others. */
export const MAX_UNDER_WAY = 50;
/** A start without an answer counts as failed after this; the next attempt finds the run if it was started. */
const HANDLE_DEADLINE_MS = 10_000;
/** A claim lasts longer than handling its row, and little longer, so that a crash delays little. */
const LEASE_BEYOND_DEADLINE_MS = 5_000;
/** Pause after a failure, of any row: doubles until one succeeds, because most failures are an outage of all. */
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 10_000;
/**
 * A row that has failed here is left to other processes for so long beyond its pause: one of them may reach what this one
 * does not. Whoever has failed with it would be the first to see that its pause is over, again and again.
 */
const HEAD_START_MS = 2 * POLL_INTERVAL_MS;
/**
 * So many different rows have failed and none has succeeded since: that is an outage of what they all need. Then as many
 * at a time try whether it is over, and not all of them again and again, which would take processor and connections from
 * what comes in. More than one, so that a few rows that always fail do not stand before one that would not.
 */
const FAILED_IN_OUTAGE = 5;
/**
 * Rows that have failed meanwhile and are passed over, so that each row has its turn: some may fail whatever is well
 * again, and a row that would not may stand behind them. Their ids go with each claim.
 */
const MAX_PASSED_OVER = 1_000;
/** Between two such tries. What is stored meanwhile waits so long when the outage is over. */
const OUTAGE_PAUSE_MS = 1_000;

/** A table that is dispatched from. */
export type Source<Row extends { id: string }> = {
  /** For the log. */
  name: string;
  claim: (claim: Claim) => Promise<Row[]>;
  /** What an attempt to handle a row is in its trace. */
  span: (row: Row) => SpanWish;
  /** How long `handle` may take, where that is longer than a start of a workflow. */
  deadlineMs?: number;
  /** Idempotent: a crash between it and `done` repeats it. */
  handle: (row: Row) => Promise<void>;
  /** Returns the seconds from the receipt of the row until now, where that is known. */
  done: (id: string) => Promise<number | undefined>;
  release: (id: string, delayMs: number) => Promise<void>;
};

/** Is told of each row that was handed on, with the seconds from its receipt, and of each attempt that failed. */
export type DispatchWatcher = { dispatched: (seconds: number) => void; failed: () => void };
const NOBODY: DispatchWatcher = { dispatched: () => {}, failed: () => {} };

export class Dispatcher<Row extends { id: string }> {
  private readonly source: Source<Row>;
  private readonly log: Logger;
  private readonly watcher: DispatchWatcher;
  private running: Promise<void> | undefined;
  private stopped = false;
  private wake: () => void = () => {};
  private poked = false;
  private failures = 0;
  /** The rows that have failed since one has succeeded, as many of them as make an outage. */
  private readonly failed = new Set<string>();
  private tryAgainAt = 0;
  /** Until when each row that has failed is left to others; in an outage until all have had their turn. */
  private readonly left = new Map<string, number>();
  private readonly underWay = new Set<Promise<void>>();
  /** When half of the rows under way have ended the table is read again: one read for several rows. */
  private claimAgainAt = 0;

  constructor(source: Source<Row>, log: Logger, watcher: DispatchWatcher = NOBODY) {
    this.source = source;
    this.log = log;
    this.watcher = watcher;
  }

  run(): void {
    this.running ??= this.loop();
  }

  /** A row has just been stored: the table is read at once. */
  poke(): void {
    this.poked = true;
    this.wake();
  }

  /** Ends after the rows under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.wake();
    await this.running;
  }

  private async loop(): Promise<void> {
    const { claim, deadlineMs = HANDLE_DEADLINE_MS } = this.source;
    while (!this.stopped) {
      this.poked = false;
      const free = this.room();
      try {
        const rows =
          free > 0 ? await claim({ limit: free, leaseMs: deadlineMs + LEASE_BEYOND_DEADLINE_MS, except: this.leftToOthers() }) : [];
        for (const row of rows) this.begin(row, deadlineMs);
        if (rows.length < free || this.left.size > MAX_PASSED_OVER) this.beginRound();
        this.claimAgainAt = Math.floor(this.underWay.size / 2);
        if (this.room() > 0 && rows.length === free) continue;
      } catch (error) {
        this.logDatabaseError(error);
      }
      await this.pause();
    }
    // Nothing may still run when the database is closed.
    await Promise.all(this.underWay);
  }

  private leftToOthers(): string[] {
    if (!this.isOutage()) this.beginRound();
    return [...this.left.keys()];
  }

  /** Those that have failed are tried again, once their pauses are over. */
  private beginRound(): void {
    for (const [id, until] of this.left) if (until <= performance.now()) this.left.delete(id);
  }

  private isOutage(): boolean {
    return this.failed.size >= FAILED_IN_OUTAGE;
  }

  /** How many rows may be begun now. */
  private room(): number {
    if (!this.isOutage()) return MAX_UNDER_WAY - this.underWay.size;
    return this.underWay.size === 0 && performance.now() >= this.tryAgainAt ? FAILED_IN_OUTAGE : 0;
  }

  private begin(row: Row, deadlineMs: number): void {
    const handling = traced(this.source.span(row), () => this.dispatch(row, deadlineMs))
      .catch((error) => this.logDatabaseError(error))
      .finally(() => {
        this.underWay.delete(handling);
        if (this.underWay.size === this.claimAgainAt) this.poke();
      });
    this.underWay.add(handling);
  }

  private logDatabaseError(error: unknown): void {
    this.log.error({ source: this.source.name, reason: (error as Error).name }, 'the database cannot be read or written; trying again');
  }

  private async dispatch(row: Row, deadlineMs: number): Promise<void> {
    try {
      await withDeadline(this.source.handle(row), deadlineMs);
      // After `handle`: a crash in between repeats it, which is harmless.
      const seconds = await this.source.done(row.id);
      if (seconds !== undefined) this.watcher.dispatched(seconds);
      this.failures = 0;
      this.failed.clear();
    } catch (error) {
      this.watcher.failed();
      if (!this.isOutage()) this.failed.add(row.id);
      this.tryAgainAt = performance.now() + OUTAGE_PAUSE_MS;
      failInTrace((error as Error).name, (error as Error).message);
      const delay = Math.min(RETRY_FIRST_MS * 2 ** this.failures++, RETRY_LAST_MS);
      this.left.set(row.id, performance.now() + delay + HEAD_START_MS);
      this.log.warn({ source: this.source.name, id: row.id, reason: (error as Error).message, again_in_ms: delay }, 'not dispatched');
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

/**
 * Starts the workflow of every accepted event. Any number of dispatchers work side by side: each event is claimed for a
 * while by one of them, and goes to another when that one dies.
 */
import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import * as webhookEvents from '../database/webhook-events.ts';

/** How long the inbox is left alone when nothing pokes the dispatcher: an event that another process stored waits this long at most. */
const POLL_INTERVAL_MS = 500;
/** Events taken at once. */
const BATCH = 50;
/** How long a claim holds: longer than a start takes when Temporal is slow, short enough that a crash delays little. */
const LEASE_MS = 15_000;
/** A start that Temporal has not answered by then counts as failed; the next attempt finds out. */
const START_DEADLINE_MS = 10_000;
/** Pause after a failed start: doubles from the first to the last. */
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 10_000;

export type StartWorkflow = (event: webhookEvents.DispatchableEvent) => Promise<void>;

export class Dispatcher {
  private readonly database: Database;
  private readonly start: StartWorkflow;
  private readonly log: Logger;
  private running: Promise<void> | undefined;
  private stopped = false;
  private wake: () => void = () => {};
  private poked = false;
  private failures = 0;

  constructor(database: Database, start: StartWorkflow, log: Logger) {
    this.database = database;
    this.start = start;
    this.log = log;
  }

  run(): void {
    this.running ??= this.loop();
  }

  /** An event has just been stored: do not wait for the next look. */
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
      let pause = POLL_INTERVAL_MS;
      try {
        const events = await webhookEvents.claimForDispatch(this.database.fork(), BATCH, LEASE_MS);
        await Promise.all(events.map((event) => this.dispatch(event)));
        if (events.length === BATCH) continue;
      } catch (error) {
        this.log.error({ reason: (error as Error).name }, 'the inbox cannot be read; trying again');
        pause = RETRY_LAST_MS / 10;
      }
      await this.pause(pause);
    }
  }

  private async dispatch(event: webhookEvents.DispatchableEvent): Promise<void> {
    try {
      await withDeadline(this.start(event), START_DEADLINE_MS);
      // Only now: a crash before this line starts the workflow again, which finds it started.
      await webhookEvents.markDispatched(this.database.fork(), event.id);
      this.failures = 0;
    } catch (error) {
      const delay = Math.min(RETRY_FIRST_MS * 2 ** this.failures++, RETRY_LAST_MS);
      this.log.warn(
        { event_id: event.id, reason: (error as Error).message, again_in_ms: delay },
        'the workflow of an event could not be started',
      );
      await webhookEvents.releaseClaim(this.database.fork(), event.id, delay);
    }
  }

  private async pause(ms: number): Promise<void> {
    if (this.poked || this.stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

async function withDeadline<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer from Temporal within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

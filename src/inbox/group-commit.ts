/**
 * Group commit: what waits at the same moment is stored together. One statement and one flush of the disk serve all
 * of them, and each is answered after it is durable. Nobody waits for company: when nothing is being stored, what comes
 * is stored at once, and what comes meanwhile is the next batch.
 */

/** Stores all of a batch, or none of it and throws. Returns what became of each, in the same order. */
export type Store<Item, Result> = (batch: readonly Item[]) => Promise<readonly Result[]>;

/** Batches that are stored at the same time. */
export const LANES = 2;
/**
 * The second lane opens when so many wait, or when the first is slow. A batch costs as much as ten rows more in it: with
 * a second lane at once, the batches are small and everything takes longer.
 */
const WORTH_ANOTHER_LANE = 16;
/** Ten times what a batch takes. A lane that waits for a lock so long holds up nobody else. */
const SLOW_MS = 30;
/** Rows of one batch. A larger one costs as much a row, and the first of it waits longer. */
const MAX_BATCH = 256;
/** Of one batch, and so of one statement. */
const MAX_BATCH_BYTES = 1024 * 1024;
/** What may wait: half a second of work. */
const MAX_WAITING = 4_096;
/** And so much of it: with the objects that are made of it a process has some ten times that. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

/** As much waits as may wait. Nothing of this one was stored. */
export class OverloadedError extends Error {
  override name = 'OverloadedError';

  constructor() {
    super('too many events wait to be stored');
  }
}

type Waiting<Item, Result> = {
  item: Item;
  bytes: number;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
};

export type GroupCommitOptions<Item, Result> = {
  store: Store<Item, Result>;
  /** Whether the error of a batch is nothing of its items: none of them is tried alone. */
  isOutage: (error: unknown) => boolean;
};

export class GroupCommit<Item, Result> {
  private readonly store: Store<Item, Result>;
  private readonly isOutage: (error: unknown) => boolean;
  private waiting: Waiting<Item, Result>[] = [];
  private waitingBytes = 0;
  private lanes = 0;
  private slowLanes = 0;
  private idle: PromiseWithResolvers<void> | undefined;

  constructor({ store, isOutage }: GroupCommitOptions<Item, Result>) {
    this.store = store;
    this.isOutage = isOutage;
  }

  /**
   * Returns when the item is durable.
   *
   * @param bytes about how much memory it takes.
   * @throws OverloadedError, or why it could not be stored.
   */
  add(item: Item, bytes: number): Promise<Result> {
    if (this.waiting.length >= MAX_WAITING || this.waitingBytes + bytes > MAX_WAITING_BYTES) return Promise.reject(new OverloadedError());
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, bytes, resolve, reject });
      this.waitingBytes += bytes;
      this.openLaneIfWorth();
    });
  }

  /** Returns when nothing waits and nothing is being stored. */
  async drained(): Promise<void> {
    if (this.lanes === 0) return;
    this.idle ??= Promise.withResolvers();
    await this.idle.promise;
  }

  private openLaneIfWorth(): void {
    const isWorth = this.lanes === this.slowLanes || this.waiting.length >= WORTH_ANOTHER_LANE;
    if (this.waiting.length > 0 && this.lanes < LANES && isWorth) void this.openLane();
  }

  private async openLane(): Promise<void> {
    this.lanes++;
    // After everything that has arrived by now was read: it goes with it.
    await new Promise((resolve) => setImmediate(resolve));
    for (let batch = this.next(); batch.length > 0; batch = this.next()) await this.watched(this.storeBatch(batch));
    // At once: what is added later opens another.
    this.lanes--;
    if (this.lanes === 0) this.idle?.resolve();
  }

  private async watched(storing: Promise<void>): Promise<void> {
    let isSlow = false;
    const watch = setTimeout(() => {
      isSlow = true;
      this.slowLanes++;
      this.openLaneIfWorth();
    }, SLOW_MS);
    await storing;
    clearTimeout(watch);
    if (isSlow) this.slowLanes--;
  }

  private next(): Waiting<Item, Result>[] {
    let bytes = 0;
    let size = 0;
    for (const { bytes: more } of this.waiting) {
      if (size > 0 && (size === MAX_BATCH || bytes + more > MAX_BATCH_BYTES)) break;
      bytes += more;
      size++;
    }
    this.waitingBytes -= bytes;
    return this.waiting.splice(0, size);
  }

  /** One that cannot be stored fails alone: the halves of its batch are stored apart. */
  private async storeBatch(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.store(batch.map(({ item }) => item));
      for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (batch.length === 1 || this.isOutage(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      const half = Math.ceil(batch.length / 2);
      await this.storeBatch(batch.slice(0, half));
      await this.storeBatch(batch.slice(half));
    }
  }
}

import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Claim } from '../../../src/database/lease.ts';
import { Dispatcher, MAX_UNDER_WAY, type Source } from '../../../src/inbox/dispatcher.ts';
import { createLogger } from '../../../src/observability/log.ts';

type Row = { id: string };

/** A table of rows that all wait, and what becomes of an attempt at one. */
class Table implements Source<Row> {
  readonly name = 'a table';
  readonly attempts: string[] = [];
  isUnavailable: (id: string) => boolean = () => false;
  private readonly waiting: Map<string, { until: number }>;

  constructor(count: number) {
    this.waiting = new Map(Array.from({ length: count }, (_, n) => [`row ${n}`, { until: 0 }]));
  }

  get left(): number {
    return this.waiting.size;
  }

  add(id: string): void {
    this.waiting.set(id, { until: 0 });
  }

  readonly span = ({ id }: Row) => ({ name: `dispatch ${id}` });

  readonly claim = async ({ limit, leaseMs, except = [] }: Claim): Promise<Row[]> => {
    const free = [...this.waiting].filter(([id, { until }]) => until <= Date.now() && !except.includes(id)).slice(0, limit);
    for (const [, row] of free) row.until = Date.now() + leaseMs;
    return free.map(([id]) => ({ id }));
  };

  readonly handle = async ({ id }: Row): Promise<void> => {
    this.attempts.push(id);
    if (this.isUnavailable(id)) throw new Error('it is unavailable');
  };

  readonly done = async (id: string): Promise<undefined> => {
    this.waiting.delete(id);
  };

  readonly release = async (id: string, delayMs: number): Promise<void> => {
    this.waiting.set(id, { until: Date.now() + delayMs });
  };
}

let dispatcher: Dispatcher<Row> | undefined;
afterEach(async () => {
  const stopped = dispatcher?.stop();
  await jest.advanceTimersByTimeAsync(20_000);
  await stopped;
  jest.useRealTimers();
});

/** Runs a dispatcher on the table for so long, by its own clock. */
async function dispatch(table: Table, ms: number): Promise<void> {
  if (!dispatcher) {
    jest.useFakeTimers();
    dispatcher = new Dispatcher(table, createLogger('silent'));
    dispatcher.run();
  }
  await jest.advanceTimersByTimeAsync(ms);
}
/** The same with one more row, which is stored now. */
async function dispatchNew(table: Table, ms: number): Promise<void> {
  table.add('a new one');
  dispatcher?.poke();
  await dispatch(table, ms);
}
afterEach(() => {
  dispatcher = undefined;
});

describe('a dispatcher', () => {
  test('hands on every row at once', async () => {
    const table = new Table(500);
    await dispatch(table, 100);
    expect([table.left, table.attempts.length]).toEqual([0, 500]);
  });

  test('tries five rows a second while all of them fail', async () => {
    const table = new Table(5_000);
    table.isUnavailable = () => true;
    await dispatch(table, 60_000);
    // Those that were begun before it was known, and five a second after that.
    expect(table.attempts.length).toBeLessThanOrEqual(MAX_UNDER_WAY + 5 * 60);
    expect(table.attempts.length).toBeGreaterThan(MAX_UNDER_WAY + 5 * 30);
  });

  test('comes to the row that would not fail, behind hundreds that always do', async () => {
    const table = new Table(300);
    table.isUnavailable = (id) => id !== 'a new one';
    await dispatch(table, 60_000);
    await dispatchNew(table, 120_000);
    expect(table.attempts).toContain('a new one');
    expect(table.left).toBe(300);
  });

  test('hands on all of them as soon as one succeeds again', async () => {
    const table = new Table(500);
    table.isUnavailable = () => true;
    await dispatch(table, 30_000);
    table.isUnavailable = () => false;
    // Those that have failed are released by then.
    await dispatch(table, 12_000);
    expect(table.left).toBe(0);
  });

  test('comes to a row that can be handed on behind forty that cannot', async () => {
    const table = new Table(40);
    table.isUnavailable = (id) => id.startsWith('row');
    await dispatch(table, 60_000);
    await dispatchNew(table, 15_000);
    expect(table.attempts).toContain('a new one');
  });

  test('leaves a row that it fails with to another process, which may reach what it does not', async () => {
    const table = new Table(1);
    table.isUnavailable = () => true;
    await dispatch(table, 1);
    const healthy = new Dispatcher({ ...table, handle: async () => {} }, createLogger('silent'));
    healthy.run();
    await dispatch(table, 2_000);
    expect([table.left, table.attempts.length]).toEqual([0, 1]);
    const stopped = healthy.stop();
    await jest.advanceTimersByTimeAsync(1_000);
    await stopped;
  });

  test('is not held up by a few rows that always fail', async () => {
    const table = new Table(3);
    table.isUnavailable = (id) => id.startsWith('row');
    await dispatch(table, 60_000);
    await dispatchNew(table, 1);
    expect(table.attempts.at(-1)).toBe('a new one');
  });
});

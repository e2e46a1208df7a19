import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Gate, GateError } from '../../src/gate.ts';

/** Calls to a dependency that answers when it is told to. */
class Calls {
  readonly gate: Gate;
  readonly started: string[] = [];
  private readonly underWay = new Map<string, PromiseWithResolvers<string>>();

  constructor(size: { atOnce: number; waiting: number }) {
    this.gate = new Gate(size);
  }

  make(name: string, deadline = new AbortController().signal): Promise<string> {
    return this.gate.through(() => {
      this.started.push(name);
      const call = Promise.withResolvers<string>();
      this.underWay.set(name, call);
      return call.promise;
    }, deadline);
  }

  /** One that is under way is answered. Returns when whoever waited for its place has got it. */
  async answer(name: string): Promise<void> {
    await settled();
    this.underWay.get(name)?.resolve(name);
    this.underWay.delete(name);
    await settled();
  }

  async fail(name: string): Promise<void> {
    await settled();
    this.underWay.get(name)?.reject(new Error(`${name} has failed`));
    this.underWay.delete(name);
    await settled();
  }
}

/** Every promise that can go on has gone on. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const FULL = { name: 'GateError', message: '2 calls are under way and 1 wait' };

test('no more calls run at once than fit', async () => {
  const calls = new Calls({ atOnce: 2, waiting: 9 });
  const all = Promise.all(['a', 'b', 'c', 'd'].map((name) => calls.make(name)));
  await settled();
  expect(calls.started).toEqual(['a', 'b']);
  for (const name of ['b', 'a', 'c', 'd']) await calls.answer(name);
  expect(await all).toEqual(['a', 'b', 'c', 'd']);
});

test('the others wait in the order in which they came, and one that fails makes room as well', async () => {
  const calls = new Calls({ atOnce: 1, waiting: 9 });
  const first = calls.make('a');
  const others = ['b', 'c', 'd'].map((name) => calls.make(name));
  await settled();
  await calls.fail('a');
  await expect(first).rejects.toThrow('a has failed');
  expect(calls.started).toEqual(['a', 'b']);
  await calls.answer('b');
  await calls.answer('c');
  await calls.answer('d');
  expect(calls.started).toEqual(['a', 'b', 'c', 'd']);
  await Promise.all(others);
});

describe('when as many wait as may', () => {
  test('a further call is refused at once and never made', async () => {
    const calls = new Calls({ atOnce: 2, waiting: 1 });
    const waiting = ['a', 'b', 'c'].map((name) => calls.make(name));
    await expect(calls.make('d')).rejects.toMatchObject(FULL);
    for (const name of ['a', 'b', 'c']) await calls.answer(name);
    await Promise.all(waiting);
    expect(calls.started).toEqual(['a', 'b', 'c']);
  });

  test('one that gets its turn leaves its place in the queue to the next', async () => {
    const calls = new Calls({ atOnce: 2, waiting: 1 });
    const waiting = ['a', 'b', 'c'].map((name) => calls.make(name));
    await calls.answer('a');
    waiting.push(calls.make('d'));
    await expect(calls.make('e')).rejects.toBeInstanceOf(GateError);
    for (const name of ['b', 'c', 'd']) await calls.answer(name);
    expect(await Promise.all(waiting)).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('a deadline that comes before the turn', () => {
  test('ends the wait, frees the place in the queue, and the call is never made', async () => {
    const calls = new Calls({ atOnce: 1, waiting: 1 });
    const deadline = new AbortController();
    const first = calls.make('a');
    const late = calls.make('b', deadline.signal);
    deadline.abort();
    await expect(late).rejects.toBeInstanceOf(GateError);
    const next = calls.make('c');
    await calls.answer('a');
    await calls.answer('c');
    expect(await Promise.all([first, next])).toEqual(['a', 'c']);
    expect(calls.started).toEqual(['a', 'c']);
  });

  test('refuses one that comes after it, although there is room', async () => {
    const calls = new Calls({ atOnce: 1, waiting: 1 });
    await expect(calls.make('a', AbortSignal.abort())).rejects.toBeInstanceOf(GateError);
    expect(calls.started).toEqual([]);
  });

  test('does nothing to a call that has had its turn', async () => {
    const calls = new Calls({ atOnce: 1, waiting: 1 });
    const deadline = new AbortController();
    const first = calls.make('a');
    const second = calls.make('b', deadline.signal);
    await calls.answer('a');
    deadline.abort();
    await calls.answer('b');
    expect(await Promise.all([first, second])).toEqual(['a', 'b']);
  });
});

test('whatever comes, ends, fails and is given up, in whatever order: the bounds hold, and in the end there is room for all', async () => {
  const step = fc.record({ what: fc.constantFrom('comes', 'ends', 'fails', 'is given up'), which: fc.nat(20) });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 3 }),
      fc.array(step, { maxLength: 40 }),
      async (atOnce, waiting, steps) => {
        const gate = new Gate({ atOnce, waiting });
        const underWay: PromiseWithResolvers<void>[] = [];
        const given: AbortController[] = [];
        let inside = 0;
        const come = () => {
          const deadline = new AbortController();
          given.push(deadline);
          const work = async () => {
            expect(++inside).toBeLessThanOrEqual(atOnce);
            const call = Promise.withResolvers<void>();
            underWay.push(call);
            await call.promise.finally(() => inside--);
          };
          gate.through(work, deadline.signal).catch(() => {});
        };
        for (const { what, which } of steps) {
          const pick = <T>(from: T[]) => from.splice(which % Math.max(from.length, 1), 1)[0];
          if (what === 'comes') come();
          if (what === 'ends') pick(underWay)?.resolve();
          if (what === 'fails') pick(underWay)?.reject(new Error('no'));
          if (what === 'is given up') pick(given)?.abort();
          await settled();
        }
        while (underWay.length > 0) {
          underWay.pop()?.resolve();
          await settled();
        }
        expect(inside).toBe(0);
        for (let call = 0; call < atOnce; call++) come();
        await settled();
        expect(inside).toBe(atOnce);
      },
    ),
    { numRuns: 50 },
  );
});

/** Group commit, with a store whose batches end when the test says so. */
import { expect, test } from '@jest/globals';
import { GroupCommit, OverloadedError } from '../../../src/inbox/group-commit.ts';

class Outage extends Error {}

/** Stores when it is told to. What it was given, batch by batch. */
class SlowStore {
  readonly batches: string[][] = [];
  private readonly waiting: PromiseWithResolvers<void>[] = [];
  private isOpen = false;

  /** Everything that it is given from now on is stored at once. */
  open(): void {
    this.isOpen = true;
    for (const { resolve } of this.waiting.splice(0)) resolve();
  }

  failAll(error: Error): void {
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  store = async (batch: readonly string[]): Promise<string[]> => {
    this.batches.push([...batch]);
    if (!this.isOpen) {
      const end = Promise.withResolvers<void>();
      this.waiting.push(end);
      await end.promise;
    }
    const bad = batch.find((item) => item.startsWith('bad'));
    if (bad) throw new Error(`${bad} cannot be stored`);
    return batch.map((item) => `stored ${item}`);
  };
}

function scene() {
  const store = new SlowStore();
  const inbox = new GroupCommit<string, string>({ store: store.store, isOutage: (error) => error instanceof Outage });
  return { store, inbox, add: (item: string, bytes = 1) => inbox.add(item, bytes) };
}

/** Everything that can happen without the store has happened. */
async function turn(): Promise<void> {
  for (let each = 0; each < 2; each++) await new Promise((resolve) => setImmediate(resolve));
}

const named = (count: number) => Array.from({ length: count }, (_, n) => `item ${n}`);

test('what is added at the same moment is one batch, and each gets its own answer', async () => {
  const { store, add } = scene();
  store.open();
  expect(await Promise.all(['a', 'b', 'c'].map((item) => add(item)))).toEqual(['stored a', 'stored b', 'stored c']);
  expect(store.batches).toEqual([['a', 'b', 'c']]);
});

test('nothing is answered before its batch is stored', async () => {
  const { store, add } = scene();
  let isAnswered = false;
  const answer = add('a').finally(() => {
    isAnswered = true;
  });
  await turn();
  expect([store.batches, isAnswered]).toEqual([[['a']], false]);
  store.open();
  expect(await answer).toBe('stored a');
});

test('what comes while a batch is stored is the next batch, in its order', async () => {
  const { store, inbox, add } = scene();
  void add('first');
  await turn();
  for (const item of ['a', 'b', 'c']) void add(item);
  await turn();
  expect(store.batches).toEqual([['first']]);
  store.open();
  await inbox.drained();
  expect(store.batches).toEqual([['first'], ['a', 'b', 'c']]);
});

test('a second lane opens when many wait, and no third', async () => {
  const { store, inbox, add } = scene();
  void add('first');
  await turn();
  for (const item of named(600)) void add(item);
  await turn();
  expect(store.batches.map(({ length }) => length)).toEqual([1, 256]);
  store.open();
  await inbox.drained();
  expect(store.batches.map(({ length }) => length)).toEqual([1, 256, 256, 88]);
});

test('one batch that takes long holds up nothing that comes after it', async () => {
  const { store, add } = scene();
  void add('stuck');
  await turn();
  void add('next');
  while (store.batches.length < 2) await turn();
  expect(store.batches).toEqual([['stuck'], ['next']]);
});

test('a batch has a bound in bytes, and one that is larger goes alone', async () => {
  const { store, inbox, add } = scene();
  store.open();
  for (const item of ['a', 'b', 'c']) void add(item, 600 * 1024);
  void add('huge', 2 * 1024 * 1024);
  await inbox.drained();
  expect(store.batches.toSorted()).toEqual([['a'], ['b'], ['c'], ['huge']]);
});

test('one that cannot be stored fails alone', async () => {
  const { store, add } = scene();
  store.open();
  const answers = await Promise.allSettled(['a', 'b', 'bad 1', 'c', 'd', 'bad 2', 'e'].map((item) => add(item)));
  expect(answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : answer.reason.message))).toEqual([
    'stored a',
    'stored b',
    'bad 1 cannot be stored',
    'stored c',
    'stored d',
    'bad 2 cannot be stored',
    'stored e',
  ]);
});

test('in an outage all of a batch fail at once, and the next batch is tried', async () => {
  const { store, add } = scene();
  const answers = Promise.allSettled(named(100).map((item) => add(item)));
  await turn();
  const later = add('later');
  store.failAll(new Outage());
  expect((await answers).map(({ status }) => status)).toEqual(Array(100).fill('rejected'));
  store.open();
  expect(await later).toBe('stored later');
  expect(store.batches.map(({ length }) => length)).toEqual([100, 1]);
});

test('what waits has a bound: beyond it an item is refused at once, and taken again when there is room', async () => {
  const { store, inbox, add } = scene();
  void add('first');
  await turn();
  const waiting = named(4096 + 256).map((item) => add(item));
  await turn();
  const refused = await Promise.allSettled(waiting.slice(4096));
  expect(refused.every((each) => each.status === 'rejected' && each.reason instanceof OverloadedError)).toBe(true);
  // The second lane has taken a batch.
  const room = named(256).map((item) => add(item));
  await expect(add('one too many')).rejects.toThrow(OverloadedError);
  store.open();
  await inbox.drained();
  expect(await Promise.all(room)).toHaveLength(256);
  expect(await add('again')).toBe('stored again');
});

test('what waits has a bound in bytes too', async () => {
  const { store, inbox, add } = scene();
  void add('first');
  await turn();
  const waiting = [add('large', 8 * 1024 * 1024)];
  await expect(add('more', 1)).rejects.toThrow(OverloadedError);
  store.open();
  await inbox.drained();
  expect(await Promise.all(waiting)).toEqual(['stored large']);
});

test('drained returns when everything was answered, and at once when nothing waits', async () => {
  const { store, inbox, add } = scene();
  await inbox.drained();
  const answers = named(300).map((item) => add(item));
  let isDrained = false;
  const drained = inbox.drained().then(() => {
    isDrained = true;
  });
  await turn();
  expect(isDrained).toBe(false);
  store.open();
  await drained;
  expect(await Promise.all(answers)).toHaveLength(300);
});

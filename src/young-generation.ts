/**
 * The young generation of V8, where objects begin. Its size is the largest share of what an idle process could do without,
 * and collecting it a quarter of what a busy one does. `setup/our-node.mjs` sets it for the first thread.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Collects what loading a process has left behind, before it listens or polls: nothing else runs meanwhile, for
 * 0.1 s, and longer in a process that holds more. V8 would wait for the heap to grow, which it hardly does in a
 * process that waits: 40 to 55 MiB of an API that has just started, and more than that under load, for what lives
 * through the start is not young again.
 */
export function collectStartGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: NodeJS.GCFunction = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/**
 * Has each thread that is started from now on make do with 4 MiB a half rather than 16. For the threads that run workflow
 * code: they do little, and three halves each are a third of what a worker holds. The thread that calls keeps its own.
 */
export function keepThreadsSmall(): void {
  setFlagsFromString('--max-semi-space-size=4');
}

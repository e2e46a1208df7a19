/**
 * The processor time of processes, as Linux counts it. Beside it a rate says little on a machine that does other work
 * too: what an alert or a recharge costs stays the same.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Of /proc: a clock tick is 10 ms on every Linux. */
const TICK_US = 10_000;

/** Microseconds of processor that a process and all below it have used, those included that have ended. */
export function cpuOf(pid: number): number {
  const [utime, stime, cutime, cstime] = statOf(pid).slice(11, 15).map(Number) as [number, number, number, number];
  return childrenOf(pid).reduce((sum, child) => sum + cpuOf(child), (utime + stime + cutime + cstime) * TICK_US);
}

/** Those of any thread: a server may be started by another thread than the first. */
function childrenOf(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** Its fields behind the name of the program, which may hold anything; of one that has ended, none. */
function statOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  } catch {
    return Array(20).fill('0');
  }
}

/**
 * The processor time of processes, as Linux counts it. Beside it a rate says little on a machine that does other work
 * too: what an alert costs stays the same.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of /proc: a clock tick is 10 ms on every Linux. */
const TICK_US = 10_000;

/** Microseconds of processor that a process and those of its children have used that have ended. */
export function cpuOf(pid: number): number {
  const [utime, stime, cutime, cstime] = statOf(pid).slice(11, 15).map(Number) as [number, number, number, number];
  return (utime + stime + cutime + cstime) * TICK_US;
}

/** The same of a PostgreSQL with all its processes. @param data its folder. */
export function cpuOfPostgres(data: string): number {
  const postmaster = Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(statOf(Number(name))[1]) === postmaster);
  return [postmaster, ...children.map(Number)].reduce((sum, pid) => sum + cpuOf(pid), 0);
}

/** Its fields behind the name of the program, which may hold anything; of one that has ended, none. */
function statOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  } catch {
    return Array(20).fill('0');
  }
}

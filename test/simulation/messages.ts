/** What the simulation's processes say to each other. */
import type { Counts } from './environment.ts';
import type { Options } from './options.ts';
import type { Room } from './plan.ts';
import type { Summary } from './report.ts';

/** Which of the workers this one is, from 0. */
export type Share = { options: Options; index: number };

/**
 * To a worker. `play` answers a `wants` with a run, or with none when there is none left; in the others, `run`
 * is one that it has reported as wrong.
 */
export type Order =
  | { kind: 'play'; wish: number; run: number | undefined }
  | { kind: 'stop' }
  | { kind: 'describe'; run: number }
  | { kind: 'shrink'; run: number }
  | { kind: 'close' };

/**
 * From a worker: `wants` for each run that it has room for, `judged` for each that it has played, `played` when
 * there is no more; each of the others once for its order.
 */
export type Report =
  | { kind: 'wants'; wish: number; room: Room }
  | { kind: 'judged'; summary: Summary; counts: Counts }
  | { kind: 'played' }
  | { kind: 'described'; text: string }
  | { kind: 'shrunk'; text: string | undefined }
  | { kind: 'closed'; counts: Counts; crashes: string[] };

export type ReportOf<K extends Report['kind']> = Extract<Report, { kind: K }>;

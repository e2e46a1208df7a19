/** What the simulation's processes say to each other. */
import type { Options } from './options.ts';
import type { Summary } from './report.ts';

/**
 * What a worker is to play: of all runs those whose number, divided by the number of workers, leaves `index`.
 */
export type Share = { options: Options; index: number };

/** What befell an environment so far. */
export type Counts = { kills: number; restarts: number };

/** To a worker. `run` is one that it has reported as wrong. */
export type Order = { kind: 'stop' } | { kind: 'describe'; run: number } | { kind: 'shrink'; run: number } | { kind: 'close' };

/** From a worker: `judged` for each run, then `played`; each of the others once for its order. */
export type Report =
  | { kind: 'judged'; summary: Summary; counts: Counts }
  | { kind: 'played' }
  | { kind: 'described'; text: string }
  | { kind: 'shrunk'; text: string | undefined }
  | { kind: 'closed'; counts: Counts; crashes: string[] };

export type ReportOf<K extends Report['kind']> = Extract<Report, { kind: K }>;

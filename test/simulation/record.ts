/**
 * A record of a long simulation: a line for each run that has finished, so that it can be ended and continued. The
 * first line says of which seed and of which code it is; runs of another are not added to it.
 */
import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs';
import type { CodeState } from './code-state.ts';
import type { Counts } from './environment.ts';
import type { Summary } from './report.ts';

/** What the lines of a record have in common. */
export type RecordOf = { seed: number; disturbEvery: number; code: CodeState };

/** What has passed since the line before: what befell the environments, and time. */
export type Passed = { counts: Counts; ms: number };

type Line = Omit<Summary, 'tally'> & { tally: Record<string, number> } & Passed;

/** The file is of something else, or cannot be read; the message says what. */
export class RecordError extends Error {
  override name = 'RecordError';
}

export class RunRecord {
  /** The runs that had finished when it was opened. */
  readonly finished: readonly (Summary & Passed)[];
  private readonly path: string;

  private constructor(path: string, finished: readonly (Summary & Passed)[]) {
    this.path = path;
    this.finished = finished;
  }

  /**
   * Opens a record, or begins one. A last line that was not written to its end is removed: its run is played again.
   *
   * @throws RecordError where it is of another seed or another code, or is no record.
   */
  static open(path: string, of: RecordOf): RunRecord {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole === '') {
      if (text !== '') truncateSync(path, 0);
      appendFileSync(path, `${JSON.stringify(of)}\n`);
      return new RunRecord(path, []);
    }
    const [first, ...lines] = whole.trimEnd().split('\n');
    requireSame(path, read(path, first ?? '', 1) as RecordOf, of);
    const finished = lines.map((line, position) => summaryOf(read(path, line, position + 2) as Line));
    if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
    return new RunRecord(path, finished);
  }

  add(summary: Summary, passed: Passed): void {
    const line: Line = { ...summary, tally: Object.fromEntries(summary.tally), ...passed };
    appendFileSync(this.path, `${JSON.stringify(line)}\n`);
  }
}

function read(path: string, line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new RecordError(`line ${number} of ${path} is no JSON: it is no record, or somebody has edited it`);
  }
}

function requireSame(path: string, found: RecordOf, wanted: RecordOf): void {
  const is = (what: string, one: unknown, other: unknown) =>
    new RecordError(`${path} is a record of ${what} ${one}, not ${other}: continue it with that, or name another file`);
  if (found.seed !== wanted.seed) throw is('seed', found.seed, wanted.seed);
  if (found.disturbEvery !== wanted.disturbEvery) throw is('--disturb-every', found.disturbEvery, wanted.disturbEvery);
  if (found.code?.hash !== wanted.code.hash) throw is('the code of', found.code?.name, wanted.code.name);
}

function summaryOf({ tally, ...line }: Line): Summary & Passed {
  return { ...line, tally: new Map(Object.entries(tally)) };
}

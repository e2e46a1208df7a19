/** What a command has changed: each field before → after. */
import { type Output, print, type Row } from './output.ts';

/** They follow from the others, or say nothing to a person. */
const LEFT_OUT = ['updated_at', 'default_limits', 'warnings'];

type Change = {
  /** Whose fields they are. */
  subject: string;
  before: Row;
  after: Row;
  /** The row as people read it. */
  inWords: (row: Row) => Row;
  /** What is said where no field has changed. */
  otherwise?: string | undefined;
};

/** With `--json` all of it as it is now; else a line for each field that has changed. */
export function printChanges(options: Output, { subject, before, after, inWords, otherwise = 'nothing has changed' }: Change): void {
  print(options, after, () => {
    const [from, to] = [inWords(before), inWords(after)];
    const changed = Object.keys(to).filter((field) => !LEFT_OUT.includes(field) && cell(from[field]) !== cell(to[field]));
    if (changed.length === 0) return `${subject}: ${otherwise}`;
    const width = Math.max(...changed.map((field) => field.length));
    const lines = changed.map((field) => `  ${field.padEnd(width)}  ${cell(from[field])} → ${cell(to[field])}`);
    return [subject, ...lines].join('\n');
  });
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '-';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

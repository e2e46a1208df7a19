/** How commands print: text for people, or with `--json` one JSON value and nothing else. */
import type { Command } from 'commander';
import { block, table } from './table.ts';

export type Output = { json?: boolean };
export type Row = Record<string, unknown>;
/** A page of a list as the API answers it. */
export type List = { data: Row[]; next_cursor: string | null };
/** Options of a command that lists. */
export type Paged = Output & { limit: string; cursor?: string };

export function withJson(command: Command): Command {
  return command.option('--json', 'machine-readable output');
}

export function withPages(command: Command): Command {
  return withJson(command).option('--limit <n>', 'at most this many', '20').option('--cursor <cursor>', 'continue where a page ended');
}

export function pageOf({ limit, cursor }: Paged): { limit: string; cursor: string | undefined } {
  return { limit, cursor };
}

/** @param text what is printed without `--json`. */
export function print({ json }: Output, value: unknown, text: () => string): void {
  console.log(json ? JSON.stringify(value, null, 2) : text());
}

/** The value with each key in snake case, as the API has them: for what comes from a workflow. */
export function snakeCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCased);
  if (typeof value !== 'object' || value === null) return value;
  const snakeCase = (key: string) => key.replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`);
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [snakeCase(key), snakeCased(child)]));
}

/** A line for each column. */
export function printRow(options: Output, row: Row, columns = Object.keys(row)): void {
  print(options, row, () => block(columns.map((column) => [column, cell(row[column])])));
}

/** The command that goes on where a page ended, to be pasted. */
export function morePages(cursor: string, given: readonly string[] = process.argv.slice(2)): string {
  const at = given.indexOf('--cursor');
  const others = given.filter((argument, position) => !argument.startsWith('--cursor') && (at < 0 || position !== at + 1));
  return `more: bill ${[...others.map(quoted), '--cursor', cursor].join(' ')}`;
}

function quoted(argument: string): string {
  return /^[\w./:@%+=,-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

/** The list with its rows as people read them; with `--json` as it is. */
export function forPeople({ json }: Output, list: List, inWords: (row: Row) => Row): List {
  return json ? list : { ...list, data: list.data.map(inWords) };
}

export function printList(options: Output, list: List, columns: readonly string[]): void {
  const more = list.next_cursor ? `\n\n${morePages(list.next_cursor)}` : '';
  print(
    options,
    list,
    () => table(list.data.map((row) => Object.fromEntries(columns.map((column) => [column, cell(row[column])])))) + more,
  );
}

function cell(value: unknown): string {
  return value === null || value === undefined ? '-' : typeof value === 'object' ? JSON.stringify(value) : String(value);
}

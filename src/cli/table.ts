/**
 * Rows for people: a table with columns as wide as what is in them. Where the terminal is narrower, its lines would be
 * broken anywhere: there each row is a block of its own, with a line for each column.
 *
 * @param width of the terminal. What goes to a pipe or a file stays a table.
 */
export function table(rows: Record<string, string>[], width = terminalWidth()): string {
  const [first] = rows;
  if (!first) return 'nothing there';
  const columns = Object.keys(first);
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  const lines = [line(columns), ...rows.map((row) => line(columns.map((column) => row[column] ?? '')))];
  if (lines.every(({ length }) => length <= width)) return lines.join('\n');
  return rows.map((row) => block(columns.map((column) => [column, row[column] ?? '']))).join('\n\n');
}

/** A line for each key, the values below each other. */
export function block(entries: readonly (readonly [key: string, value: string])[]): string {
  const width = Math.max(...entries.map(([key]) => key.length));
  return entries.map(([key, value]) => `${key.padEnd(width)}  ${value}`.trimEnd()).join('\n');
}

function terminalWidth(): number {
  return (process.stdout.isTTY && process.stdout.columns) || Number.POSITIVE_INFINITY;
}

/** The table on lines of its own below a summary; nothing without rows. */
export function tableBelow(rows: Record<string, string>[]): string {
  return rows.length > 0 ? `\n${table(rows)}` : '';
}

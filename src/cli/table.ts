/** Rows for the terminal: columns as wide as what is in them. */
export function table(rows: Record<string, string>[]): string {
  const [first] = rows;
  if (!first) return 'nothing there';
  const columns = Object.keys(first);
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(columns), ...rows.map((row) => line(columns.map((column) => row[column] ?? '')))].join('\n');
}

/** The table on lines of its own below a summary; nothing without rows. */
export function tableBelow(rows: Record<string, string>[]): string {
  return rows.length > 0 ? `\n${table(rows)}` : '';
}

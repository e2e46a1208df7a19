/** Behind a count: which they are, or the first of them. `: acme, globex and 3 more`; empty where none is named. */
export function named(first: readonly string[], count: number): string {
  if (first.length === 0) return '';
  return `: ${first.join(', ')}${count > first.length ? ` and ${count - first.length} more` : ''}`;
}

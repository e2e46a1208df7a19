/** The names that are shown of so many: `acme, globex and 3 more`. */
export function shortList(shown: readonly string[], count: number): string {
  return shown.join(', ') + (count > shown.length ? ` and ${count - shown.length} more` : '');
}

/**
 * Pieces of SQL text that are made from constants of the program. Whatever comes from outside is a parameter.
 */

/**
 * A list for `in (…)`, such as `'reserved', 'charging'`. Text and not a parameter, so that the planner can
 * see that a partial index with the same list applies.
 */
export function sqlList(words: readonly string[]): string {
  return words.map(sqlWord).join(', ');
}

/** @throws when it is no plain word: it is not a constant of the program then. */
function sqlWord(word: string): string {
  if (!/^[a-z_]+$/.test(word)) throw new Error(`not a word for SQL text: ${word}`);
  return `'${word}'`;
}

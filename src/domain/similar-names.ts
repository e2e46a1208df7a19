/** What a person may have meant who has mistyped a name. Pure. */

/** Slips of a hand: more of them make another name. */
const MAX_EDITS = 3;
/** One slip in so many characters, or every short name would be like every other. */
const CHARACTERS_AN_EDIT = 3;
/** A shorter beginning is shared by names that have nothing else in common. */
const MIN_PREFIX = 3;

/**
 * Up to `limit` of the candidates that have a name like `wanted`, the most alike first: few edits apart, or
 * else with a shared beginning that is at least half of the shorter name. Upper and lower case are equal.
 *
 * @param namesOf every name of a candidate; the one that is most alike counts.
 */
export function mostSimilar<T>(wanted: string, candidates: readonly T[], namesOf: (candidate: T) => readonly string[], limit: number): T[] {
  const scored = candidates.flatMap((candidate) => {
    const best = namesOf(candidate).flatMap((name) => likenessOf(wanted.toLowerCase(), name.toLowerCase()) ?? []);
    const [first] = best.sort(byLikeness);
    return first ? [{ candidate, likeness: first }] : [];
  });
  return scored
    .sort((a, b) => byLikeness(a.likeness, b.likeness))
    .slice(0, limit)
    .map(({ candidate }) => candidate);
}

/** `edits` is Infinity where only the beginning is shared. */
type Likeness = { edits: number; prefix: number };

function byLikeness(a: Likeness, b: Likeness): number {
  return a.edits === b.edits ? b.prefix - a.prefix : a.edits - b.edits;
}

function likenessOf(wanted: string, name: string): Likeness | undefined {
  const mostEdits = Math.min(MAX_EDITS, Math.floor(wanted.length / CHARACTERS_AN_EDIT));
  const prefix = sharedPrefix(wanted, name);
  // Names whose lengths differ by more are not compared: an alias of LiteLLM can be of any length.
  // Stryker disable next-line ConditionalExpression: it spares time, they are further apart than that.
  const edits = Math.abs(wanted.length - name.length) > mostEdits ? Number.POSITIVE_INFINITY : editsBetween(wanted, name);
  if (edits <= mostEdits) return { edits, prefix };
  const isBeginning = prefix >= MIN_PREFIX && prefix * 2 >= Math.min(wanted.length, name.length);
  return isBeginning ? { edits: Number.POSITIVE_INFINITY, prefix } : undefined;
}

function sharedPrefix(a: string, b: string): number {
  const first = [...a].findIndex((character, position) => character !== b[position]);
  return first === -1 ? a.length : first;
}

/**
 * The fewest characters to insert, remove, replace, or swap with their neighbour, that make one of the other
 * (optimal string alignment).
 */
export function editsBetween(a: string, b: string): number {
  // Stryker disable next-line ArrayDeclaration: the first row has no swap.
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const present = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      const isSwap = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      present[column] = Math.min(
        (last[column] ?? 0) + 1,
        (present[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
        isSwap ? (beforeLast[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [beforeLast, last] = [last, present];
  }
  return last[b.length] ?? 0;
}

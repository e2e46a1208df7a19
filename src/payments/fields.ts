/**
 * The fields that decisions about money rest on. Stripe documents them as always there; an answer without one is a
 * fault of somebody in between, or another API version, and is read as neither 0 nor anything else.
 */

/** Minor units above nothing. Null where the field is missing or holds no such number. */
export function amountIn(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null;
}

/** Three letters, as Stripe writes them. Null where the field is missing or holds anything else. */
export function currencyIn(value: unknown): string | null {
  return typeof value === 'string' && /^[a-z]{3}$/.test(value) ? value : null;
}

/** The id of an object that Stripe names or has expanded; null where it names none. */
export function idIn(named: string | { id: string } | null | undefined): string | null {
  return (typeof named === 'object' ? named?.id : named) ?? null;
}

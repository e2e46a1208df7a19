/**
 * Row ids: a prefix that says what the row is, then a UUID v7, so that ids sort by time and a list can page
 * by them.
 */
import { v7 } from 'uuid';

export type IdPrefix = 'evt' | 'rch' | 'ltr' | 'key' | 'syn' | 'hld' | 'obe' | 'oep' | 'obd';

/** A new id such as `rch_0193f0c2b7d87c1aa4a6e1f0f2b1c9d3`. */
export function newId(prefix: IdPrefix): string {
  return `${prefix}_${v7().replaceAll('-', '')}`;
}

/** Whether the text can be an id of such a row. */
export function isId(prefix: IdPrefix, text: string): boolean {
  return new RegExp(`^${prefix}_[0-9a-f]{32}$`).test(text);
}

/** Amounts as people read them, with their unit. `--json` has what the API says. */
import { dollarsFromQuota, type QuotaMicros } from '../domain/money.ts';
import type { Row } from './output.ts';

/** Which of a row's fields are amounts. */
type Amounts = {
  /** In the currency of the row. */
  money?: readonly string[];
  /** LiteLLM's budgets, in US dollars. */
  dollars?: readonly string[];
};

/** The row with the unit behind each amount that it has. */
export function withUnits(row: Row, { money = [], dollars = [] }: Amounts): Row {
  const code = String(row['currency'] ?? '').toUpperCase();
  const unitOf = (field: string) => (money.includes(field) ? code : dollars.includes(field) ? 'USD' : '');
  return Object.fromEntries(
    Object.entries(row).map(([field, value]) => {
      const unit = typeof value === 'string' ? unitOf(field) : '';
      return [field, unit ? `${value} ${unit}` : value];
    }),
  );
}

/** Dollars to the cent: for reading, not for computing. */
export function cents(quota: QuotaMicros | null | undefined): string {
  return quota === null || quota === undefined ? '?' : dollarsFromQuota(quota).toFixed(2);
}

/** `1 difference`, `2 differences`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

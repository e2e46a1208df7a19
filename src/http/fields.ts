/** Fields that several routes take. */
import { z } from 'zod';
import { parseQuota } from '../domain/money.ts';

/** Names that are safe in paths, logs and search attributes. */
export const identifier = z.string().regex(/^[\w.:@-]{1,128}$/, 'has to be 1 to 128 letters, digits or any of _ . : @ -');

/** PostgreSQL stores none. */
export const NO_NUL = [/^[^\0]*$/, 'may not hold a NUL'] as const;

/** Not empty, and without what PostgreSQL cannot store: a NUL, half of a surrogate pair. */
export function text(maxLength: number) {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .regex(...NO_NUL)
    .refine((value) => value.isWellFormed(), 'has to be well-formed Unicode');
}

/** A string that one of the domain's parsers reads; the parser's message says what is wrong. */
export function parsedBy<T>(parser: (text: string) => T, expected = 'has to be a string') {
  return z.string({ error: expected }).transform((text, context): T => {
    try {
      return parser(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });
}

/** Dollars of LiteLLM budget as a decimal string: JSON libraries round numbers. */
export const dollars = parsedBy(parseQuota, 'has to be a decimal string like "25.00"');
export const notNegativeDollars = dollars.refine((value) => value >= 0, 'may not be negative');
export const positiveDollars = dollars.refine((value) => value > 0, 'has to be more than zero');

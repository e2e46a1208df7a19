/**
 * What a field of a request has to be, and what was given instead, in our words. A schema's own message completes the
 * name of its field ("has to be above zero"); where it has none, the rule that was broken says it. What was given breaks the rule,
 * so no message states the rule as a fact.
 */
import { z } from 'zod';

/** Longer values are cut: they only have to be recognised. */
const MAX_SHOWN = 80;

const TYPES: Readonly<Record<string, string>> = {
  string: 'has to be a string',
  number: 'has to be a number',
  int: 'has to be a whole number',
  boolean: 'has to be true or false',
  array: 'has to be a list',
  object: 'has to be an object',
};

/** For zod's `error` option: what is said of an issue whose schema has no message of its own. */
export function wantedBy(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return TYPES[issue.expected] ?? `has to be a ${issue.expected}`;
    case 'invalid_value':
      if (issue['expected'] === 'stringbool') return 'has to be true or false';
      return issue.values.length === 1 ? `has to be ${String(issue.values[0])}` : `has to be one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return boundOf(issue.origin, { least: issue.minimum, inclusive: issue.inclusive });
    case 'too_big':
      return boundOf(issue.origin, { most: issue.maximum, inclusive: issue.inclusive });
    case 'invalid_format':
      return `has to be written as ${issue.format}`;
    default:
      return 'is not valid here';
  }
}

type Bound = { least?: number | bigint; most?: number | bigint; inclusive?: boolean | undefined };

function boundOf(origin: string, { least, most, inclusive = true }: Bound): string {
  const parts = { string: 'characters', array: 'entries' }[origin];
  if (parts) {
    if (least === 1) return 'may not be empty';
    return least === undefined ? `may have at most ${most} ${parts}` : `has to have at least ${least} ${parts}`;
  }
  if (least === undefined) return inclusive ? `may be at most ${most}` : `has to be less than ${most}`;
  return inclusive ? `has to be at least ${least}` : `has to be more than ${least}`;
}

/**
 * What is said of the field, with what was given. Names of fields that nobody knows come with those that are known.
 *
 * @param value what was checked.
 */
export function fieldErrorsOf(issue: z.core.$ZodIssue, schema: z.ZodType, value: unknown): { field: string; message: string }[] {
  if (issue.code === 'unrecognized_keys') {
    const known = issue.path.length === 0 ? fieldsOf(schema) : [];
    const message = known.length > 0 ? `is not known here; known are ${known.join(', ')}` : 'is not known here';
    return issue.keys.map((key) => ({ field: [...issue.path, key].join('.'), message }));
  }
  if (issue.path.length === 0) return [{ field: '', message: aboutBody(issue.message, value) }];
  return [{ field: issue.path.join('.'), message: withGiven(issue.message, valueAt(value, issue.path)) }];
}

/** Express leaves the body out when it is not JSON by its Content-Type. */
function aboutBody(message: string, value: unknown): string {
  if (value === undefined) return 'the body is missing: send a JSON object with Content-Type: application/json';
  return `the body ${withGiven(message.replace(TYPES['object'] ?? '', 'has to be a JSON object'), value)}`;
}

function withGiven(wanted: string, given: unknown): string {
  if (given === undefined) return `is missing; it ${wanted}`;
  const shown = JSON.stringify(given);
  // A parser of the domain names it itself.
  if (wanted.startsWith(shown)) return wanted;
  return `${wanted} (given: ${shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown})`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((within, key) => (within as Record<PropertyKey, unknown> | null | undefined)?.[key], value);
}

function fieldsOf(schema: z.ZodType): string[] {
  if (schema instanceof z.ZodPipe) return fieldsOf(schema.in as z.ZodType);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

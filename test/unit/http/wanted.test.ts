/** What a field has to be and what was given, in our words: zod's own sentences reach nobody. */
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { pageQuery } from '../../../src/http/paging.ts';
import { Problem, parse } from '../../../src/http/problem.ts';

function detailOf(schema: z.ZodType, value: unknown): string {
  try {
    parse(schema, value);
  } catch (error) {
    if (error instanceof Problem) return error.message;
    throw error;
  }
  throw new Error('the value was accepted');
}

describe('a field that does not fit', () => {
  test.each<[z.ZodType, unknown, string]>([
    [z.string(), 5, 'has to be a string (given: 5)'],
    [z.number(), '5', 'has to be a number (given: "5")'],
    [z.number().int(), 1.5, 'has to be a whole number (given: 1.5)'],
    [z.boolean(), 'no', 'has to be true or false (given: "no")'],
    [z.stringbool(), 'maybe', 'has to be true or false (given: "maybe")'],
    [z.array(z.string()), 'acme', 'has to be a list (given: "acme")'],
    [z.object({}), [], 'has to be an object (given: [])'],
    [z.date(), 'today', 'has to be a date (given: "today")'],
    [z.enum(['a', 'b']), 'c', 'has to be one of a, b (given: "c")'],
    [z.literal('accept'), 'refund', 'has to be accept (given: "refund")'],
    [z.string().min(1), '', 'may not be empty (given: "")'],
    [z.string().min(2), 'x', 'has to have at least 2 characters (given: "x")'],
    [z.string().max(2), 'xyz', 'may have at most 2 characters (given: "xyz")'],
    [z.array(z.string()).max(1), ['x', 'y'], 'may have at most 1 entries (given: ["x","y"])'],
    [z.number().min(3), 2, 'has to be at least 3 (given: 2)'],
    [z.number().gt(3), 3, 'has to be more than 3 (given: 3)'],
    [z.number().max(3), 4, 'may be at most 3 (given: 4)'],
    [z.number().lt(3), 3, 'has to be less than 3 (given: 3)'],
    [z.email(), 'ada', 'has to be written as email (given: "ada")'],
    [z.union([z.string(), z.number()]), true, 'is not valid here (given: true)'],
    [z.string({ error: 'has to be the name of a friend' }), undefined, 'is missing; it has to be the name of a friend'],
    [z.string().transform((_, context) => context.addIssue('"x" is no friend')), 'x', '"x" is no friend'],
    [z.string().max(2), 'x'.repeat(200), `may have at most 2 characters (given: "${'x'.repeat(79)}…)`],
  ])('says what is wanted and what was given: %#', (schema, value, said) => {
    expect(detailOf(z.strictObject({ field: schema }), { field: value })).toBe(`field: ${said}`);
  });

  test('is shown as it was given, not as it was read', () => {
    expect(detailOf(z.strictObject(pageQuery), { limit: '1000' })).toBe('limit: may be at most 200 (given: "1000")');
    expect(detailOf(z.strictObject(pageQuery), { limit: 'many' })).toBe('limit: has to be a number (given: "many")');
  });

  test('is found in lists and objects', () => {
    const schema = z.strictObject({ ids: z.array(z.enum(['a'])), of: z.strictObject({ name: z.string() }) });
    expect(detailOf(schema, { ids: ['a', 'b'], of: { name: 1, age: 2 } })).toBe(
      'ids.1: has to be a (given: "b"); of.name: has to be a string (given: 1); of.age: is not known here',
    );
  });
});

test('a field that nobody knows comes with those that are known, also of a schema that renames them', () => {
  const schema = z.strictObject({ reason: z.string(), by: z.string() });
  const said = 'raeson: is not known here; known are reason, by';
  expect(detailOf(schema, { reason: 'x', by: 'y', raeson: 'z' })).toBe(said);
  expect(detailOf(schema.transform(Object.keys), { reason: 'x', by: 'y', raeson: 'z' })).toBe(said);
});

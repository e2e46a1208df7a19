import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KmsError, kmsErrorFromStatus } from '../../../src/kms/errors.ts';

test.each([
  [400, 'invalid'],
  [422, 'invalid'],
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [404, 'not_found'],
  [405, 'unavailable'],
  [408, 'unavailable'],
  [429, 'unavailable'],
  [500, 'unavailable'],
  [503, 'unavailable'],
  [302, 'unavailable'],
] as const)('a %d from LiteLLM is %s, whatever its body says', (status, kind) => {
  expect(kmsErrorFromStatus(status, { error: { message: 'm', type: 'token_not_found_in_db', code: '401' } }).kind).toBe(kind);
});

describe("LiteLLM's sentence is found", () => {
  // As the real proxy, 1.100.5, answers.
  test.each([
    ['in error.message', { error: { message: 'Invalid proxy server token passed', code: '401' } }, 'Invalid proxy server token passed'],
    [
      'in a Python dict printed as a string',
      { error: { message: "{'error': 'Team not found, passed team_id=nope'}", code: '404' } },
      'Team not found, passed team_id=nope',
    ],
    [
      'in such a dict with double quotes',
      { error: { message: `{'error': "Team id = o'hara already exists"}` } },
      "Team id = o'hara already exists",
    ],
    ['in detail.error', { detail: { error: 'Team not found, passed team_id=nope' } }, 'Team not found, passed team_id=nope'],
    [
      'in every item of a validation error',
      { detail: [{ type: 'missing', loc: ['body', 'team_id'], msg: 'Field required', input: {} }, { msg: 'Input should be a number' }] },
      'Field required; Input should be a number',
    ],
    ['in detail', { detail: 'Not Found' }, 'Not Found'],
    ['in a body that is text', '<html>502 Bad Gateway</html>', '<html>502 Bad Gateway</html>'],
  ])('%s', (_, body, sentence) => {
    expect(kmsErrorFromStatus(404, body).message).toBe(`LiteLLM answered 404: ${sentence}`);
  });

  test.each([null, undefined, 7, {}, [], { error: null }, { detail: null }])('nowhere in %j', (body) => {
    expect(kmsErrorFromStatus(500, body).message).toBe('LiteLLM answered 500: no message');
  });
});

test('a message is cut after 300 characters, where a stack trace would follow', () => {
  const { message } = kmsErrorFromStatus(500, { error: { message: 'x'.repeat(10_000) } });
  expect(message).toBe(`LiteLLM answered 500: ${'x'.repeat(300)}`);
});

test('a body of any shape still says which status it came with', () => {
  const oddities = fc.constantFrom<unknown>(null, [null], ['text'], { toString: 1 }, [{ toString: 1 }], { msg: null }, [
    { msg: { toString: 1 } },
  ]);
  const values = fc.oneof(oddities, fc.jsonValue());
  const bodies = fc.oneof(
    fc.jsonValue(),
    fc.record({ error: fc.oneof(values, fc.record({ message: values })) }),
    fc.record({ detail: fc.oneof(values, fc.record({ error: values })) }),
  );
  fc.assert(
    fc.property(bodies, (body) => {
      const error = kmsErrorFromStatus(404, body);
      expect(error).toBeInstanceOf(KmsError);
      expect(error.kind).toBe('not_found');
      expect(error.message).toMatch(/^LiteLLM answered 404: /);
    }),
    { numRuns: 1000 },
  );
});

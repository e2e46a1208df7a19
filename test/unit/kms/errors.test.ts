import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KmsError, kmsErrorFromStatus } from '../../../src/kms/errors.ts';

test.each([
  [400, 'invalid', 'invalid'],
  [422, 'invalid', 'invalid'],
  [409, 'conflict', 'conflict'],
  [401, 'unauthenticated', 'unauthenticated'],
  [403, 'forbidden', 'forbidden'],
  [404, 'not_found', 'not_found'],
  [405, 'unavailable', 'unavailable'],
  [429, 'unavailable', 'unavailable'],
  [302, 'unavailable', 'unavailable'],
  [408, 'unavailable', 'unknown_outcome'],
  [500, 'unavailable', 'unknown_outcome'],
  [503, 'unavailable', 'unknown_outcome'],
] as const)('a %d from LiteLLM is %s after a read and %s after a write, whatever its type and code say', (status, ofRead, ofWrite) => {
  const body = { error: { message: 'm', type: 'token_not_found_in_db', code: '401' } };
  expect(kmsErrorFromStatus(status, body, 'read').kind).toBe(ofRead);
  expect(kmsErrorFromStatus(status, body, 'write').kind).toBe(ofWrite);
});

test.each([
  [500, true],
  [503, true],
  [504, false],
  [524, false],
])(
  'after a %d to a write LiteLLM works on it no longer: %s, because a proxy that gives up waiting does not stop it',
  (status, isAnswered) => {
    expect(kmsErrorFromStatus(status, '<html></html>', 'write')).toMatchObject({ kind: 'unknown_outcome', isAnswered });
  },
);

test.each([
  ["{'error': 'Team id = t1 already exists. Please use a different team id.'}"],
  ["Key with alias 'a' already exists. Unique key aliases across all keys are required."],
  ["User already in team. Member: user_id=u1, user_email=None. Existing members=[Member(user_id='u1')]"],
])('a 400 is a conflict when it says: %s', (message) => {
  expect(kmsErrorFromStatus(400, { error: { message, type: 'internal_server_error' } }, 'write').kind).toBe('conflict');
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
    expect(kmsErrorFromStatus(404, body, 'read').message).toBe(`LiteLLM answered 404: ${sentence}`);
  });

  test.each([null, undefined, 7, {}, [], { error: null }, { detail: null }])('nowhere in %j', (body) => {
    expect(kmsErrorFromStatus(500, body, 'read').message).toBe('LiteLLM answered 500: no message');
  });
});

test('a message is cut after 300 characters, where a stack trace would follow', () => {
  const { message } = kmsErrorFromStatus(500, { error: { message: 'x'.repeat(10_000) } }, 'read');
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
      const error = kmsErrorFromStatus(404, body, 'read');
      expect(error).toBeInstanceOf(KmsError);
      expect(error.kind).toBe('not_found');
      expect(error.message).toMatch(/^LiteLLM answered 404: /);
    }),
    { numRuns: 1000 },
  );
});

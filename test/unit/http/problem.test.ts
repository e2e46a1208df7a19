import { describe, expect, jest, test } from '@jest/globals';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { errorHandler, notFoundHandler, Problem, type ProblemKind, parse, sendProblem } from '../../../src/http/problem.ts';
import { KmsError, type KmsErrorKind } from '../../../src/kms/errors.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { PaymentsError } from '../../../src/payments/errors.ts';

/** An answer that keeps what it was given. */
class RecordedResponse {
  headersSent = false;
  code = 0;
  headers: Record<string, string> = {};
  body = '';
  set(name: string, value: string) {
    this.headers[name.toLowerCase()] = value;
    return this;
  }
  status(code: number) {
    this.code = code;
    return this;
  }
  type(value: string) {
    return this.set('content-type', value);
  }
  send(body: string) {
    this.body = body;
    return this;
  }
  get problem() {
    return JSON.parse(this.body);
  }
}

function answerTo(problem: Problem): RecordedResponse {
  const response = new RecordedResponse();
  sendProblem(response as unknown as Response, problem);
  return response;
}

/** What a client and a log see when a handler throws. */
function afterThrowing(error: unknown, response = new RecordedResponse()) {
  const lines: string[] = [];
  const next = jest.fn();
  const request = { method: 'POST', path: '/webhooks/litellm/limit-exceeded', url: '/webhooks/litellm/limit-exceeded?token=Zq7' };
  const log = createLogger('info', { write: (line) => void lines.push(line) });
  errorHandler(log)(error, request as Request, response as unknown as Response, next);
  return { response, lines, next };
}

test('a problem is told as RFC 9457 has it', () => {
  const response = answerTo(new Problem('conflict', 'webhook-id msg_1 was sent before with another body'));
  expect([response.code, response.headers['content-type']]).toEqual([409, 'application/problem+json']);
  expect(response.problem).toEqual({
    type: 'urn:bill-service:problem:conflict',
    title: 'The request conflicts with the present state',
    status: 409,
    detail: 'webhook-id msg_1 was sent before with another body',
  });
});

test.each<[ProblemKind, number]>([
  ['malformed', 400],
  ['unauthenticated', 401],
  ['not-found', 404],
  ['method-not-allowed', 405],
  ['conflict', 409],
  ['too-large', 413],
  ['unsupported-media-type', 415],
  ['invalid', 422],
  ['internal', 500],
  ['unavailable', 503],
])('%s is %d', (kind, status) => {
  const response = answerTo(new Problem(kind, 'a sentence'));
  expect([response.code, response.problem.status, response.problem.type]).toEqual([status, status, `urn:bill-service:problem:${kind}`]);
});

test('who is not authentic is told how to be, and who met an outage when to come again', () => {
  expect(answerTo(new Problem('unauthenticated', 'no key')).headers).toMatchObject({ 'www-authenticate': 'Bearer' });
  expect(answerTo(new Problem('unavailable', 'no database')).headers).toMatchObject({ 'retry-after': '1' });
  expect(Object.keys(answerTo(new Problem('conflict', 'no')).headers)).toEqual(['content-type']);
});

describe('a body that does not fit its schema', () => {
  const schema = z.strictObject({
    name: z.string({ error: 'has to be a string' }),
    limits: z.object({ daily: z.number({ error: 'has to be a number' }) }),
  });

  function problemOf(value: unknown): Problem {
    try {
      parse(schema, value);
    } catch (error) {
      return error as Problem;
    }
    throw new Error('the value was accepted');
  }

  test('is a 422 that names every field', () => {
    const problem = problemOf({ limits: { daily: 'three' } });
    expect(problem).toBeInstanceOf(Problem);
    expect(answerTo(problem).problem).toMatchObject({
      status: 422,
      detail: 'name: is missing; it has to be a string; limits.daily: has to be a number (given: "three")',
      errors: [
        { field: 'name', message: 'is missing; it has to be a string' },
        { field: 'limits.daily', message: 'has to be a number (given: "three")' },
      ],
    });
  });

  test.each<[unknown, string]>([
    [undefined, 'the body is missing: send a JSON object with Content-Type: application/json'],
    [null, 'the body has to be a JSON object (given: null)'],
    [['a'], 'the body has to be a JSON object (given: ["a"])'],
  ])('is told so even where no field is to blame: %j', (body, said) => {
    const { message, fields } = problemOf(body);
    expect([message, fields]).toEqual([said, [{ field: '', message: said }]]);
  });

  test('and one that does is returned as the schema has it', () => {
    expect(parse(z.object({ limit: z.string().transform(Number) }), { limit: '20' })).toEqual({ limit: 20 });
  });
});

test('a route that is not there is named, without its query', () => {
  const request = { method: 'GET', path: '/api/v2', url: '/api/v2?token=Zq7' } as Request;
  expect(() => notFoundHandler(request, {} as Response, () => {})).toThrow(new Problem('not-found', 'there is no GET /api/v2'));
});

describe('what a handler throws', () => {
  test('is answered as the problem that it is, and logged by nobody', () => {
    const { response, lines } = afterThrowing(new Problem('malformed', 'the body is not a JSON object'));
    expect([response.code, response.problem.detail, lines]).toEqual([400, 'the body is not a JSON object', []]);
  });

  test.each<[string, object, number]>([
    ['a body over its limit', { type: 'entity.too.large', limit: 65_536 }, 413],
    ['a compressed body', { type: 'encoding.unsupported' }, 415],
    ['a charset that is not read', { type: 'charset.unsupported' }, 415],
    ['a body that is not JSON', { type: 'entity.parse.failed' }, 400],
    ['a sender that gave up', { type: 'request.aborted' }, 400],
    ['a body of another length than announced', { type: 'request.size.invalid' }, 400],
  ])("by express's body parser for %s is the sender's mistake: %j → %d", (_, fields, status) => {
    const { response, lines } = afterThrowing(Object.assign(new Error('m'), fields));
    expect([response.code, lines]).toEqual([status, []]);
  });

  test.each<[string, object]>([
    ['a connection lost', { code: '08006' }],
    ['too many connections', { code: '53300' }],
    ['a shutdown', { code: '57P01' }],
    ['a connection refused', { code: 'ECONNREFUSED' }],
    ['a connection that ended', { message: 'Connection terminated unexpectedly' }],
    ['a pool with none left', { message: 'timeout exceeded when trying to connect' }],
  ])('because of %s is an outage, after which to come again', (_, fields) => {
    const { response } = afterThrowing(Object.assign(new Error('m'), fields));
    expect([response.code, response.headers['retry-after']]).toEqual([503, '1']);
  });

  test('because PostgreSQL is not there names it, its setting and what to do', () => {
    const { response } = afterThrowing(Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }));
    expect(response.problem.detail).toBe(
      'nothing was stored: PostgreSQL cannot be reached (nothing listens at 127.0.0.1:1): start it, or correct DATABASE_URL; bill doctor checks it',
    );
  });

  test.each<[KmsErrorKind, number, RegExp]>([
    ['unavailable', 503, /^LiteLLM did not answer: .*KMS_BASE_URL/],
    ['unauthenticated', 503, /correct KMS_API_KEY/],
    ['forbidden', 503, /correct KMS_API_KEY/],
    ['not_found', 404, /^LiteLLM did not answer$/],
  ])('because of LiteLLM (%s) says which setting to look at', (kind, status, said) => {
    const { response } = afterThrowing(new KmsError(kind, 'LiteLLM did not answer'));
    expect([response.code, response.problem.detail]).toEqual([status, expect.stringMatching(said)]);
  });

  test('because Stripe gives no usable answer is an outage, told in a sentence', () => {
    const failure = { code: 'api_error', declineCode: null, adviceCode: null, message: 'm' };
    const error = new PaymentsError('Stripe: StripeAPIError (status 500)', {
      kind: 'unknown',
      status: 500,
      failure,
      isSavedServerError: false,
    });
    const { response, lines } = afterThrowing(error);
    expect([response.code, lines]).toEqual([503, []]);
    expect(response.problem).toMatchObject({
      type: 'urn:bill-service:problem:unavailable',
      detail:
        'this depends on what Stripe says, and no usable answer came: Stripe: StripeAPIError (status 500): try again; if it stays so, bill doctor checks STRIPE_SECRET_KEY and STRIPE_API_BASE',
    });
  });

  test.each<[string, unknown]>([
    ['a constraint', Object.assign(new Error('duplicate key'), { code: '23505', detail: 'Key (hash)=(Zq7)' })],
    ['a mistake of our own', new TypeError('x is not a function')],
    ['a string', 'boom'],
  ])('unexpectedly, such as %s, is logged and tells the client nothing', (_, error) => {
    const { response, lines } = afterThrowing(error);
    expect([response.code, response.problem.detail]).toEqual([500, 'the request failed; the log says why']);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ method: 'POST', path: '/webhooks/litellm/limit-exceeded' });
    expect(`${lines} ${response.body}`).not.toContain('Zq7');
  });

  test('after the answer has begun goes to express, which ends the connection', () => {
    const begun = Object.assign(new RecordedResponse(), { headersSent: true });
    const error = new Error('too late');
    const { response, next } = afterThrowing(error, begun);
    expect(next.mock.calls).toEqual([[error]]);
    expect(response.body).toBe('');
  });
});

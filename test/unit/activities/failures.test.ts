import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { DriverException, UniqueConstraintViolationException } from '@mikro-orm/core';
import type { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure, DefaultFailureConverter, defaultPayloadConverter } from '@temporalio/common';
import { AxiosError, AxiosHeaders } from 'axios';
import Stripe from 'stripe';
import { toApplicationFailure } from '../../../activities/failures.ts';
import { superviseActivity } from '../../../activities/interceptor.ts';
import { UnexpectedStatusError } from '../../../src/database/recharges.ts';
import { GateError } from '../../../src/gate.ts';
import { KmsError, type KmsErrorKind } from '../../../src/kms/errors.ts';
import { paymentsErrorFrom } from '../../../src/payments/errors.ts';

/** Begins everything in these tests that nobody may read in the history of a workflow. */
const SECRET = 'Zq7-';

/** All that Temporal keeps of a failure, and all that the process could print of it. */
function everythingIn(failure: ApplicationFailure): string {
  const kept = new DefaultFailureConverter().errorToFailure(failure, defaultPayloadConverter);
  return `${JSON.stringify(kept)} ${inspect(failure, { depth: Number.POSITIVE_INFINITY, showHidden: true })} ${failure.stack}`;
}

function axiosError(): AxiosError {
  const headers = new AxiosHeaders({ Authorization: `Bearer ${SECRET}key` });
  const config = { url: '/team/update', method: 'post', headers, data: `{"team_id":"${SECRET}team"}` };
  const response = { status: 401, statusText: 'Unauthorized', headers: {}, config, data: { error: { message: `${SECRET}answer` } } };
  return new AxiosError('Request failed with status code 401', 'ERR_BAD_REQUEST', config, { headers }, response);
}

/** As it leaves `src/payments`; what Stripe says of a refusal may repeat what was sent. */
function stripeError(statusCode: number, code?: string): unknown {
  const raw = { type: 'invalid_request_error', code, statusCode, requestId: 'req_1', message: `Invalid API Key provided: ${SECRET}live` };
  return paymentsErrorFrom(Stripe.errors.generateV1Error({ ...raw, headers: { authorization: `Bearer ${SECRET}key` } } as never));
}

/** As pg throws it, with the statement's values in `detail` and, by MikroORM, in the message. */
function pgError(code: string | undefined): Error {
  const message = `insert into "api_key" ("hash") values ('${SECRET}hash') - duplicate key value violates unique constraint`;
  return Object.assign(new Error(message), {
    code,
    detail: `Key (hash)=(${SECRET}hash) already exists.`,
    query: 'insert',
    params: [`${SECRET}p`],
  });
}

describe('no secret gets into the history of a workflow', () => {
  test.each<[string, unknown]>([
    ["the Authorization header of LiteLLM's client", axiosError()],
    ['a Stripe key in the message of a refused request', stripeError(400, 'resource_missing')],
    ['the parameters of a statement', new DriverException(pgError('40001'))],
    ['the values of a unique violation', new UniqueConstraintViolationException(pgError('23505'))],
    ['the values in an error that pg itself throws', pgError('22001')],
  ])('from an error that holds %s', (_, error) => {
    expect(inspect(error, { showHidden: true, depth: Number.POSITIVE_INFINITY })).toContain(SECRET);
    const failure = toApplicationFailure(error);
    expect(everythingIn(failure)).not.toContain(SECRET);
    expect(failure.cause).toBeUndefined();
    expect(failure.details ?? []).toEqual([]);
  });
});

describe('a failure has a type that stays, and a sentence', () => {
  test.each<[KmsErrorKind, string]>([
    ['not_found', 'KmsTeamNotFound'],
    ['conflict', 'KmsConflict'],
    ['invalid', 'KmsInvalid'],
    ['forbidden', 'KmsForbidden'],
    ['unauthenticated', 'KmsUnauthenticated'],
    ['unavailable', 'KmsUnavailable'],
    ['unknown_outcome', 'KmsUnknownOutcome'],
  ])('LiteLLM, %s: %s', (kind, type) => {
    const failure = toApplicationFailure(new KmsError(kind, 'LiteLLM answered 500: no message'));
    expect(failure).toMatchObject({ type, message: 'LiteLLM answered 500: no message', nonRetryable: false });
  });

  test.each<[number, string | undefined, string, string]>([
    [401, undefined, 'StripeKeyRefused', 'Stripe refuses our key (status 401, req_1)'],
    [403, undefined, 'StripeKeyRefused', 'Stripe does not allow our key this (status 403, req_1)'],
    [429, 'rate_limit', 'StripeBusy', 'Stripe is busy with other calls (rate_limit, status 429, req_1)'],
    [409, 'idempotency_key_in_use', 'StripeBusy', 'Stripe is busy with other calls (idempotency_key_in_use, status 409, req_1)'],
    [500, undefined, 'StripeUnavailable', 'Stripe has failed (status 500, req_1)'],
    [404, 'resource_missing', 'StripeUnavailable', 'Stripe refuses the request (resource_missing, status 404, req_1)'],
  ])('Stripe, %d %s: %s', (status, code, type, message) => {
    expect(toApplicationFailure(stripeError(status, code))).toMatchObject({ type, message, nonRetryable: false });
  });

  test('Stripe, not called because too many of our calls are under way: StripeBusy', () => {
    const failure = toApplicationFailure(paymentsErrorFrom(new GateError('40 calls are under way and 120 wait')));
    const message = 'Stripe was not called: 40 calls are under way and 120 wait';
    expect(failure).toMatchObject({ type: 'StripeBusy', message, nonRetryable: false });
  });

  test('Stripe, no answer: StripeUnavailable', () => {
    const error = paymentsErrorFrom(new Stripe.errors.StripeConnectionError({ type: 'api_error', message: 'socket hang up' }));
    expect(toApplicationFailure(error)).toMatchObject({ type: 'StripeUnavailable', nonRetryable: false });
  });

  const unreachable = (why: string) => `PostgreSQL cannot be reached (${why}): start it, or correct DATABASE_URL; bill doctor checks it`;
  test.each<[string, Error, string]>([
    ['a serialization failure', new DriverException(pgError('40001')), 'PostgreSQL: DriverException (40001)'],
    ['a connection refused', Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), unreachable('nothing listens at its address')],
    ['a broken pipe', Object.assign(new Error('write'), { code: 'EPIPE' }), unreachable('it has closed the connection')],
    ['a connection that ended', new Error('Connection terminated unexpectedly'), unreachable('Connection terminated unexpectedly')],
    ['a pool with none left', new Error('timeout exceeded when trying to connect'), unreachable('timeout exceeded when trying to connect')],
  ])('PostgreSQL, %s: DatabaseUnavailable', (_, error, message) => {
    expect(toApplicationFailure(error)).toMatchObject({ type: 'DatabaseUnavailable', message, nonRetryable: false });
  });

  test('a recharge that somebody else has moved: UnexpectedStatus, and the next attempt looks where it is now', () => {
    const failure = toApplicationFailure(new UnexpectedStatusError('rch_1', 'charged', 'declined'));
    expect(failure).toMatchObject({
      type: 'UnexpectedStatus',
      message: 'recharge rch_1 is declined and cannot become charged',
      nonRetryable: false,
    });
  });

  test('a mistake of our own has its class for a type, and is retried, for a deploy may mend it', () => {
    expect(toApplicationFailure(new TypeError('x is not a function'))).toMatchObject({
      type: 'TypeError',
      message: 'TypeError: x is not a function',
      nonRetryable: false,
    });
  });

  test.each([undefined, null, 'boom', 7])('what is thrown may be %j', (thrown) => {
    expect(toApplicationFailure(thrown)).toMatchObject({ type: 'Error', message: String(thrown) });
  });
});

test('a failure that an activity has made itself stays as it is', () => {
  const failure = ApplicationFailure.nonRetryable('no quota is due', 'UnexpectedStatus');
  expect(toApplicationFailure(failure)).toBe(failure);
});

test('an attempt that ends because it was cancelled is no failure: Temporal tells the two apart', async () => {
  const cancelled = new CancelledFailure('CANCELLED');
  const { inbound } = superviseActivity({ info: { isLocal: true } } as Context);
  await expect(inbound?.execute?.({ args: [], headers: {} }, () => Promise.reject(cancelled))).rejects.toBe(cancelled);
});

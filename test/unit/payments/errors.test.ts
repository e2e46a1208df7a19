import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import Stripe from 'stripe';
import { type PaymentsError, paymentsErrorFrom } from '../../../src/payments/errors.ts';

type Fields = { type?: string; code?: string; headers?: Record<string, string> } & Record<string, unknown>;

/** What leaves our wall of an error as stripe-node makes it of Stripe's answer. */
function errorOf(statusCode: number, { type = 'invalid_request_error', ...fields }: Fields = {}): PaymentsError {
  const raw = { message: 'a sentence', type, statusCode, ...fields };
  return paymentsErrorFrom(Stripe.errors.generateV1Error(raw as Parameters<typeof Stripe.errors.generateV1Error>[0])) as PaymentsError;
}

function brokenConnection(): PaymentsError {
  return paymentsErrorFrom(new Stripe.errors.StripeConnectionError({ type: 'api_error', message: 'socket hang up' })) as PaymentsError;
}

describe("an error's status and code, whatever its class, say what it means", () => {
  test.each([
    [400, {}, 'refused'],
    [404, { code: 'resource_missing' }, 'refused'],
    [400, { type: 'idempotency_error' }, 'refused'],
    [402, { type: 'card_error', code: 'card_declined' }, 'card'],
    [402, { type: 'invalid_request_error' }, 'card'],
    [401, {}, 'key'],
    [403, {}, 'key'],
    [409, {}, 'busy'],
    [409, { code: 'idempotency_key_in_use' }, 'busy'],
    [429, {}, 'busy'],
    [429, { code: 'lock_timeout' }, 'busy'],
    [400, { code: 'lock_timeout' }, 'busy'],
    [400, { code: 'idempotency_key_in_use' }, 'busy'],
    [500, { type: 'api_error' }, 'unknown'],
    [502, {}, 'unknown'],
    [503, {}, 'unknown'],
    // A 200 whose body is HTML or cut short arrives as a StripeAPIError.
    [200, { type: 'api_error' }, 'unknown'],
  ] as const)('%d %j is %s', (status, fields, kind) => {
    expect(errorOf(status, fields)).toMatchObject({ name: 'PaymentsError', kind, status });
  });

  test('a connection that broke is unknown: the money may have moved', () => {
    expect(brokenConnection()).toMatchObject({ kind: 'unknown', status: null });
  });

  test('a status that nobody has seen yet never says that no money has moved', () => {
    const known = [400, 401, 402, 403, 404, 409, 429];
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), (status) => {
        fc.pre(!known.includes(status));
        expect(errorOf(status).kind).toBe('unknown');
      }),
    );
  });

  test.each([Object.assign(new Error('boom'), { statusCode: 400 }), undefined, 'boom'])(
    '%s is not from Stripe and stays as it is',
    (error) => {
      expect(paymentsErrorFrom(error)).toBe(error);
    },
  );
});

test('a 500 that Stripe has saved is known by the header of its replay', () => {
  const replayed = { headers: { 'idempotent-replayed': 'true' } };
  expect(errorOf(500, replayed).isSavedServerError).toBe(true);
  expect(errorOf(500, { headers: { 'idempotent-replayed': 'false' } }).isSavedServerError).toBe(false);
  expect(errorOf(500, { headers: {} }).isSavedServerError).toBe(false);
  expect(brokenConnection().isSavedServerError).toBe(false);
});

test.each([400, 401, 402, 404, 409, 429])('a saved %d is no saved 500: its key is not given up', (status) => {
  expect(errorOf(status, { headers: { 'idempotent-replayed': 'true' } }).isSavedServerError).toBe(false);
});

describe('a refusal, in the form of a decline', () => {
  test('has every code that Stripe gives', () => {
    const codes = { code: 'card_declined', decline_code: 'insufficient_funds', advice_code: 'try_again_later' };
    expect(errorOf(402, { type: 'card_error', ...codes }).failure).toEqual({
      code: 'card_declined',
      declineCode: 'insufficient_funds',
      adviceCode: 'try_again_later',
      message: 'a sentence',
    });
  });

  test('without a code has the kind of error for one', () => {
    expect(errorOf(400).failure).toEqual({
      code: 'StripeInvalidRequestError',
      declineCode: null,
      adviceCode: null,
      message: 'a sentence',
    });
  });
});

describe('anybody may read the message', () => {
  const SECRET = 'Zq7-';
  /** Stripe repeats the key in the message of a 401; stripe-node keeps headers and parameters. */
  const secretive = (status: number) =>
    errorOf(status, {
      requestId: 'req_1',
      message: `Invalid API Key provided: ${SECRET}live`,
      headers: { authorization: `Bearer ${SECRET}key` },
      param: `${SECRET}parameter`,
    });

  test.each([
    [400, 'Stripe refuses the request (status 400, req_1)'],
    [401, 'Stripe refuses our key (status 401, req_1)'],
    [403, 'Stripe does not allow our key this (status 403, req_1)'],
    [500, 'Stripe has failed (status 500, req_1)'],
  ])('of a %d: it tells what came, and nothing that was sent', (status, message) => {
    const error = secretive(status);
    expect(error.message).toBe(message);
    expect(error.stack).not.toContain(SECRET);
    expect(error.cause).toBeUndefined();
  });

  test.each([401, 403, 409, 429, 500, 503])("and a %d keeps nothing of Stripe's own sentence either", (status) => {
    const error = secretive(status);
    expect(inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true })).not.toContain(SECRET);
    expect(error.failure.message).toBe(error.message);
  });

  test.each([400, 402, 404])('while a refusal (%d) keeps the sentence apart from it, for the operator', (status) => {
    expect(secretive(status).failure.message).toBe(`Invalid API Key provided: ${SECRET}live`);
    expect(inspect(secretive(status))).not.toContain(`${SECRET}key`);
  });
});

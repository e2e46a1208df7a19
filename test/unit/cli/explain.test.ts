/** Every failure names the system, the setting and the next step, and says with its exit code whose it is. */
import { expect, test } from '@jest/globals';
import Stripe from 'stripe';
import { explain } from '../../../src/cli/explain.ts';
import { ConfigError } from '../../../src/config.ts';
import { TlsRefusedError } from '../../../src/database/errors.ts';
import { UnknownNameError } from '../../../src/database/names.ts';
import { KmsError } from '../../../src/kms/errors.ts';
import { paymentsErrorFrom } from '../../../src/payments/errors.ts';
import { TemporalError } from '../../../src/temporal/errors.ts';

const failing = (message: string, fields: object = {}) => Object.assign(new Error(message), fields);
const refused = { code: 'ECONNREFUSED' };
const noStripe = new Stripe.errors.StripeConnectionError({
  type: 'api_error',
  message: 'An error occurred with our connection to Stripe.',
  detail: failing('connect ECONNREFUSED 127.0.0.1:1', refused),
} as never);

test.each<[string, unknown, number, RegExp]>([
  [
    'PostgreSQL that is not there',
    failing('connect ECONNREFUSED 127.0.0.1:1', refused),
    1,
    /^PostgreSQL .*nothing listens at 127\.0\.0\.1:1.*DATABASE_URL/,
  ],
  [
    'a name that is not known',
    failing('getaddrinfo ENOTFOUND db', { code: 'ENOTFOUND' }),
    1,
    /^PostgreSQL .*the name db is not known.*DATABASE_URL/,
  ],
  [
    'a wrong password',
    failing('password authentication failed for user "bill"', { code: '28P01' }),
    1,
    /^PostgreSQL refuses .*DATABASE_URL.*correct/,
  ],
  ['a missing database', failing('database "bill" does not exist', { code: '3D000' }), 1, /^PostgreSQL .*"bill".*DATABASE_URL/],
  [
    'missing tables',
    failing('select 1 - relation "recharge" does not exist', { code: '42P01' }),
    1,
    /\(relation "recharge" does not exist\): run bill migrate$/,
  ],
  ['TLS that is refused', new TlsRefusedError('verify-full', 'self-signed'), 78, /DATABASE_URL/],
  ['Temporal', new TemporalError('Temporal cannot be reached (TEMPORAL_ADDRESS)'), 1, /TEMPORAL_ADDRESS/],
  [
    'what Temporal says within an error of its SDK',
    new Error('Failed to describe schedule', {
      cause: failing('8 RESOURCE_EXHAUSTED', { code: 8, details: 'namespace rate limit exceeded' }),
    }),
    1,
    /^Temporal: namespace rate limit exceeded \(TEMPORAL_ADDRESS\)/,
  ],
  ['LiteLLM', new KmsError('unavailable', 'LiteLLM did not answer: no answer'), 1, /^LiteLLM .*KMS_BASE_URL/],
  ['Stripe', paymentsErrorFrom(noStripe), 1, /^Stripe did not answer: nothing listens at 127\.0\.0\.1:1 \(STRIPE_API_BASE\)/],
  [
    'a port that is taken',
    failing('listen EADDRINUSE: address already in use :::8080', { code: 'EADDRINUSE', syscall: 'listen' }),
    1,
    /HOST and PORT/,
  ],
  ['settings', new ConfigError(['PORT is not a port']), 78, /PORT/],
  [
    'a name that there is not',
    new UnknownNameError('organization_id', 'there is no organization nope'),
    2,
    /^there is no organization nope$/,
  ],
  ['anything else', new Error('boom'), 1, /^boom$/],
])('%s', (_what, error, exitCode, said) => {
  const explained = explain(error);
  expect(explained).toEqual({ exitCode, message: expect.stringMatching(said) });
  expect(explained.message).not.toMatch(/ECONNREFUSED|ENOTFOUND|UNAVAILABLE/);
});

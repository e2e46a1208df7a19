/** What an error of the database is taken for: an outage passes by itself, anything else does not. */
import { describe, expect, test } from '@jest/globals';
import { isDatabaseError, isDatabaseOutage, isTlsRefused, TlsRefusedError, UnansweredError } from '../../../src/database/errors.ts';

const failing = (fields: object) => Object.assign(new Error('failed'), fields);

describe('an outage', () => {
  test.each([
    ['the server shuts down', failing({ code: '57P01' })],
    ['it takes no writes, as the primary of before a failover', failing({ code: '25006' })],
    ['PgBouncer cannot reach it, or has no connection left', failing({ code: '08P01', severity: 'FATAL' })],
    ['nothing listens', failing({ code: 'ECONNREFUSED' })],
    ['nothing answers', new UnansweredError(20_000)],
    ['nothing answers the start-up', new Error('timeout expired')],
    ['every connection of the pool is busy', new Error('timeout exceeded when trying to connect')],
  ])('is that %s', (_what, error) => {
    expect([isDatabaseOutage(error), isDatabaseError(error)]).toEqual([true, true]);
  });

  test.each([
    ['PostgreSQL cannot read a message of ours', failing({ code: '08P01', routine: 'ProcessStartupPacket' })],
    ['a time zone is unknown', failing({ code: '22023', routine: 'parse_sane_timezone' })],
    ['there is no TLS as it is asked for', new TlsRefusedError('verify-full', 'self-signed certificate')],
  ])('is not that %s', (_what, error) => {
    expect([isDatabaseOutage(error), isDatabaseError(error)]).toEqual([false, true]);
  });
});

test('a refusal of TLS names the mode and the variable, and is known for one also when MikroORM has copied it', () => {
  const error = new TlsRefusedError('verify-full', 'self-signed certificate');
  expect(error.message).toMatch(/sslmode=verify-full in DATABASE_URL.*self-signed certificate/);
  expect(isTlsRefused({ code: error.code })).toBe(true);
  expect([isTlsRefused(new Error('failed')), isTlsRefused(undefined)]).toEqual([false, false]);
});

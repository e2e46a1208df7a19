/** Why a server gave no answer, from what Node says of sockets and names. */
import { expect, test } from '@jest/globals';
import { whyUnreachable } from '../../../src/domain/unreachable.ts';

const failing = (code: string, message: string) => Object.assign(new Error(message), { code });

test.each<[string, unknown, string]>([
  ['a port where nothing listens', failing('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:5432'), 'nothing listens at 127.0.0.1:5432'],
  ['the same without its address', failing('ECONNREFUSED', ''), 'nothing listens at its address'],
  ['a name that is not known', failing('ENOTFOUND', 'getaddrinfo ENOTFOUND db.example'), 'the name db.example is not known'],
  ['a resolver that does not answer', failing('EAI_AGAIN', 'getaddrinfo EAI_AGAIN db'), 'the name db cannot be looked up now'],
  ['the same without their names', failing('ENOTFOUND', ''), 'the name of its host is not known'],
  ['a resolver without the name', failing('EAI_AGAIN', ''), 'the name of its host cannot be looked up now'],
  ['no route without its end', failing('EHOSTUNREACH', ''), 'no way leads to its host'],
  ['no route', failing('EHOSTUNREACH', 'connect EHOSTUNREACH 10.0.0.1:80'), 'no way leads to 10.0.0.1:80'],
  ['no network', failing('ENETUNREACH', ''), 'no way leads to its network'],
  ['no answer', failing('ETIMEDOUT', 'connect ETIMEDOUT 10.0.0.1:80'), 'no answer in time'],
  ['a connection that was closed', failing('ECONNRESET', 'read ECONNRESET'), 'it has closed the connection'],
  ['a pipe that was closed', failing('EPIPE', 'write EPIPE'), 'it has closed the connection'],
  ...['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_TLS_VALIDATE_RECORD_HEADER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG'].map(
    (code): [string, unknown, string] => [
      `a server without TLS, ${code}`,
      failing(code, 'write EPROTO'),
      'what listens there speaks no TLS, so its address begins with http:// and not https://',
    ],
  ),
  ['an error without a message', { code: 'ECONNREFUSED' }, 'nothing listens at its address'],
  [
    'the first of several, where the whole says nothing',
    { errors: [{ code: 'EPIPE' }, { code: 'ETIMEDOUT' }] },
    'it has closed the connection',
  ],
  ['what caused it', new Error('fetch failed', { cause: failing('ENOTFOUND', 'getaddrinfo ENOTFOUND api') }), 'the name api is not known'],
  [
    'a host with several addresses',
    Object.assign(new AggregateError([failing('ECONNREFUSED', 'connect ECONNREFUSED ::1:80')], ''), { code: 'ECONNREFUSED' }),
    'nothing listens at ::1:80',
  ],
  ['a sentence of another library', new Error('Last error: connect ECONNREFUSED 127.0.0.1:1. Note: '), 'nothing listens at 127.0.0.1:1'],
])('%s', (_what, error, reason) => {
  expect(whyUnreachable(error)).toBe(reason);
});

test.each([new Error('socket hang up'), new Error('EXTRA'), 'boom', undefined])('%s is about something else', (error) => {
  expect(whyUnreachable(error)).toBeUndefined();
});

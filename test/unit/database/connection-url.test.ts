/** Each parameter of `DATABASE_URL` is honoured or refused by name. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ConnectionUrlError, clientConfig, readConnectionUrl } from '../../../src/database/connection-url.ts';

const BASE = 'postgres://bill:pw@db.example:6432/books';
const folder = mkdtempSync(join(tmpdir(), 'bill-connection-url-'));
const PEM = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
const authority = join(folder, 'authority.pem');
writeFileSync(authority, PEM);
const notPem = join(folder, 'authority.txt');
writeFileSync(notPem, 'an authority');

const read = (query: string, env = {}) => readConnectionUrl(`${BASE}${query}`, env);

function problems(url: string, env = {}): string {
  try {
    readConnectionUrl(url, env);
  } catch (error) {
    if (error instanceof ConnectionUrlError) return error.problems.join('\n');
    throw error;
  }
  return 'none';
}

describe('an address', () => {
  test('without parameters is a plain connection, named and timed by us', () => {
    expect(clientConfig(read(''))).toEqual({
      host: 'db.example',
      port: 6432,
      user: 'bill',
      password: 'pw',
      database: 'books',
      ssl: false,
      application_name: 'bill-service',
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
    });
  });

  test('has its parts unescaped', () => {
    expect(readConnectionUrl('postgresql://b%40ill:p%3F%2Fw@[::1]/b%20ooks', {})).toMatchObject({
      host: '::1',
      port: 5432,
      user: 'b@ill',
      password: 'p?/w',
      database: 'b ooks',
    });
  });

  test.each([
    ['postgres:///books?host=/run/postgresql', {}],
    ['postgres://%2Frun%2Fpostgresql/books', {}],
    ['postgres://bill:pw@/books?host=%2Frun%2Fpostgresql', { user: 'bill', password: 'pw' }],
    ['postgres://db.example/books?host=/run/postgresql&port=5433', { port: 5433 }],
  ])('%s is a Unix socket', (url, more) => {
    expect(readConnectionUrl(url, {})).toMatchObject({ host: '/run/postgresql', database: 'books', ssl: false, ...more });
  });

  test('takes application_name, options, connect_timeout, user, password and dbname as parameters', () => {
    const query = '?application_name=till&options=-c%20search_path%3Dbooks&connect_timeout=7&user=ann&password=s&dbname=other';
    expect(clientConfig(read(query))).toMatchObject({
      application_name: 'till',
      options: '-c search_path=books',
      connectionTimeoutMillis: 7_000,
      user: 'ann',
      password: 's',
      database: 'other',
    });
  });
});

describe('sslmode', () => {
  test.each([
    ['?sslmode=disable', false],
    ['?sslmode=require', { rejectUnauthorized: false }],
    ['?ssl=true', { rejectUnauthorized: false }],
    [`?sslmode=require&sslrootcert=${authority}`, { rejectUnauthorized: true, ca: PEM, checkServerIdentity: expect.any(Function) }],
    [`?sslmode=verify-ca&sslrootcert=${authority}`, { rejectUnauthorized: true, ca: PEM, checkServerIdentity: expect.any(Function) }],
    ['?sslmode=verify-full', { rejectUnauthorized: true }],
    ['?sslmode=verify-full&sslrootcert=system', { rejectUnauthorized: true }],
    [`?sslmode=verify-full&sslrootcert=${authority}`, { rejectUnauthorized: true, ca: PEM }],
    [
      `?sslmode=verify-full&sslcert=${authority}&sslkey=${authority}&sslpassword=s`,
      { rejectUnauthorized: true, cert: PEM, key: PEM, passphrase: 's' },
    ],
  ])('%s', (query, ssl) => {
    expect(read(query).ssl).toEqual(ssl);
  });

  test('is PGSSLMODE where the address does not say it', () => {
    expect(read('', { PGSSLMODE: 'require' }).ssl).toEqual({ rejectUnauthorized: false });
    expect(read('?sslmode=disable', { PGSSLMODE: 'require' }).ssl).toBe(false);
    expect(problems(BASE, { PGSSLMODE: 'prefer' })).toContain('sslmode=prefer');
  });
});

describe('what cannot be honoured is refused', () => {
  test.each([
    ['?sslmode=nonsense', 'sslmode'],
    ['?sslmode=prefer', 'sslmode=prefer'],
    ['?sslmode=allow', 'sslmode=allow'],
    ['?sslmode=', 'sslmode'],
    ['?ssl=false', 'ssl '],
    ['?sslmode=verify-ca', 'sslrootcert'],
    ['?sslmode=verify-ca&sslrootcert=system', 'sslrootcert'],
    ['?sslmode=require&sslrootcert=system', 'sslrootcert'],
    [`?sslrootcert=${authority}`, 'sslmode'],
    ['?sslmode=verify-full&sslrootcert=/nowhere.pem', 'sslrootcert that cannot be read (ENOENT)'],
    [`?sslmode=verify-full&sslrootcert=${notPem}`, 'sslrootcert that is not PEM'],
    [`?sslmode=verify-full&sslcert=${authority}`, 'sslkey'],
    ['?sslmode=require&host=/run/postgresql', 'Unix socket'],
    ['?sslmode=require&sslmode=disable', 'twice: sslmode'],
    ['?channel_binding=require', 'channel_binding'],
    ['?sslcrl=/crl.pem', 'sslcrl'],
    ['?statement_timeout=1', 'statement_timeout'],
    ['?pgbouncer=true', 'pgbouncer'],
    ['?schema=books', 'schema'],
    ['?target_session_attrs=read-write', 'target_session_attrs'],
    ['?connect_timeout=0', 'connect_timeout'],
    ['?connect_timeout=soon', 'connect_timeout'],
    ['?connect_timeout=601', 'connect_timeout'],
    ['?port=0', 'port'],
    ['?host=one,two', 'several hosts'],
    ['?host=', 'host'],
  ])('%s, naming it', (query, named) => {
    expect(problems(`${BASE}${query}`)).toContain(named);
  });

  test.each(['postgres://u:p%w@db/books', 'postgres://u:p@db:port/books', 'postgres://one:1,two:2/books'])('%s', (url) => {
    expect(problems(url)).not.toBe('none');
  });

  test('and everything that is wrong with the parameters is said at once', () => {
    expect(problems(`${BASE}?sslmode=nonsense&connect_timeout=soon&foo=1`)).toMatch(/sslmode.*connect_timeout.*foo/s);
  });

  test('no part of a password is repeated, also of one that is not escaped', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[?&=%/#@:a-z0-9]{0,12}$/), (rest) => {
        expect(problems(`postgres://u:Zq7Zq7${rest}Zq7Zq7@db/books?sslmode=nonsense`)).not.toContain('Zq7');
        expect(problems(`${BASE}?password=${rest}Zq7Zq7&sslmode=nonsense`)).not.toContain('Zq7');
      }),
    );
  });
});

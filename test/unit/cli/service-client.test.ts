/** Where a command finds the service, and what it says when nothing usable is there. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { databasePlace } from '../../../src/cli/database-place.ts';
import { EXIT } from '../../../src/cli/exit.ts';
import { elsewhereText, type Known, placeOf, placeText } from '../../../src/cli/places.ts';
import { answerOf } from '../../../src/cli/service-client.ts';
import { type DevAddress, publicUrl, serviceEnvironment } from '../../../src/cli/service-settings.ts';
import { readConfig } from '../../../src/config.ts';

/** What a `bill dev` that runs here has written. */
const DEV = {
  PUBLIC_URL: 'http://127.0.0.1:8080',
  ADMIN_API_KEY: 'dev-admin-key',
  DATABASE_URL: 'postgres://bill:dev@127.0.0.1:15432/bill',
} as DevAddress;

describe('every command goes to one service', () => {
  test.each<[Record<string, string>, DevAddress | undefined, string]>([
    [{}, DEV, 'http://127.0.0.1:8080'],
    [{ PORT: '8090' }, DEV, 'http://127.0.0.1:8090'],
    [{ HOST: 'bill.internal' }, DEV, 'http://bill.internal:8080'],
    [{ PORT: '8090', PUBLIC_URL: 'https://bill.example.com/' }, DEV, 'https://bill.example.com'],
    [{}, undefined, 'http://127.0.0.1:8080'],
  ])('%j', (env, dev, address) => {
    expect(publicUrl(env, dev)).toBe(address);
    expect(serviceEnvironment(env, dev)['PUBLIC_URL']).toBe(address);
    const { http } = readConfig({ ADMIN_API_KEY: 'a-long-enough-key', ...serviceEnvironment(env, dev) }, ['http']);
    expect(http.publicUrl).toBe(address);
  });
});

describe('what is read, who says so, and what the running npm start has', () => {
  const OTHER = 'postgres://ada:her-password@db.internal/bill?sslmode=disable';
  const read = (address: string, known: Known) => {
    const place = databasePlace(address, { env: {}, dev: null, file: {}, ...known });
    return [placeText(place), elsewhereText(place)];
  };
  const another = (how: string) => `the npm start that runs here uses another, bill at 127.0.0.1:15432: ${how} to look at that one`;

  test('a line of .env', () => {
    const env = { DATABASE_URL: OTHER };
    const said = 'bill at db.internal:5432 (DATABASE_URL of .env)';
    expect(read(OTHER, { env, file: env, dev: DEV })).toEqual([said, another('take DATABASE_URL out of .env')]);
    expect(read(OTHER, { env, file: env })).toEqual([said, null]);
  });

  test('the environment, which .env does not change', () => {
    const file = { DATABASE_URL: 'postgres://bill@elsewhere/bill' };
    const said = 'bill at db.internal:5432 (DATABASE_URL of the environment)';
    expect(read(OTHER, { env: { DATABASE_URL: OTHER }, file, dev: DEV })).toEqual([said, another('unset DATABASE_URL')]);
  });

  test('the running npm start, by whatever name of this machine', () => {
    expect(read(DEV.DATABASE_URL, { dev: DEV })).toEqual(['bill at 127.0.0.1:15432 (DATABASE_URL of the running npm start)', null]);
    const address = 'postgres://somebody@localhost:15432/bill';
    expect(read(address, { env: { DATABASE_URL: address }, dev: DEV })[1]).toBeNull();
    for (const other of [address.replace('15432', '15433'), address.replace(/bill$/, 'another')])
      expect(read(other, { env: { DATABASE_URL: other }, dev: DEV })[1]).not.toBeNull();
  });

  test('HOST and PORT, and nothing at all', () => {
    const nothing = { dev: null, file: {} };
    const byPort = placeOf('PUBLIC_URL', 'http://127.0.0.1:8090', undefined, { ...nothing, env: { PORT: '8090' } });
    expect(placeText(byPort)).toBe('http://127.0.0.1:8090 (PORT of the environment)');
    const byDefault = placeOf('STRIPE_API_BASE', 'https://key:secret@api.stripe.com/', undefined, { ...nothing, env: {} });
    expect(placeText(byDefault)).toBe('https://api.stripe.com (the default of STRIPE_API_BASE)');
  });
});

test.each([
  [{ PUBLIC_URL: 'nonsense' }, /^PUBLIC_URL is no http:\/\/ or https:\/\/ address/],
  [{ PUBLIC_URL: 'localhost:8080' }, /^PUBLIC_URL is no/],
  [{ PORT: '99999' }, /^HOST and PORT make no/],
] as const)('what is no address is a setting to correct: %j', (env, said) => {
  expect(() => publicUrl(env, undefined)).toThrow(
    expect.objectContaining({ exitCode: EXIT.settings, message: expect.stringMatching(said) }),
  );
});

describe('a service that cannot be asked is told in a line', () => {
  const server = createServer((_request, response) => response.end('{}'));
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
  afterAll(() => void server.close());
  const port = () => (server.address() as AddressInfo).port;

  test('one without TLS behind https://', async () => {
    await expect(answerOf(`https://127.0.0.1:${port()}/`, 'ADMIN_API_KEY', {})).rejects.toThrow(
      /^[^\n]*speaks no TLS[^\n]*http:\/\/[^\n]*PUBLIC_URL[^\n]*$/,
    );
  });

  test('a port that HTTP does not ask', async () => {
    await expect(answerOf('http://127.0.0.1:6000/', 'ADMIN_API_KEY', {})).rejects.toThrow(/its port belongs to another protocol/);
  });
});

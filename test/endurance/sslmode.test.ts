/**
 * Encryption to PostgreSQL is what `sslmode` in DATABASE_URL asks for, or there is no connection: against a
 * server without TLS, and one whose certificate is for `localhost`, signed by itself.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdtempSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { Database } from '../../src/database/database.ts';
import { createDatabase } from '../support/databases.ts';
import { Processes, runBill } from '../support/processes.ts';
import { eventually } from '../support/time.ts';
import { World } from '../support/world.ts';

const NAME = 'localhost';
const ADDRESS = '127.0.0.1';

let encrypting: LaunchedServer;
let certificate: string;
/** A database that is used by nobody but one test at a time, on the server without TLS and on the other. */
let plain: URL;
let encrypted: URL;
let admin: pg.Client;

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bill-sslmode-'));
  const data = join(folder, 'postgres');
  encrypting = await launch('postgres', { data, port: 0, fsync: 'off' });
  certificate = join(data, 'server.crt');
  const key = join(data, 'server.key');
  const subject = ['-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', ...subject, '-keyout', key, '-out', certificate],
    {
      stdio: 'ignore',
    },
  );
  chmodSync(key, 0o600);
  const owner = statSync(data);
  for (const file of [key, certificate]) chownSync(file, owner.uid, owner.gid);
  encrypted = new URL(encrypting.ready['url'] ?? '');
  admin = new pg.Client({ connectionString: encrypted.href });
  await admin.connect();
  await admin.query('alter system set ssl = on');
  await admin.query('select pg_reload_conf()');
  await eventually(async () => (await admin.query('show ssl')).rows[0].ssl === 'on', 'the server takes TLS');
  await admin.query('create database bill');
  encrypted.pathname = '/bill';
  plain = new URL(await createDatabase(`test_${randomBytes(6).toString('hex')}`));
});
afterAll(async () => {
  await admin.end();
  await encrypting.stop();
});

/** The address with these parameters, by the name that the certificate is for or by another. */
function address(of: URL, query: string, host = ADDRESS): string {
  const url = new URL(of);
  url.hostname = host;
  url.search = query.replace('CERTIFICATE', certificate);
  return url.href;
}

/** Whether the connection is encrypted, as PostgreSQL sees it; or why there is none. */
async function seen(url: string): Promise<string> {
  const database = await Database.open(url);
  try {
    const { isEncryptedAtServer } = await database.encryption();
    return isEncryptedAtServer ? 'encrypted' : 'plain';
  } catch (error) {
    return (error as Error).message;
  } finally {
    await database.close();
  }
}

const MATRIX: [query: string, host: string, onPlain: string, onEncrypted: string][] = [
  ['', ADDRESS, 'plain', 'plain'],
  ['?sslmode=disable', ADDRESS, 'plain', 'plain'],
  ['?sslmode=require', ADDRESS, 'sslmode=require', 'encrypted'],
  ['?sslmode=verify-ca&sslrootcert=CERTIFICATE', ADDRESS, 'sslmode=verify-ca', 'encrypted'],
  ['?sslmode=verify-full', ADDRESS, 'sslmode=verify-full', 'sslmode=verify-full'],
  ['?sslmode=verify-full', NAME, 'sslmode=verify-full', 'sslmode=verify-full'],
  ['?sslmode=verify-full&sslrootcert=CERTIFICATE', ADDRESS, 'sslmode=verify-full', 'sslmode=verify-full'],
  ['?sslmode=verify-full&sslrootcert=CERTIFICATE', NAME, 'sslmode=verify-full', 'encrypted'],
];

describe('the connection with', () => {
  test.each(MATRIX)('case 96: %j to %s: without TLS %s, with TLS %s', async (query, host, onPlain, onEncrypted) => {
    expect(await seen(address(plain, query, host))).toContain(onPlain);
    expect(await seen(address(encrypted, query, host))).toContain(onEncrypted);
  });

  test('its name in pg_stat_activity, its options and its encryption', async () => {
    const url = address(encrypted, '?sslmode=require&application_name=till&options=-c%20work_mem%3D7MB');
    const database = await Database.open(url);
    const rows = await database.fork().execute(
      `select application_name, ssl, current_setting('work_mem') as work_mem
       from pg_stat_ssl join pg_stat_activity using (pid) where pid = pg_backend_pid()`,
    );
    await database.close();
    expect(rows).toEqual([{ application_name: 'till', ssl: true, work_mem: '7MB' }]);
  });
});

describe('every process', () => {
  const processes = new Processes();
  let world: World;
  beforeAll(async () => {
    world = await World.create();
  });
  afterAll(async () => {
    await processes.killAll();
    await world.close();
  });

  const COMMANDS = ['migrate', 'serve', 'worker', 'doctor'] as const;
  const env = (url: string) => ({ ...world.env, DATABASE_URL: url, TEMPORAL_TASK_QUEUE: `${world.name}-tls` });

  /** Sessions that were ever begun on the database without TLS. */
  async function sessions(): Promise<string> {
    const client = new pg.Client({ connectionString: process.env['TEST_POSTGRES_URL'] });
    await client.connect();
    const { rows } = await client.query('select sessions from pg_stat_database where datname = $1', [plain.pathname.slice(1)]);
    await client.end();
    return rows[0].sessions;
  }

  test.each(COMMANDS)('case 96: bill %s with sslmode=require says so of a server without TLS, and sends it nothing', async (command) => {
    const before = await sessions();
    const ended = await runBill([command], env(address(plain, '?sslmode=require')));
    expect(ended.out + ended.err).toContain('sslmode=require');
    expect(ended.code).toBe({ migrate: 78, serve: 78, worker: 78, doctor: 3 }[command]);
    expect(await sessions()).toBe(before);
  });

  test.each(COMMANDS)('bill %s ends with 78 and names the parameter that it cannot honour', async (command) => {
    const ended = await runBill([command], env(address(encrypted, '?sslmode=nonsense')));
    expect([ended.code, ended.err]).toEqual([78, expect.stringMatching(/DATABASE_URL .*sslmode/)]);
  });

  test('case 96: is encrypted, each of its connections, when it is asked for, and bill doctor says so', async () => {
    const overrides = env(address(encrypted, '?sslmode=verify-full&sslrootcert=CERTIFICATE', NAME));
    expect((await runBill(['migrate'], overrides)).code).toBe(0);
    await processes.start('serve', world, { ...overrides, PORT: '0' });
    await processes.start('worker', world, overrides);
    const { rows } = await admin.query(
      `select distinct ssl from pg_stat_ssl join pg_stat_activity using (pid) where datname = 'bill' and backend_type = 'client backend'`,
    );
    expect(rows).toEqual([{ ssl: true }]);
    const { out } = await runBill(['doctor', '--json'], overrides);
    expect(JSON.parse(out).readings).toContainEqual(
      expect.objectContaining({
        area: 'database',
        check: 'connection',
        verdict: 'ok',
        seen: expect.stringMatching(/^encrypted \(TLSv1\.\d\), sslmode=verify-full/),
      }),
    );
  });
});

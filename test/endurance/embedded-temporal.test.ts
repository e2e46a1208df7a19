import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { until, untilGone } from '../sandbox/until.ts';

const root = new URL('../../', import.meta.url).pathname;
const organizationId = defineSearchAttributeKey('OrganizationId', 'KEYWORD');
const amountMinor = defineSearchAttributeKey('AmountMinor', 'INT');

let folder: string;
const running: LaunchedServer[] = [];
const connections: Connection[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bill-temporal-test-'));
});

afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
  await Promise.all(running.splice(0).map((server) => server.stop()));
  rmSync(folder, { recursive: true, force: true });
});

async function launchTemporal(options: Record<string, string | number> = {}): Promise<LaunchedServer> {
  const server = await launch('temporal', { port: 0, 'ui-port': 0, ...options });
  running.push(server);
  return server;
}

async function clientOf({ ready }: LaunchedServer): Promise<Client> {
  const connection = await Connection.connect({ address: String(ready['address']) });
  connections.push(connection);
  return new Client({ connection, namespace: String(ready['namespace']) });
}

async function startWorkflow(client: Client, workflowId: string): Promise<void> {
  await client.workflow.start('noWorkerRunsThis', {
    taskQueue: 'none',
    workflowId,
    typedSearchAttributes: [
      { key: organizationId, value: 'org_1' },
      { key: amountMinor, value: 2500 },
    ],
  });
}

/** Waits until a query lists workflows: visibility follows within a second. */
async function listed(client: Client, query: string): Promise<string[]> {
  const ids: string[] = [];
  await until(async () => {
    for await (const { workflowId } of client.workflow.list({ query })) ids.push(workflowId);
    return ids.length > 0;
  }, `a workflow with ${query}`);
  return ids;
}

describe('the Temporal of the sandbox', () => {
  it('takes workflows with our search attributes as soon as it says that it is ready, and finds them', async () => {
    const client = await clientOf(await launchTemporal({ namespace: 'billing' }));
    await startWorkflow(client, 'recharge/1');
    expect(await listed(client, `OrganizationId = 'org_1' AND AmountMinor > 2000`)).toEqual(['recharge/1']);
  });

  it('shows its Web UI', async () => {
    const { ready } = await launchTemporal();
    const page = await fetch(String(ready['ui']));
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('<html');
  });

  it('keeps its state in a file over a restart', async () => {
    const db = join(folder, 'new', 'temporal.db');
    const first = await launchTemporal({ db });
    await startWorkflow(await clientOf(first), 'recharge/2');
    await first.stop();
    const second = await clientOf(await launchTemporal({ db }));
    expect((await second.workflow.getHandle('recharge/2').describe()).status.name).toBe('RUNNING');
    expect(existsSync(`${db}.log`)).toBe(true);
  });

  it('ends while a client is connected', async () => {
    const server = await launchTemporal();
    await clientOf(server);
    await server.stop();
    expect(server.process.exitCode).toBe(0);
  });

  it('ends with its starter, however that went', async () => {
    const script = `const { launch } = await import(${JSON.stringify(`${root}sandbox/launch.ts`)});
      console.log((await launch('temporal', { port: 0, 'ui-port': 0 })).ready.address);`;
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [address] = await once(createInterface({ input: starter.stdout }), 'line');
    starter.kill('SIGKILL');
    await untilGone(address);
  });

  (process.platform === 'linux' ? it : it.skip)('does not outlive a kill -9 of the process that watches it', async () => {
    const server = await launchTemporal();
    server.process.kill('SIGKILL');
    await untilGone(String(server.ready['address']));
  });

  it('says which port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    await expect(launchTemporal({ port })).rejects.toThrow(`port ${port} of 127.0.0.1 is taken`);
    other.close();
  });

  it('says what to do when the Temporal CLI is not where TEMPORAL_CLI_PATH says', async () => {
    // Jest's process.env is a copy that launch() does not pass on.
    const env = { ...process.env, TEMPORAL_CLI_PATH: join(folder, 'nothing') };
    const { status, stderr } = spawnSync(process.execPath, ['sandbox/temporal/main.ts', '--port', '0'], {
      cwd: root,
      env,
      encoding: 'utf8',
    });
    expect(stderr).toBe(`temporal: TEMPORAL_CLI_PATH names ${env.TEMPORAL_CLI_PATH}, which is not a program that can be run\n`);
    expect(status).toBe(1);
  });
});

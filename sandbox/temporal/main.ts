/**
 * Temporal's development server with its Web UI, on 127.0.0.1, with the search attributes that bill-service
 * uses.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Connection } from '@temporalio/client';
import { endWith, portOption, serving, start } from '../child.ts';
import { type RunningServer, runServer } from '../process.ts';
import { findTemporalCli } from './cli.ts';

/** They are part of the contract; a real cluster gets them from `bill migrate`. */
const SEARCH_ATTRIBUTES = {
  OrganizationId: 'Keyword',
  LiteLLMTeamId: 'Keyword',
  RechargeStatus: 'Keyword',
  RechargeSource: 'Keyword',
  AmountMinor: 'Int',
};

const DYNAMIC_CONFIG = {
  // A search attribute that `bill migrate` adds is usable at once, not after the cache's minute.
  'system.forceSearchAttributesCacheRefreshOnRead': true,
  // Tests that wait for a workflow to show in a list ask often.
  'frontend.namespaceRPS.visibility': 1000,
  // An operator may pause a run.
  'frontend.WorkflowPauseEnabled': true,
};

/** A start on a database of a few hundred megabytes takes seconds. */
const START_LIMIT_MS = 50_000;

/** A stop takes about a second; a client's long poll may hold it longer. */
const STOP_LIMIT_MS = 5_000;

const options = {
  port: { type: 'string', default: '7233', help: 'of the service on 127.0.0.1; 0 takes a free one' },
  'ui-port': { type: 'string', default: '8233', help: 'of the Web UI on 127.0.0.1; 0 takes a free one' },
  headless: { type: 'boolean', help: 'without the Web UI' },
  db: { type: 'string', help: 'file that keeps its state between starts; without it the state is in memory' },
  namespace: { type: 'string', default: 'default', help: 'made at the start' },
} as const;

await runServer('temporal', options, async (values) => {
  const port = await portOption('port', values.port);
  const uiPort = values.headless ? undefined : await portOption('ui-port', values['ui-port']);
  return startTemporal(port, uiPort, values.db ? resolve(values.db) : undefined, values.namespace);
});

async function startTemporal(port: number, uiPort: number | undefined, db: string | undefined, namespace: string): Promise<RunningServer> {
  const cli = findTemporalCli();
  if (db) mkdirSync(dirname(db), { recursive: true });
  const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--namespace', namespace, '--log-level', 'warn'];
  args.push(...(uiPort === undefined ? ['--headless'] : ['--ui-port', String(uiPort)]));
  if (db) args.push('--db-filename', db);
  for (const [name, type] of Object.entries(SEARCH_ATTRIBUTES)) args.push('--search-attribute', `${name}=${type}`);
  for (const [key, value] of Object.entries(DYNAMIC_CONFIG)) args.push('--dynamic-config-value', `${key}=${value}`);

  const scratch = db ? undefined : mkdtempSync(join(tmpdir(), 'bill-temporal-'));
  const server = start(cli, args, scratch ? join(scratch, 'server.log') : `${db}.log`, 'SIGTERM');
  const stop = async () => {
    await server.end(db ? ['SIGTERM', 'SIGKILL'] : ['SIGKILL'], STOP_LIMIT_MS); // state in memory needs no orderly end
    if (scratch) rmSync(scratch, { recursive: true, force: true });
  };
  const address = `127.0.0.1:${port}`;
  try {
    await serving(server, () => hasSearchAttributes(address, namespace), START_LIMIT_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  endWith('temporal', server);
  return { ready: { address, namespace, ...(uiPort !== undefined && { ui: `http://127.0.0.1:${uiPort}` }) }, stop };
}

async function hasSearchAttributes(address: string, namespace: string): Promise<boolean> {
  const connection = Connection.lazy({ address, connectTimeout: '1s' });
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    return Object.keys(SEARCH_ATTRIBUTES).every((name) => customAttributes && name in customAttributes);
  } catch {
    return false; // not listening yet, or its namespace is not made yet
  } finally {
    await connection.close();
  }
}

/** What a measurement runs on: the stand-ins, PostgreSQL and Temporal as servers, and one worker process. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { launch } from '../../sandbox/launch.ts';
import { Database } from '../../src/database/database.ts';
import { startBill } from '../support/processes.ts';

const TASK_QUEUE = 'scale';
const MASTER_KEY = 'sk-1234';
/** How often the worker's memory is looked at. */
const LOOK_MS = 100;

export type Measured = { seconds: number; mostMemory: number; result: unknown };

export type Servers = {
  /** For the state files of stand-ins that are started later, and whatever else is to go in the end. */
  folder: string;
  sql: pg.Pool;
  litellmUrl: string;
  /** Runs a workflow to its end. `mostMemory`: the worker's, in KiB. */
  run: (workflowType: string, ...args: object[]) => Promise<Measured>;
  stop: () => Promise<void>;
};

type StateFiles = { litellm?: string; stripe?: string };

/**
 * @param fill what the database has before the worker starts; returns the state of the stand-ins.
 */
export async function startServers(fill: (sql: pg.Pool, folder: string) => Promise<StateFiles> = async () => ({})): Promise<Servers> {
  const folder = mkdtempSync(join(tmpdir(), 'bill-scale-'));
  const postgres = await launch('postgres', { data: join(folder, 'postgres'), port: 0 });
  const databaseUrl = postgres.ready['url'] ?? '';
  const database = await Database.open(databaseUrl);
  await database.migrate();
  await database.close();
  const sql = new pg.Pool({ connectionString: databaseUrl, max: 2 });
  const state = await fill(sql, folder);
  const others = await Promise.all([
    launch('temporal', { port: 0, 'ui-port': 0 }),
    launch('litellm', { port: 0, 'spend-lag-ms': 0, state: state.litellm }),
    launch('stripe', { port: 0, state: state.stripe }),
  ]);
  const [temporal, litellm, stripe] = others;
  const client = new Client({ connection: await Connection.connect({ address: temporal.ready['address'] ?? '' }) });
  const worker = await startBill('worker', {
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: temporal.ready['address'] ?? '',
    TEMPORAL_TASK_QUEUE: TASK_QUEUE,
    METRICS_PORT: '0',
    STRIPE_SECRET_KEY: 'sk_test_bill_service',
    STRIPE_API_BASE: stripe.ready['url'] ?? '',
    STRIPE_RATE_LIMIT: '1000',
    KMS_BASE_URL: litellm.ready['url'] ?? '',
    KMS_API_KEY: MASTER_KEY,
    WEBHOOK_HMAC_SECRETS: 'secret-of-no-importance',
    ADMIN_API_KEY: 'key-of-no-importance',
  });

  /** Resident memory of the worker, as Linux counts it. */
  const residentKiB = () => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${worker.process.pid}/status`, 'utf8'))?.[1]);

  return {
    folder,
    sql,
    litellmUrl: litellm.ready['url'] ?? '',
    run: async (workflowType, ...args) => {
      const memory: number[] = [];
      const looks = setInterval(() => memory.push(residentKiB()), LOOK_MS);
      const started = performance.now();
      const workflowId = `${workflowType}-${Date.now()}`;
      const result = await client.workflow
        .execute(workflowType, { workflowId, taskQueue: TASK_QUEUE, args })
        .finally(() => clearInterval(looks));
      return { seconds: (performance.now() - started) / 1000, mostMemory: Math.max(...memory, residentKiB()), result };
    },
    stop: async () => {
      await worker.terminate();
      await sql.end();
      await client.connection.close();
      await Promise.all([postgres, ...others].map((server) => server.stop()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

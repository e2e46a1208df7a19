/**
 * `npm run measure:scale`: synchronisation and sweep of ever more organizations, against the stand-in for
 * LiteLLM, with a real worker process, PostgreSQL and Temporal. Prints how long each takes, for how many
 * calls, and how much memory the worker holds: time is to grow with the number of organizations, memory is
 * not.
 *
 * -- --organizations 1000,2000,…  how many there are at each measurement
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import axios from 'axios';
import pg from 'pg';
import { launch } from '../../sandbox/launch.ts';
import { Database } from '../../src/database/database.ts';
import { startBill } from '../support/processes.ts';

const { values } = parseArgs({ options: { organizations: { type: 'string', default: '1000,2500,5000,10000' } } });
const sizes = values.organizations.split(',').map(Number);

const TASK_QUEUE = 'scale';
const MASTER_KEY = 'sk-1234';
/** How often the worker's memory is looked at. */
const LOOK_MS = 100;

const folder = mkdtempSync(join(tmpdir(), 'bill-scale-'));
const servers = await Promise.all([
  launch('postgres', { data: join(folder, 'postgres'), port: 0 }),
  launch('temporal', { port: 0, 'ui-port': 0 }),
  launch('litellm', { port: 0, 'spend-lag-ms': 0 }),
  launch('stripe', { port: 0 }),
]);
const [postgres, temporal, litellm, stripe] = servers.map(({ ready }) => ready) as [Ready, Ready, Ready, Ready];
type Ready = Record<string, string>;
const databaseUrl = postgres['url'] ?? '';
const database = await Database.open(databaseUrl);
await database.migrate();
await database.close();
const sql = new pg.Pool({ connectionString: databaseUrl, max: 2 });
const client = new Client({ connection: await Connection.connect({ address: temporal['address'] ?? '' }) });
const worker = await startBill('worker', {
  DATABASE_URL: databaseUrl,
  TEMPORAL_ADDRESS: temporal['address'] ?? '',
  TEMPORAL_TASK_QUEUE: TASK_QUEUE,
  STRIPE_SECRET_KEY: 'sk_test_bill_service',
  STRIPE_API_BASE: stripe['url'] ?? '',
  KMS_BASE_URL: litellm['url'] ?? '',
  KMS_API_KEY: MASTER_KEY,
  WEBHOOK_HMAC_SECRETS: 'secret-of-no-importance',
  ADMIN_API_KEY: 'key-of-no-importance',
});

for (const method of ['GET', 'POST']) {
  await axios.post(`${litellm['url']}/_sandbox/faults`, { method, path: '/**', times: 1e9, action: { kind: 'delay', ms: 0 } });
}

console.log('| organizations | first synchronisation | second | dry run | sweep | worker, most memory |\n|---|---|---|---|---|---|');
let made = 0;
for (const size of sizes) {
  const added = size - made;
  await makeOrganizations(made, size);
  made = size;
  const first = await run('teamSyncWorkflow', {});
  const second = await run('teamSyncWorkflow', {});
  const dry = await run('teamSyncWorkflow', { dry_run: true });
  const sweep = await run('balanceSweepWorkflow');
  const most = Math.max(...[first, second, dry, sweep].map(({ mostMemory }) => mostMemory));
  const cells = [`${inWords(first)} (${added} new)`, inWords(second), inWords(dry), inWords(sweep), `${Math.round(most / 1024)} MiB`];
  console.log(`| ${size} | ${cells.join(' | ')} |`);
}

await worker.terminate();
await sql.end();
await client.connection.close();
await Promise.all(servers.map((server) => server.stop()));
rmSync(folder, { recursive: true, force: true });

type Measured = { seconds: number; calls: number; writes: number; mostMemory: number };

function inWords({ seconds, calls, writes }: Measured): string {
  return `${seconds.toFixed(1)} s, ${calls} calls, ${writes} writes`;
}

/**
 * Organizations that are paid for, so that the sweep finds nothing to do: what is measured is the looking.
 */
async function makeOrganizations(from: number, to: number): Promise<void> {
  await sql.query(
    `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
       target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone, create_team)
     select 'org-' || n, 'Organization ' || n, 'cus_' || n, 'org-' || n, 'usd', 2, 20, 1, false, 10, 'UTC', true
     from generate_series($1::int, $2::int) n`,
    [from + 1, to],
  );
  await sql.query(
    `insert into team (c_organization_id, c_team_id, l_user_id, name)
     select 'org-' || n, 'team', 'org-' || n || '/team', 'Team' from generate_series($1::int, $2::int) n`,
    [from + 1, to],
  );
}

async function run(workflowType: string, ...args: object[]): Promise<Measured> {
  const before = await requests();
  const memory: number[] = [];
  const looks = setInterval(() => memory.push(residentKiB()), LOOK_MS);
  const started = performance.now();
  await client.workflow.execute(workflowType, { workflowId: `${workflowType}-${Date.now()}`, taskQueue: TASK_QUEUE, args });
  const seconds = (performance.now() - started) / 1000;
  clearInterval(looks);
  const after = await requests();
  return {
    seconds,
    calls: after.calls - before.calls,
    writes: after.writes - before.writes,
    mostMemory: Math.max(...memory, residentKiB()),
  };
}

/** Resident memory of the worker, as Linux counts it. */
function residentKiB(): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${worker.process.pid}/status`, 'utf8'))?.[1]);
}

/** Calls that LiteLLM has had: a fault that does nothing counts how often it strikes. */
async function requests(): Promise<{ calls: number; writes: number }> {
  const { data } = await axios.get<{ data: { method?: string; struck: number }[] }>(`${litellm['url']}/_sandbox/faults`);
  const struck = (method: string) => data.data.find((fault) => fault.method === method)?.struck ?? 0;
  return { calls: struck('GET') + struck('POST'), writes: struck('POST') };
}

/** Synchronisation and sweep of ever more organizations, of which each is new once. */
import axios from 'axios';
import type pg from 'pg';
import { type Measured, type Servers, startServers } from './servers.ts';

type Counted = Measured & { calls: number; writes: number };

/** Prints a row for each size. */
export async function measureLooking(sizes: readonly number[]): Promise<void> {
  const servers = await startServers();
  const { litellmUrl } = servers;
  for (const method of ['GET', 'POST'])
    await axios.post(`${litellmUrl}/_sandbox/faults`, { method, path: '/**', times: 1e9, action: { kind: 'delay', ms: 0 } });
  const run = (workflowType: string, ...args: object[]) => counted(litellmUrl, () => servers.run(workflowType, ...args));

  console.log('| organizations | first synchronisation | second | dry run | sweep | worker, most memory |\n|---|---|---|---|---|---|');
  let made = 0;
  for (const size of sizes) {
    const added = size - made;
    await makeOrganizations(servers.sql, made, size);
    made = size;
    const first = await run('teamSyncWorkflow', {});
    const second = await run('teamSyncWorkflow', {});
    const dry = await run('teamSyncWorkflow', { dry_run: true });
    const sweep = await run('balanceSweepWorkflow');
    const most = Math.max(...[first, second, dry, sweep].map(({ mostMemory }) => mostMemory));
    const cells = [`${inWords(first)} (${added} new)`, inWords(second), inWords(dry), inWords(sweep), `${Math.round(most / 1024)} MiB`];
    console.log(`| ${size} | ${cells.join(' | ')} |`);
  }
  await servers.stop();
}

function inWords({ seconds, calls, writes }: Counted): string {
  return `${seconds.toFixed(1)} s, ${calls} calls, ${writes} writes`;
}

/**
 * Organizations that are paid for, so that the sweep finds nothing to do: what is measured is the looking.
 */
async function makeOrganizations(sql: pg.Pool, from: number, to: number): Promise<void> {
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

async function counted(litellmUrl: string, run: () => ReturnType<Servers['run']>): Promise<Counted> {
  const before = await requests(litellmUrl);
  const measured = await run();
  const after = await requests(litellmUrl);
  return { ...measured, calls: after.calls - before.calls, writes: after.writes - before.writes };
}

/** Calls that LiteLLM has had: a fault that does nothing counts how often it strikes. */
async function requests(litellmUrl: string): Promise<{ calls: number; writes: number }> {
  const { data } = await axios.get<{ data: { method?: string; struck: number }[] }>(`${litellmUrl}/_sandbox/faults`);
  const struck = (method: string) => data.data.find((fault) => fault.method === method)?.struck ?? 0;
  return { calls: struck('GET') + struck('POST'), writes: struck('POST') };
}

/**
 * How fast alerts are acknowledged: the API as `bill serve` starts it, beside the least that does the same durable
 * work, on the same PostgreSQL with fsync. Temporal takes connections and never answers, so that nothing but
 * acknowledging is measured; what is accepted waits for it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { launch } from '../sandbox/launch.ts';
import { freePort } from '../sandbox/ports.ts';
import { Database } from '../src/database/database.ts';
import { startBill } from '../test/support/processes.ts';
import { cpuOf } from './cpu.ts';
import { inTurns, quantile, type Row, rowOf } from './rounds.ts';
import { type Load, type Sender, type Sent, startSender } from './sender.ts';

const SECRET = 'secret-of-the-bench';
/** Alerts that wait at once at saturation: LiteLLM sends from each of its worker processes, and a storm from all of them. */
const CONNECTIONS = 256;
/** Alerts a second that a large installation may see. */
const RATE = 200;
const KNOWN = 'known-team-';

export type Sizes = { rounds: number; alerts: number; storm: number; tracked: number; latencySeconds: number; profile: string | undefined };

type Which = 'service' | 'floor';
type Bench = {
  sql: pg.Pool;
  sender: Sender;
  ports: Record<Which, number>;
  /** Microseconds of processor that the process and PostgreSQL have used so far. */
  used: (which: Which) => { node: number; postgres: number };
  stop: () => Promise<void>;
};

/** What a measurement sends, beside the alerts' number. */
type Kind = Pick<Load, 'team' | 'teams' | 'event'> & { connections?: number; rate?: number };

/** @param say shows the progress. */
export async function measureAcknowledgements(sizes: Sizes, say: (line: string) => void): Promise<Row[]> {
  return onServers(sizes, say, async (bench) => {
    const rows: Row[] = [];
    const teams = sizes.alerts;
    for (const [what, kind] of [
      ['acknowledgements, unmanaged teams', { team: 'nobody-', teams, event: 'budget_crossed' }],
      ['acknowledgements, teams that are known', { team: KNOWN, teams, event: 'budget_crossed' }],
    ] as const)
      rows.push(...(await saturated(bench, { what, kind, count: sizes.alerts, rounds: sizes.rounds }, say)));

    const kind = { team: 'nobody-', teams, event: 'budget_crossed', rate: RATE, connections: 64 };
    const sent = await inTurns(sizes.rounds, async (which, round) => {
      const { latenciesMs } = await sendTo(bench, which, { kind, round, count: sizes.latencySeconds * kind.rate, mark: 'paced' });
      say(`  round ${round}, ${which}: p50 ${quantile(latenciesMs, 0.5).toFixed(2)} ms, p99 ${quantile(latenciesMs, 0.99).toFixed(2)} ms`);
      return latenciesMs;
    });
    for (const share of [0.5, 0.99]) {
      const of = (rounds: number[][]) => rounds.map((latencies) => quantile(latencies, share));
      rows.push(rowOf(`p${share * 100} at ${RATE} alerts a second`, 'ms', { service: of(sent.service), floor: of(sent.floor) }));
    }
    return rows;
  });
}

export async function measureStorm(sizes: Sizes, say: (line: string) => void): Promise<Row[]> {
  return onServers(sizes, say, async (bench) => {
    const storm = { what: 'a storm of copies for 10 teams', kind: { team: KNOWN, teams: 10, event: 'budget_crossed' }, count: sizes.storm };
    const tracked = { what: '`spend_tracked` events', kind: { team: KNOWN, teams: 10, event: 'spend_tracked' }, count: sizes.tracked };
    const rows: Row[] = [];
    for (const each of [storm, tracked]) rows.push(...(await saturated(bench, { ...each, rounds: sizes.rounds }, say)));
    return rows;
  });
}

type Saturation = { what: string; kind: Kind; count: number; rounds: number };

async function saturated(bench: Bench, { what, kind, count, rounds }: Saturation, say: (line: string) => void): Promise<Row[]> {
  say(what);
  const mark = `${kind.event}-${kind.team}${kind.teams}`;
  const { service, floor } = await inTurns(rounds, async (which, round) => {
    const before = bench.used(which);
    const { seconds } = await sendTo(bench, which, { kind, round, count, mark });
    const after = bench.used(which);
    const [node, postgres] = [(after.node - before.node) / count, (after.postgres - before.postgres) / count];
    const rate = count / seconds;
    say(
      `  round ${round}, ${which}: ${Math.round(rate)} a second, ${Math.round(node)} µs of Node and ${Math.round(postgres)} of PostgreSQL each`,
    );
    return { rate, cpu: node + postgres, node, postgres };
  });
  const of = (figure: 'rate' | 'cpu' | 'node' | 'postgres') => ({
    service: service.map((each) => each[figure]),
    floor: floor.map((each) => each[figure]),
  });
  return [
    rowOf(what, 'a second', of('rate')),
    rowOf('· processor time of one', 'µs', of('cpu')),
    rowOf('· of it Node', 'µs', of('node')),
    rowOf('· of it PostgreSQL', 'µs', of('postgres')),
  ];
}

type Sending = { kind: Kind; round: number; count: number; mark: string };

/** Sends, and checks that what was acknowledged is in the database, once. */
async function sendTo({ sql, sender, ports }: Bench, which: Which, { kind, round, count, mark }: Sending): Promise<Sent> {
  const named = `${mark}-${round}`;
  const before = await storedBy(sql, which);
  const sent = await sender.send({
    connections: CONNECTIONS,
    ...kind,
    port: ports[which],
    secret: SECRET,
    mark: named,
    count,
    budget: budgetOf(mark, round),
  });
  const after = await storedBy(sql, which);
  const { accepted = 0, ignored = 0, duplicate = 0, ...others } = sent.answers;
  const wrong =
    Object.keys(others).length > 0 ||
    accepted + ignored + duplicate !== count ||
    after.rows - before.rows !== accepted + ignored ||
    after.copies - before.copies !== duplicate ||
    (which === 'service' && after.deliveries - before.deliveries !== count);
  if (wrong) throw new Error(`${which}, ${named}: ${JSON.stringify({ count, answers: sent.answers, before, after })}`);
  return sent;
}

/** Another one in each round and measurement: what an earlier one has left open is another crossing. */
function budgetOf(mark: string, round: number): number {
  return ([...mark].reduce((sum, char) => sum * 31 + char.charCodeAt(0), 7) % 1e6) + round / 64;
}

type Stored = { rows: number; copies: number; deliveries: number };

async function storedBy(sql: pg.Pool, which: Which): Promise<Stored> {
  const { rows } = await sql.query(
    which === 'floor'
      ? 'select count(*)::int as rows, 0 as copies, 0 as deliveries from floor_event'
      : `select count(*)::int as rows, coalesce(sum(copies), 0)::int as copies, (select count(*)::int from webhook_delivery) as deliveries from webhook_event`,
  );
  return rows[0];
}

async function onServers<Result>(sizes: Sizes, say: (line: string) => void, work: (bench: Bench) => Promise<Result>): Promise<Result> {
  const bench = await startServers(sizes, say);
  try {
    return await work(bench);
  } finally {
    await bench.stop();
  }
}

async function startServers({ alerts, profile }: Sizes, say: (line: string) => void): Promise<Bench> {
  say('starting PostgreSQL, the API and the floor');
  const folder = mkdtempSync(join(tmpdir(), 'bill-bench-'));
  const postgres = await launch('postgres', { data: join(folder, 'postgres'), port: 0 });
  const databaseUrl = postgres.ready['url'] ?? '';
  const database = await Database.open(databaseUrl);
  await database.migrate();
  await database.close();
  const sql = new pg.Pool({ connectionString: databaseUrl, max: 2 });
  await sql.query(
    `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
       target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone)
     select 'org-' || n, 'Organization ' || n, 'cus_' || n, '${KNOWN}' || n, 'usd', 2, 20, 1, true, 10, 'UTC' from generate_series(0, $1::int) n`,
    [Math.max(alerts, 10)],
  );
  await sql.query('vacuum analyze');
  const nowhere = await freePort();
  const temporal = createServer().listen(0, '127.0.0.1').unref();
  await once(temporal, 'listening');
  const service = await startBill('serve', {
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: `127.0.0.1:${(temporal.address() as AddressInfo).port}`,
    STRIPE_SECRET_KEY: 'sk_test_bill_service',
    STRIPE_API_BASE: `http://127.0.0.1:${nowhere}`,
    KMS_BASE_URL: `http://127.0.0.1:${nowhere}`,
    KMS_API_KEY: 'sk-1234',
    WEBHOOK_HMAC_SECRETS: SECRET,
    ADMIN_API_KEY: 'key-of-no-importance',
    PORT: '0',
    ...(profile !== undefined && { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` }),
  });
  const floor = await startFloor({ DATABASE_URL: databaseUrl, SECRET });
  const sender = startSender();
  return {
    sql,
    sender,
    used: (which) => ({
      node: cpuOf((which === 'service' ? service.process : floor.child).pid ?? 0),
      postgres: cpuOf(postgres.process.pid ?? 0),
    }),
    ports: { service: service.ready.port ?? 0, floor: floor.port },
    stop: async () => {
      sender.stop();
      floor.child.kill();
      await service.terminate();
      await sql.end();
      await postgres.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The floor's API. */
export async function startFloor(env: Record<string, string>): Promise<{ port: number; child: ChildProcess }> {
  const main = fileURLToPath(new URL('./floors/acknowledge.ts', import.meta.url));
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env['PATH'], NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.once('exit', () => child.kill('SIGKILL'));
  for await (const line of createInterface({ input: child.stdout })) return { port: JSON.parse(line).port, child };
  throw new Error('the floor has ended before it listened');
}

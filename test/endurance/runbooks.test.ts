/**
 * Every command of every runbook is run, as it is printed, on the running service: what a person on call pastes at night
 * does what it says. Where it names ACME, ID, HOLD, EVENT or TEAM, one that is there takes its place.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { freePort } from '../../sandbox/ports.ts';
import { findTemporalCli } from '../../sandbox/temporal/cli.ts';
import { ALWAYS, CREATE_INTENT } from '../support/faults.ts';
import { createWorldOfItsOwn, type WorldOfItsOwn } from '../support/own-servers.ts';
import { type Ended, Processes, runBill } from '../support/processes.ts';
import { Prometheus } from '../support/prometheus.ts';
import type { Organization, World } from '../support/world.ts';

const FOLDER = fileURLToPath(new URL('../../docs/runbooks/', import.meta.url));

/** What is no command by itself, or none that ends. */
const NAMED_ONLY: Readonly<Record<string, string>> = {
  'bill serve': 'it does not end; it is started before everything here',
  'bill worker': 'it does not end; it is started before everything here',
  'bill resolve': 'its name in a sentence; each of its forms is run where a runbook prints it',
};

/** What cannot be run here, and why. */
const CANNOT_RUN: Readonly<Record<string, string>> = {
  'docker compose ps api': 'there is no Docker; test/unit/compose.test.ts holds that docker-compose.yml has a service of that name',
};

/** Programs, SQL and PromQL. Other words in backticks are names of something. */
const COMMAND = /^(bill|curl|temporal|docker|kubectl|psql|promtool|npx?|select)\s/;
const EXPRESSION = /^(sum|rate|increase|histogram_quantile|max|min|avg|count)\b.*\(|^(bill|temporal|process|nodejs)_\w+$/;

type Printed = { command: string; runbooks: string[] };

/** Each command once, with the runbooks that print it. */
function commandsOf(folder: string): Printed[] {
  const printed = readdirSync(folder)
    .filter((name) => name.endsWith('.md') && name !== 'README.md')
    .flatMap((name) => {
      const text = readFileSync(folder + name, 'utf8');
      const blocks = [...text.matchAll(/^```\w*\n(.*?)^```/gms)].flatMap(([, block = '']) => block.split('\n'));
      const sentences = [...text.replaceAll(/^```\w*\n.*?^```/gms, '').matchAll(/`([^`]+)`/g)].map(([, inline = '']) =>
        inline.replaceAll(/\s+/g, ' '),
      );
      const isCommand = (line: string) => COMMAND.test(`${line} `) || EXPRESSION.test(line);
      const lines = [...blocks.map((line) => line.replace(/\s+#.*$/, '').trim()).filter(Boolean), ...sentences.filter(isCommand)];
      return lines.map((command) => ({ command, runbook: name.replace(/\.md$/, '') }));
    });
  const byCommand = Map.groupBy(printed, ({ command }) => command);
  return [...byCommand].map(([command, all]) => ({ command, runbooks: [...new Set(all.map(({ runbook }) => runbook))] }));
}

const COMMANDS = commandsOf(FOLDER);

let own: WorldOfItsOwn;
let world: World;
let prometheus: Prometheus;
let receiver: Server;
let metricsPort: number;
let acme: Organization;
/** Of an organization that was recharged. */
let settled: { rechargeId: string };
const processes = new Processes();

beforeAll(async () => {
  own = await createWorldOfItsOwn();
  world = own.world;
  const migrated = await runBill(['migrate'], world.env);
  if (migrated.code !== 0) throw new Error(migrated.err);
  receiver = createServer((_request, response) => response.writeHead(204).end());
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const notify = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  metricsPort = await freePort();
  const ofWorker = await freePort();
  await processes.start('serve', world, {
    METRICS_PORT: String(metricsPort),
    NOTIFY_WEBHOOK_URL: notify,
    NOTIFY_WEBHOOK_SECRET: 'a-secret-of-the-receiver',
  });
  await processes.start('worker', world, { METRICS_PORT: String(ofWorker) });
  const recharged = await world.recharged();
  acme = recharged.organization;
  settled = recharged;
  prometheus = await Prometheus.start({ 'bill-serve': [metricsPort], 'bill-worker': [ofWorker] });
}, 300_000);

afterAll(async () => {
  await prometheus?.stop();
  receiver?.close();
  await processes.killAll();
  await own?.close();
});

/** Those that say by 3 that something was found; docs/operating.md. */
const MAY_FIND = /^bill (status|doctor|reconcile|ledger verify|sync)\b/;

async function run(command: string): Promise<void> {
  if (command.startsWith('bill ')) return runOurs(command);
  if (command.startsWith('curl '))
    return ends(command, await inShell(command.replace('curl ', 'curl --fail --silent ').replace(':9464', `:${metricsPort}`)));
  if (command.startsWith('temporal ')) return runTemporal(command);
  if (command.startsWith('select ')) return runStatement(command);
  if (EXPRESSION.test(command)) return void (await prometheus.query(command));
  throw new Error(`nobody knows here how to run: ${command}`);
}

function ends(command: string, { code, out, err }: Ended, allowed: readonly number[] = [0]): void {
  expect({ command, code, said: allowed.includes(code ?? -1) ? '' : `${out}\n${err}` }).toEqual({
    command,
    code: allowed.includes(code ?? -1) ? code : allowed[0],
    said: '',
  });
}

function inShell(command: string, env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env['PATH'], ...env }, timeout: 60_000 };
    const child = execFile('sh', ['-c', command], options, (_error, out, err) => resolve({ code: child.exitCode, out, err }));
  });
}

async function runOurs(command: string): Promise<void> {
  const filled = await withWhatIsThere(command);
  const words = [...filled.slice('bill '.length).matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
  const ended = await runBill(words, { ...world.env, PUBLIC_URL: world.apiUrl });
  await world.clearFaults();
  ends(filled, ended, MAY_FIND.test(command) ? [0, 3] : [0]);
}

/** The command about something that is there, and is as the command wants it. */
async function withWhatIsThere(command: string): Promise<string> {
  const about = command.replace(/\bACME\b|\bacme\b/, acme.id);
  if (/\bTEAM\b/.test(about)) return about.replace('TEAM', await world.anotherTeam(acme, { budget: 30, spend: 1 }));
  if (/\bHOLD\b/.test(about)) return about.replace('HOLD', await newHold());
  if (/\bEVENT\b/.test(about)) return about.replace('EVENT', await toldEvent());
  if (!/\bID\b/.test(about)) return about;
  if (/^bill resolve ID --accept/.test(about)) return about.replace('ID', await parked());
  if (/^bill resolve ID/.test(about)) return about.replace('ID', await heldMoney());
  return about.replace('ID', settled.rechargeId);
}

/** Of another organization: this one may be held by a command before. */
async function newHold(): Promise<string> {
  const { id } = await world.organization({ spend: 0 });
  const { status, data } = await world.admin.post('/api/v1/holds', {
    scope: 'organization',
    subject: id,
    reason: 'a rehearsal',
    until: null,
  });
  expect(status).toBe(201);
  return data.id;
}

async function toldEvent(): Promise<string> {
  const find = async () =>
    (await world.sql.query('select event_id from outbound_delivery where delivered_at is not null limit 1')).rows[0]?.event_id;
  return world.eventually(find, 'an event was delivered');
}

/** A recharge whose card is charged and whose budget LiteLLM does not take, until the command has ended. */
async function heldMoney(): Promise<string> {
  const organization = await world.organization();
  const refusal = await world.refuseBudget(organization);
  const eventId = await world.accepted(organization);
  await refusal.struck();
  return (await world.rechargeIs(eventId, 'charged')).rechargeId;
}

/** One that no rule covers, and for which nothing was taken. */
async function parked(): Promise<string> {
  const organization = await world.organization();
  const body = { error: { type: 'invalid_request_error', message: 'no such parameter' } };
  const action = { kind: 'respond', status: 400, body } as const;
  await world.stripeFault({ ...CREATE_INTENT, contains: organization.customerId, times: ALWAYS, action });
  return (await world.rechargeIs(await world.accepted(organization), 'needs_attention')).rechargeId;
}

/** On a schedule that somebody has paused. */
async function runTemporal(printed: string): Promise<void> {
  const command = printed.replace('<schedule>', 'team-sync');
  const id = /--schedule-id (\S+)/.exec(command)?.[1] ?? '';
  const schedule = world.temporal.schedule.getHandle(id);
  await schedule.pause('a rehearsal');
  const cli = findTemporalCli();
  ends(
    command,
    await inShell(command.replace(/^temporal/, `'${cli}'`), { TEMPORAL_ADDRESS: world.env['TEMPORAL_ADDRESS'] ?? '', HOME: '/tmp' }),
  );
  expect((await schedule.describe()).state.paused).toBe(false);
}

/** `<pid>` is that of a session which holds a lock. */
async function runStatement(statement: string): Promise<void> {
  if (!statement.includes('<pid>')) return void (await world.sql.query(statement));
  const session = new pg.Client({ connectionString: world.env['DATABASE_URL'] });
  session.on('error', () => {}); // It is ended.
  await session.connect();
  const ended = new Promise((resolve) => session.once('end', resolve));
  const { rows } = await session.query('select pg_backend_pid() as pid');
  await world.sql.query(statement.replace('<pid>', rows[0].pid));
  await ended;
}

test('each command that is left out is printed by a runbook', () => {
  const printed = COMMANDS.map(({ command }) => command);
  expect(printed).toEqual(expect.arrayContaining([...Object.keys(NAMED_ONLY), ...Object.keys(CANNOT_RUN)]));
  expect(COMMANDS.length).toBeGreaterThan(30);
});

describe('a runbook', () => {
  const runnable = COMMANDS.filter(({ command }) => !Object.hasOwn(NAMED_ONLY, command) && !Object.hasOwn(CANNOT_RUN, command));

  test.each(runnable)('prints "$command", and it runs', ({ command }) => run(command), 180_000);
});

/**
 * The commands that go on, and `bill migrate`: what they say of an environment that cannot be used, and what they end
 * with.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import axios from 'axios';
import pg from 'pg';
import { freePort } from '../../sandbox/ports.ts';
import { createDatabase } from '../support/databases.ts';
import { Processes, runBill } from '../support/processes.ts';
import { World } from '../support/world.ts';

/** sysexits.h EX_CONFIG. */
const EX_CONFIG = 78;

let world: World;
beforeAll(async () => {
  world = await World.create();
  await world.startApi();
});
afterAll(() => world.close());

describe('bill serve, worker and migrate in an environment that cannot be used', () => {
  const WRONG = {
    DATABASE_URL: 'mysql://root:password-of-the-database@db/bill',
    STRIPE_SECRET_KEY: 'pk_live_public_key_by_mistake',
    KMS_BASE_URL: 'litellm:4000',
    WEBHOOK_HMAC_SECRETS: 'tooshrt',
    PORT: 'eighty',
    LOG_LEVEL: 'loud',
    NOTIFY_WEBHOOK_URL: 'https://example.com/hook',
  };
  const OF_MIGRATE = ['DATABASE_URL', 'LOG_LEVEL'];
  const OF_WORKER = [...OF_MIGRATE, 'STRIPE_SECRET_KEY', 'KMS_BASE_URL', 'KMS_API_KEY'];
  const COMPLAINTS = {
    migrate: OF_MIGRATE,
    worker: OF_WORKER,
    serve: [...OF_WORKER, 'WEBHOOK_HMAC_SECRETS', 'ADMIN_API_KEY', 'PORT', 'NOTIFY_WEBHOOK_SECRET'],
  };

  test.each(['serve', 'worker', 'migrate'] as const)(
    'bill %s lists all the problems of what it uses at once, shows no value, and ends with 78',
    async (command) => {
      const ended = await runBill([command], WRONG);
      expect([ended.code, ended.out]).toEqual([EX_CONFIG, '']);
      const listed = ended.err.split('\n').flatMap((line) => /^ {2}([A-Z_]+) /.exec(line)?.[1] ?? []);
      expect(listed.sort()).toEqual([...COMPLAINTS[command]].sort());
      for (const value of ['password-of-the-database', WRONG.STRIPE_SECRET_KEY, WRONG.WEBHOOK_HMAC_SECRETS])
        expect(ended.err).not.toContain(value);
    },
  );

  test('and with nothing set at all', async () => {
    const ended = await runBill(['serve'], {});
    expect(ended.code).toBe(EX_CONFIG);
    expect(ended.err).toMatch(/DATABASE_URL.*STRIPE_SECRET_KEY.*KMS_BASE_URL.*KMS_API_KEY.*ADMIN_API_KEY.*WEBHOOK_HMAC_SECRETS/s);
  });
});

describe('bill migrate', () => {
  test('makes the tables of an empty database, though two are started at once', async () => {
    const databaseUrl = await createDatabase(`${world.name}_empty`);
    // Its schedules start runs that nobody works on: those of this world would charge its organizations.
    const { TEMPORAL_ADDRESS = '', LOG_LEVEL = '' } = world.env;
    const env = { TEMPORAL_ADDRESS, LOG_LEVEL, DATABASE_URL: databaseUrl, TEMPORAL_TASK_QUEUE: `${world.name}-empty` };
    const migrate = () => runBill(['migrate'], env);
    const ended = await Promise.all([migrate(), migrate()]);
    expect(ended.map(({ code, err }) => [code, err])).toEqual(Array(2).fill([0, '']));
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    const { rows } = await client.query(
      `select to_regclass('webhook_event') is not null as inbox, to_regclass('ledger_transfer') is not null as ledger`,
    );
    await client.end();
    expect(rows).toEqual([{ inbox: true, ledger: true }]);
    const schedules = await Promise.all(
      ['balance-sweep', 'reconcile', 'retention', 'team-sync'].map((id) => world.temporal.schedule.getHandle(id).describe()),
    );
    expect(schedules.map(({ spec }) => spec.intervals?.[0]?.every)).toEqual([60_000, 3_600_000, 86_400_000, 900_000]);
    await Promise.all(schedules.map(({ scheduleId }) => world.temporal.schedule.getHandle(scheduleId).delete()));
  });

  test('says which database it uses, without the password', async () => {
    const port = await freePort();
    const env = { ...world.env, DATABASE_URL: `postgres://bill:a-password@127.0.0.1:${port}/bill`, LOG_LEVEL: 'info' };
    const { out } = await runBill(['migrate'], env);
    const [line = '{}'] = out.split('\n');
    expect(JSON.parse(line)).toMatchObject({ database: `bill at 127.0.0.1:${port} (DATABASE_URL of the environment)` });
  });

  test('ends with 1 and says why when there is no PostgreSQL', async () => {
    const port = await freePort();
    const ended = await runBill(['migrate'], { ...world.env, DATABASE_URL: `postgres://bill:a-password@127.0.0.1:${port}/bill` });
    expect(ended.code).toBe(1);
    expect(ended.err).toBe(
      `bill: PostgreSQL cannot be reached (nothing listens at 127.0.0.1:${port}): start it, or correct DATABASE_URL; bill doctor checks it\n`,
    );
    expect(ended.err + ended.out).not.toContain('a-password');
  });
});

test('bill serve ends with 1 when its port is taken', async () => {
  const ended = await runBill(['serve'], { ...world.env, PORT: new URL(world.apiUrl).port });
  expect(ended).toMatchObject({ code: 1, err: expect.stringMatching(/^bill: .*EADDRINUSE/) });
});

test('bill worker --check asks for no setting but those of Temporal, as a worker has no others', async () => {
  const { TEMPORAL_ADDRESS = '' } = world.env;
  const ended = await runBill(['worker', '--check'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE: 'nobodys-queue' });
  expect(ended).toMatchObject({ code: 1, err: expect.stringContaining('workers of nobodys-queue') });
});

describe('bill serve, when it has just started,', () => {
  const processes = new Processes();
  afterAll(() => processes.killAll());

  test('has collected what loading it has left behind', async () => {
    const metrics = await freePort();
    await processes.start('serve', world, { PORT: '0', METRICS_PORT: String(metrics) });
    const { data } = await axios.get<string>(`http://127.0.0.1:${metrics}/metrics`);
    const [, young] = /^nodejs_heap_space_size_total_bytes\{space="new".*\} (\d+)/m.exec(data) ?? [];
    // 32 MiB where nothing collects it.
    expect(Number(young) / 2 ** 20).toBeLessThanOrEqual(16);
  });
});

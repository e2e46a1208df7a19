/**
 * The servers that a `bill` command works with: which ones it asks and who said so, what it starts there, and what it says
 * when one is wrong or does not answer.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort } from '../../sandbox/ports.ts';
import { RECHARGED } from '../support/books.ts';
import { ALWAYS, HOLD, UNAVAILABLE } from '../support/faults.ts';
import { Operator } from '../support/operator.ts';
import { runBill, startBillCommand } from '../support/processes.ts';
import { ADMIN_API_KEY, type Organization, World } from '../support/world.ts';

/** sysexits.h EX_CONFIG. */
const EX_CONFIG = 78;

let world: World;
let organization: Organization;
let operator: Operator;

beforeAll(async () => {
  world = await World.start();
  ({ organization } = await world.recharged());
  operator = new Operator(world);
});
afterAll(() => world.close());

describe('the way to the service', () => {
  test('is PUBLIC_URL, with a slash at its end or not, or else HOST and PORT', async () => {
    const { hostname, port } = new URL(world.apiUrl);
    const ended = await Promise.all([
      operator.bill(['webhook', 'send', '--team', organization.teamId, '--json'], { PUBLIC_URL: `${world.apiUrl}/` }),
      operator.bill(['org', 'list', '--json'], { PUBLIC_URL: '', HOST: hostname, PORT: port }),
    ]);
    expect(ended).toMatchObject(ended.map(() => ({ code: 0, err: '' })));
  });

  test('that leads nowhere, or to a service with another key, is told in a sentence', async () => {
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    const [unreachable, refused] = await Promise.all([
      operator.bill(['org', 'list'], { PUBLIC_URL: nowhere }),
      operator.bill(['org', 'list'], { ADMIN_API_KEY: 'wrong-key-of-somebody' }),
    ]);
    expect(unreachable).toMatchObject({ code: 1, out: '' });
    const { host } = new URL(nowhere);
    expect(unreachable.err).toBe(
      `bill: the service does not answer at ${nowhere}: nothing listens at ${host}. Start it (npm start, or bill serve), or set PUBLIC_URL to where it is\n`,
    );
    expect(refused).toMatchObject({ code: EX_CONFIG, out: '' });
    expect(refused.err).toMatch(/^bill: The request is not authentic: .*set ADMIN_API_KEY to the one of the service.*\n$/);
    expect(refused.err).not.toContain('wrong-key-of-somebody');
  });
});

describe('--help', () => {
  test.each<[string, string[], RegExp]>([
    ['bill', [], /Usage: bill .*dev.*serve.*worker.*migrate.*org.*recharges.*events.*webhook.*sweep/s],
    ['bill org', ['org'], /Usage: bill org .*add.*list.*show.*set.*suspend.*resume/s],
    ['bill org add', ['org', 'add'], /Usage: bill org add .*--customer.*--team|--team.*--customer/s],
    ['bill serve', ['serve'], /Usage: bill serve/],
  ])('of %s needs no environment and ends with 0', async (_command, args, expected) => {
    const ended = await runBill([...args, '--help'], {});
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(ended.out).toMatch(expected);
  });

  test('is shown after a command that is none, with 2', async () => {
    const ended = await runBill(['charge-everybody'], {});
    expect(ended).toMatchObject({ code: 2, out: '' });
    expect(ended.err).toMatch(/^error: unknown command 'charge-everybody'\n\(--help lists what there is\)\n$/);
  });
});

test('bill reconcile shows what differs, and ends with 3 until it is settled', async () => {
  const { TEMPORAL_ADDRESS = '', TEMPORAL_TASK_QUEUE = '' } = world.env;
  const reconcile = () => operator.bill(['reconcile'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE });
  const held = await world.organization();
  const { data: hold } = await world.admin.post('/api/v1/holds', { scope: 'organization', subject: held.id, reason: 'look first' });
  expect(await reconcile()).toMatchObject({ code: 3, out: expect.stringContaining(`bill release ${hold.id} "reason"`) });
  expect((await reconcile()).out).toMatch(/^kind +organization +subject +seen +expected +settled$/m);
  await world.admin.post(`/api/v1/holds/${hold.id}/release`, { reason: 'looked', by: 'ada' });
  expect(await reconcile()).toMatchObject({ code: 0, out: expect.stringContaining('0 findings') });
});

describe('bill sweep', () => {
  test('reports what has run low, and says so, and says which team was made and never used', async () => {
    const low = await world.organization();
    const unused = await world.organization({ budget: 0, spend: 0, settings: { create_team: true } });
    const { TEMPORAL_ADDRESS = '', TEMPORAL_TASK_QUEUE = '' } = world.env;
    const ended = await operator.bill(['sweep'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE });
    expect(ended.code).toBe(0);
    const [, workflowId = ''] =
      /^(balance-sweep\/by-hand-\d+) runs at Temporal \S+ \(TEMPORAL_ADDRESS of the environment\)$/m.exec(ended.err) ?? [];
    expect(ended.err).toContain(
      `Ctrl-C ends this command alone, and the run goes on; later: temporal workflow result --workflow-id ${workflowId} --address ${TEMPORAL_ADDRESS} --namespace default\n`,
    );
    const [, eventId = ''] = new RegExp(`${low.id} +balance_low +-0\\.50 USD +(evt_\\w+)`).exec(ended.out) ?? [];
    expect(ended.out).toMatch(/^\d+ teams? looked at, \d+ of them ours, \d+ reported, 0 waiting after failed attempts$/m);
    expect(ended.out).toMatch(new RegExp(`^not charged, because their teams were made for them and never used: ${unused.id}$`, 'm'));
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('prints keys as the API has them with --json', async () => {
    const { TEMPORAL_ADDRESS = '', TEMPORAL_TASK_QUEUE = '' } = world.env;
    const low = await world.organization();
    const [sweep, reconcile] = [
      await operator.bill(['sweep', '--json'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE }),
      await operator.bill(['reconcile', '--json'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE }),
    ];
    expect([sweep.err, reconcile.err]).toEqual(['', '']);
    expect(JSON.parse(sweep.out).reported).toContainEqual(expect.objectContaining({ organization_id: low.id, event_type: 'balance_low' }));
    for (const { out } of [sweep, reconcile]) expect(out).not.toMatch(/"\w*[A-Z]\w*":/);
  });

  test('that is interrupted leaves its run to go on, as it says', async () => {
    const { TEMPORAL_ADDRESS = '', TEMPORAL_TASK_QUEUE = '' } = world.env;
    const read = await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: HOLD });
    const env = { ADMIN_API_KEY, PUBLIC_URL: world.apiUrl, TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE };
    const { child, ended } = startBillCommand(['sweep'], env);
    await read.struck();
    child.kill('SIGINT');
    const [, workflowId = ''] = /^(balance-sweep\/by-hand-\d+) runs at/m.exec((await ended).err) ?? [];
    await read.remove();
    const result = await world.temporal.workflow.getHandle(workflowId).result();
    expect(result).toMatchObject({ teams: expect.any(Number) });
  });

  test('says where Temporal was looked for, and which setting says so, when it is not there', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    expect(await operator.bill(['sweep'], { TEMPORAL_ADDRESS: address })).toEqual({
      code: 1,
      out: '',
      err: `bill: Temporal cannot be reached at ${address} (nothing listens at ${address}): start it, or correct TEMPORAL_ADDRESS; bill doctor checks it\n`,
    });
  });

  test('ends with 1 and the reason when LiteLLM is unavailable', async () => {
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
    const { TEMPORAL_ADDRESS = '', TEMPORAL_TASK_QUEUE = '' } = world.env;
    const ended = await operator.bill(['sweep', '--json'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE });
    await world.clearFaults();
    expect(ended).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/^bill: balance-sweep has failed: .*LiteLLM answered 503/),
    });
  });
});

describe('bill ledger verify', () => {
  test('prints what it has verified, as JSON too, and ends with 3 when it finds something', async () => {
    const DATABASE_URL = world.env['DATABASE_URL'] ?? '';
    const verify = (...args: string[]) => operator.bill(['ledger', 'verify', '--org', organization.id, ...args], { DATABASE_URL });
    const { hostname, port, pathname } = new URL(DATABASE_URL);
    const at = `${pathname.slice(1)} at ${hostname}:${port}`;
    const out = `2 transfers verified, 0 faults, in the database ${at} (DATABASE_URL of the environment)\n`;
    expect(await verify()).toEqual({ code: 0, out, err: '' });
    const database = { setting: 'DATABASE_URL', at, origin: 'the environment', elsewhere: null };
    expect(JSON.parse((await verify('--json')).out)).toEqual({ database, transfers: 2, faults: [] });
    const chain = 'update organization_balance_config set ledger_hash = $2 where c_organization_id = $1 returning ledger_hash';
    const { rows } = await world.sql.query('select ledger_hash from organization_balance_config where c_organization_id = $1', [
      organization.id,
    ]);
    await world.sql.query(chain, [organization.id, 'f'.repeat(64)]);
    const found = await verify('--json');
    await world.sql.query(chain, [organization.id, rows[0].ledger_hash]);
    expect(found.code).toBe(3);
    expect(JSON.parse(found.out).faults).toEqual([
      { organization_id: organization.id, sequence: expect.any(Number), transfer_id: null, fault: expect.any(String) },
    ]);
  });
});

describe('beside an npm start that runs here and uses other servers', () => {
  const DEV = { PUBLIC_URL: 'http://127.0.0.1:9', DATABASE_URL: 'postgres://bill:its-password@127.0.0.1:15432/dev', pid: process.pid };
  const address = () => world.env['DATABASE_URL'] ?? '';
  const file = (name: string, text: string) => {
    const path = join(mkdtempSync(join(tmpdir(), 'bill-dev-')), name);
    writeFileSync(path, text);
    return path;
  };
  const beside = (dev: object) => ({ BILL_DEV_FILE: file('dev.json', JSON.stringify(dev)) });

  test('ledger verify warns which database it reads, who said so, and which one the running service has', async () => {
    const fromFile = beside(DEV);
    const ended = await runBill(['ledger', 'verify'], fromFile, [`--env-file=${file('.env', `DATABASE_URL=${address()}\n`)}`]);
    expect(ended.err).toMatch(
      /^warning: this reads the database \S+ at \S+ \(DATABASE_URL of \.env\); the npm start that runs here uses another, dev at 127\.0\.0\.1:15432: take DATABASE_URL out of \.env to look at that one\.\n$/,
    );
    expect(ended.out + ended.err).not.toContain('its-password');
    const set = await operator.bill(['ledger', 'verify'], { DATABASE_URL: address(), ...beside(DEV) });
    expect(set.err).toMatch(/\(DATABASE_URL of the environment\);.*: unset DATABASE_URL to look at that one\.\n$/);
  });

  test('nothing is warned of when it is the same one, or when the process of the file has ended', async () => {
    const same = address().replace('127.0.0.1', 'localhost');
    const quiet = { DATABASE_URL: address() };
    expect((await operator.bill(['ledger', 'verify'], { ...quiet, ...beside({ ...DEV, DATABASE_URL: same }) })).err).toBe('');
    const { child, ended } = startBillCommand(['completion', 'bash'], {});
    await ended;
    expect((await operator.bill(['ledger', 'verify'], { ...quiet, ...beside({ ...DEV, pid: child.pid }) })).err).toBe('');
  });

  test('without a DATABASE_URL it is the one of the running service', async () => {
    const ended = await runBill(['ledger', 'verify'], beside({ ...DEV, DATABASE_URL: address() }));
    expect(ended).toMatchObject({ code: 0, err: '', out: expect.stringContaining('(DATABASE_URL of the running npm start)') });
  });

  test('a command that calls the API warns of another service, and prints nothing beside JSON', async () => {
    const list = (...args: string[]) => operator.bill(['org', 'list', ...args], beside(DEV));
    expect((await list()).err).toBe(
      `warning: this asks the service at ${world.apiUrl} (PUBLIC_URL of the environment); the npm start that runs here uses another, http://127.0.0.1:9: unset PUBLIC_URL to look at that one.\n`,
    );
    expect((await list('--json')).err).toBe('');
  });

  test('doctor says of each server which one is asked and who said so, and which one the running service has', async () => {
    const ended = await runBill(['doctor', '--json'], { ...world.env, PUBLIC_URL: world.apiUrl, ...beside(DEV) });
    const asked = JSON.parse(ended.out).readings.filter(({ check }: { check: string }) => check === 'asked');
    expect(asked.map(({ area, verdict }: { area: string; verdict: string }) => [area, verdict])).toEqual([
      ['database', 'note'],
      ['Temporal', 'ok'],
      ['Stripe', 'ok'],
      ['LiteLLM', 'ok'],
      ['API', 'note'],
    ]);
    expect(asked[0].seen).toMatch(/^\S+ at \S+ \(DATABASE_URL of the environment\); the npm start that runs here uses another, dev at /);
    expect(asked[0].advice).toBe('unset DATABASE_URL to look at that one');
    expect(asked[2].seen).toBe(`${world.env['STRIPE_API_BASE']} (STRIPE_API_BASE of the environment)`);
    expect(ended.out).not.toContain('its-password');
  });
});

describe('bill doctor', () => {
  test('says what is well and what has to be changed, and ends with 3 when something has', async () => {
    // Schedules of another task queue, or none: no worker of this world runs them.
    const env = { ...world.env, PUBLIC_URL: world.apiUrl };
    const [ended, machine] = await Promise.all([runBill(['doctor'], env), runBill(['doctor', '--json'], env)]);
    expect([ended.code, machine.code]).toEqual([3, 3]);
    expect(ended.out).toMatch(/^ok {6}database migrations +all applied$/m);
    expect(ended.out).toMatch(/^CHANGE {2}Temporal schedule reconcile .*\n +→ run: bill migrate$/m);
    expect(ended.out).toMatch(/\n\d+ of \d+ checks (has|have) found something to change\.\n$/);
    const { readings } = JSON.parse(machine.out);
    expect(readings).toContainEqual({ area: 'database', check: 'migrations', verdict: 'ok', seen: 'all applied', advice: null });
    for (const secret of [world.env['STRIPE_SECRET_KEY'], world.env['KMS_API_KEY'], ADMIN_API_KEY])
      expect(ended.out + machine.out).not.toContain(secret);
  });
});

describe('bill sync', () => {
  test('starts a run, waits for it, and shows what differed and what was done', async () => {
    const { id, teamId } = await world.organization({ settings: { auto_recharge_enabled: false } });
    await world.editTeam(teamId, { team_alias: 'another name' });
    const planned = await operator.bill(['sync', '--org', id, '--dry-run', '--wait']);
    expect(planned).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+ teams? looked at, 1 organization compared, 1 difference, /),
    });
    expect(planned.out).toMatch(new RegExp(`name_differs +${teamId} +${id} +another name +rename planned`));
    expect((await operator.bill(['sync', '--org', id, '--wait'])).out).toContain('rename done');
    expect(await operator.bill(['sync', '--org', id, '--wait'])).toMatchObject({ code: 0, out: expect.stringContaining('0 differences') });
    await world.kms.post('/team/update', { team_id: teamId, budget_duration: '30d' });
    const left = await operator.bill(['sync', '--org', id, '--wait']);
    expect(left).toMatchObject({ code: 3, out: expect.stringContaining('needs_person') });
  });

  test('without --wait says which run it has started', async () => {
    const ended = await operator.bill(['sync']);
    const later =
      /^(syn_\w+) has been started\nhttp:.*team-sync.*\nlater: curl "\$PUBLIC_URL\/api\/v1\/sync\/\1" -H "Authorization: Bearer \$ADMIN_API_KEY"\n$/;
    expect(ended).toMatchObject({ code: 0, err: '', out: expect.stringMatching(later) });
    expect((await operator.bill(['sync', '--wait'])).err).toMatch(
      /^(syn_\w+) has been started\. Ctrl-C ends this command alone, and the run goes on; later: curl "\$PUBLIC_URL\/api\/v1\/sync\/\1" /,
    );
    const { out, err } = await operator.bill(['sync', '--wait', '--json']);
    expect(err).toBe('');
    expect(JSON.parse(out)).toMatchObject({ status: 'succeeded' });
  });
});

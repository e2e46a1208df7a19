/**
 * The `bill` commands, each a process of its own as an operator runs it: what it prints, what it does, what
 * it ends with.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort } from '../../sandbox/ports.ts';
import { HMAC_SECRET } from '../support/alerts.ts';
import { HELD, RECHARGED, SUCCEEDED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS, HOLD, UNAVAILABLE } from '../support/faults.ts';
import { type Ended, runBill, startBillCommand } from '../support/processes.ts';
import { ADMIN_API_KEY, type Organization, SOME_CUSTOMER, World } from '../support/world.ts';

/** sysexits.h EX_CONFIG. */
const EX_CONFIG = 78;

let world: World;
let organization: Organization;
let rechargedBy: string;

beforeAll(async () => {
  world = await World.start();
  ({ organization, eventId: rechargedBy } = await world.recharged());
});
afterAll(() => world.close());

/** A command of an operator who has set what the service's address and keys are. */
function bill(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return runBill(args, { PUBLIC_URL: world.apiUrl, ADMIN_API_KEY, WEBHOOK_HMAC_SECRETS: HMAC_SECRET, ...env });
}

/** What a command that has to succeed prints with `--json`. */
async function billJson(...args: string[]): Promise<Record<string, unknown>> {
  const ended = await bill([...args, '--json']);
  expect(ended).toMatchObject({ code: 0, err: '' });
  return JSON.parse(ended.out);
}

describe('bill org', () => {
  const settings = ['--customer', SOME_CUSTOMER, '--minimum', '2.00', '--target', '20.00'];

  test('add makes an organization, show shows all of it, set changes it, and list lists it', async () => {
    const options = ['--team', 'cli-team', '--create-team', '--name', 'Acme & Co', '--currency', 'eur', '--quota-per-unit', '1.10'];
    const added = await billJson(
      'org',
      'add',
      'cli-acme',
      ...settings,
      ...options,
      '--auto-recharge',
      'off',
      '--max-daily',
      '3',
      '--time-zone',
      'Europe/Berlin',
    );
    expect(added).toMatchObject({
      c_organization_id: 'cli-acme',
      stripe_customer_id: SOME_CUSTOMER,
      litellm_team_id: 'cli-team',
      minimum_balance: '2.00',
      target_balance: '20.00',
      name: 'Acme & Co',
      currency: 'eur',
      quota_per_unit: '1.10',
      auto_recharge_enabled: false,
      max_daily_recharges: 3,
      time_zone: 'Europe/Berlin',
      create_team: true,
    });
    expect(added['warnings']).toEqual([expect.stringContaining('makes it with max_budget 0')]);
    expect(await billJson('org', 'show', 'cli-acme')).toEqual({ ...added, warnings: [] });

    const changed = await billJson(
      'org',
      'set',
      'cli-acme',
      '--auto-recharge',
      'on',
      '--target',
      '50',
      '--max-daily',
      '0',
      '--blocked',
      'on',
    );
    expect(changed).toEqual({
      ...added,
      state: 'limit_reached',
      why: expect.stringContaining('max_daily_recharges is 0'),
      auto_recharge_enabled: true,
      target_balance: '50.00',
      max_charge: '136.38',
      max_daily_amount: '454.60',
      max_monthly_amount: '909.20',
      max_daily_recharges: 0,
      warnings: [expect.stringContaining('max_daily_recharges is 0'), expect.stringContaining('blocked is true')],
      blocked: true,
      updated_at: expect.any(String),
    });
    expect(await billJson('org', 'list')).toMatchObject({
      data: [{ c_organization_id: 'cli-acme' }, { c_organization_id: organization.id }],
      next_cursor: null,
    });
  });

  test('--dry-run shows what would be, and stores nothing', async () => {
    const added = [
      'org',
      'add',
      'cli-rehearsed',
      '--customer',
      organization.customerId,
      '--minimum',
      '2',
      '--target',
      '20',
      '--create-team',
    ];
    const [add, set] = [await bill([...added, '--dry-run']), await bill(['org', 'set', organization.id, '--target', '50', '--dry-run'])];
    for (const { code, err } of [add, set]) expect([code, err]).toEqual([0, expect.stringContaining('Nothing was stored (--dry-run).')]);
    expect(add.out).toMatch(/^c_organization_id +cli-rehearsed$/m);
    expect(add.out).toMatch(/^currency +usd\nquota_per_unit +1\.00 USD\nmax_charge +60\.00 USD\nmax_daily_amount +200\.00 USD$/m);
    expect(set.out).toMatch(/target_balance +20\.00 USD → 50\.00 USD/);
    expect((await bill(['org', 'show', 'cli-rehearsed'])).code).toBe(2);
    expect((await billJson('org', 'show', organization.id))['target_balance']).toBe('20.00');
  });

  test('prints for people without --json: a line a field, or a table', async () => {
    const [shown, listed] = await Promise.all([bill(['org', 'show', organization.id]), bill(['org', 'list', '--limit', '1'])]);
    expect(shown.out).toMatch(new RegExp(`^c_organization_id +${organization.id}$`, 'm'));
    expect(shown.out).toMatch(/^holds +/m);
    expect(shown.out).toMatch(/^balance +20\.00 USD \(\d+ (s|minutes?) ago\)$/m);
    const [header, row, , more] = listed.out.split('\n');
    expect(header?.split(/ +/).slice(0, 5)).toEqual(['c_organization_id', 'state', 'balance', 'litellm_team_id', 'stripe_customer_id']);
    expect(row).toMatch(/^cli-acme +limit_reached +- +cli-team +cus_Somebody /);
    expect(more).toMatch(/^more: bill org list --limit 1 --cursor [\w-]+$/);
  });

  test('set, suspend and resume show what they change, and setting nothing is wrong usage', async () => {
    const { id } = await world.organization({ settings: { auto_recharge_enabled: false } });
    const set = await bill(['org', 'set', id, '--target', '50', '--max-daily', '3']);
    expect(set).toMatchObject({ code: 0, err: '' });
    const lines = set.out.split('\n').map((line) => line.trim().replace(/ +/g, ' '));
    expect(lines).toEqual([
      id,
      'target_balance 20.00 USD → 50.00 USD',
      'max_daily_recharges 10 → 3',
      'max_charge 60.00 USD → 150.00 USD',
      'max_daily_amount 200.00 USD → 500.00 USD',
      'max_monthly_amount 400.00 USD → 1000.00 USD',
      '',
    ]);
    expect((await bill(['org', 'set', id, '--max-daily', '3'])).out).toBe(`${id}: nothing has changed\n`);
    expect((await bill(['org', 'suspend', id, '--reason', 'unpaid'])).out).toMatch(/\n +holds +none → operator: unpaid \(hld_\w+\)\n$/);
    const again = () => bill(['org', 'suspend', id, '--reason', 'fraud']);
    expect((await again()).out).toMatch(/\n +holds +operator: unpaid \(hld_\w+\) → operator: unpaid; \S+: fraud \(hld_\w+\)\n$/);
    expect((await again()).out).toMatch(
      new RegExp(
        `^${id}: it is suspended already, by \\S+ since \\S+Z: unpaid; \\S+: fraud \\(hld_\\w+\\)\\. That stays; another --reason is added to it\n$`,
      ),
    );
    expect((await bill(['org', 'resume', id])).out).toMatch(/\n +holds +operator: unpaid; \S+: fraud \(hld_\w+\) → none\n$/);
    expect((await bill(['org', 'resume', id])).out).toBe(`${id}: nothing has changed: it was not held\n`);
    const until = new Date(Date.now() + 3_600_000).toISOString();
    await world.admin.post('/api/v1/holds', { scope: 'organization', subject: id, reason: 'for an hour', until });
    expect((await bill(['org', 'suspend', id])).out).toMatch(
      /: for an hour \(hld_\w+\)\. That lasts until it is released from now on; another --reason is added to it/,
    );
    await bill(['org', 'resume', id]);
    expect(await bill(['org', 'set', id])).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/^bill: nothing to set: /) });
  });

  test('suspend stops the charging, and resume lets it go on', async () => {
    const stopped = await world.organization();
    expect(await billJson('org', 'suspend', stopped.id, '--reason', 'unpaid')).toMatchObject({
      holds: [{ reason: 'operator', detail: 'unpaid' }],
    });
    expect(await world.alerted(stopped)).toEqual(HELD);
    expect(await billJson('org', 'resume', stopped.id)).toMatchObject({ holds: [] });
    expect(await world.alerted(stopped)).toEqual(RECHARGED);
    await expectChargedOnce(world, stopped);
  });

  test('tells what is wrong, with 2 for a wrong name or value, and nothing on standard output', async () => {
    const ended = await Promise.all([
      bill(['org', 'add', organization.id, ...settings, '--team', 'another-team', '--create-team']),
      bill(['org', 'add', 'cli-mistyped', ...settings, '--team', `${organization.teamId}x`]),
      bill(['org', 'add', 'cli-wrong', '--team', 't', '--customer', 'acct_1', '--minimum', '5', '--target', 'lots']),
      bill(['org', 'show', 'nobody', '--json']),
      bill(['org', 'show', '../recharges', '--json']),
    ]);
    expect(ended.map(({ code, out }) => [code, out])).toEqual([2, 2, 2, 2, 2].map((code) => [code, '']));
    expect(ended.map(({ err }) => err.trim())).toEqual([
      expect.stringMatching(/^bill: .*an organization with this id exists: bill org set changes it$/),
      expect.stringMatching(
        `^bill: .*litellm_team_id \\(--team\\): LiteLLM has no team ${organization.teamId}x; it has ${organization.teamId} .*--create-team`,
      ),
      expect.stringMatching(/^bill: .*stripe_customer_id \(--customer\): .*target_balance \(--target\): /),
      expect.stringMatching(/^bill: .*there is no organization nobody; there are .*cli-acme/),
      expect.stringMatching(/^bill: .*there is no organization \.\.\/recharges; /),
    ]);
  });

  test('calls a setting what its flag is called, in what is refused and in what is warned of', async () => {
    const { id } = await world.organization({ settings: { max_daily_amount: '100.00', max_monthly_amount: '500.00' } });
    const [currency, never] = [await bill(['org', 'set', id, '--currency', 'eur']), await bill(['org', 'set', id, '--max-daily', '0'])];
    const limit = (field: string, flag: string) => `${field} (${flag}): is in USD so far: give it in EUR too, or "default"`;
    expect(currency).toMatchObject({ code: 2, out: '' });
    for (const said of [
      limit('max_daily_amount', '--max-daily-amount'),
      limit('max_monthly_amount', '--max-monthly'),
      'quota_per_unit (--quota-per-unit): is 1.00 for one USD so far',
    ])
      expect(currency.err).toContain(said);
    expect(never.err).toMatch(/^warning: max_daily_recharges \(--max-daily\) is 0, so nothing is ever charged/);
  });

  test('refuses options that it would have to guess about', async () => {
    const before = (await world.admin.get(`/api/v1/organizations/${organization.id}`)).data;
    const ended = await Promise.all([
      bill(['org', 'set', organization.id, '--auto-recharge', 'yes']),
      bill(['org', 'set', organization.id, '--max-daily', 'many']),
      bill(['org', 'add', 'cli-incomplete', '--team', 't']),
    ]);
    expect(ended.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(ended.map(({ err }) => err.split('\n')[0])).toEqual([
      expect.stringMatching(/'yes' is invalid.*on, off/),
      expect.stringMatching(/'many' is invalid/),
      expect.stringMatching(/required option '--customer/),
    ]);
    expect((await world.admin.get(`/api/v1/organizations/${organization.id}`)).data).toEqual(before);
  });
});

describe('bill recharges and bill events', () => {
  test('list what the API lists, filtered', async () => {
    const [recharges, declined, events] = await Promise.all([
      billJson('recharges', organization.id, '--limit', '5'),
      billJson('recharges', organization.id, '--status', 'declined'),
      billJson('events', '--org', organization.id, '--outcome', SUCCEEDED),
    ]);
    expect(recharges).toMatchObject({
      data: [{ organization_id: organization.id, status: 'succeeded', amount: '20.50' }],
      next_cursor: null,
    });
    expect(declined).toEqual({ data: [], next_cursor: null });
    expect(events).toMatchObject({ data: [{ id: rechargedBy, ...RECHARGED }], next_cursor: null });
  });

  test('are tables for people, and say so when there is nothing', async () => {
    const [recharges, none] = await Promise.all([
      bill(['recharges', organization.id]),
      bill(['recharges', organization.id, '--status', 'declined']),
    ]);
    expect(recharges.out).toMatch(
      /^created_at +organization_id +amount +status +quota_before +quota_after +reason +id\n.* 20\.50 USD +succeeded +10\.00 USD +30\.50 USD +- +rch_/,
    );
    expect(none).toMatchObject({ code: 0, out: 'nothing there\n' });
  });

  test.each<[string[], RegExp]>([
    [['recharges', '--status', 'rich'], /status: has to be one of reserved, .*\(given: "rich"\)/],
    [['recharges', '--needs-attention', '--status', 'declined'], /'--needs-attention' cannot be used with option '--status/],
    [['recharges', '--limit', '1000'], /limit: may be at most 200 \(given: "1000"\)/],
    [['recharges', 'nope'], /organization_id: there is no organization nope; there are /],
    [['recharges', ''], /an argument is empty/],
    [['org', 'show', ''], /an argument is empty: is a variable not set/],
    [['org', 'add', ''], /an argument is empty: is a variable not set/],
    [['status', '--org', ''], /an argument is empty/],
    [['sync', '--org', ''], /an argument is empty/],
    [['reversals', 'nope'], /there is no organization nope/],
    [['holds', 'nope'], /there is no organization nope/],
    [['outbound', '--org', 'nope'], /there is no organization nope/],
    [['outbound', '--type', 'bogus'], /type: has to be one of .*recharge\.succeeded/],
    [['events', '--org', 'nope'], /there is no organization nope/],
    [['events', '--outcome', 'bogus'], /outcome: has to be one of succeeded, /],
    [['events', '--team', 'nope'], /no organization has the LiteLLM team nope/],
    [['org', 'list', '--cursor', 'blah'], /cursor: is not a cursor of this list/],
    [['events', '--cursor', 'blah'], /cursor: is not a cursor of this list/],
    [['hold', 'nope', 'a reason'], /there is no organization nope/],
    [['recharges', 'show', ''], /an argument is empty/],
    [['release', 'nope', 'a reason'], /there is no hold nope/],
    [['sync', '--org', 'nope'], /organization_ids: there is no organization nope/],
    [['ledger', 'verify', '--org', 'nope'], /there is no organization nope; there are /],
  ])('a mistyped name, value or cursor is wrong usage: %j', async (args, said) => {
    const ended = await bill(args, { DATABASE_URL: world.env['DATABASE_URL'] ?? '' });
    expect(ended).toMatchObject({ code: 2, out: '', err: expect.stringMatching(said) });
  });
});

describe('bill webhook send', () => {
  test('posts a signed alert, which is handled like any other', async () => {
    const short = await world.organization();
    const sent = await billJson('webhook', 'send', '--team', short.teamId);
    expect(sent).toEqual({ event_id: expect.stringMatching(/^evt_/), status: 'accepted' });
    expect(await world.closed(String(sent['event_id']))).toEqual(RECHARGED);
    await expectChargedOnce(world, short);
  });

  test('says what is charged for it, or why nothing is', async () => {
    const [short, full] = [await world.organization(), await world.organization({ spend: 0 })];
    const [due, none] = await Promise.all([short, full].map(({ teamId }) => bill(['webhook', 'send', '--team', teamId])));
    const [, eventId = ''] = /^event_id +(evt_\w+)$/m.exec(due?.out ?? '') ?? [];
    const follow = `bill events show ${eventId} says what has become of it\n`;
    expect(due).toMatchObject({ code: 0, err: `the balance is -0.50 USD, so 20.50 USD is charged now; ${follow}` });
    expect(none?.err).toMatch(/^nothing is charged: the balance is above the minimum; bill events show evt_/);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('says of an event that asks for nothing why nothing follows', async () => {
    const { teamId } = await world.organization();
    const sent = await bill(['webhook', 'send', '--team', teamId, '--event', 'key_created']);
    expect(sent).toMatchObject({ code: 0, out: expect.stringMatching(/^status +ignored$/m) });
    expect(sent.err).toMatch(/^nothing is charged: key_created asks for nothing, so it is stored and that is all; bill events show evt_/);
  });

  test('of a team that no organization has is wrong usage, and sends nothing', async () => {
    const ended = await bill(['webhook', 'send', '--team', 'nobodys-typo']);
    expect(ended).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/^bill: no organization has .*nobodys-typo: .*Nothing was sent/),
    });
    expect((await world.sql.query("select from webhook_event where team_id = 'nobodys-typo'")).rows).toEqual([]);
  });

  test('--dry-run says what it would lead to, and sends none', async () => {
    const short = await world.organization();
    const dry = (...args: string[]) => bill(['webhook', 'send', '--dry-run', '--team', ...args]);
    const [due, ignored, unknown] = await Promise.all([dry(short.teamId), dry(short.teamId, '--event', 'key_created'), dry('nobodys')]);
    expect(due).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/^would +charge\namount +20\.50 USD$/m) });
    expect(ignored.out).toMatch(/^reason +ignored$/m);
    expect(unknown).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/^bill: no organization has the LiteLLM team nobodys: /),
    });
    const { rows } = await world.sql.query('select from webhook_event where team_id = any($1)', [[short.teamId, 'nobodys']]);
    expect(rows).toEqual([]);
  });

  test('sends what it is told to, signed with the first secret of the list', async () => {
    const { teamId } = await world.organization({ spend: 0 });
    const told = ['--team', teamId, '--event', 'soft_budget_crossed', '--spend', '7.5', '--budget', '8'];
    const { code, out } = await bill(['webhook', 'send', ...told, '--json'], { WEBHOOK_HMAC_SECRETS: ` ,${HMAC_SECRET} , another-secret` });
    expect(code).toBe(0);
    const { rows } = await world.sql.query('select event_type, team_id, payload from webhook_event where id = $1', [
      JSON.parse(out).event_id,
    ]);
    expect(rows).toMatchObject([
      { event_type: 'soft_budget_crossed', team_id: teamId, payload: { spend: 7.5, max_budget: 8, event_group: 'team' } },
    ]);
  });

  test('ends with 78 when its secret is not one of ours or is none, and with 2 when a figure is none', async () => {
    const send = ['webhook', 'send', '--team', organization.teamId];
    const [wrong, none, figure] = await Promise.all([
      bill(send, { WEBHOOK_HMAC_SECRETS: 'another-secret' }),
      bill(send, { WEBHOOK_HMAC_SECRETS: ' , ' }),
      bill([...send, '--spend', 'a lot']),
    ]);
    expect([wrong, none, figure].map(({ code, out }) => [code, out])).toEqual([78, 78, 2].map((code) => [code, '']));
    expect(wrong.err).toMatch(/^bill: The request is not authentic: .*set WEBHOOK_HMAC_SECRETS to the one of the service/);
    expect(none.err).toMatch(/^bill: WEBHOOK_HMAC_SECRETS /);
    expect(figure.err).toMatch(/'a lot' is invalid/);
  });
});

describe('the way to the service', () => {
  test('is PUBLIC_URL, with a slash at its end or not, or else HOST and PORT', async () => {
    const { hostname, port } = new URL(world.apiUrl);
    const ended = await Promise.all([
      bill(['webhook', 'send', '--team', organization.teamId, '--json'], { PUBLIC_URL: `${world.apiUrl}/` }),
      bill(['org', 'list', '--json'], { PUBLIC_URL: '', HOST: hostname, PORT: port }),
    ]);
    expect(ended).toMatchObject(ended.map(() => ({ code: 0, err: '' })));
  });

  test('that leads nowhere, or to a service with another key, is told in a sentence', async () => {
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    const [unreachable, refused] = await Promise.all([
      bill(['org', 'list'], { PUBLIC_URL: nowhere }),
      bill(['org', 'list'], { ADMIN_API_KEY: 'wrong-key-of-somebody' }),
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
  const reconcile = () => bill(['reconcile'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE });
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
    const ended = await bill(['sweep'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE });
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
      await bill(['sweep', '--json'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE }),
      await bill(['reconcile', '--json'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE }),
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
    expect(await bill(['sweep'], { TEMPORAL_ADDRESS: address })).toEqual({
      code: 1,
      out: '',
      err: `bill: Temporal cannot be reached at ${address} (nothing listens at ${address}): start it, or correct TEMPORAL_ADDRESS; bill doctor checks it\n`,
    });
  });

  test('ends with 1 and the reason when LiteLLM is unavailable', async () => {
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
    const { TEMPORAL_ADDRESS = '', TEMPORAL_TASK_QUEUE = '' } = world.env;
    const ended = await bill(['sweep', '--json'], { TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE });
    await world.clearFaults();
    expect(ended).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/^bill: balance-sweep has failed: .*LiteLLM answered 503/),
    });
  });
});

describe('bill hold', () => {
  const ofService = async () => (await world.admin.get('/api/v1/holds', { params: { scope: 'service', open: 'true' } })).data.data;

  test('with half of a command is wrong usage: it does not hold the whole service', async () => {
    const mistyped = organization.id.slice(0, -1);
    for (const [given, said] of [
      [organization.id, `${organization.id} is an organization. To hold one organization: bill hold ${organization.id} "reason"`],
      [`${organization.id} does not pay`, `${organization.id} is an organization`],
      [mistyped, `there is no organization ${mistyped}; like it: `],
      ['incident', 'To hold the whole service: bill hold --service "incident"'],
      ['', 'an argument is empty'],
    ] as const)
      expect(await bill(['hold', given])).toMatchObject({ code: 2, out: '', err: expect.stringContaining(said) });
    expect(await bill(['hold', organization.id, 'unpaid', '--service'])).toMatchObject({ code: 2, out: '' });
    expect(await ofService()).toEqual([]);
  });

  test.each([[['--service', 'incident']], [['cards are charged twice']]])('%j holds the whole service', async (args) => {
    const { code, out, err } = await bill(['hold', ...args]);
    expect([code, err]).toEqual([0, '']);
    const [hold] = await ofService();
    expect(hold).toMatchObject({ scope: 'service', detail: args.at(-1) });
    expect(out).toMatch(
      new RegExp(
        `^No new charges of the whole service, .*\n${hold?.id} \\(operator\\) on the service\n${args.at(-1)}\\.\n.*→ a person releases it: bill release ${hold?.id} "reason"\n$`,
        's',
      ),
    );
    expect((await bill(['holds'])).out).toMatch(/ service +everything +/);
    await world.releaseService();
  });
});

describe('bill ledger verify', () => {
  test('prints what it has verified, as JSON too, and ends with 3 when it finds something', async () => {
    const DATABASE_URL = world.env['DATABASE_URL'] ?? '';
    const verify = (...args: string[]) => bill(['ledger', 'verify', '--org', organization.id, ...args], { DATABASE_URL });
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
    const set = await bill(['ledger', 'verify'], { DATABASE_URL: address(), ...beside(DEV) });
    expect(set.err).toMatch(/\(DATABASE_URL of the environment\);.*: unset DATABASE_URL to look at that one\.\n$/);
  });

  test('nothing is warned of when it is the same one, or when the process of the file has ended', async () => {
    const same = address().replace('127.0.0.1', 'localhost');
    const quiet = { DATABASE_URL: address() };
    expect((await bill(['ledger', 'verify'], { ...quiet, ...beside({ ...DEV, DATABASE_URL: same }) })).err).toBe('');
    const { child, ended } = startBillCommand(['completion', 'bash'], {});
    await ended;
    expect((await bill(['ledger', 'verify'], { ...quiet, ...beside({ ...DEV, pid: child.pid }) })).err).toBe('');
  });

  test('without a DATABASE_URL it is the one of the running service', async () => {
    const ended = await runBill(['ledger', 'verify'], beside({ ...DEV, DATABASE_URL: address() }));
    expect(ended).toMatchObject({ code: 0, err: '', out: expect.stringContaining('(DATABASE_URL of the running npm start)') });
  });

  test('a command that calls the API warns of another service, and prints nothing beside JSON', async () => {
    const list = (...args: string[]) => bill(['org', 'list', ...args], beside(DEV));
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
    const planned = await bill(['sync', '--org', id, '--dry-run', '--wait']);
    expect(planned).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+ teams? looked at, 1 organization compared, 1 difference, /),
    });
    expect(planned.out).toMatch(new RegExp(`name_differs +${teamId} +${id} +another name +rename planned`));
    expect((await bill(['sync', '--org', id, '--wait'])).out).toContain('rename done');
    expect(await bill(['sync', '--org', id, '--wait'])).toMatchObject({ code: 0, out: expect.stringContaining('0 differences') });
    await world.kms.post('/team/update', { team_id: teamId, budget_duration: '30d' });
    const left = await bill(['sync', '--org', id, '--wait']);
    expect(left).toMatchObject({ code: 3, out: expect.stringContaining('needs_person') });
  });

  test('without --wait says which run it has started', async () => {
    const ended = await bill(['sync']);
    const later =
      /^(syn_\w+) has been started\nhttp:.*team-sync.*\nlater: curl "\$PUBLIC_URL\/api\/v1\/sync\/\1" -H "Authorization: Bearer \$ADMIN_API_KEY"\n$/;
    expect(ended).toMatchObject({ code: 0, err: '', out: expect.stringMatching(later) });
    expect((await bill(['sync', '--wait'])).err).toMatch(
      /^(syn_\w+) has been started\. Ctrl-C ends this command alone, and the run goes on; later: curl "\$PUBLIC_URL\/api\/v1\/sync\/\1" /,
    );
    const { out, err } = await bill(['sync', '--wait', '--json']);
    expect(err).toBe('');
    expect(JSON.parse(out)).toMatchObject({ status: 'succeeded' });
  });
});

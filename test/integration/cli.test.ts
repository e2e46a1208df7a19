/**
 * The `bill` commands that ask the API, each a process of its own as an operator runs it: what it prints, what it does,
 * what it ends with.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { HMAC_SECRET } from '../support/alerts.ts';
import { HELD, RECHARGED, SUCCEEDED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { Operator } from '../support/operator.ts';
import { type Organization, SOME_CUSTOMER, World } from '../support/world.ts';

let world: World;
let organization: Organization;
let rechargedBy: string;
let operator: Operator;

beforeAll(async () => {
  world = await World.start();
  ({ organization, eventId: rechargedBy } = await world.recharged());
  operator = new Operator(world);
});
afterAll(() => world.close());

describe('bill org', () => {
  const settings = ['--customer', SOME_CUSTOMER, '--minimum', '2.00', '--target', '20.00'];

  test('add makes an organization, show shows all of it, set changes it, and list lists it', async () => {
    const options = ['--team', 'cli-team', '--create-team', '--name', 'Acme & Co', '--currency', 'eur', '--quota-per-unit', '1.10'];
    const added = await operator.json(
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
    expect(await operator.json('org', 'show', 'cli-acme')).toEqual({ ...added, warnings: [] });

    const changed = await operator.json(
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
    expect(await operator.json('org', 'list')).toMatchObject({
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
    const [add, set] = [
      await operator.bill([...added, '--dry-run']),
      await operator.bill(['org', 'set', organization.id, '--target', '50', '--dry-run']),
    ];
    for (const { code, err } of [add, set]) expect([code, err]).toEqual([0, expect.stringContaining('Nothing was stored (--dry-run).')]);
    expect(add.out).toMatch(/^c_organization_id +cli-rehearsed$/m);
    expect(add.out).toMatch(/^currency +usd\nquota_per_unit +1\.00 USD\nmax_charge +60\.00 USD\nmax_daily_amount +200\.00 USD$/m);
    expect(set.out).toMatch(/target_balance +20\.00 USD → 50\.00 USD/);
    expect((await operator.bill(['org', 'show', 'cli-rehearsed'])).code).toBe(2);
    expect((await operator.json('org', 'show', organization.id))['target_balance']).toBe('20.00');
  });

  test('prints for people without --json: a line a field, or a table', async () => {
    const [shown, listed] = await Promise.all([
      operator.bill(['org', 'show', organization.id]),
      operator.bill(['org', 'list', '--limit', '1']),
    ]);
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
    const set = await operator.bill(['org', 'set', id, '--target', '50', '--max-daily', '3']);
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
    expect((await operator.bill(['org', 'set', id, '--max-daily', '3'])).out).toBe(`${id}: nothing has changed\n`);
    expect((await operator.bill(['org', 'suspend', id, '--reason', 'unpaid'])).out).toMatch(
      /\n +holds +none → operator: unpaid \(hld_\w+\)\n$/,
    );
    const again = () => operator.bill(['org', 'suspend', id, '--reason', 'fraud']);
    expect((await again()).out).toMatch(/\n +holds +operator: unpaid \(hld_\w+\) → operator: unpaid; \S+: fraud \(hld_\w+\)\n$/);
    expect((await again()).out).toMatch(
      new RegExp(
        `^${id}: it is suspended already, by \\S+ since \\S+Z: unpaid; \\S+: fraud \\(hld_\\w+\\)\\. That stays; another --reason is added to it\n$`,
      ),
    );
    expect((await operator.bill(['org', 'resume', id])).out).toMatch(/\n +holds +operator: unpaid; \S+: fraud \(hld_\w+\) → none\n$/);
    expect((await operator.bill(['org', 'resume', id])).out).toBe(`${id}: nothing has changed: it was not held\n`);
    const until = new Date(Date.now() + 3_600_000).toISOString();
    await world.admin.post('/api/v1/holds', { scope: 'organization', subject: id, reason: 'for an hour', until });
    expect((await operator.bill(['org', 'suspend', id])).out).toMatch(
      /: for an hour \(hld_\w+\)\. That lasts until it is released from now on; another --reason is added to it/,
    );
    await operator.bill(['org', 'resume', id]);
    expect(await operator.bill(['org', 'set', id])).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/^bill: nothing to set: /),
    });
  });

  test('suspend stops the charging, and resume lets it go on', async () => {
    const stopped = await world.organization();
    expect(await operator.json('org', 'suspend', stopped.id, '--reason', 'unpaid')).toMatchObject({
      holds: [{ reason: 'operator', detail: 'unpaid' }],
    });
    expect(await world.alerted(stopped)).toEqual(HELD);
    expect(await operator.json('org', 'resume', stopped.id)).toMatchObject({ holds: [] });
    expect(await world.alerted(stopped)).toEqual(RECHARGED);
    await expectChargedOnce(world, stopped);
  });

  test('tells what is wrong, with 2 for a wrong name or value, and nothing on standard output', async () => {
    const ended = await Promise.all([
      operator.bill(['org', 'add', organization.id, ...settings, '--team', 'another-team', '--create-team']),
      operator.bill(['org', 'add', 'cli-mistyped', ...settings, '--team', `${organization.teamId}x`]),
      operator.bill(['org', 'add', 'cli-wrong', '--team', 't', '--customer', 'acct_1', '--minimum', '5', '--target', 'lots']),
      operator.bill(['org', 'show', 'nobody', '--json']),
      operator.bill(['org', 'show', '../recharges', '--json']),
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
    const [currency, never] = [
      await operator.bill(['org', 'set', id, '--currency', 'eur']),
      await operator.bill(['org', 'set', id, '--max-daily', '0']),
    ];
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
      operator.bill(['org', 'set', organization.id, '--auto-recharge', 'yes']),
      operator.bill(['org', 'set', organization.id, '--max-daily', 'many']),
      operator.bill(['org', 'add', 'cli-incomplete', '--team', 't']),
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
      operator.json('recharges', organization.id, '--limit', '5'),
      operator.json('recharges', organization.id, '--status', 'declined'),
      operator.json('events', '--org', organization.id, '--outcome', SUCCEEDED),
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
      operator.bill(['recharges', organization.id]),
      operator.bill(['recharges', organization.id, '--status', 'declined']),
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
    const ended = await operator.bill(args, { DATABASE_URL: world.env['DATABASE_URL'] ?? '' });
    expect(ended).toMatchObject({ code: 2, out: '', err: expect.stringMatching(said) });
  });
});

describe('bill webhook send', () => {
  test('posts a signed alert, which is handled like any other', async () => {
    const short = await world.organization();
    const sent = await operator.json('webhook', 'send', '--team', short.teamId);
    expect(sent).toEqual({ event_id: expect.stringMatching(/^evt_/), status: 'accepted' });
    expect(await world.closed(String(sent['event_id']))).toEqual(RECHARGED);
    await expectChargedOnce(world, short);
  });

  test('says what is charged for it, or why nothing is', async () => {
    const [short, full] = [await world.organization(), await world.organization({ spend: 0 })];
    const [due, none] = await Promise.all([short, full].map(({ teamId }) => operator.bill(['webhook', 'send', '--team', teamId])));
    const [, eventId = ''] = /^event_id +(evt_\w+)$/m.exec(due?.out ?? '') ?? [];
    const follow = `bill events show ${eventId} says what has become of it\n`;
    expect(due).toMatchObject({ code: 0, err: `the balance is -0.50 USD, so 20.50 USD is charged now; ${follow}` });
    expect(none?.err).toMatch(/^nothing is charged: the balance is above the minimum; bill events show evt_/);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('says of an event that asks for nothing why nothing follows', async () => {
    const { teamId } = await world.organization();
    const sent = await operator.bill(['webhook', 'send', '--team', teamId, '--event', 'key_created']);
    expect(sent).toMatchObject({ code: 0, out: expect.stringMatching(/^status +ignored$/m) });
    expect(sent.err).toMatch(/^nothing is charged: key_created asks for nothing, so it is stored and that is all; bill events show evt_/);
  });

  test('of a team that no organization has is wrong usage, and sends nothing', async () => {
    const ended = await operator.bill(['webhook', 'send', '--team', 'nobodys-typo']);
    expect(ended).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/^bill: no organization has .*nobodys-typo: .*Nothing was sent/),
    });
    expect((await world.sql.query("select from webhook_event where team_id = 'nobodys-typo'")).rows).toEqual([]);
  });

  test('--dry-run says what it would lead to, and sends none', async () => {
    const short = await world.organization();
    const dry = (...args: string[]) => operator.bill(['webhook', 'send', '--dry-run', '--team', ...args]);
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
    const { code, out } = await operator.bill(['webhook', 'send', ...told, '--json'], {
      WEBHOOK_HMAC_SECRETS: ` ,${HMAC_SECRET} , another-secret`,
    });
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
      operator.bill(send, { WEBHOOK_HMAC_SECRETS: 'another-secret' }),
      operator.bill(send, { WEBHOOK_HMAC_SECRETS: ' , ' }),
      operator.bill([...send, '--spend', 'a lot']),
    ]);
    expect([wrong, none, figure].map(({ code, out }) => [code, out])).toEqual([78, 78, 2].map((code) => [code, '']));
    expect(wrong.err).toMatch(/^bill: The request is not authentic: .*set WEBHOOK_HMAC_SECRETS to the one of the service/);
    expect(none.err).toMatch(/^bill: WEBHOOK_HMAC_SECRETS /);
    expect(figure.err).toMatch(/'a lot' is invalid/);
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
      expect(await operator.bill(['hold', given])).toMatchObject({ code: 2, out: '', err: expect.stringContaining(said) });
    expect(await operator.bill(['hold', organization.id, 'unpaid', '--service'])).toMatchObject({ code: 2, out: '' });
    expect(await ofService()).toEqual([]);
  });

  test.each([[['--service', 'incident']], [['cards are charged twice']]])('%j holds the whole service', async (args) => {
    const { code, out, err } = await operator.bill(['hold', ...args]);
    expect([code, err]).toEqual([0, '']);
    const [hold] = await ofService();
    expect(hold).toMatchObject({ scope: 'service', detail: args.at(-1) });
    expect(out).toMatch(
      new RegExp(
        `^No new charges of the whole service, .*\n${hold?.id} \\(operator\\) on the service\n${args.at(-1)}\\.\n.*→ a person releases it: bill release ${hold?.id} "reason"\n$`,
        's',
      ),
    );
    expect((await operator.bill(['holds'])).out).toMatch(/ service +everything +/);
    await world.releaseService();
  });
});

/**
 * An organization as an operator makes, changes and removes it, and the switches and limits that stop its
 * recharges.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  CONFLICT,
  created,
  draft,
  expectProblem,
  INVALID,
  MALFORMED,
  NOT_FOUND,
  ORGANIZATIONS,
  TOO_LARGE,
  tableCounts,
} from '../support/admin.ts';
import { BUDGET_AFTER, DECLINED, HELD, RECHARGED, unsuccessful } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, HOLD, READ_BUDGET } from '../support/faults.ts';
import { type Organization, World } from '../support/world.ts';

/** `bill` gives up then. */
const COMMAND_WAITS_MS = 15_000;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

/** A draft whose customer no other organization has. */
async function draftOfItsOwn(changes: Record<string, unknown>): Promise<Record<string, unknown>> {
  const { id } = await world.stripe.customers.create({});
  await world.attachCard(id, 'pm_card_visa');
  return draft({ stripe_customer_id: id, ...changes });
}

describe('a new organization', () => {
  test('is answered 201 with itself, its defaults and its address', async () => {
    const body = draft();
    const { status, headers, data } = await world.admin.post(ORGANIZATIONS, body);
    expect(status).toBe(201);
    expect(data).toEqual({
      ...body,
      state: 'ok',
      why: 'the next synchronisation makes its team, with max_budget 0, where LiteLLM does not have it',
      balance: null,
      balance_at: null,
      name: body['c_organization_id'],
      currency: 'usd',
      quota_per_unit: '1.00',
      auto_recharge_enabled: true,
      max_daily_recharges: 10,
      max_charge: expect.stringMatching(/^\d+\.\d\d$/),
      max_daily_amount: expect.stringMatching(/^\d+\.\d\d$/),
      max_monthly_amount: expect.stringMatching(/^\d+\.\d\d$/),
      default_limits: ['max_charge', 'max_daily_amount', 'max_monthly_amount'],
      warnings: [expect.stringMatching(/the next synchronisation makes it with max_budget 0, and its first call or alert has .* charged$/)],
      time_zone: 'UTC',
      blocked: false,
      litellm_seen_at: null,
      holds: [],
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      updated_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
    expect((await world.admin.get(headers['location'])).data).toEqual({ ...data, warnings: [] });
  });

  describe('and its customer', () => {
    test.each(['post', 'patch'] as const)('is refused when Stripe does not know it: %s', async (method) => {
      const before = await created(world);
      const { length } = (await world.admin.get(ORGANIZATIONS, { params: { limit: 200 } })).data.data;
      const customer = { stripe_customer_id: 'cus_OfAnotherAccount' };
      const [url, body] = method === 'post' ? [ORGANIZATIONS, draft(customer)] : [`${ORGANIZATIONS}/${before}`, customer];
      const answer = await world.admin[method](url, body);
      expectProblem(answer, INVALID, ['stripe_customer_id']);
      expect(answer.data.detail).toContain('Stripe has no such customer for this key');
      expect((await world.admin.get(ORGANIZATIONS, { params: { limit: 200 } })).data.data).toHaveLength(length);
    });

    test('is 503 while Stripe cannot be asked, and nothing is stored', async () => {
      const body = draft();
      await world.stripeFault({
        method: 'GET',
        path: '/v1/customers/*',
        times: ALWAYS,
        action: { kind: 'respond', status: 500, body: {} },
      });
      const { status, data } = await world.admin.post(ORGANIZATIONS, body);
      expect([status, data.detail]).toEqual([503, expect.stringContaining('Stripe cannot be asked whether it has the customer')]);
      expect((await world.admin.get(`${ORGANIZATIONS}/${body['c_organization_id']}`)).status).toBe(404);
    });

    test('without a card is taken with a warning', async () => {
      const { id } = await world.stripe.customers.create({});
      const { status, data } = await world.admin.post(ORGANIZATIONS, draft({ stripe_customer_id: id }));
      expect([status, data.warnings]).toEqual([201, [expect.stringContaining('nothing can be charged, because the customer has no card')]]);
    });

    test('is warned of where another organization has it, when it is made and when it is changed', async () => {
      const [one, other] = [await draftOfItsOwn({}), await draftOfItsOwn({})];
      for (const each of [one, other]) expect((await world.admin.post(ORGANIZATIONS, each)).status).toBe(201);
      const [ours, theirs] = [one['c_organization_id'], one['stripe_customer_id']];
      const shared = `stripe_customer_id ${theirs} is that of ${ours} too, so one card pays for all of them: correct it unless that is meant`;
      const made = await world.admin.post(ORGANIZATIONS, draft({ stripe_customer_id: theirs }), { params: { dry_run: true } });
      const changed = await world.admin.patch(`${ORGANIZATIONS}/${other['c_organization_id']}`, { stripe_customer_id: theirs });
      for (const { data } of [made, changed]) expect(data.warnings).toContain(shared);
      expect((await world.admin.patch(`${ORGANIZATIONS}/${ours}`, { name: 'Ours' })).data.warnings).toEqual([]);
    });
  });

  test('whose balance is low already is told what is charged next, before it is', async () => {
    await world.kms.post('/team/new', { team_id: 'low-already', max_budget: 10 });
    await world.spend('low-already', 10.5);
    const wish = await draftOfItsOwn({ litellm_team_id: 'low-already', create_team: false, auto_recharge_enabled: false });
    const { data } = await world.admin.post(ORGANIZATIONS, wish);
    expect(data.warnings).toEqual([]);
    const { data: enabled } = await world.admin.patch(`${ORGANIZATIONS}/${data.c_organization_id}`, { auto_recharge_enabled: true });
    expect(enabled.warnings).toEqual([
      'the balance is -0.50 USD, so 20.50 USD is charged within a minute: set auto_recharge_enabled to false (--auto-recharge off) to look first',
    ]);
  });

  test('that is not charged as it is set is told why: by a limit, a hold, or its team', async () => {
    await world.kms.post('/team/new', { team_id: 'never-charged', max_budget: 10 });
    await world.spend('never-charged', 10.5);
    const warnings = async (settings: object) => {
      const wish = await draftOfItsOwn({ litellm_team_id: 'never-charged', create_team: false, ...settings });
      return (await world.admin.post(ORGANIZATIONS, wish, { params: { dry_run: true } })).data.warnings;
    };
    expect(await warnings({ max_daily_recharges: 0 })).toEqual([expect.stringMatching(/^max_daily_recharges is 0/)]);
    expect(await warnings({ max_charge: '3.00' })).toEqual([expect.stringMatching(/^max_charge is 3.00 USD/)]);
    // A balance at its minimum needs less.
    expect(await warnings({ max_charge: '20.49' })).toEqual([
      expect.stringMatching(/^the balance is -0.50 USD, and the next alert or sweep holds .*20.50 USD would bring/),
    ]);
    expect(await warnings({ max_daily_amount: '0.50' })).toEqual([
      expect.stringMatching(/^the balance is -0.50 USD, and nothing is charged: what is left of max_daily_amount/),
    ]);
    expect(await warnings({ blocked: true })).toEqual([expect.stringMatching(/^blocked is true, .*nothing is charged: .*--blocked off/)]);
    expect(await warnings({ target_balance: '9999999.00' })).toEqual([
      expect.stringMatching(/^target_balance is further above .*999999\.99 USD/),
    ]);
    await world.editTeam('never-charged', { blocked: true });
    expect(await warnings({})).toEqual([expect.stringMatching(/^the balance is -0.50 USD, and nothing is charged: the team is blocked/)]);
    await world.setBudget('never-charged', null);
    expect(await warnings({})).toEqual([expect.stringMatching(/^nothing is charged: the team has no max_budget/)]);
  });

  test('has every setting that it was given, money exact to a millionth', async () => {
    const body = draft({
      name: 'Acme “Ünïcode” & Söhne',
      currency: 'EUR',
      minimum_balance: '0.000001',
      target_balance: '9007.199255',
      quota_per_unit: '1.085',
      auto_recharge_enabled: false,
      max_daily_recharges: 0,
      time_zone: 'Asia/Kolkata',
    });
    await world.admin.post(ORGANIZATIONS, body);
    const { data } = await world.admin.get(`${ORGANIZATIONS}/${body['c_organization_id']}`);
    expect(data).toMatchObject({ ...body, currency: 'eur' });
  });

  test('in another currency than LiteLLM counts in has to say what one unit of it buys', async () => {
    const { status, data } = await world.admin.post(ORGANIZATIONS, draft({ currency: 'jpy' }));
    const message = "has to be given for JPY: how many of LiteLLM's dollars one JPY buys";
    expect([status, data.errors]).toEqual([422, [{ field: 'quota_per_unit', message }]]);
    expect((await world.admin.post(ORGANIZATIONS, draft({ currency: 'jpy', quota_per_unit: '0.0065' }))).status).toBe(201);
  });

  test('with the id of another is 409, and so is one with the LiteLLM team of another', async () => {
    const body = draft();
    expect((await world.admin.post(ORGANIZATIONS, body)).status).toBe(201);
    expectProblem(await world.admin.post(ORGANIZATIONS, { ...body, litellm_team_id: 'some-other-team' }), CONFLICT);
    expectProblem(await world.admin.post(ORGANIZATIONS, { ...body, c_organization_id: 'some-other-id' }), CONFLICT);
    expectProblem(await world.admin.get(`${ORGANIZATIONS}/some-other-id`), NOT_FOUND);
  });

  test('asked for ten times at once is there once', async () => {
    const body = draft();
    const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await world.admin.post(ORGANIZATIONS, body)).status));
    expect(statuses.sort()).toEqual([201, ...Array(9).fill(409)]);
  });

  test.each<[string, unknown]>([
    ['c_organization_id', ''],
    ['c_organization_id', 'with space'],
    ['c_organization_id', 'a/b'],
    ['c_organization_id', 'x'.repeat(129)],
    ['c_organization_id', 7],
    ['name', ''],
    ['name', 'a\0b'],
    ['stripe_customer_id', 'acct_1'],
    ['litellm_team_id', ''],
    ['litellm_team_id', 'a\0b'],
    ['currency', 'dollars'],
    ['currency', 'ugx'],
    ['currency', 'xyz'],
    ['minimum_balance', '-1.00'],
    ['minimum_balance', 2],
    ['minimum_balance', '1e3'],
    ['minimum_balance', '0.0000001'],
    ['minimum_balance', null],
    ['target_balance', '2.00'],
    ['target_balance', 'NaN'],
    ['target_balance', '99999999999.00'],
    ['quota_per_unit', '0'],
    ['auto_recharge_enabled', 'yes'],
    ['max_daily_recharges', -1],
    ['max_daily_recharges', 1.5],
    ['max_daily_recharges', '3'],
    ['max_daily_recharges', 1001],
    ['max_monthly_amount', 500],
    ['max_monthly_amount', '-1.00'],
    ['max_monthly_amount', '5.001'],
    ['time_zone', 'Mars/Olympus'],
    ['time_zone', 'a\0b'],
    ['a_setting_of_tomorrow', 1],
  ])('whose %s is %j is 422 and names it', async (field, value) => {
    const before = await tableCounts(world);
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ [field]: value })), INVALID, [field]);
    expect(await tableCounts(world)).toEqual(before);
  });

  test('with many things wrong is told all of them at once', async () => {
    const body = draft({ stripe_customer_id: undefined, minimum_balance: 2, currency: 'x', max_daily_recharges: 'many', colour: 'red' });
    const fields = ['stripe_customer_id', 'minimum_balance', 'currency', 'max_daily_recharges', 'colour'];
    expectProblem(await world.admin.post(ORGANIZATIONS, body), INVALID, fields);
  });

  test('whose customer, team, target and time zone are all wrong is told all of them at once, and so is a change', async () => {
    const [minimum_balance, target_balance] = ['5.00', '3.00'];
    const wrong = { stripe_customer_id: 'cus_nope', litellm_team_id: 'nope', minimum_balance, target_balance, time_zone: 'Nowhere' };
    const fields = ['stripe_customer_id', 'litellm_team_id', 'target_balance', 'time_zone'];
    const refused = await world.admin.post(ORGANIZATIONS, draft({ ...wrong, create_team: false }));
    expectProblem(refused, INVALID, fields);
    expect(refused.data.detail).toContain('target_balance: has to be above minimum_balance, or a recharge would not end the shortage');
    expect(refused.data.detail).toContain('it is 3.00, and minimum_balance 5.00');
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${await created(world)}`, wrong), INVALID, fields);
  });

  test('that is no JSON is 400, no object 422, and too large 413', async () => {
    const post = (body: string) => world.admin.post(ORGANIZATIONS, body, { headers: { 'content-type': 'application/json' } });
    expectProblem(await post('{"c_organization_id":'), MALFORMED);
    expectProblem(await post('[]'), INVALID);
    expectProblem(await world.admin.post(ORGANIZATIONS), INVALID);
    expectProblem(await post(JSON.stringify(draft({ name: 'x'.repeat(70_000) }))), TOO_LARGE);
  });
});

describe('a change of an organization', () => {
  test('touches what it names and nothing else', async () => {
    const id = await created(world, { name: 'Before', time_zone: 'Europe/Berlin' });
    const before = (await world.admin.get(`${ORGANIZATIONS}/${id}`)).data;
    const { status, data } = await world.admin.patch(`${ORGANIZATIONS}/${id}`, { name: 'After', target_balance: '50' });
    expect(status).toBe(200);
    // The default limits follow the target.
    const limits = { max_charge: '150.00', max_daily_amount: '500.00', max_monthly_amount: '1000.00' };
    expect(data).toEqual({ ...before, ...limits, name: 'After', target_balance: '50.00', updated_at: expect.any(String) });
    expect(Date.parse(data.updated_at)).toBeGreaterThan(Date.parse(before.updated_at));
    expect((await world.admin.get(`${ORGANIZATIONS}/${id}`)).data).toEqual(data);
  });

  test.each([
    ['money is read in another currency by now', { max_charge: '500.00' }, { currency: 'jpy', quota_per_unit: '0.01' }],
    ['the target would be below the minimum by now', { minimum_balance: '19.00' }, { target_balance: '10.00' }],
  ])('is a conflict where another change comes between its checks and its write: %s', async (_, slow, quick) => {
    const organization = await world.organization();
    const patch = (body: object) => world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, body);
    const teamId = `next-${organization.teamId}`;
    await world.makeTeam({ team_id: teamId, max_budget: 50 });
    const lookingUp = await world.kmsFault({ ...READ_BUDGET, contains: teamId, action: HOLD });
    const slowly = patch({ ...slow, litellm_team_id: teamId });
    await lookingUp.struck();
    const { status, data } = await patch(quick);
    expect(status).toBe(200);
    await lookingUp.remove();
    expectProblem(await slowly, CONFLICT);
    expect((await world.admin.get(`${ORGANIZATIONS}/${organization.id}`)).data).toMatchObject({
      litellm_team_id: organization.teamId,
      max_charge: data.max_charge,
      updated_at: data.updated_at,
    });
  });

  test('asked for twice at once is made, and no conflict', async () => {
    const organization = await world.organization();
    const answers = await Promise.all([1, 2].map(() => world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, { max_charge: '70.00' })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  });

  test('keeps the target above the minimum, whichever of the two it names', async () => {
    const id = await created(world, { minimum_balance: '2.00', target_balance: '20.00' });
    const patch = (body: object) => world.admin.patch(`${ORGANIZATIONS}/${id}`, body);
    expectProblem(await patch({ minimum_balance: '20.00' }), INVALID, ['target_balance']);
    expectProblem(await patch({ target_balance: '1.99' }), INVALID, ['target_balance']);
    expect((await patch({ minimum_balance: '20.00', target_balance: '20.01' })).status).toBe(200);
  });

  test.each<[string, unknown]>([
    ['c_organization_id', 'renamed'],
    ['holds', []],
    ['created_at', '2020-01-01T00:00:00Z'],
    ['version', 7],
    ['minimum_balance', '-0.01'],
    ['max_daily_recharges', null],
    ['time_zone', 'Nowhere'],
    ['litellm_team_id', ''],
  ])('of %s to %j is 422 and changes nothing', async (field, value) => {
    const id = await created(world);
    const before = (await world.admin.get(`${ORGANIZATIONS}/${id}`)).data;
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${id}`, { name: 'changed', [field]: value }), INVALID, [field]);
    expect((await world.admin.get(`${ORGANIZATIONS}/${id}`)).data).toEqual(before);
  });

  test("to another's LiteLLM team names whose it is, and so does a new organization with it", async () => {
    const [owner, other] = [draft(), draft()];
    for (const each of [owner, other]) await created(world, each);
    const taken = { litellm_team_id: owner['litellm_team_id'] };
    const answers = [
      await world.admin.patch(`${ORGANIZATIONS}/${other['c_organization_id']}`, taken),
      await world.admin.post(ORGANIZATIONS, draft(taken)),
    ];
    const told = `this litellm_team_id is that of the organization ${owner['c_organization_id']}`;
    expect(answers.map(({ data }) => data.detail)).toEqual([told, told]);
  });

  test("to another's LiteLLM team is 409, and of one that is not there 404", async () => {
    const [one, other] = [await created(world), await created(world)];
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${one}`, { litellm_team_id: `team-of-${other}` }), CONFLICT);
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/nobody`, { name: 'x' }), NOT_FOUND);
  });
});

test('no organization leaves its LiteLLM team while a recharge of that is under way, which is named', async () => {
  const organization = await world.organization();
  const { rechargeId, goOn } = await world.chargedButNotGranted(organization);
  const answer = await world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, { litellm_team_id: 'elsewhere', create_team: true });
  expectProblem(answer, CONFLICT);
  expect(answer.data.detail).toContain(`is not finished: bill recharges show ${rechargeId} `);
  await goOn();
});

describe('the removal of an organization', () => {
  test('is 204, and 404 from then on', async () => {
    const id = await created(world);
    expect((await world.admin.delete(`${ORGANIZATIONS}/${id}`)).status).toBe(204);
    expectProblem(await world.admin.delete(`${ORGANIZATIONS}/${id}`), NOT_FOUND);
    expectProblem(await world.admin.get(`${ORGANIZATIONS}/${id}`), NOT_FOUND);
  });

  test('is 409 when it has recharges, which stay', async () => {
    const { organization } = await world.recharged();
    expectProblem(await world.admin.delete(`${ORGANIZATIONS}/${organization.id}`), CONFLICT);
    expect((await world.admin.get(`${ORGANIZATIONS}/${organization.id}`)).status).toBe(200);
    await expectChargedOnce(world, organization);
  });

  test('is 409 while an alert of it is being handled, which would be left without an end', async () => {
    const organization = await world.organization();
    const look = await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action: HOLD });
    const eventId = await world.accepted(organization);
    await look.struck();
    expectProblem(await world.admin.delete(`${ORGANIZATIONS}/${organization.id}`), CONFLICT);
    await look.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });
});

describe('a rehearsal', () => {
  const REHEARSED = { params: { dry_run: true } };

  test('of a new organization answers as the real one would, says what would be charged, and stores nothing', async () => {
    await world.kms.post('/team/new', { team_id: 'low-in-rehearsal', max_budget: 10 });
    await world.spend('low-in-rehearsal', 10.5);
    const body = await draftOfItsOwn({ litellm_team_id: 'low-in-rehearsal', create_team: false });
    const before = await tableCounts(world);
    const { status, data } = await world.admin.post(ORGANIZATIONS, body, REHEARSED);
    expect([status, data]).toMatchObject([200, { ...body, warnings: [expect.stringContaining('20.50 USD is charged within a minute')] }]);
    expect(data).toMatchObject({ balance: '-0.50', balance_at: expect.any(String), created_at: null, updated_at: null });
    expectProblem(await world.admin.get(`${ORGANIZATIONS}/${body['c_organization_id']}`), NOT_FOUND);
    expect(await tableCounts(world)).toEqual(before);
  });

  test('of a move to another team says what stays with the one that is left, where that is there', async () => {
    const { organization } = await world.recharged();
    const next = `${organization.teamId}-next`;
    await world.kms.post('/team/new', { team_id: next, max_budget: 50 });
    const move = async () => {
      const { status, data } = await world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, { litellm_team_id: next }, REHEARSED);
      return [status, data.warnings];
    };
    const left = `the team ${organization.teamId} keeps the 20.00 USD that were left when it was last seen, `;
    expect(await move()).toEqual([200, [expect.stringContaining(left)]]);
    await world.kms.post('/team/delete', { team_ids: [organization.teamId] });
    await world.sweep();
    expect(await move()).toEqual([200, []]);
  });

  test('of a change shows the organization as it would be, and leaves it as it is', async () => {
    const id = await created(world);
    const before = (await world.admin.get(`${ORGANIZATIONS}/${id}`)).data;
    const { status, data } = await world.admin.patch(`${ORGANIZATIONS}/${id}`, { target_balance: '50.00' }, REHEARSED);
    expect([status, data]).toMatchObject([200, { target_balance: '50.00', max_charge: '150.00' }]);
    expect((await world.admin.get(`${ORGANIZATIONS}/${id}`)).data).toEqual(before);
  });

  test.each([
    ['hangs', HOLD, /LiteLLM did not answer: no answer within 3 s/],
    ['fails', { kind: 'respond', status: 500, body: {} }, /LiteLLM answered 500/],
  ] as const)('says what it could not foresee, and why, when LiteLLM %s', async (_how, action, why) => {
    const organization = await world.organization();
    const off = await world.organization({ settings: { auto_recharge_enabled: false } });
    const fault = await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action });
    const set = (id: string) => world.admin.patch(`${ORGANIZATIONS}/${id}`, { target_balance: '50.00' }, REHEARSED);
    const made = world.admin.post(ORGANIZATIONS, await draftOfItsOwn({ create_team: true }), REHEARSED);
    const [changed, silent, added] = await Promise.all([set(organization.id), set(off.id), made]).finally(() => fault.remove());
    const unforeseen = [
      expect.stringMatching(new RegExp(`^what is charged next could not be foreseen, .*${why.source}.*--dry-run says it`)),
    ];
    expect([changed.data.warnings, added.data.warnings]).toEqual([unforeseen, unforeseen]);
    expect(silent.data.warnings).toEqual([]);
  });

  test('is refused for what the real one is refused for', async () => {
    const [one, other] = [await created(world), await created(world)];
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ c_organization_id: one }), REHEARSED), CONFLICT);
    expectProblem(await world.admin.post(ORGANIZATIONS, draft({ currency: 'xyz' }), REHEARSED), INVALID, ['currency']);
    const theirs = { litellm_team_id: `team-of-${other}` };
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/${one}`, theirs, REHEARSED), CONFLICT);
    expectProblem(await world.admin.patch(`${ORGANIZATIONS}/nobody`, { name: 'x' }, REHEARSED), NOT_FOUND);
    expectProblem(await world.admin.post(ORGANIZATIONS, draft(), { params: { dryrun: true } }), INVALID, ['dryrun']);
    expectProblem(await world.admin.post(ORGANIZATIONS, draft(), { params: { dry_run: 'perhaps' } }), INVALID, ['dry_run']);
  });
});

describe('the outlook of an organization', () => {
  const outlookOf = async ({ id }: { id: string }) => (await world.admin.get(`${ORGANIZATIONS}/${id}/outlook`)).data;

  test('is the charge that an alert leads to, which it does not make', async () => {
    await world.recharged(); // A worker asks for work.
    const organization = await world.organization();
    expect(await outlookOf(organization)).toEqual({
      c_organization_id: organization.id,
      litellm_team_id: organization.teamId,
      would: 'charge',
      amount: '20.50',
      currency: 'usd',
      quota: '20.50',
      balance: '-0.50',
      reason: null,
      why: null,
      waits_for: null,
    });
    await expectUncharged(world, organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await outlookOf(organization)).toMatchObject({ would: 'refuse', reason: 'above_minimum', amount: null, balance: '20.00' });
  });

  test.each([
    ['LiteLLM', (hung: Organization) => world.kmsFault({ path: '/**', contains: hung.teamId, times: ALWAYS, action: HOLD })],
    [
      'Stripe',
      (hung: Organization) =>
        world.stripeFault({ method: 'GET', path: '/v1/customers/*', contains: hung.customerId, times: ALWAYS, action: HOLD }),
    ],
  ])('says that %s has hung while whoever asks still waits', async (name, hang) => {
    const organization = await world.organization();
    const fault = await hang(organization);
    const asked = world.admin.get(`${ORGANIZATIONS}/${organization.id}/outlook`, { timeout: COMMAND_WAITS_MS });
    const { status, data } = await asked.finally(() => fault.remove());
    expect([status, data.detail]).toEqual([503, expect.stringMatching(new RegExp(`${name} did not answer`))]);
  });

  test('names what keeps the charge away: a switch, a hold, a card, a customer, a team', async () => {
    const off = await world.organization({ settings: { auto_recharge_enabled: false } });
    expect(await outlookOf(off)).toMatchObject({ would: 'refuse', reason: 'auto_recharge_disabled', balance: '-0.50' });

    const held = await world.organization();
    await world.admin.post(`${ORGANIZATIONS}/${held.id}/suspend`, { reason: 'unpaid invoices' });
    expect(await outlookOf(held)).toMatchObject({
      would: 'refuse',
      reason: 'held',
      why: expect.stringMatching(/operator.*unpaid invoices.*hld_/),
    });

    const never = await world.organization({ settings: { max_daily_recharges: 0 } });
    expect(await outlookOf(never)).toMatchObject({
      reason: 'daily_limit_reached',
      why: 'max_daily_recharges is 0, so nothing is ever charged: set it to 1 at least',
    });

    const { id: cardless } = await world.stripe.customers.create({});
    const unpayable = await world.organization({ settings: { stripe_customer_id: cardless } });
    expect(await outlookOf(unpayable)).toMatchObject({
      would: 'refuse',
      reason: 'no_payment_method',
      why: expect.stringContaining('the customer has no card'),
    });

    const declined = await world.organization({ card: 'pm_card_chargeCustomerFail' });
    expect(await world.alerted(declined)).toEqual(DECLINED);
    expect(await outlookOf(declined)).toMatchObject({ would: 'refuse', reason: 'held', why: expect.stringContaining('held (declined)') });

    const teamless = { id: await created(world) };
    expect(await outlookOf(teamless)).toMatchObject({ would: 'refuse', reason: 'team_not_found', balance: null });
  });

  test('is the hold that would open, and opens none', async () => {
    const runaway = await world.organization({ settings: { max_charge: '20.00' } });
    expect(await outlookOf(runaway)).toMatchObject({ would: 'hold', reason: 'runaway', amount: '20.50' });

    const { organization: lowered } = await world.recharged();
    await world.kms.post('/team/update', { team_id: lowered.teamId, max_budget: 12 });
    expect(await outlookOf(lowered)).toMatchObject({
      would: 'hold',
      reason: 'budget_lowered',
      why: expect.stringContaining('is 12.00, our last write left 30.50'),
    });
    expect((await world.admin.patch(`${ORGANIZATIONS}/${lowered.id}`, { name: 'Lowered' })).data.warnings).toEqual([
      expect.stringMatching(/^the next alert or sweep holds the organization \(budget_lowered\): .* is 12.00, our last write left 30.50/),
    ]);
    const emptier = `emptier-${lowered.teamId}`;
    await world.makeTeam({ team_id: emptier, max_budget: 1 });
    const moved = { litellm_team_id: emptier };
    expect((await world.admin.patch(`${ORGANIZATIONS}/${lowered.id}`, moved, { params: { dry_run: true } })).data.warnings).toEqual([
      expect.stringMatching(/^the team \S+ keeps the 20\.00 USD /),
      expect.stringContaining('the balance is 1.00 USD, so 19.00 USD is charged within a minute'),
    ]);
    for (const { id } of [runaway, lowered]) expect((await world.admin.get(`${ORGANIZATIONS}/${id}`)).data.holds).toEqual([]);
  });

  test('is 503 while LiteLLM or Stripe cannot be asked', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, times: ALWAYS, action: { kind: 'respond', status: 500, body: {} } });
    expect((await world.admin.get(`${ORGANIZATIONS}/${organization.id}/outlook`)).status).toBe(503);
  });
});

describe('what an operator switches', () => {
  test('suspend stops recharges, with its reason kept, and resume lets them again', async () => {
    const organization = await world.organization();
    const { data: suspended } = await world.admin.post(`${ORGANIZATIONS}/${organization.id}/suspend`, { reason: 'unpaid invoices' });
    expect(suspended.holds).toMatchObject([{ reason: 'operator', detail: 'unpaid invoices', since: expect.any(String) }]);
    expect(await world.alerted(organization)).toEqual(HELD);
    await expectUncharged(world, organization);
    expect(await world.budgetOf(organization.teamId)).toBe(10);

    const { data: resumed } = await world.admin.post(`${ORGANIZATIONS}/${organization.id}/resume`);
    expect(resumed.holds).toEqual([]);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('suspend of what is held already adds its reason, once, and tells the hold once more', async () => {
    const id = await created(world);
    const suspend = async (body: object) => (await world.admin.post(`${ORGANIZATIONS}/${id}/suspend`, body)).data.holds;
    await suspend({ reason: 'unpaid invoices', by: 'ann' });
    expect(await suspend({ reason: 'unpaid invoices', by: 'ann' })).toMatchObject([{ detail: 'unpaid invoices' }]);
    const detail = 'unpaid invoices; bob: fraud';
    expect(await suspend({ reason: 'fraud', by: 'bob' })).toMatchObject([{ detail, opened_by: 'ann' }]);
    expect(await suspend({ reason: 'fraud', by: 'bob' })).toMatchObject([{ detail }]);
    expect(await suspend({})).toMatchObject([{ detail }]);
    const query = `select data->>'detail' as detail from outbound_event where organization_id = $1 and type = 'hold.opened' order by id`;
    expect((await world.sql.query(query, [id])).rows.map((row) => row.detail)).toEqual(['unpaid invoices', detail]);
  });

  test('suspend needs no reason, refuses what is none, and is 404 for nobody', async () => {
    const id = await created(world);
    expect((await world.admin.post(`${ORGANIZATIONS}/${id}/suspend`)).data.holds).toMatchObject([{ reason: 'operator' }]);
    for (const body of [{ reason: '' }, { reason: 7 }, { reason: 'a\0b' }]) {
      expectProblem(await world.admin.post(`${ORGANIZATIONS}/${id}/suspend`, body), INVALID, ['reason']);
    }
    expectProblem(await world.admin.post(`${ORGANIZATIONS}/nobody/suspend`), NOT_FOUND);
    expectProblem(await world.admin.post(`${ORGANIZATIONS}/nobody/resume`), NOT_FOUND);
  });

  test('auto_recharge_enabled false stops recharges, and true lets them again', async () => {
    const organization = await world.organization({ settings: { auto_recharge_enabled: false } });
    expect(await world.alerted(organization)).toEqual(unsuccessful('auto_recharge_disabled'));
    await expectUncharged(world, organization);
    await world.admin.patch(`${ORGANIZATIONS}/${organization.id}`, { auto_recharge_enabled: true });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('max_daily_recharges 0 charges nothing', async () => {
    const organization = await world.organization({ settings: { max_daily_recharges: 0 } });
    expect(await world.alerted(organization)).toEqual(unsuccessful('daily_limit_reached'));
    await expectUncharged(world, organization);
  });

  test('max_daily_recharges 1 charges the first crossing of a day and not the second', async () => {
    const organization = await world.organization({ settings: { max_daily_recharges: 1, time_zone: 'Asia/Kolkata' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(unsuccessful('daily_limit_reached'));
    await expectChargedOnce(world, organization);
  });

  test('a declined attempt counts, or a dead card would be tried all day', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail', settings: { max_daily_recharges: 1 } });
    expect(await world.alerted(organization)).toEqual(DECLINED);
    await world.attachCard(organization.customerId, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(unsuccessful('daily_limit_reached'));
    expect((await world.stripe.charges.list({ customer: organization.customerId })).data).toHaveLength(1);
  });

  test('max_monthly_amount lets a charge through that just fits, and refuses the next', async () => {
    const organization = await world.organization({ settings: { max_monthly_amount: '20.50' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(unsuccessful('monthly_limit_reached'));
    await expectChargedOnce(world, organization);
    const path = `/api/v1/organizations/${organization.id}`;
    expect((await world.admin.patch(path, { currency: 'jpy' })).data.errors).toEqual([
      { field: 'max_monthly_amount', message: 'is in USD so far: give it in JPY too, or null for the default' },
      { field: 'quota_per_unit', message: 'is 1.00 for one USD so far: give what one JPY buys too' },
    ]);
    expect((await world.admin.patch(path, { max_monthly_amount: '500.00' })).data.max_monthly_amount).toBe('500.00');
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(RECHARGED);
  });

  test('limits of amounts begin anew in another currency, and that is said', async () => {
    const { organization } = await world.recharged({ settings: { max_monthly_amount: '20.50' } });
    const euros = { currency: 'eur', quota_per_unit: '1.10', max_monthly_amount: '20.00' };
    const { data } = await world.admin.patch(`/api/v1/organizations/${organization.id}`, euros);
    expect(data.warnings).toEqual([
      'max_daily_amount and max_monthly_amount begin anew in EUR: what was charged in USD today and this month no longer counts',
    ]);
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(RECHARGED);
  });

  test('what was declined or refunded costs nothing of max_monthly_amount', async () => {
    const organization = await world.organization({ card: 'pm_card_chargeCustomerFail', settings: { max_monthly_amount: '20.50' } });
    expect(await world.alerted(organization)).toEqual(DECLINED);
    await world.attachCard(organization.customerId, 'pm_card_visa');
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.spend(organization.teamId, 20);
    await world.sql.query("update recharge set status = 'refunded' where organization_id = $1 and status = 'succeeded'", [organization.id]);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(RECHARGED);
  });

  // Half past six in the evening, UTC, is midnight in Kolkata: by UTC's day one of the two would end the
  // other way.
  test.each([
    ['the last minute of yesterday', '-1 minute', RECHARGED, 2],
    ['the first minute of today', '1 second', unsuccessful('daily_limit_reached'), 1],
  ])("case 53: the day is the organization's: a recharge in %s in Kolkata", async (_when, distance, ending, charges) => {
    const organization = await world.organization({ settings: { max_daily_recharges: 1, time_zone: 'Asia/Kolkata' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.sql.query(
      `update recharge set created_at = (date_trunc('day', now() at time zone 'Asia/Kolkata') at time zone 'Asia/Kolkata') + $2::interval
       where organization_id = $1`,
      [organization.id, distance],
    );
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(ending);
    expect((await world.books(organization)).charges).toBe(charges);
  });

  test.each([
    ['the last minute of last month', '-1 minute', RECHARGED],
    ['the first minute of this month', '1 minute', unsuccessful('monthly_limit_reached')],
  ])("case 53: the month is the organization's: a recharge in %s in Kolkata", async (_when, distance, ending) => {
    const organization = await world.organization({ settings: { max_monthly_amount: '21.00', time_zone: 'Asia/Kolkata' } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.sql.query(
      `update recharge set created_at = (date_trunc('month', now() at time zone 'Asia/Kolkata') at time zone 'Asia/Kolkata') + $2::interval
         where organization_id = $1`,
      [organization.id, distance],
    );
    await world.spend(organization.teamId, 20);
    expect(await world.alerted(organization, { max_budget: BUDGET_AFTER })).toEqual(ending);
  });
});

/** An organization as an operator makes, rehearses, changes and removes it. */
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
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { ALWAYS, HOLD, READ_BUDGET } from '../support/faults.ts';
import { World } from '../support/world.ts';

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
    const look = await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: HOLD });
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

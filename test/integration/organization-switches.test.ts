/**
 * The switches and limits of an organization that stop its recharges, and the outlook, which says what they let be
 * charged.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { created, expectProblem, INVALID, NOT_FOUND, ORGANIZATIONS } from '../support/admin.ts';
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

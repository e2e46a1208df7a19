/** The sweep finds what no alert has told of, and what is about to happen, once, and without insisting. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import * as balanceSamples from '../../src/database/balance-samples.ts';
import { Database } from '../../src/database/database.ts';
import * as organizations from '../../src/database/organizations.ts';
import { quotaMicros } from '../../src/domain/money.ts';
import { ABOVE_MINIMUM, CHARGED_ONCE, DECLINED, HELD, RECHARGED, REFUNDED, SUCCEEDED } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, READ_BUDGET, UNAVAILABLE } from '../support/faults.ts';
import { type Organization, World } from '../support/world.ts';

const DECLINING = 'pm_card_chargeCustomerFail';
/** Teams that are read at once. */
const PAGE = 100;
/** More teams than three pages hold. */
const MANY_TEAMS = 310;

let world: World;
const logged: string[] = [];
beforeAll(async () => {
  world = await World.start({ LOG_LEVEL: 'warn' }, { write: (line: string) => void logged.push(line) });
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

type Reported = { id: string; source: string; event_type: string; outcome: string | null };

async function eventsOf({ id }: Organization): Promise<Reported[]> {
  const { rows } = await world.sql.query(
    "select id, source, event_type, outcome from webhook_event where organization_id = $1 and outcome is distinct from 'duplicate' order by id",
    [id],
  );
  return rows;
}

/** A sweep, and what it has put into the inbox about the organization. */
async function sweptFor(organization: Organization): Promise<string | undefined> {
  const { reported } = await world.sweep();
  return reported.find(({ organizationId }) => organizationId === organization.id)?.eventId;
}

/** A sweep that reports the organization, and how that ended. */
async function outcomeOfSweep(organization: Organization): Promise<string> {
  const eventId = await sweptFor(organization);
  if (!eventId) throw new Error(`the sweep has not reported ${organization.id}`);
  return (await world.closed(eventId)).outcome;
}

async function everyEventClosed(): Promise<void> {
  const open = 'select 1 from webhook_event where not processed';
  await world.eventually(async () => (await world.sql.query(open)).rowCount === 0, 'every event is closed');
}

/** What the sweeps before have seen: the team's spend in dollars, so many seconds ago. */
async function wasSeen({ id }: Organization, ...samples: { secondsAgo: number; spend: number }[]): Promise<void> {
  for (const { secondsAgo, spend } of samples) {
    await world.sql.query(
      "insert into balance_sample (organization_id, at, quota, spend) values ($1, now() - $2 * interval '1 second', 10, $3)",
      [id, secondsAgo, spend],
    );
  }
}

/** All that was tried for the organization, and how it ended, is so much longer ago. */
async function letPass({ id }: Organization, minutes: number): Promise<void> {
  const earlier = (column: string) => `${column} = ${column} - $2 * interval '1 minute'`;
  await world.sql.query(`update recharge set ${earlier('updated_at')} where organization_id = $1`, [id, minutes]);
  await world.sql.query(`update hold set ${earlier('since')}, ${earlier('until')}, ${earlier('released_at')} where organization_id = $1`, [
    id,
    minutes,
  ]);
  await world.sql.query(`update card_attempt set ${earlier('ended_at')} where organization_id = $1`, [id, minutes]);
  await world.sql.query(`update webhook_event set ${earlier('processed_at')} where organization_id = $1 and processed`, [id, minutes]);
}

describe('a sweep recharges', () => {
  test('a team that has spent exactly its budget, which LiteLLM refuses without an alert', async () => {
    const organization = await world.organization({ budget: 10, spend: 10, minimum: '0.00', target: '20.00' });
    expect(await outcomeOfSweep(organization)).toBe(SUCCEEDED);
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    expect(await world.books(organization)).toEqual({ ...CHARGED_ONCE, captured: 2000, granted: 2000 });
    expect(await eventsOf(organization)).toMatchObject([{ source: 'sweep', event_type: 'balance_low', outcome: SUCCEEDED }]);
    const { data } = await world.admin.get('/api/v1/recharges', { params: { organization_id: organization.id } });
    expect(data.data).toMatchObject([{ source: 'sweep', status: 'succeeded' }]);
  });

  test('a team that LiteLLM refuses with something left, because the rest is reserved for other requests', async () => {
    const organization = await world.organization({ budget: 10, spend: 8.5 });
    expect(await outcomeOfSweep(organization)).toBe(SUCCEEDED);
    expect(await world.budgetOf(organization.teamId)).toBe(28.5);
  });

  test('a team that crosses again while LiteLLM is silent for a day after its first alert', async () => {
    const organization = await world.organization();
    await world.alerted(organization);
    await world.spend(organization.teamId, 20);
    expect(await outcomeOfSweep(organization)).toBe(SUCCEEDED);
    expect((await world.books(organization)).charges).toBe(2);
  });

  test('a team that was declined, when its card works again and the pause is over', async () => {
    const organization = await world.organization({ card: DECLINING });
    expect(await outcomeOfSweep(organization)).toBe('declined');
    const card = await world.stripe.paymentMethods.attach('pm_card_visa', { customer: organization.customerId });
    await world.stripe.customers.update(organization.customerId, { invoice_settings: { default_payment_method: card.id } });
    await letPass(organization, 15);
    expect(await outcomeOfSweep(organization)).toBe(SUCCEEDED);
    await expectChargedOnce(world, organization);
  });
});

describe('a sweep foresees', () => {
  test('that a team will reach its minimum before the next sweep, and recharges from the balance as it is', async () => {
    const organization = await world.organization({ budget: 10, spend: 4 });
    await wasSeen(organization, { secondsAgo: 60, spend: 1 });
    expect(await outcomeOfSweep(organization)).toBe(SUCCEEDED);
    expect(await eventsOf(organization)).toMatchObject([{ event_type: 'balance_forecast' }]);
    expect(await world.budgetOf(organization.teamId)).toBe(24);
    expect((await world.books(organization)).captured).toBe(1400);
  });

  test('nothing from a first look, from spend long ago, or from a budget that somebody has lowered', async () => {
    const organizations = [
      await world.organization({ budget: 6.2, spend: 4 }),
      await world.organization({ budget: 6.2, spend: 4 }),
      await world.organization({ budget: 1000, spend: 4 }),
    ];
    await wasSeen(organizations[1] as Organization, { secondsAgo: 700, spend: 0 }, { secondsAgo: 60, spend: 4 });
    await world.sweep();
    await world.setBudget(organizations[2]?.teamId ?? '', 10);
    await world.sweep();
    for (const organization of organizations) expect(await eventsOf(organization)).toEqual([]);
  });

  test('nothing from the spend of the team that it had before, which a sweep has seen and stores late', async () => {
    const organization = await world.organization({ budget: 10, spend: 4 });
    const next = `${organization.id}-of-${world.name}`;
    await world.makeTeam({ team_id: next, max_budget: 30 });
    await world.spend(next, 20);
    const database = await Database.open(world.config.databaseUrl);
    const waits = `select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query ~ 'delete from refusal'`;
    let sweeping: Promise<unknown> | undefined;
    await database.fork().transactional(async (tx) => {
      await tx.execute('lock table refusal in share mode');
      sweeping = world.sweep();
      await world.eventually(async () => (await world.sql.query(waits)).rowCount, 'the sweep has seen the balance, and waits');
      await organizations.change(tx, organization.id, { litellmTeamId: next });
    });
    await sweeping;
    await world.sql.query("update balance_sample set at = at - interval '1 minute' where organization_id = $1", [organization.id]);
    await world.sweep();
    expect(await eventsOf(organization)).toEqual([]);
    await database.close();
  });

  test('and an alert does not: what is charged for one is decided on the balance as it is', async () => {
    const organization = await world.organization({ budget: 10, spend: 4 });
    await wasSeen(organization, { secondsAgo: 60, spend: 1 });
    expect(await world.alerted(organization, { spend: 4 })).toEqual(ABOVE_MINIMUM);
    await expectUncharged(world, organization);
  });

  test('from what it has seen itself: a balance that stays is one row, one that is spent is a row for each figure', async () => {
    const organization = await world.organization({ budget: 10, spend: 1 });
    const samples = async () => {
      const rows = await world.sql.query(
        'select quota::float, spend::float, at from balance_sample where organization_id = $1 order by at',
        [organization.id],
      );
      return rows.rows;
    };
    await world.sweep();
    const [first] = await samples();
    await world.sweep();
    const [moved, ...more] = await samples();
    expect(more).toEqual([]);
    expect(moved.at.getTime()).toBeGreaterThan(first.at.getTime());
    await world.spend(organization.teamId, 0.5);
    await world.sweep();
    expect(await samples()).toMatchObject([
      { quota: 10, spend: 1 },
      { quota: 10, spend: 1.5 },
    ]);
  });
});

describe('a sweep is silent about', () => {
  test('teams that need nothing, and teams that are not ours', async () => {
    const organization = await world.organization({ budget: 10, spend: 7.99 });
    await world.makeTeam({ team_id: `${world.name}-somebody-else`, max_budget: 1 });
    await world.spend(`${world.name}-somebody-else`, 2);
    await world.sweep();
    expect(await eventsOf(organization)).toEqual([]);
    const { rows } = await world.sql.query('select from webhook_event where team_id = $1', [`${world.name}-somebody-else`]);
    expect(rows).toEqual([]);
  });

  test('organizations that would be refused: suspended, switched off, at a limit, with a team unfit for it or blocked', async () => {
    const refused = await Promise.all([
      world.organization({ settings: { auto_recharge_enabled: false } }),
      world.organization({ settings: { max_daily_recharges: 0 } }),
      world.organization({ settings: { max_monthly_amount: '1.00' } }),
      world.organization({ budget: null }),
      ...Array.from({ length: 3 }, () => world.organization()),
    ]);
    const [suspended, reset, blocked] = refused.slice(-3) as [Organization, Organization, Organization];
    await world.admin.post(`/api/v1/organizations/${suspended.id}/suspend`, {});
    await world.editTeam(reset.teamId, { budget_duration: '30d' });
    await world.editTeam(blocked.teamId, { blocked: true });
    await world.sweep();
    expect(await Promise.all(refused.map(eventsOf))).toEqual(refused.map(() => []));
  });

  test('an organization with an event that is still open', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
    const eventId = await world.accepted(organization);
    expect(await sweptFor(organization)).toBeUndefined();
    await world.clearFaults();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await eventsOf(organization)).toHaveLength(1);
  });

  test('one whose recharges were declined, for twice as long after each', async () => {
    const organization = await world.organization({ card: DECLINING });
    expect(await outcomeOfSweep(organization)).toBe('declined');
    expect(await sweptFor(organization)).toBeUndefined();
    await letPass(organization, 15);
    expect(await outcomeOfSweep(organization)).toBe('declined');
    await letPass(organization, 15);
    expect(await outcomeOfSweep(organization)).toBe('held');
    await everyEventClosed();
    const { waiting, paused } = await world.sweep();
    expect(paused).toContain(organization.id);
    await world.admin.post(`/api/v1/organizations/${organization.id}/suspend`, {});
    expect((await world.sweep()).waiting).toBe(waiting - 1);
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    await letPass(organization, 15);
    expect(await outcomeOfSweep(organization)).toBe('declined');
  });

  test('one that was declined after the sweep had seen it: its event is refused under the lock', async () => {
    const organization = await world.organization({ card: DECLINING });
    expect(await world.alerted(organization)).toEqual(DECLINED);
    await world.sql.query(
      `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256)
       values ('evt_late', 'sweep', 'balance_low', $1, $2, '{}', '')`,
      [organization.teamId, organization.id],
    );
    expect(await world.closed('evt_late')).toEqual(HELD);
  });

  test('one whose charge had to be refunded, which would be charged and refunded every minute', async () => {
    const organization = await world.organization();
    await world.refuseBudget(organization, { kind: 'respond', status: 400, body: { error: { message: 'no' } } });
    expect(await world.alerted(organization)).toEqual(REFUNDED);
    expect(await sweptFor(organization)).toBeUndefined();
  });

  test('one that the run refused for another reason than the sweep can see', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: { kind: 'respond', status: 404 } });
    expect(await outcomeOfSweep(organization)).toBe('team_not_found');
    expect(await sweptFor(organization)).toBeUndefined();
    await letPass(organization, 15);
    expect(await outcomeOfSweep(organization)).toBe('team_not_found');
    await letPass(organization, 15);
    expect(await sweptFor(organization)).toBeUndefined();
  });
});

describe('a pause after events that came to nothing', () => {
  const stateOf = async ({ id }: Organization) =>
    (await world.admin.get('/api/v1/status', { params: { organization_id: id } })).data.organizations.data[0].state;

  test('ends when the setting that they failed for is corrected, and the refusal is forgotten', async () => {
    const [organization, payer] = [await world.organization(), await world.organization({ spend: 0 })];
    await world.stripe.customers.del(organization.customerId);
    expect(await outcomeOfSweep(organization)).toBe('customer_missing');
    expect(await stateOf(organization)).not.toBe('ok');
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { minimum_balance: '2.00' });
    expect(await sweptFor(organization)).toBeUndefined();

    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: payer.customerId });
    expect(await stateOf(organization)).toBe('recharging');
    expect(await outcomeOfSweep(organization)).toBe('succeeded');
  });

  test('ends with another customer, and however often settings change, a dead card is not asked again before its time', async () => {
    const organization = await world.organization({ card: DECLINING });
    expect(await outcomeOfSweep(organization)).toBe('declined');
    for (const minimum of ['2.10', '2.20', '2.30', '2.40']) {
      await world.admin.patch(`/api/v1/organizations/${organization.id}`, { minimum_balance: minimum });
      expect(await outcomeOfSweep(organization)).toBe('held');
      expect(await sweptFor(organization)).toBeUndefined();
    }
    expect((await world.stripe.charges.list({ customer: organization.customerId })).data).toHaveLength(1);

    const { customerId } = await world.organization({ spend: 0 });
    await world.admin.patch(`/api/v1/organizations/${organization.id}`, { stripe_customer_id: customerId });
    expect(await outcomeOfSweep(organization)).toBe('succeeded');
  });
});

describe('one crossing is one charge', () => {
  test('when an alert and a sweep tell of it at the same moment', async () => {
    const organizations = await Promise.all(Array.from({ length: 5 }, () => world.organization()));
    await Promise.all([world.sweep(), ...organizations.map(({ teamId }) => world.alert(teamId)), world.sweep()]);
    await everyEventClosed();
    for (const organization of organizations) await expectChargedOnce(world, organization);
  });

  test('when ten sweeps see it at once', async () => {
    const organization = await world.organization();
    const declined = await world.organization({ card: DECLINING });
    await Promise.all(Array.from({ length: 10 }, () => world.sweep()));
    await everyEventClosed();
    await expectChargedOnce(world, organization);
    expect(await world.rechargesOf(declined)).toMatchObject([{ status: 'declined' }]);
  });
});

test('what many sweeps and synchronisations store of the same organizations at once, they store without a deadlock', async () => {
  const ids = Array.from({ length: 50 }, (_, serial) => `side-by-side-${serial}`);
  await world.sql.query(
    `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
       target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone)
     select id, id, 'cus_1', id, 'usd', 1, 2, 1, false, 1, 'UTC' from unnest($1::text[]) id`,
    [ids],
  );
  const database = await Database.open(world.config.databaseUrl);
  try {
    for (let round = 0; round < 20; round++) {
      const store = async (order: string[]) => {
        const seen = order.map((organizationId) => ({ organizationId, litellmTeamId: organizationId, quota: null, spend: quotaMicros(1) }));
        await balanceSamples.record(database.fork(), seen);
        await organizations.markSeen(database.fork(), order);
      };
      await Promise.all(Array.from({ length: 8 }, (_, serial) => store(serial % 2 === 0 ? ids : ids.toReversed())));
    }
  } finally {
    await database.close();
  }
});

describe('with several pages of teams', () => {
  let organization: Organization;
  beforeAll(async () => {
    for (let serial = 0; serial < MANY_TEAMS; serial++) await world.makeTeam({ team_id: `${world.name}-a-${serial}`, max_budget: 1 });
  });

  test('every page is read', async () => {
    // Sorts behind all the others.
    organization = await world.organization({ teamId: `${world.name}-z` });
    const swept = await world.sweep();
    const teams = Object.keys((await world.kmsState()).teams).length;
    expect([swept.teams, swept.pages]).toEqual([teams, Math.ceil(teams / PAGE)]);
    expect(swept.reported.map(({ organizationId }) => organizationId)).toContain(organization.id);
  });

  test('case 55: a page that cannot be read is named, and does not keep the sweep from the others', async () => {
    organization = await world.organization({ teamId: `${world.name}-zz` });
    await world.kmsFault({ path: '/v2/team/list', contains: 'page=2&', times: ALWAYS, action: { kind: 'respond', status: 500 } });
    const swept = await world.sweep();
    expect(swept.failedPages).toEqual([2]);
    expect(swept.reported.map(({ organizationId }) => organizationId)).toContain(organization.id);
  });

  test('a team on a page that cannot be read, sweep after sweep, is looked up by itself', async () => {
    organization = await world.organization({ teamId: `${world.name}-a-2-mine`, spend: 0 });
    await world.sweep();
    await world.spend(organization.teamId, 9.5);
    const teamIds = Object.keys((await world.kmsState()).teams).sort();
    const page = Math.floor(teamIds.indexOf(organization.teamId) / PAGE) + 1;
    const action = { kind: 'respond', status: 500 } as const;
    await world.kmsFault({ path: '/v2/team/list', contains: `page=${page}&page_size=${PAGE}`, times: ALWAYS, action });
    const swept = await world.sweep();
    expect(swept.failedPages).toEqual([page]);
    expect(swept.reported.map(({ organizationId }) => organizationId)).toContain(organization.id);
    await world.eventually(async () => (await eventsOf(organization)).at(0)?.outcome === SUCCEEDED, 'it is recharged');
  });

  test('a LiteLLM that is unavailable ends the sweep with the reason, and the next one does its work', async () => {
    organization = await world.organization({ teamId: `${world.name}-zzz` });
    await world.kmsFault({ path: '/v2/team/list', times: ALWAYS, action: UNAVAILABLE });
    await expect(world.sweep()).rejects.toMatchObject({ cause: { cause: { type: 'KmsUnavailable' } } });
    const failure = logged.map((line) => JSON.parse(line)).findLast(({ failure }) => failure === 'KmsUnavailable');
    expect(failure).toMatchObject({ activityType: 'sweepTeams', workflowRunId: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    await world.clearFaults();
    expect(await outcomeOfSweep(organization)).toBe(SUCCEEDED);
  });

  test('a LiteLLM that becomes unavailable after the first page ends the sweep, too: what it has reported is in the inbox', async () => {
    const first = await world.organization({ teamId: `${world.name}-a` });
    await world.kmsFault({ path: '/v2/team/list', skip: 1, times: ALWAYS, action: { kind: 'respond', status: 500 } });
    await expect(world.sweep()).rejects.toMatchObject({ cause: { cause: { type: 'KmsUnavailable' } } });
    await world.eventually(async () => (await eventsOf(first)).at(0)?.outcome === SUCCEEDED, 'the team of the first page is recharged');
  });

  test('a team that LiteLLM shows as nonsense does not hide the others of its page', async () => {
    organization = await world.organization({ teamId: `${world.name}-zzzz` });
    const { data } = await world.kms.get('/v2/team/list?page=1&page_size=100&sort_by=team_id&sort_order=asc');
    const teams = [
      { team_id: 'nonsense', spend: 'a lot' },
      { ...data.teams[0], team_id: organization.teamId, max_budget: 10, spend: 10.5 },
    ];
    const body = { ...data, teams, total_pages: 1 };
    await world.kmsFault({ path: '/v2/team/list', action: { kind: 'respond', status: 200, body } });
    const swept = await world.sweep();
    expect(swept).toMatchObject({ pages: 1, teams: 1, unreadable: 1, reported: [{ organizationId: organization.id }] });
    const line = logged.find((each) => each.includes('some teams cannot be read')) ?? '{}';
    expect(JSON.parse(line)).toMatchObject({ teams: [{ teamId: 'nonsense' }] });
  });
});

/** One organization whose row cannot be computed with hides none of the others. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { examineTimeZones } from '../../src/cli/doctor/time-zones.ts';
import { Database } from '../../src/database/database.ts';
import { BUDGET_AFTER, RECHARGED, SUCCEEDED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { type Organization, World } from '../support/world.ts';

const UNKNOWN = 'Mars/Olympus';

let world: World;
let database: Database;
beforeAll(async () => {
  world = await World.start();
  database = await Database.open(world.config.databaseUrl);
});
afterAll(async () => {
  await database.close();
  await world.close();
});

/** The outcomes of what a sweep reports of these organizations. */
async function swept(...wanted: Organization[]): Promise<string[]> {
  const { reported } = await world.sweep();
  return Promise.all(
    wanted.map(async ({ id }) => {
      const eventId = reported.find(({ organizationId }) => organizationId === id)?.eventId;
      return eventId ? (await world.closed(eventId)).outcome : 'not reported';
    }),
  );
}

describe('an organization that cannot be computed with', () => {
  test('is not taken by the database where its row could not be read: it would hide all', async () => {
    const { id } = await world.organization();
    const tooLarge = world.sql.query('update organization_balance_config set target_balance = 1e10 where c_organization_id = $1', [id]);
    await expect(tooLarge).rejects.toThrow('organization_quota_is_exact');
    const largest = '9007199254.740991';
    await world.sql.query('update organization_balance_config set target_balance = $1 where c_organization_id = $2', [largest, id]);
    expect((await world.admin.get('/api/v1/organizations')).status).toBe(200);
    await world.sql.query('delete from organization_balance_config where c_organization_id = $1', [id]);
  });

  test('case 81: does not hide the others from the sweep when its event cannot be stored', async () => {
    const [failing, other] = [await world.organization(), await world.organization()];
    await world.sql.query(`alter table webhook_event add constraint of_a_test check (team_id <> '${failing.teamId}') not valid`);
    expect(await swept(failing, other)).toEqual(['not reported', SUCCEEDED]);
    await expectChargedOnce(world, other);
    await world.sql.query('alter table webhook_event drop constraint of_a_test');
    expect(await swept(failing)).toEqual([SUCCEEDED]);
    await expectChargedOnce(world, failing);
  });
});

describe('an alert that cannot be stored', () => {
  test('is 503 with Retry-After, whatever the reason is, and is charged once when it is sent again', async () => {
    const organization = await world.organization();
    const id = `msg_${randomUUID()}`;
    await world.sql.query(`alter table webhook_event add constraint of_a_test check (team_id <> '${organization.teamId}') not valid`);
    const refused = await world.alert(organization.teamId, { id });
    expect(refused).toMatchObject({ status: 503, data: { type: 'urn:bill-service:problem:unavailable' } });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    await world.sql.query('alter table webhook_event drop constraint of_a_test');
    const { data } = await world.alert(organization.teamId, { id });
    expect(await world.closed(data.event_id)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });
});

describe('an organization whose time zone PostgreSQL no longer knows', () => {
  let lost: Organization;
  let other: Organization;
  beforeAll(async () => {
    // A recharge in its past: without one its days and months are not looked at.
    ({ organization: lost } = await world.recharged());
    other = await world.organization();
    await world.sql.query('update organization_balance_config set time_zone = $1 where c_organization_id = $2', [UNKNOWN, lost.id]);
    await world.spend(lost.teamId, BUDGET_AFTER - 10);
  });

  const warnings = async () => {
    const { status, data } = await world.admin.get('/api/v1/organizations');
    expect(status).toBe(200);
    const rows = data.data as { c_organization_id: string; warnings: string[] }[];
    const ours = rows.filter(({ c_organization_id: id }) => [lost.id, other.id].includes(id));
    return Object.fromEntries(ours.map(({ c_organization_id: id, warnings: own }) => [id, own]));
  };

  test('case 81: does not hide the others from the sweep, and is recharged by the days of UTC, which is told once', async () => {
    expect(await swept(lost, other)).toEqual([SUCCEEDED, SUCCEEDED]);
    await expectChargedOnce(world, other);
    expect((await world.books(lost)).charges).toBe(2);
    await world.sweep();
    const { rows } = await world.sql.query("select organization_id, data from outbound_event where data->>'kind' = 'time_zone_unknown'");
    expect(rows).toEqual([
      {
        organization_id: lost.id,
        data: expect.objectContaining({ seen: UNKNOWN, action: `bill org set ${lost.id} --time-zone <IANA name>` }),
      },
    ]);
  });

  test('is named by the API and bill doctor, and the reconciliation looks at all', async () => {
    expect(await warnings()).toEqual({ [lost.id]: [expect.stringContaining('time_zone')], [other.id]: [] });
    expect(await examineTimeZones(database.fork())).toEqual([
      expect.objectContaining({ check: lost.id, verdict: 'change', advice: `bill org set ${lost.id} --time-zone <IANA name>` }),
    ]);
    const reconciled = await world.reconcile({ fix: false });
    expect(reconciled).toMatchObject({ findings: [] });
  });

  test('is charged for its own alert, within its limits', async () => {
    await world.admin.patch(`/api/v1/organizations/${lost.id}`, { max_daily_recharges: 3 });
    const { rows } = await world.sql.query('select max_daily_recharges from organization_balance_config where c_organization_id = $1', [
      lost.id,
    ]);
    expect(rows[0].max_daily_recharges).toBe(3);
    const { max_budget: budget } = (await world.kms.get(`/team/info?team_id=${lost.teamId}`)).data.team_info;
    await world.spend(lost.teamId, 19);
    expect(await world.alerted(lost, { max_budget: budget })).toEqual(RECHARGED);
    await world.spend(lost.teamId, 19);
    expect(await world.alerted(lost, { max_budget: budget + 20 })).toMatchObject({ outcome: 'daily_limit_reached' });
  });

  test('is like any other when its zone is corrected', async () => {
    const { status } = await world.admin.patch(`/api/v1/organizations/${lost.id}`, { time_zone: 'Europe/Berlin' });
    expect(status).toBe(200);
    expect(await warnings()).toEqual({ [lost.id]: [], [other.id]: [] });
    expect(await examineTimeZones(database.fork())).toEqual([expect.objectContaining({ verdict: 'ok' })]);
  });
});

/**
 * LiteLLM's answer about a team lacks what a decision about money rests on, or is far larger than it: nothing
 * is decided on the one, and nothing waits for the other.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { FAILURE } from '../../src/domain/failures.ts';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce, expectUncharged } from '../support/expectations.ts';
import { ALWAYS, READ_BUDGET, type StandingFault } from '../support/faults.ts';
import { failedAttempts } from '../support/runs.ts';
import { type Organization, World } from '../support/world.ts';

type Row = Record<string, unknown>;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

/** LiteLLM leaves fields of the organization's team out of `/team/info`, as long as this stands. */
async function leaveOut({ teamId }: Organization, ...fields: string[]): Promise<StandingFault> {
  const { team_info, ...lists } = (await world.teamInfo(teamId)) as { team_info: Row };
  const body = { ...lists, team_info: without(team_info, fields) };
  return world.kmsFault({ ...READ_BUDGET, contains: teamId, times: ALWAYS, action: { kind: 'respond', status: 200, body } });
}

function without(row: Row, fields: string[]): Row {
  return Object.fromEntries(Object.entries(row).filter(([name]) => !fields.includes(name)));
}

async function isOpen(eventId: string): Promise<boolean> {
  return (await world.sql.query('select from webhook_event where id = $1 and not processed', [eventId])).rowCount === 1;
}

/** What was told of the organization, the oldest first. */
async function told({ id }: Organization): Promise<{ type: string; kind: string; subject: string }[]> {
  const { rows } = await world.sql.query('select type, data from outbound_event where organization_id = $1 order by id', [id]);
  return rows.map(({ type, data: { kind, subject } }) => ({ type, kind, subject }));
}

/** Two hundred recharges, older than any that a test makes, that wait for their banks since yesterday. */
const OTHERS_IN_PROCESSING = [
  `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
     target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone)
   select 'other-' || n, 'Other', 'cus_other_' || n, 'other-' || n, 'usd', 2, 20, 1, true, 10, 'UTC' from generate_series(1, 200) n`,
  `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256, crossing, received_at, dispatched_at)
   select 'evt_0' || lpad(n::text, 31, '0'), 'webhook', 'budget_crossed', 'other-' || n, 'other-' || n, '{}', 'digest', 'crossing-' || n,
     now() - interval '1 day', now() - interval '1 day' from generate_series(1, 200) n`,
  `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
     quota_granted, balance_seen, payment_intent_id, quota_before, quota_after, timeline, created_at, updated_at)
   select 'rch_0' || lpad(n::text, 31, '0'), 'evt_0' || lpad(n::text, 31, '0'), 'other-' || n, 'other-' || n, 'webhook', 'processing',
     'cus_other_' || n, 2000, 'usd', 20, 1, 'pi_other_' || n, 10, 30, '[]', now() - interval '1 day', now() - interval '1 day'
   from generate_series(1, 200) n`,
];

describe('fields that are left out', () => {
  test.each([
    ['budget and spend', ['max_budget', 'spend'], { budget: 10, spend: 10.5 }],
    ['the budget', ['max_budget'], { budget: 10, spend: 10.5 }],
    ['the spend', ['spend'], { budget: 20, spend: 20.5 }],
    ['the period of the budget', ['budget_duration'], { budget: 10, spend: 10.5 }],
  ])(
    'case 81: %s: the team is looked at again, neither unlimited nor unspent, and recharged once they are shown',
    async (_, fields, wish) => {
      const organization = await world.organization(wish);
      const missing = await leaveOut(organization, ...fields);
      const eventId = await world.accepted(organization);
      expect((await failedAttempts(await world.runOf(eventId))).type).toBe(FAILURE.kmsUnavailable);
      await missing.struck(3);
      expect(await isOpen(eventId)).toBe(true);
      await expectUncharged(world, organization);
      await missing.remove();
      expect(await world.closed(eventId)).toEqual(RECHARGED);
      expect(await world.books(organization)).toMatchObject({ charges: 1, captured: 2050, granted: 2050, prepaid: 0 });
    },
  );

  test('for fifteen minutes: that is told once, with what looks at it', async () => {
    const organization = await world.organization();
    const missing = await leaveOut(organization, 'max_budget', 'spend');
    const eventId = await world.accepted(organization);
    await missing.struck();
    const undecided = { type: 'drift.detected', kind: 'event_undecided', subject: eventId };
    await world.sweep();
    expect(await told(organization)).not.toContainEqual(undecided);
    await world.sql.query(
      "update webhook_event set received_at = received_at - interval '15 min', dispatched_at = dispatched_at - interval '15 min' where id = $1",
      [eventId],
    );
    for (let times = 0; times < 2; times++) await world.sweep();
    expect((await told(organization)).filter(({ kind }) => kind === undecided.kind)).toEqual([undecided]);
    expect(await isOpen(eventId)).toBe(true);
    await missing.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('for fifteen minutes, while banks process the payments of many others: that is told all the same', async () => {
    const organization = await world.organization();
    const missing = await leaveOut(organization, 'max_budget', 'spend');
    const eventId = await world.accepted(organization);
    await missing.struck();
    await world.sql.query(
      "update webhook_event set received_at = received_at - interval '15 min', dispatched_at = dispatched_at - interval '15 min' where id = $1",
      [eventId],
    );
    for (const statement of OTHERS_IN_PROCESSING) await world.sql.query(statement);
    await world.sweep();
    const seen = await told(organization);
    await world.sql.query("delete from recharge where litellm_team_id like 'other-%'");
    await world.sql.query("delete from webhook_event where team_id like 'other-%'");
    await world.sql.query("delete from organization_balance_config where litellm_team_id like 'other-%'");
    expect(seen).toContainEqual({ type: 'drift.detected', kind: 'event_undecided', subject: eventId });
    await missing.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
  });

  test('after the capture: nothing is parked as edited, and the quota is raised once they are shown', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization);
    const eventId = await world.accepted(organization);
    await refusal.struck();
    const missing = await leaveOut(organization, 'max_budget');
    await refusal.remove();
    await missing.struck(2);
    expect((await world.rechargeOf(organization)).status).toBe('charged');
    await missing.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('in a row of the list: that team alone is unreadable to the sweep', async () => {
    const [unread, read] = await Promise.all([world.organization(), world.organization()]);
    const { data } = await world.kms.get('/v2/team/list', { params: { page: 1, page_size: 100 } });
    const teams = data.teams.map((row: Row) => (row['team_id'] === unread.teamId ? without(row, ['spend']) : row));
    await world.kmsFault({ path: '/v2/team/list', action: { kind: 'respond', status: 200, body: { ...data, teams } } });
    const { unreadable, reported } = await world.sweep();
    expect(unreadable).toBe(1);
    const seen = reported.filter(({ organizationId }) => [unread.id, read.id].includes(organizationId));
    expect(seen.map(({ organizationId }) => organizationId)).toEqual([read.id]);
    expect(await world.closed(seen[0]?.eventId ?? '')).toEqual(RECHARGED);
    await expectUncharged(world, unread);
  });

  test('the balance is not shown as zero, or as without limit: 503, with the field that is missing', async () => {
    const organization = await world.organization();
    await leaveOut(organization, 'spend');
    const { status, data } = await world.admin.get(`/api/v1/organizations/${organization.id}/balance`);
    expect([status, data.type]).toEqual([503, 'urn:bill-service:problem:unavailable']);
    expect(data.detail).toContain('spend');
  });
});

describe('an answer that grows with what we do not need', () => {
  /** More than is read of it, with all keys and with one. */
  const CROWD = { keys: 21_000, members: 10_000 };

  async function growLarge({ teamId }: Organization): Promise<void> {
    await world.kmsKnob(`teams/${teamId}/crowd`, CROWD);
  }

  test('from the start: the alert is charged and the budget raised, once', async () => {
    const organization = await world.organization();
    await growLarge(organization);
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('after the capture: the budget is raised', async () => {
    const organization = await world.organization();
    const refusal = await world.refuseBudget(organization);
    const eventId = await world.accepted(organization);
    await refusal.struck();
    await growLarge(organization);
    await refusal.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    await expectChargedOnce(world, organization);
  });

  test('and takes longer than we wait: charged and raised all the same', async () => {
    const organization = await world.organization();
    await world.kmsFault({ ...READ_BUDGET, contains: organization.teamId, times: ALWAYS, action: { kind: 'delay', ms: 20_000 } });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    await world.clearFaults();
    await expectChargedOnce(world, organization);
  });

  test("where the members' limits cannot be read, that of a team is made and changed", async () => {
    const { id, teamId } = await world.organization();
    const teams = `/api/v1/organizations/${id}/teams`;
    await world.kmsFault({ ...READ_BUDGET, contains: teamId, times: ALWAYS, action: { kind: 'respond', status: 504 } });
    const limits = async () => {
      const { team_memberships } = (await world.teamInfo(teamId)) as { team_memberships: { litellm_budget_table: Row | null }[] };
      return team_memberships.map(({ litellm_budget_table }) => litellm_budget_table?.['max_budget'] ?? null);
    };
    const made = await world.admin.post(teams, { c_team_id: 'blue', max_budget_in_team: '2.50' });
    expect([made.status, await limits()]).toEqual([201, [2.5]]);
    for (const [limit, shown] of [
      ['4.00', 4],
      [null, null],
    ]) {
      const changed = await world.admin.patch(`${teams}/blue`, { max_budget_in_team: limit });
      expect([changed.status, await limits()]).toEqual([200, [shown]]);
    }
  });

  test('holds up neither sweep nor synchronisation nor reconciliation, and its balance is shown', async () => {
    const [large, other] = await Promise.all([world.recharged(), world.recharged()]);
    await growLarge(large.organization);
    await world.spend(large.organization.teamId, 20);
    const { reported } = await world.sweep();
    const eventId = reported.find(({ organizationId }) => organizationId === large.organization.id)?.eventId ?? '';
    expect(await world.closed(eventId)).toEqual(RECHARGED);

    for (const { organization } of [large, other]) {
      const { status, data } = await world.admin.get(`/api/v1/organizations/${organization.id}/balance`);
      expect([status, data.balance]).toEqual([200, '20.00']);
      const { data: run } = await world.admin.post('/api/v1/sync', { organization_ids: [organization.id] });
      const over = await world.eventually(async () => {
        const { data: seen } = await world.admin.get(`/api/v1/sync/${run.id}`);
        return seen.status !== 'running' && seen;
      }, `sync ${run.id} is over`);
      expect(over).toMatchObject({ status: 'succeeded', failure: null });
    }
    const { findings } = await world.reconcile({ fix: false });
    const ours = [large.organization.id, other.organization.id];
    expect(findings.filter(({ organizationId }) => ours.includes(organizationId))).toEqual([]);
  });
});

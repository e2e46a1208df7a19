/** Outbound events are stored in the transaction of what they tell of, and once. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { Database } from '../../src/database/database.ts';
import { newId } from '../../src/database/ids.ts';
import * as lowBalances from '../../src/database/low-balances.ts';
import * as organizations from '../../src/database/organizations.ts';
import { tell } from '../../src/database/outbound-events.ts';
import { tellOverdue, unsettled } from '../../src/database/recharge-events.ts';
import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { parseQuota } from '../../src/domain/money.ts';
import type { RechargeStatus } from '../../src/domain/recharge-status.ts';
import { migratedDatabase } from '../support/databases.ts';
import { insertEvent } from '../support/events.ts';
import { settingsOf } from '../support/settings.ts';

let database: Database;
let sql: pg.Pool;
beforeAll(async () => {
  const url = await migratedDatabase();
  database = await Database.open(url);
  sql = new pg.Pool({ connectionString: url, max: 4 });
}, 60_000);
afterAll(async () => {
  await sql.end();
  await database.close();
});
beforeEach(async () => {
  await sql.query('delete from outbound_event');
});

function drift(subject: string) {
  const data = { kind: 'ledger_changed', subject, seen: 'a gap', expected: 'an unbroken chain', action: 'bill ledger verify' };
  return { type: 'drift.detected' as const, organizationId: 'acme', key: `finding/${subject}`, data };
}

async function toldOf(key: string) {
  return (await sql.query('select type, organization_id, data from outbound_event where key = $1', [key])).rows;
}

describe('an event is told', () => {
  test('with its organization and its facts', async () => {
    expect(await tell(database.fork(), drift('one'))).toBe(true);
    expect(await toldOf('finding/one')).toEqual([
      { type: 'drift.detected', organization_id: 'acme', data: { organization_id: 'acme', ...drift('one').data } },
    ]);
  });

  test('once: of two with one key the first stands', async () => {
    await tell(database.fork(), drift('two'));
    expect(await tell(database.fork(), { ...drift('two'), organizationId: 'other' })).toBe(false);
    expect(await toldOf('finding/two')).toMatchObject([{ organization_id: 'acme' }]);
  });

  test('not at all when its transaction is rolled back', async () => {
    const moving = database.fork().transactional(async (tx) => {
      await tell(tx, drift('three'));
      throw new Error('the move fails');
    });
    await expect(moving).rejects.toThrow('the move fails');
    expect(await toldOf('finding/three')).toEqual([]);
  });
});

let serial = 0;
async function organization(): Promise<string> {
  const id = `org-${++serial}`;
  await organizations.create(database.fork(), id, settingsOf(id));
  return id;
}

async function typesOf(organizationId: string): Promise<string[]> {
  return (await sql.query('select type from outbound_event where organization_id = $1 order by id', [organizationId])).rows.map(
    ({ type }) => type,
  );
}

/** A recharge with an intent that has come to a status `minutes` ago. */
async function recharge(organizationId: string, at: RechargeStatus, minutes = 0): Promise<string> {
  const id = newId('rch');
  const step = (name: string) => ({ at: new Date(Date.now() - minutes * 60_000).toISOString(), status: name });
  const timeline = at === 'charging' ? [step('charging')] : [step('charging'), step(at)];
  await sql.query(
    `insert into recharge (id, event_id, organization_id, litellm_team_id, source, status, stripe_customer_id, amount_minor, currency,
       quota_granted, balance_seen, quota_before, quota_after, payment_intent_id, timeline)
     values ($1, $2, $3, 'team', 'webhook', $4, 'cus_1', 2000, 'usd', 20, 5, 1, 21, $1, $5)`,
    [id, await insertEvent(sql, organizationId), organizationId, at, JSON.stringify(timeline)],
  );
  return id;
}

describe('a move of a recharge', () => {
  async function moved(from: RechargeStatus, to: RechargeStatus): Promise<string> {
    const id = await organization();
    const em = database.fork();
    const row = await recharges.get(em, await recharge(id, from));
    await recharges.move(em, row, { to, facts: { reason: 'the test' } });
    return id;
  }

  test.each([
    ['charging', 'declined', ['recharge.declined']],
    ['charging', 'action_required', ['recharge.action_required']],
    ['refunding', 'refunded', ['recharge.refunded']],
    ['charged', 'needs_attention', ['recharge.needs_attention']],
    ['charging', 'processing', []],
    ['charged', 'refunding', []],
  ] as const)('from %s to %s tells %j', async (from, to, types) => {
    expect(await typesOf(await moved(from, to))).toEqual(types);
  });

  test('that is made twice is told once, and one that comes to a status again is told again', async () => {
    const id = await organization();
    const em = database.fork();
    const row = await recharges.get(em, await recharge(id, 'charged'));
    for (let attempt = 0; attempt < 2; attempt++) await recharges.move(em, row, { to: 'needs_attention' });
    expect(await typesOf(id)).toEqual(['recharge.needs_attention']);
    await recharges.move(em, row, { to: 'charged', from: ['needs_attention'] });
    await recharges.move(em, row, { to: 'needs_attention' });
    expect(await typesOf(id)).toEqual(['recharge.needs_attention', 'recharge.needs_attention']);
  });
});

describe('a refusal', () => {
  async function refused(id: string, reason: Parameters<typeof webhookEvents.close>[2]): Promise<void> {
    await webhookEvents.close(database.fork(), await insertEvent(sql, id), reason);
  }

  test('case 75: a refusal that comes a thousand times is told once', async () => {
    const id = await organization();
    await sql.query(
      `insert into webhook_event (id, source, event_type, team_id, organization_id, payload, body_sha256)
       select 'evt_' || n, 'webhook', 'budget_crossed', 'team', $1, '{}', '' from generate_series(1, 1000) n`,
      [id],
    );
    for (let n = 1; n <= 1000; n++) await webhookEvents.close(database.fork(), `evt_${n}`, 'unlimited_budget');
    expect(await typesOf(id)).toEqual(['refusal.new']);
    expect((await sql.query('select times from refusal where organization_id = $1', [id])).rows).toEqual([{ times: 1000 }]);
  });

  test('is told for each reason, and not where nobody has to act', async () => {
    const id = await organization();
    for (const reason of ['soft_budget', 'above_minimum', 'recharge_open', 'held', 'cancelled', 'soft_budget', 'team_not_found'] as const)
      await refused(id, reason);
    expect(await typesOf(id)).toEqual(['refusal.new', 'refusal.new']);
  });

  test('is told again when the organization was recharged in between', async () => {
    const id = await organization();
    await refused(id, 'soft_budget');
    const em = database.fork();
    await recharges
      .move(em, await recharges.get(em, await recharge(id, 'charged')), { to: 'succeeded', transfer: 'grant' })
      .catch(() => {});
    await sql.query('select 1');
    await refused(id, 'soft_budget');
    expect(await typesOf(id)).toEqual(['refusal.new', 'recharge.succeeded', 'refusal.new']);
  });

  test('does not outlive its organization', async () => {
    const id = await organization();
    await refused(id, 'team_not_found');
    expect(await organizations.remove(database.fork(), id)).toBe(true);
    expect((await sql.query('select 1 from refusal where organization_id = $1', [id])).rowCount).toBe(0);
  });
});

describe('a balance', () => {
  const budget = (quota: string | null, spend = '0') => ({
    quota: quota === null ? null : parseQuota(quota),
    spend: parseQuota(spend),
    softBudget: null,
    budgetDuration: null,
    hasBudgetLimits: false,
    blocked: false,
  });
  async function seen(id: string, quota: string | null): Promise<void> {
    const em = database.fork();
    const row = await organizations.find(em, id);
    if (row) await lowBalances.note(em, [{ organization: row, budget: budget(quota) }]);
  }

  test('that falls to the minimum is told once, and again when it was above in between', async () => {
    const id = await organization();
    for (const quota of ['5.000001', '5', '4', '3']) await seen(id, quota);
    expect(await typesOf(id)).toEqual(['balance.low']);
    for (const quota of ['6', '5']) await seen(id, quota);
    expect(await typesOf(id)).toEqual(['balance.low', 'balance.low']);
  });

  test('is told of another team of the organization too, which nobody has seen before', async () => {
    const id = await organization();
    await seen(id, '3');
    await organizations.change(database.fork(), id, { litellmTeamId: `next-of-${id}` });
    expect((await organizations.get(database.fork(), id)).lowSince).toBeNull();
    await seen(id, '3');
    expect(await typesOf(id)).toEqual(['balance.low', 'balance.low']);
  });

  test('is told once of two looks that have begun before either has told it', async () => {
    const id = await organization();
    const read = await organizations.find(database.fork(), id);
    for (let look = 0; look < 2; look++) {
      if (read) await lowBalances.note(database.fork(), [{ organization: read, budget: budget('1') }]);
    }
    expect(await typesOf(id)).toEqual(['balance.low']);
  });

  test('above the minimum ends what was refused below it', async () => {
    const id = await organization();
    await seen(id, '1');
    await webhookEvents.close(database.fork(), await insertEvent(sql, id), 'daily_limit_reached');
    await seen(id, '6');
    await webhookEvents.close(database.fork(), await insertEvent(sql, id), 'daily_limit_reached');
    expect(await typesOf(id)).toEqual(['balance.low', 'refusal.new', 'refusal.new']);
  });

  test('that can be read again ends what the team in LiteLLM had forbidden, and nothing else', async () => {
    const id = await organization();
    for (const reason of ['team_not_found', 'daily_limit_reached'] as const)
      await webhookEvents.close(database.fork(), await insertEvent(sql, id), reason);
    await seen(id, '6');
    expect((await sql.query('select reason from refusal where organization_id = $1', [id])).rows).toEqual([
      { reason: 'daily_limit_reached' },
    ]);
  });
});

describe('a recharge with an intent', () => {
  async function told(at: RechargeStatus, minutes: number): Promise<string | undefined> {
    const id = await recharge(await organization(), at, minutes);
    const open = await unsettled(database.fork(), { after: '', limit: 1000 });
    if (!open.includes(id)) return 'not looked at';
    return (await tellOverdue(database.fork(), id))?.overdue_after;
  }

  test.each([
    ['charging', 14, undefined],
    ['charging', 16, '15m'],
    ['charged', 16, '15m'],
    ['refunding', 361, '6h'],
    ['processing', 10_000, 'not looked at'],
    ['needs_attention', 10_000, 'not looked at'],
    ['succeeded', 10_000, 'not looked at'],
  ] as const)('that is %s for %d minutes: %s', async (at, minutes, expected) => {
    expect(await told(at, minutes)).toBe(expected);
  });

  test('is told at 15 minutes and at 6 hours, once each', async () => {
    const id = await recharge(await organization(), 'charged', 20);
    const look = () => tellOverdue(database.fork(), id).then((data) => data?.overdue_after);
    expect([await look(), await look()]).toEqual(['15m', undefined]);
    await sql.query(
      `update recharge set timeline = jsonb_build_array(jsonb_build_object('status', 'charging', 'at', to_char((now() - interval '7 hours') at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) where id = $1`,
      [id],
    );
    expect([await look(), await look()]).toEqual(['6h', undefined]);
  });
});

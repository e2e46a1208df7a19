import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Database } from '../../src/database/database.ts';
import * as ledger from '../../src/database/ledger.ts';
import * as recharges from '../../src/database/recharges.ts';
import type { TransferKind } from '../../src/domain/ledger.ts';
import { minorUnits, quotaMicros } from '../../src/domain/money.ts';
import { NEEDS_ATTENTION } from '../support/books.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
let database: Database;
beforeAll(async () => {
  world = await World.start();
  database = await Database.open(world.env['DATABASE_URL'] ?? '');
});
afterAll(async () => {
  await database?.close();
  await world?.close();
});
afterEach(() => world.clearFaults());

/** Enters a transfer as the ledger does, so that its chain is whole. */
async function enter(rechargeId: string, kind: TransferKind, amount: number): Promise<void> {
  await database.fork().transactional(async (tx) => {
    const portion = { reference: 'by_hand', amountMinor: minorUnits(amount), quotaMicros: quotaMicros(amount * 10_000) };
    await ledger.append(tx, await recharges.get(tx, rechargeId), { kind, portion });
  });
}

async function toldOf({ id }: Organization, type: string): Promise<string[]> {
  const { rows } = await world.sql.query(
    "select data->>'kind' as kind from outbound_event where organization_id = $1 and type = $2 order by id",
    [id, type],
  );
  return rows.map(({ kind }) => kind);
}

describe('case 80: prepaid is not zero for a settled recharge', () => {
  test.each([
    ['held', 'charge', '5.00 USD is held since '],
    ['owed', 'refund', '5.00 USD was given that nobody has paid since '],
  ] as const)('%s: found until it is settled, told once', async (_, kind, seen) => {
    const { organization, rechargeId } = await world.recharged();
    await enter(rechargeId, kind, 500);
    for (const _run of ['first', 'second'])
      expect(await world.findingsOf(organization)).toMatchObject([
        { kind: 'prepaid_not_zero', subject: rechargeId, seen: expect.stringContaining(seen), settled: false },
      ]);
    expect(await toldOf(organization, 'drift.detected')).toEqual(['prepaid_not_zero']);
    await enter(rechargeId, kind === 'charge' ? 'refund' : 'charge', 500);
    expect(await world.findingsOf(organization)).toEqual([]);
  });
});

describe('case 80: what waits', () => {
  test('for a person is found with what is held, since when and why, until it is settled', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, goOn } = await world.chargedButNotGranted(organization);
    await world.setBudget(organization.teamId, 11);
    await goOn();
    expect(await world.closed(eventId)).toEqual(NEEDS_ATTENTION);
    const seen = expect.stringMatching(/^needs_attention since \d{4}-.*Z, 20\.50 USD held: max_budget is 11\.00, expected/);
    const command = `bill resolve ${rechargeId} --grant "reason", or --refund "reason", or --accept "reason"`;
    for (const _run of ['first', 'second'])
      expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'recharge_parked', subject: rechargeId, seen, command }]);
    // The recharge has told of itself when it was parked.
    expect(await toldOf(organization, 'drift.detected')).toEqual([]);
    await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, { resolution: 'accept', reason: 'seen to', by: 'ada' });
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('for LiteLLM is found once it is overdue', async () => {
    const organization = await world.organization();
    const { eventId, rechargeId, goOn } = await world.chargedButNotGranted(organization);
    expect(await world.findingsOf(organization)).toEqual([]);
    await world.sql.query(
      `update recharge set timeline = (
         select jsonb_agg(step || jsonb_build_object('at', to_char((step->>'at')::timestamptz - interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
         from jsonb_array_elements(timeline) step) where id = $1`,
      [rechargeId],
    );
    expect(await world.findingsOf(organization)).toMatchObject([
      { kind: 'recharge_overdue', subject: rechargeId, seen: expect.stringMatching(/^charged since .*, 20\.50 USD held/) },
    ]);
    await goOn();
    await world.rechargeIs(eventId, 'succeeded');
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test('a hold that a person has to end is found with its age', async () => {
    const organization = await world.organization();
    const { data } = await world.admin.post('/api/v1/holds', { scope: 'organization', subject: organization.id, reason: 'look first' });
    expect(await world.findingsOf(organization)).toMatchObject([
      { kind: 'hold_stands', subject: data.id, seen: expect.stringMatching(/^operator since \d{4}-.*: look first/) },
    ]);
    await world.admin.post(`/api/v1/holds/${data.id}/release`, { reason: 'looked', by: 'ada' });
    expect(await world.findingsOf(organization)).toEqual([]);
  });
});

describe('case 78: two recharges that were granted on one step of the budget', () => {
  async function twoSteps(): Promise<{ organization: Organization; first: string; second: string }> {
    const { organization, rechargeId: first } = await world.recharged();
    await world.spend(organization.teamId, 20);
    const { rechargeId: second } = await world.recharge(organization);
    return { organization, first, second };
  }

  test('are found, with both', async () => {
    const { organization, first, second } = await twoSteps();
    expect(await world.findingsOf(organization)).toEqual([]);
    await world.sql.query(
      'update recharge set (quota_before, quota_after) = (select quota_before, quota_after from recharge where id = $1) where id = $2',
      [first, second],
    );
    const findings = await world.findingsOf(organization);
    expect(findings).toContainEqual(
      expect.objectContaining({ kind: 'step_made_twice', subject: second, seen: expect.stringContaining(first) }),
    );
    expect(await toldOf(organization, 'drift.detected')).toContain('step_made_twice');
  });

  test('rightly, because a refund had lowered it in between, are no difference', async () => {
    const { organization, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(refund.id, 'taken_back');
    const [hold] = (await world.admin.get(`/api/v1/holds?open=true&organization_id=${organization.id}`)).data.data;
    await world.admin.post(`/api/v1/holds/${hold.id}/release`, { reason: 'looked', by: 'ada' });
    await world.recharge(organization);
    expect(await world.findingsOf(organization)).toEqual([]);
  });
});

/**
 * A database that was restored from before the money of a recharge went back, or came again: its quota follows once, and
 * is neither taken nor given a second time.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { BUDGET_AFTER, BUDGET_BEFORE, HELD, RECHARGED } from '../support/books.ts';
import { ALWAYS, HOLD, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { idle } from '../support/runs.ts';
import { type Organization, World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.close());
afterEach(() => world.clearFaults());

/** The database is as it was an hour ago: the organization's recharge granted, before its money went or before it came back. */
async function restoreToGranted({ id }: Organization, { taken = false } = {}): Promise<void> {
  const connection = await world.sql.connect();
  try {
    await connection.query('begin');
    await connection.query("set local session_replication_role = 'replica'");
    for (const table of ['hold', 'outbound_event']) await connection.query(`delete from ${table} where organization_id = $1`, [id]);
    if (taken) {
      await connection.query(
        "update reversal set status = 'taken_back', given_before = null, given_after = null where organization_id = $1",
        [id],
      );
    } else await connection.query('delete from reversal where organization_id = $1', [id]);
    await connection.query('delete from ledger_transfer where organization_id = $1 and sequence > $2', [id, taken ? 4 : 2]);
    await connection.query("update recharge set updated_at = updated_at - interval '1 hour' where organization_id = $1", [id]);
    await connection.query(
      `update organization_balance_config set ledger_sequence = t.sequence, ledger_hash = t.hash,
         ledger_verified_sequence = 0, ledger_verified_hash = '', budget_writer = null
       from (select sequence, hash from ledger_transfer where organization_id = $1 order by sequence desc limit 1) t where c_organization_id = $1`,
      [id],
    );
    await connection.query('commit');
  } finally {
    connection.release(true);
  }
}

describe('case 78: a database from between a grant and the return of its money', () => {
  /** A recharge whose money has gone, and whose quota has followed it. */
  async function takenBack(by: 'refund' | 'dispute') {
    const { organization, rechargeId, intentId } = await world.recharged();
    const { id } = await (by === 'refund'
      ? world.stripe.refunds.create({ payment_intent: intentId })
      : world.stripeKnob('disputes', { payment_intent: intentId }));
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
    // It looks once more, which would follow the money in the restored database.
    await idle(world.reversalRunOf(rechargeId));
    return { organization, id: id as string, reversalRun: world.reversalRunOf(rechargeId) };
  }

  test.each([
    ['refund', 'the quota that LiteLLM has lost is not taken a second time', BUDGET_BEFORE],
    ['dispute', 'the quota that LiteLLM has lost is not taken a second time', BUDGET_BEFORE],
    ['dispute', 'a LiteLLM that was restored too loses the quota again', BUDGET_AFTER],
  ] as const)('by a %s: %s', async (by, _what, shown) => {
    const { organization, id } = await takenBack(by);
    await restoreToGranted(organization);
    await world.setBudget(organization.teamId, shown);
    await world.findingsOf(organization);
    expect(await world.reversalIs(id, 'taken_back')).toMatchObject({ taken_before: '30.500000', taken_after: '10.000000' });
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
    expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0, quota: 0 });
    // Whoever has money back is not charged again before a person has looked.
    expect(await world.findingsOf(organization)).toMatchObject([{ kind: 'hold_stands' }]);
  });

  test.each([
    ['the quota is not given a second time', BUDGET_AFTER],
    ['a LiteLLM that was restored too gets the quota again', BUDGET_BEFORE],
  ])('which had come back: %s', async (_what, shown) => {
    const { organization, id, reversalRun } = await takenBack('dispute');
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'given_back');
    await idle(reversalRun);
    await restoreToGranted(organization, { taken: true });
    await world.setBudget(organization.teamId, shown);
    await world.findingsOf(organization);
    expect(await world.reversalIs(id, 'given_back')).toMatchObject({ given_before: '10.000000', given_after: '30.500000' });
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    expect(await world.accounts(organization)).toMatchObject({ granted: 2050, prepaid: 0, quota: 20.5 });
    expect(await world.findingsOf(organization)).toEqual([]);
  });

  test.each(['refund', 'dispute'] as const)(
    'of a LiteLLM that was restored too, and a recharge since: the quota of the %s is taken from what that has left',
    async (by) => {
      const { organization, id } = await takenBack(by);
      await restoreToGranted(organization);
      await world.setBudget(organization.teamId, BUDGET_AFTER);
      await world.spend(organization.teamId, 20);
      expect(await world.alerted(organization)).toEqual(RECHARGED);
      const budget = (await world.budgetOf(organization.teamId)) as number;
      await world.findingsOf(organization);
      expect(await world.reversalIs(id, 'taken_back')).toMatchObject({
        taken_before: budget.toFixed(6),
        taken_after: (budget - 20.5).toFixed(6),
      });
      expect(await world.budgetOf(organization.teamId)).toBe(budget - 20.5);
    },
  );

  test('its write is noted at Stripe before LiteLLM is asked for it', async () => {
    const { organization, intentId } = await world.recharged();
    const hanging = await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, action: HOLD });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await hanging.struck();
    const {
      metadata,
      metadata: { recharge_id: rechargeId },
    } = await world.stripe.paymentIntents.retrieve(intentId);
    expect(metadata[`take/${id}`]).toBe(`30.50 10.00 ${rechargeId}`);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await hanging.remove();
    await world.reversalIs(id, 'taken_back');
  });

  test.each(['GET', 'POST'])('a note that Stripe refuses (%s) does not keep the quota from following', async (method) => {
    const { organization, intentId } = await world.recharged();
    const body = { error: { type: 'invalid_request_error', message: 'no' } };
    const action = { kind: 'respond', status: 400, body } as const;
    const refusal = await world.stripeFault({ method, path: `/v1/payment_intents/${intentId}`, times: ALWAYS, action });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    await refusal.struck();
    await refusal.remove();
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
  });

  test('a Stripe that cannot say what is noted holds up no recharge that waits for the budget', async () => {
    const { organization, intentId } = await world.recharged();
    const outage = await world.stripeFault({ method: 'GET', path: `/v1/payment_intents/${intentId}`, times: ALWAYS, action: UNAVAILABLE });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await outage.struck();
    const { rows } = await world.sql.query('select budget_writer from organization_balance_config where c_organization_id = $1', [
      organization.id,
    ]);
    expect(rows).toEqual([{ budget_writer: null }]);
    await outage.remove();
    await world.reversalIs(id, 'taken_back');
  });

  test('while its quota was being taken: the run that the database has forgotten looks again', async () => {
    const { organization, intentId } = await world.recharged();
    const down = await world.kmsFault({ ...WRITE_BUDGET, contains: organization.teamId, times: ALWAYS, action: UNAVAILABLE });
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await world.findingsOf(organization);
    await down.struck();
    await restoreToGranted(organization);
    await down.remove();
    await world.findingsOf(organization);
    await world.reversalIs(id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
    expect(await world.accounts(organization)).toMatchObject({ granted: 0, prepaid: 0, quota: 0 });
  });

  test('and a recharge since, which has raised the budget once more: a person looks, and nothing is taken', async () => {
    const { organization, id } = await takenBack('dispute');
    await restoreToGranted(organization);
    expect(await world.alerted(organization)).toEqual(HELD);
    const { data: holds } = await world.admin.get(`/api/v1/holds?organization_id=${organization.id}`);
    expect(holds.data).toMatchObject([{ reason: 'budget_lowered' }]);
    await world.admin.post(`/api/v1/holds/${holds.data[0].id}/release`, { reason: 'it was meant' });
    expect(await world.alerted(organization)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await world.findingsOf(organization);
    const { failure_message: message } = await world.reversalIs(id, 'needs_attention');
    expect(message).toBe(
      'a write of the budget from 30.50 to 10.00 began before the database was restored, and another has changed it since: look at the budget in LiteLLM, then accept',
    );
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await world.admin.post(`/api/v1/reversals/${id}/resolve`, {
      resolution: 'accept',
      reason: 'it was taken before the restore',
      by: 'ada',
    });
    await world.reversalIs(id, 'taken_back');
    expect(await world.accounts(organization)).toMatchObject({ granted: 2050, prepaid: 0, quota: 20.5 });
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
  });
});

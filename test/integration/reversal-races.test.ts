/**
 * A reversal beside a recharge, and on bad days: neither undoes the other, and the quota is taken back once.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { findReversals } from '../../activities/reversal/find-reversals.ts';
import { giveBackQuota } from '../../activities/reversal/give-back-quota.ts';
import { takeBackQuota } from '../../activities/reversal/take-back-quota.ts';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { type QuotaMicros, quotaFromDollars } from '../../src/domain/money.ts';
import { KmsClient } from '../../src/kms/client.ts';
import { createLogger } from '../../src/observability/log.ts';
import { PaymentsClient } from '../../src/payments/client.ts';
import { BUDGET_AFTER, RECHARGED, REFUNDED } from '../support/books.ts';
import { ALWAYS, CONFIRM, HOLD, READ_BUDGET, RESET, UNAVAILABLE, WRITE_BUDGET } from '../support/faults.ts';
import { ReversalScene } from '../support/reversals.ts';
import { failedAttempts } from '../support/runs.ts';
import type { World } from '../support/world.ts';

const SILENT = createLogger('silent');

let scene: ReversalScene;
let world: World;
beforeAll(async () => {
  scene = await ReversalScene.start();
  ({ world } = scene);
});
afterEach(() => scene.calm());
afterAll(() => scene.close());

describe('a reversal and a recharge of the same organization never undo each other', () => {
  /** A refund that has claimed the budget, which LiteLLM does not let it write, and a recharge that waits for it. */
  async function waitingForReversal() {
    const { organization, intentId } = await world.recharged();
    await world.spend(organization.teamId, 20);
    const refusal = await world.refuseBudget(organization);
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await refusal.struck();
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    const eventId = await world.accepted(organization, { max_budget: BUDGET_AFTER });
    await failedAttempts(await world.runOf(eventId), FAILURE.budgetBusy);
    return { organization, refund, refusal, eventId };
  }

  test('the reversal waits for the recharge that is writing the budget', async () => {
    const { organization, rechargeId, intentId } = await world.recharged();
    await world.spend(organization.teamId, 20);
    const second = await world.chargedButNotGranted(organization, { max_budget: BUDGET_AFTER });
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await failedAttempts(world.reversalRunOf(rechargeId), FAILURE.budgetBusy);
    expect(await scene.reversal(refund.id)).toMatchObject({ status: 'open', taken_before: null });
    await second.goOn();
    expect(await world.closed(second.eventId)).toEqual(RECHARGED);
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    await scene.expectBalanced(organization);
  });

  test('the recharge waits for the reversal that is writing the budget', async () => {
    const { organization, refund, refusal, eventId } = await waitingForReversal();
    expect(await scene.budgetWriter(organization)).toBe(refund.id);
    await refusal.remove();
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    await scene.expectBalanced(organization);
  });

  test('a recharge that waits for the reversal, and that a person refunds meanwhile, goes back, and needs nobody any more', async () => {
    const { organization, refund, refusal, eventId } = await waitingForReversal();
    const { rechargeId } = await world.rechargeIs(eventId, 'charged');
    const wish = { resolution: 'refund', reason: 'the first one was refunded too' };
    expect((await world.admin.post(`/api/v1/recharges/${rechargeId}/resolve`, wish)).status).toBe(200);
    await refusal.remove();
    await world.reversalIs(refund.id, 'taken_back');
    expect(await world.closed(eventId)).toEqual(REFUNDED);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test('quota taken back between the reservation and the grant of another recharge is missed by neither', async () => {
    const { organization, intentId } = await world.recharged();
    await world.spend(organization.teamId, 20);
    const confirmation = await world.stripeFault({ ...CONFIRM, contains: organization.customerId, times: ALWAYS, action: HOLD });
    const eventId = await world.accepted(organization, { max_budget: BUDGET_AFTER });
    await confirmation.struck();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    await confirmation.remove();
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(organization.teamId)).toBe(30);
    await scene.expectBalanced(organization);
  });
});

describe('what can go wrong on the way takes the quota back once', () => {
  test.each<[string, 'kms' | 'stripe', FaultRequest]>([
    ['LiteLLM is unavailable for a while', 'kms', { ...WRITE_BUDGET, times: 4, action: UNAVAILABLE }],
    ['the write is made and its answer lost', 'kms', { ...WRITE_BUDGET, when: 'after', action: RESET }],
    ['the write is made and answered 400', 'kms', { ...WRITE_BUDGET, when: 'after', action: { kind: 'respond', status: 400, body: {} } }],
    [
      'LiteLLM answers HTML and changes nothing',
      'kms',
      { ...WRITE_BUDGET, action: { kind: 'respond', status: 200, body: '<html></html>' } },
    ],
    ['the budget cannot be read', 'kms', { ...READ_BUDGET, times: 3, action: { kind: 'respond', status: 502, body: '' } }],
    ['Stripe is unavailable when its refunds are read', 'stripe', { method: 'GET', path: '/v1/refunds', times: 2, action: UNAVAILABLE }],
    ['the disputes are answered in half', 'stripe', { method: 'GET', path: '/v1/disputes', times: 2, action: { kind: 'cut_body' } }],
  ])('%s', async (_name, whose, fault) => {
    const { organization, rechargeId, intentId } = await world.recharged();
    const contains = whose === 'kms' ? organization.teamId : intentId;
    const standing = await (whose === 'kms' ? world.kmsFault({ ...fault, contains }) : world.stripeFault({ ...fault, contains }));
    const refund = await world.stripe.refunds.create({ payment_intent: intentId });
    await world.reversalIs(refund.id, 'taken_back');
    expect(await standing.strikes()).toBe(fault.times ?? 1);
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'refund']);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test('the worker stops in the middle and another one goes on', async () => {
    const { organization, intentId } = await world.recharged();
    const refusal = await world.refuseBudget(organization);
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId });
    await refusal.struck();
    await world.stopWorker();
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await refusal.remove();
    await world.startWorker();
    await world.reversalIs(id, 'given_back');
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await scene.expectBalanced(organization);
  });
});

describe('an attempt that was held up, or a run that was ended, on the way', () => {
  /** The activities as a worker runs them, on a LiteLLM that may be tampered with. */
  function activities(tamper: Partial<KmsClient> = {}, payments = new PaymentsClient(world.config.stripe)) {
    const real = new KmsClient(world.config.kms);
    const kms = {
      teamBudget: (team: string) => real.teamBudget(team),
      setTeamBudget: (team: string, quota: QuotaMicros) => real.setTeamBudget(team, quota),
      ...tamper,
    } as KmsClient;
    const run = <I, R>(activity: (input: I) => Promise<R>, input: I): Promise<R> => new MockActivityEnvironment().run(activity, input);
    return {
      find: (rechargeId: string) => run(findReversals({ database: scene.database, payments }), { rechargeId }),
      take: (reversalId: string) => run(takeBackQuota({ database: scene.database, kms, payments, log: SILENT }), { reversalId }),
      give: (reversalId: string) => run(giveBackQuota({ database: scene.database, kms, payments, log: SILENT }), { reversalId }),
    };
  }

  /** A reversal that no run works on: the test does. */
  async function openReversal() {
    await scene.hear(false);
    const paid = await world.recharged();
    const { id } = await world.stripeKnob('disputes', { payment_intent: paid.intentId });
    await activities().find(paid.rechargeId);
    return { ...paid, id };
  }

  test.each([
    ['planned on the budget that the reversal had written already', 10],
    ['of another team that the organization has now, whose budget happens to be what ours was', BUDGET_AFTER],
  ])('a recharge %s keeps its plan', async (_name, budget) => {
    const { organization, id } = await openReversal();
    const isMoved = budget !== 10;
    // The budget is written, and that is not recorded yet.
    const cut = activities({
      setTeamBudget: async (team, quota) => {
        await new KmsClient(world.config.kms).setTeamBudget(team, quota);
        throw new Error('cut');
      },
    });
    await expect(cut.take(id)).rejects.toThrow('cut');
    await world.admin.post(`/api/v1/organizations/${organization.id}/resume`);
    const other = isMoved ? await world.anotherTeam(organization, { budget, spend: budget + 0.5 }) : organization.teamId;
    if (!isMoved) await world.spend(organization.teamId, 0);
    const eventId = await world.accepted({ teamId: other }, { max_budget: budget });
    await failedAttempts(await world.runOf(eventId), FAILURE.budgetBusy);
    await activities().take(id);
    expect(await world.closed(eventId)).toEqual(RECHARGED);
    expect(await world.budgetOf(other)).toBe(budget + 20.5);
  });

  test('a late attempt to take finds it taken and given back, and changes nothing', async () => {
    const { organization, rechargeId, id } = await openReversal();
    const [isReading, mayRead] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const late = activities({
      teamBudget: async (team) => {
        isReading.resolve();
        await mayRead.promise;
        return new KmsClient(world.config.kms).teamBudget(team);
      },
    }).take(id);
    await isReading.promise;
    await activities().take(id);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await activities().give(id);
    mayRead.resolve();
    await late.catch(() => {});
    expect(await scene.reversal(id)).toMatchObject({ status: 'given_back' });
    expect(await scene.transfersOf(rechargeId)).toEqual(['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant']);
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await scene.expectBalanced(organization);
  });

  test('a late attempt that finds it settled and cannot read the budget keeps the budget from nobody', async () => {
    const { organization, rechargeId, id } = await openReversal();
    const [isLooking, mayGoOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const payments = new PaymentsClient(world.config.stripe);
    payments.rememberedWrite = async (...write) => {
      isLooking.resolve();
      await mayGoOn.promise;
      return new PaymentsClient(world.config.stripe).rememberedWrite(...write);
    };
    const late = activities({ teamBudget: () => Promise.reject(new Error('no answer')) }, payments).take(id);
    await isLooking.promise;
    await activities().take(id);
    mayGoOn.resolve();
    await late.catch(() => {});
    expect(await scene.budgetWriter(organization)).toBeNull();
    // Else the quota would be given back to whoever has the money.
    expect((await activities().find(rechargeId)).steps).toEqual([]);
  });

  test('a late attempt that sees a budget from after the next recharge leaves what is settled, and the budget to others', async () => {
    const { organization, id } = await openReversal();
    let reads = 0;
    const late = activities({
      teamBudget: async (team) => {
        const seen = await new KmsClient(world.config.kms).teamBudget(team);
        if (reads++ > 0) return seen;
        // Between its claim and its plan the other attempt does it all, and a recharge follows.
        await activities().take(id);
        return { ...seen, quota: quotaFromDollars(77) };
      },
    });
    await late.take(id).catch(() => {});
    expect(await scene.reversal(id)).toMatchObject({ status: 'taken_back' });
    await scene.expectBalanced(organization);
  });

  /** A LiteLLM whose write is done, and never answered. */
  const cut = {
    setTeamBudget: async (team: string, quota: QuotaMicros) => {
      await new KmsClient(world.config.kms).setTeamBudget(team, quota);
      throw new Error('cut');
    },
  };

  test.each<[string, QuotaMicros | null]>([
    ['is unlimited', null],
    ['is the one from before', quotaFromDollars(BUDGET_AFTER)],
  ])('a late attempt to take that sees a budget which %s leaves it to the giving back that is at work', async (_what, quota) => {
    const { organization, id } = await openReversal();
    let isFirst = true;
    const late = activities({
      teamBudget: async (team) => {
        const seen = await new KmsClient(world.config.kms).teamBudget(team);
        if (!isFirst) return seen;
        isFirst = false;
        await activities().take(id);
        await world.stripeKnob(`disputes/${id}`, { status: 'won' });
        await expect(activities(cut).give(id)).rejects.toThrow('cut');
        return { ...seen, quota };
      },
    });
    await late.take(id);
    expect(await scene.budgetWriter(organization)).toBe(id);
    await activities().give(id);
    await scene.expectBalanced(organization);
  });

  test('the write that was begun comes first: a dispute that came since does not wait for it without end', async () => {
    await scene.hear(false);
    const { organization, rechargeId, intentId } = await world.recharged();
    const refund = await world.stripe.refunds.create({ payment_intent: intentId, amount: 500 });
    await activities().find(rechargeId);
    await expect(activities(cut).take(refund.id)).rejects.toThrow('cut');
    const { id } = await world.stripeKnob('disputes', { payment_intent: intentId, amount: 1550 });
    const { steps } = await activities().find(rechargeId);
    expect(steps.map(({ reversalId }) => reversalId)).toEqual([refund.id, id]);
    for (const { reversalId } of steps) await activities().take(reversalId);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    await scene.expectBalanced(organization);
  });

  test('a giving back that was begun is finished, and money that is gone again since is taken then', async () => {
    const { organization, rechargeId, intentId, id } = await openReversal();
    await activities().take(id);
    const [dispute] = (await world.stripe.disputes.list({ payment_intent: intentId })).data;
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    await activities().find(rechargeId);
    await expect(activities(cut).give(id)).rejects.toThrow('cut');
    const body = { object: 'list', data: [{ ...dispute, status: 'lost' }], has_more: false, url: '/v1/disputes' };
    const action = { kind: 'respond', status: 200, body } as const;
    await world.stripeFault({ method: 'GET', path: '/v1/disputes', contains: intentId, times: ALWAYS, action });
    expect((await activities().find(rechargeId)).steps).toMatchObject([{ reversalId: id, step: 'give_back' }]);
    await activities().give(id);
    expect((await activities().find(rechargeId)).steps).toMatchObject([{ reversalId: `${id}.2`, step: 'take_back' }]);
    await activities().take(`${id}.2`);
    expect(await world.budgetOf(organization.teamId)).toBe(10);
    expect(await scene.budgetWriter(organization)).toBeNull();
  });

  test('money that comes again after the budget was lowered and before that was recorded gives the quota back', async () => {
    const { organization, rechargeId, id } = await openReversal();
    let isWritten = false;
    const killed = activities({
      teamBudget: async (team) => {
        if (isWritten) throw new Error('killed');
        return new KmsClient(world.config.kms).teamBudget(team);
      },
      setTeamBudget: async (team, quota) => {
        await new KmsClient(world.config.kms).setTeamBudget(team, quota);
        isWritten = true;
      },
    });
    await expect(killed.take(id)).rejects.toThrow('killed');
    expect([await world.budgetOf(organization.teamId), await scene.reversal(id)]).toMatchObject([10, { status: 'open' }]);
    await world.stripeKnob(`disputes/${id}`, { status: 'won' });
    const { steps } = await activities().find(rechargeId);
    expect(steps).toMatchObject([{ step: 'dismiss' }]);
    await activities().give(id);
    expect(await scene.reversal(id)).toMatchObject({ status: 'given_back' });
    expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
    await scene.expectBalanced(organization);
  });
});

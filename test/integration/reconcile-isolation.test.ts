/** Case 81: one thing that cannot be read costs itself only, and says so. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { NativeConnection, Worker } from '@temporalio/worker';
import { findingOf } from '../../src/domain/finding.ts';
import { loadWorkflowBundle } from '../../src/temporal/workflow-bundle.ts';
import { bulkQueueOf, type ReconcileWorkflow, WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { ALWAYS, READ_BUDGET } from '../support/faults.ts';
import { World } from '../support/world.ts';

const FOUND = findingOf('recharge_lost', { subject: 'rch_2', organizationId: 'acme', seen: 'pi_2 is succeeded', waitsFor: 'fix' });

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.close());
afterEach(() => world.clearFaults());

describe('case 81: reconciliation meets what it cannot read', () => {
  test('a team that LiteLLM does not show: that team is named, and the others are compared', async () => {
    const { organization: unreadable } = await world.recharged();
    const { organization: edited } = await world.recharged();
    await world.kmsFault({ ...READ_BUDGET, contains: unreadable.teamId, times: ALWAYS, action: { kind: 'respond', status: 500 } });
    await world.setBudget(edited.teamId, 99);
    const { organizations, findings } = await world.reconcile();
    expect(organizations).toBeGreaterThanOrEqual(2);
    expect(findings).toContainEqual(expect.objectContaining({ kind: 'team_unreadable', subject: unreadable.teamId }));
    expect(findings).toContainEqual(expect.objectContaining({ kind: 'budget_differs', organizationId: edited.id }));
  });

  test('an intent whose metadata somebody has edited: it is named, and a lost one beside it is entered again', async () => {
    const { organization, intentId, rechargeId } = await world.recharged();
    const customer = organization.customerId;
    const odd = await world.stripe.paymentIntents.create({
      amount: 2000,
      currency: 'usd',
      customer,
      payment_method: (await world.stripe.customers.listPaymentMethods(customer)).data[0]?.id ?? '',
      confirm: true,
      off_session: true,
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      metadata: { recharge_id: 'rch_of_nobody', organization_id: organization.id, quota: 'a lot', event_id: '' },
    });
    const { findings } = await world.reconcile();
    expect(findings).toContainEqual(
      expect.objectContaining({
        kind: 'recharge_lost',
        subject: 'rch_of_nobody',
        seen: `PaymentIntent ${odd.id} is succeeded`,
        settled: false,
        command: expect.stringMatching(/^correct the metadata/),
      }),
    );
    expect(findings.filter(({ subject }) => subject === rechargeId || subject === intentId)).toEqual([]);
  });
});

test('case 81: a stage that fails is a finding, and the stages behind it are done', async () => {
  const fails = (stage: string) => async () => {
    throw ApplicationFailure.nonRetryable(`${stage} cannot be read`, 'test');
  };
  const taskQueue = `${world.name}-stages`;
  const connection = await NativeConnection.connect({ address: world.env['TEMPORAL_ADDRESS'] ?? '' });
  const worker = await Worker.create({
    connection,
    taskQueue,
    workflowBundle: await loadWorkflowBundle(),
  });
  const ofBulk = await Worker.create({
    connection,
    taskQueue: bulkQueueOf(taskQueue),
    activities: {
      checkBooks: fails('the ledger'),
      resumeIdle: async () => [],
      compareIntents: async () => ({ compared: 2, findings: [], lost: [{ intentId: 'pi_2' }, { intentId: 'pi_1' }], next: null }),
      restoreLost: async ({ intentId }: { intentId: string }) => (intentId === 'pi_1' ? fails('the intent')() : FOUND),
      compareBudgets: async () => ({ compared: 1, findings: [], next: null }),
    },
  });
  const result = await worker.runUntil(
    ofBulk.runUntil(
      world.temporal.workflow.execute<ReconcileWorkflow>(WORKFLOW_TYPES.reconcile, { workflowId: `reconcile/${randomUUID()}`, taskQueue }),
    ),
  );
  await connection.close();
  expect(result).toMatchObject({
    intents: 2,
    organizations: 1,
    findings: [
      { kind: 'stage_failed', subject: 'the books', seen: 'the ledger cannot be read' },
      { kind: 'stage_failed', subject: 'PaymentIntent pi_1', seen: 'the intent cannot be read' },
      FOUND,
    ],
  });
});

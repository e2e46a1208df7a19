/**
 * Bulkheads: what hangs for sweep, synchronisation and reconciliation holds up no charge, no refund and no
 * bookkeeping.
 */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { WorkflowHandle } from '@temporalio/client';
import { LITELLM_CALLS } from '../../src/kms/transport.ts';
import { bundleWorkflows } from '../../src/temporal/workflow-bundle.ts';
import { bulkQueueOf, chargeQueueOf, WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { RECHARGED, REFUNDED } from '../support/books.ts';
import { expectChargedOnce, expectRefunded } from '../support/expectations.ts';
import { hangBulkWork } from '../support/hanging-bulk-work.ts';
import { World } from '../support/world.ts';

const BULK_CALLS = LITELLM_CALLS.bulk.atOnce;

const ONE_QUEUE = fileURLToPath(new URL('../replay/variants/one-queue.ts', import.meta.url));

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.clearFaults());
afterAll(() => world.close());

test('case 98: LiteLLM hangs for all the bulk work that fits: meanwhile an alert is charged and granted, and a refund of another organization ends', async () => {
  const [organization, other] = [await world.organization(), await world.organization()];
  const hanging = await hangBulkWork(world);
  await hanging.fault.struck(BULK_CALLS);
  const hung = await hanging.fault.strikes();

  expect(await world.alerted(organization)).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
  const { eventId, goOn } = await world.chargedButNotGranted(other);
  await world.deleteTeam(other.teamId);
  await goOn();
  expect(await world.closed(eventId)).toEqual(REFUNDED);
  await expectRefunded(world, other);
  // In one queue or behind one gate, each step would have waited until as many calls were given up.
  expect((await hanging.fault.strikes()) - hung).toBeLessThanOrEqual(2 * BULK_CALLS);
  await hanging.end();
});

test.each([
  [WORKFLOW_TYPES.sweep, []],
  [WORKFLOW_TYPES.sync, [{ dry_run: true }]],
  [WORKFLOW_TYPES.reconcile, [{ fix: false }]],
])('every activity of %s runs on the task queue of bulk work', async (type, args) => {
  expect(await queuesOf(await run(type, args))).toEqual([bulkQueueOf(world.name)]);
});

test('the card is charged on a task queue of its own, and every other activity of a recharge runs on that of its workflow', async () => {
  const { eventId } = await world.recharged();
  expect((await queuesOf(await world.runOf(eventId))).sort()).toEqual([world.name, chargeQueueOf(world.name)]);
});

test('what a version before has scheduled on the task queue of the workflows is done there', async () => {
  await world.stopWorker();
  await world.startWorker({}, await bundleWorkflows(ONE_QUEUE));
  expect(await queuesOf(await run(WORKFLOW_TYPES.sweep, []))).toEqual([world.name]);
});

/** A run that has ended. */
async function run(type: string, args: unknown[]): Promise<WorkflowHandle> {
  const handle = await world.temporal.workflow.start(type, { workflowId: `${type}/${randomUUID()}`, taskQueue: world.name, args });
  await handle.result();
  return handle;
}

/** The task queues of a run's activities, each once. */
async function queuesOf(handle: WorkflowHandle): Promise<string[]> {
  const { events } = await handle.fetchHistory();
  const names = events?.flatMap(({ activityTaskScheduledEventAttributes: scheduled }) => scheduled?.taskQueue?.name ?? []);
  return [...new Set(names)];
}

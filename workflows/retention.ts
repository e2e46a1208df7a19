/**
 * Removes the rows that are past their time, by schedule once a day. How long each kind of row lasts is in
 * src/domain/retention.ts. What a run cannot remove is left to the next one.
 */
import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import type { RemovedRows } from '../activities/retention/types.ts';
import type { NoInput } from './contract.ts';
import { readInput } from './input.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { BULK_QUEUE } from './queues.ts';

// Idempotent: an attempt removes what the one before it has left. It may take an hour where a backlog of years is
// removed for the first time; a database that is unavailable for longer than three is left to the next day.
const { removeExpired } = proxyActivities<BulkActivities>({
  taskQueue: BULK_QUEUE,
  startToCloseTimeout: '1 hour',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  scheduleToCloseTimeout: '3 hours',
  retry: { initialInterval: '10 seconds', maximumInterval: '10 minutes' },
});

export async function retentionWorkflow(input?: NoInput): Promise<RemovedRows> {
  readInput<NoInput>(input, {});
  const rows = await removeExpired();
  setCurrentDetails(
    Object.entries(rows)
      .map(([table, { deleted, emptied, failed }]) => `- **${table}** ${deleted} deleted, ${emptied} emptied${failed ? `: ${failed}` : ''}`)
      .join('\n'),
  );
  return rows;
}

/** `bill worker --check`: whether a worker of this host polls. The health check of a container that runs one. */
import { hostname } from 'node:os';
import type { Client } from '@temporalio/client';
import { bulkQueueOf } from '../../workflows/contract.ts';
import { namespaceOf, openClient } from '../temporal/connection.ts';
import { configOrExit } from './process.ts';

/** A long poll lasts a minute, and the next one begins at once. */
const POLLED_WITHIN_MS = 2 * 60 * 1000;
// temporal.api.enums.v1.TaskQueueType
const WORKFLOW_TASKS = 1;
const ACTIVITY_TASKS = 2;

type Queue = { namespace: string; taskQueue: string; taskQueueType: number };

/**
 * Asks Temporal, because a process that runs may have lost it.
 *
 * @throws when Temporal does not answer, or no worker of this host has polled each of the two task queues lately.
 */
export async function checkWorker(): Promise<void> {
  const { temporal } = configOrExit();
  const client = openClient(temporal);
  const { taskQueue } = temporal;
  const namespace = namespaceOf(temporal);
  try {
    const ages = [
      await pollAge(client, { namespace, taskQueue, taskQueueType: WORKFLOW_TASKS }),
      await pollAge(client, { namespace, taskQueue: bulkQueueOf(taskQueue), taskQueueType: ACTIVITY_TASKS }),
    ];
    console.log(`the worker has polled ${taskQueue} and ${bulkQueueOf(taskQueue)}, ${ages.map(inSeconds).join(' and ')} ago`);
  } finally {
    await client.connection.close();
  }
}

/** How long ago a worker of this host has polled last, in milliseconds. @throws when that is too long. */
async function pollAge(client: Client, { taskQueue, ...of }: Queue): Promise<number> {
  const { pollers } = await client.workflowService.describeTaskQueue({ ...of, taskQueue: { name: taskQueue } });
  // The SDK names a worker `<process id>@<host>`.
  const own = (pollers ?? []).filter(({ identity }) => identity?.endsWith(`@${hostname()}`));
  const last = Math.max(...own.map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000));
  const age = Math.max(0, Date.now() - last);
  if (age > POLLED_WITHIN_MS)
    throw new Error(`no worker of ${hostname()} has polled ${taskQueue} in the last ${inSeconds(POLLED_WITHIN_MS)}`);
  return age;
}

function inSeconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}

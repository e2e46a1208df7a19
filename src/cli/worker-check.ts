/** `bill worker --check`: whether a worker of this host polls. The health check of a container that runs one. */
import { hostname } from 'node:os';
import { workerLines } from '../domain/service-status.ts';
import { addressOf, openClient } from '../temporal/connection.ts';
import { pollersOf } from '../temporal/facts.ts';
import { CommandError } from './exit.ts';
import { partsOrExit } from './process.ts';

/**
 * Asks Temporal, because a process that runs may have lost it.
 *
 * @throws when Temporal does not answer, or no worker of this host has polled each of the two task queues lately.
 */
export async function checkWorker(): Promise<void> {
  const { temporal } = partsOrExit(['temporal']);
  const address = addressOf(temporal);
  const client = openClient(temporal);
  try {
    const lines = workerLines(await pollersOf(client, temporal, hostname()), new Date());
    const gone = lines.find(({ isFine }) => !isFine);
    if (gone) throw new CommandError(`${gone.check} on ${hostname()}, at Temporal ${address}: ${gone.seen}`);
    console.log(lines.map(({ check, seen }) => `${check} on ${hostname()}, at Temporal ${address}: ${seen}`).join('\n'));
  } finally {
    await client.connection.close();
  }
}

/** Connections to Temporal. */
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { TemporalConfig } from '../config.ts';
import type { Logger } from '../observability/log.ts';

/** Between two attempts of a worker to connect. */
const RECONNECT_MS = 2_000;

export function namespaceOf({ connect }: TemporalConfig): string {
  return connect.namespace ?? 'default';
}

/**
 * A client that connects on its first call, so that alerts are accepted while Temporal is unavailable. It
 * makes each call once: the dispatcher retries, and the SDK's own retries outlive their connection (an
 * uncaught "Channel has been shut down" from a timer).
 */
export function openClient(temporal: TemporalConfig): Client {
  const connection = Connection.lazy({ ...temporal.connect.connectionOptions, interceptors: [] });
  return new Client({ connection, namespace: namespaceOf(temporal) });
}

/**
 * The connection of a worker. Waits while Temporal is unavailable. @throws the reason of `signal` when it is
 * aborted meanwhile.
 */
export async function connectWorker({ connect }: TemporalConfig, log: Logger, signal: AbortSignal): Promise<NativeConnection> {
  for (;;) {
    try {
      return await NativeConnection.connect(connect.connectionOptions);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ reason: (error as Error).message }, 'Temporal cannot be reached; trying again');
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }
}

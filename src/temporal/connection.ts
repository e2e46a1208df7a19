/** Connections to Temporal, and links into its Web UI. */
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { Config } from '../config.ts';
import type { Logger } from '../observability/log.ts';

/** Between two attempts of a worker to reach a Temporal that is away. */
const RECONNECT_MS = 2_000;

export function namespaceOf({ connect }: Config['temporal']): string {
  return connect.namespace ?? 'default';
}

/**
 * A client that connects when it is first used, so that alerts are taken in while Temporal is away. It makes each call once:
 * the dispatcher tries again by itself, and the SDK's own retries outlive the connection that they need (an uncaught
 * "Channel has been shut down" from a timer).
 */
export function openClient(temporal: Config['temporal']): Client {
  const connection = Connection.lazy({ ...temporal.connect.connectionOptions, interceptors: [] });
  return new Client({ connection, namespace: namespaceOf(temporal) });
}

/** The connection of a worker: waits for a Temporal that is away, until `signal` says that nobody wants it any more. */
export async function connectWorker({ connect }: Config['temporal'], log: Logger, signal: AbortSignal): Promise<NativeConnection> {
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

/** Where the Web UI shows a workflow; null when no UI is configured. */
export function workflowLink(uiUrl: string | undefined, namespace: string, workflowId: string): string | null {
  return uiUrl ? `${uiUrl}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}` : null;
}

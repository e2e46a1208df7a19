/** The client's connection to Temporal. */
import { Client, Connection } from '@temporalio/client';
import type { TemporalConfig } from '../config.ts';
import { startInTrace } from './tracing.ts';

export function namespaceOf({ connect }: TemporalConfig): string {
  return connect.namespace ?? 'default';
}

/** Where Temporal is; the default is that of every SDK. */
export function addressOf({ connect }: TemporalConfig): string {
  return connect.connectionOptions.address ?? 'localhost:7233';
}

/**
 * Between two attempts to connect. gRPC's own pause grows to two minutes: after an outage nothing would be handed on so
 * long, and no worker seen.
 */
const MAX_RECONNECT_PAUSE_MS = 2_000;

/**
 * A client that connects on its first call, so that alerts are accepted while Temporal is unavailable. It
 * makes each call once: the dispatcher retries, and the SDK's own retries outlive their connection (an
 * uncaught "Channel has been shut down" from a timer).
 */
export function openClient(temporal: TemporalConfig): Client {
  const connection = Connection.lazy({
    ...temporal.connect.connectionOptions,
    channelArgs: { 'grpc.max_reconnect_backoff_ms': MAX_RECONNECT_PAUSE_MS },
    interceptors: [],
  });
  return new Client({ connection, namespace: namespaceOf(temporal), interceptors: { workflow: [startInTrace] } });
}

/**
 * Outbound events as a table that the inbox's dispatcher dispatches from: it routes new events to the
 * endpoints, and posts what is due.
 */
import type { Database } from '../database/database.ts';
import * as deliveries from '../database/outbound-deliveries.ts';
import * as endpoints from '../database/outbound-endpoints.ts';
import type { Source } from '../inbox/dispatcher.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { failInTrace, noteInTrace } from '../observability/tracing.ts';
import { POST_DEADLINE_MS, type PostResult, post, type Target } from './post.ts';

/** New events that are routed at once. A backlog of more is routed by the next reads. */
const ROUTED_AT_ONCE = 200;
/** Beyond the post, for the row that records it. */
const RECORD_DEADLINE_MS = 5_000;

export type OutboxDependencies = {
  database: Database;
  log: Logger;
  /** The endpoint that the environment names. */
  notify: { url: string; secret: string } | undefined;
  /** Whether the other endpoints may have private addresses. */
  allowPrivate: boolean;
  metrics: Metrics;
};

export function outboxSource({ database, log, notify, allowPrivate, metrics }: OutboxDependencies): Source<deliveries.DueDelivery> {
  let isRegistered = false;
  return {
    name: 'outbound_delivery',
    deadlineMs: POST_DEADLINE_MS + RECORD_DEADLINE_MS,
    span: ({ eventId, type, endpointId, attempts, traceparent, data }) => ({
      name: `deliver ${type}`,
      kind: 'producer',
      parent: traceparent,
      attributes: {
        'bill.outbound_event_id': eventId,
        'bill.endpoint_id': endpointId,
        'bill.attempt': attempts + 1,
        'bill.organization_id': textIn(data, 'organization_id'),
        'bill.recharge_id': textIn(data, 'recharge_id'),
        'bill.event_id': textIn(data, 'event_id'),
      },
    }),
    claim: async ({ limit, leaseMs }) => {
      const em = database.fork();
      // Here, because the service also starts while the database is unavailable.
      if (!isRegistered) await endpoints.registerConfigured(em, notify?.url);
      isRegistered = true;
      await deliveries.route(em, ROUTED_AT_ONCE);
      return deliveries.claim(em, limit, leaseMs);
    },
    handle: async (delivery) => {
      const started = performance.now();
      const at = new Date().toISOString();
      const result = await post(targetOf(delivery), { ...delivery, id: delivery.eventId });
      const tookMs = performance.now() - started;
      noteInTrace({ 'http.response.status_code': result.status ?? undefined });
      if (result.error !== null) failInTrace('not_taken');
      metrics.count('bill_outbound_attempts_total', { outcome: result.error === null ? 'delivered' : 'failed' });
      metrics.observe('bill_outbound_attempt_duration_seconds', {}, tookMs / 1000);
      const attempt = { at, ...result, took_ms: Math.round(tookMs) };
      await record(delivery, attempt);
    },
    // An attempt is recorded with what came of it; a failed one is no failure of the dispatcher.
    done: async () => undefined,
    release: (id, delayMs) => deliveries.releaseClaim(database.fork(), id, delayMs),
  };

  /** @throws while another process, with other settings, names the endpoint: that one delivers. */
  function targetOf({ endpointId, url, secret }: deliveries.DueDelivery): Target {
    if (endpointId !== endpoints.CONFIGURED_ENDPOINT) return { url, secret: secret ?? '', allowPrivate };
    if (notify?.url !== url) throw new Error('this process has another NOTIFY_WEBHOOK_URL');
    return { ...notify, allowPrivate: true };
  }

  async function record(delivery: deliveries.DueDelivery, attempt: PostResult & { at: string; took_ms: number }): Promise<void> {
    const { id, endpointId, eventId, attempts } = delivery;
    const attempted = { id, endpointId, attempts, attempt };
    if (attempt.error === null) return deliveries.recordDelivered(database.fork(), attempted);
    log.warn({ endpoint: endpointId, event: eventId, attempt: attempts + 1, reason: attempt.error }, 'an outbound event was not taken');
    const disabledReason = await deliveries.recordFailed(database.fork(), attempted);
    if (disabledReason) log.error({ endpoint: endpointId, reason: disabledReason }, 'an endpoint of outbound events is disabled');
  }
}

function textIn(data: Record<string, unknown>, field: string): string | undefined {
  const value = data[field];
  return typeof value === 'string' ? value : undefined;
}

/**
 * Structured logs: one JSON object a line, to standard output or to `destination`. A line holds fields of a list and no
 * other: what nobody has thought of, such as an error's request with its headers, cannot be in it.
 */
import { type DestinationStream, type Logger, pino } from 'pino';
import { activeTrace } from './tracing.ts';

export type { Logger } from 'pino';

/** The fields that lines may have, whoever writes them. A new one is added here, and is no secret. */
const FIELDS: ReadonlySet<string> = new Set([
  // What it is about.
  ...[
    'event_id',
    'recharge_id',
    'organization_id',
    'request_id',
    'litellm_team_id',
    'teamId',
    'id',
    'ids',
    'event',
    'endpoint',
    'organization',
    'hold',
  ],
  ...['eventId', 'rechargeId', 'reversalId', 'organizationId', 'team', 'teams', 'team_id', 'subject', 'source', 'event_type', 'eventType'],
  // What was decided or seen, and why.
  ...['outcome', 'reason', 'amount', 'balance', 'before', 'after', 'status', 'seconds', 'ms', 'kind', 'seen', 'expected', 'settled'],
  ...['ours', 'theirs', 'advice', 'quota', 'payment_intent_id', 'refund_id'],
  ...['command', 'action', 'since', 'detail', 'currency', 'overdue', 'error', 'failure', 'attempt', 'again_in_ms', 'failed', 'page'],
  // Which trace it belongs to.
  ...['trace_id', 'span_id'],
  // Where.
  ...['method', 'path', 'host', 'port', 'metrics_port', 'address', 'task_queues', 'table', 'migrations', 'applied', 'added', 'attribute'],
  ...['database', 'schedules', 'metrics', 'rows', 'count', 'removed', 'deleted', 'emptied', 'type'],
  // Of Temporal's SDK.
  ...['sdkComponent', 'taskQueue', 'namespace', 'workflowId', 'runId', 'workflowType', 'activityId', 'activityType', 'isLocal', 'state'],
  ...['workflowRunId', 'durationMs', 'identity', 'timeSinceLastActivity'],
]);

/** In place of a field that is not on the list: its name says what to add. */
const HIDDEN = '[hidden]';

export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { log: allowed },
    mixin: () => activeTrace() ?? {},
  };
  return destination ? pino(options, destination) : pino(options);
}

/** What is on the list, at whatever depth. */
function allowed(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, FIELDS.has(name) ? plain(value) : HIDDEN]));
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Date || typeof value !== 'object' || value === null) return value;
  // Of an error only its name: any other part may repeat what was sent.
  return value instanceof Error ? value.name : allowed(value as Record<string, unknown>);
}

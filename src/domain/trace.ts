/** The place in a trace, as text that is handed on: W3C Trace Context, https://www.w3.org/TR/trace-context/. */

/** `00-<32 hex digits of the trace>-<16 of the span>-<flags>`. Zeros stand for none, and no version is `ff`. */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?<traceId>(?!0+-)[\da-f]{32})-(?<spanId>(?!0+-)[\da-f]{16})-(?<flags>[\da-f]{2})(-|$)/;
const VERSION = '00';

/** `flags`: 1 where the trace is recorded. */
export type SpanPlace = { traceId: string; spanId: string; flags: number };

/** undefined for text that is none. */
export function readTraceparent(text: string | null | undefined): SpanPlace | undefined {
  const found = TRACEPARENT.exec(String(text))?.groups as Record<keyof SpanPlace, string> | undefined;
  return found && { traceId: found.traceId, spanId: found.spanId, flags: Number.parseInt(found.flags, 16) };
}

export function writeTraceparent({ traceId, spanId, flags }: SpanPlace): string {
  return `${VERSION}-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`;
}

/**
 * Under which Temporal's own interceptors of every language hand a trace on, as `{"traceparent": …}`: what another
 * program starts with it goes on in its trace.
 */
export const TRACE_HEADER = '_tracer-data';

/**
 * The span of a workflow's run. Made from the id of the run, so that every worker that takes it up, and each of its
 * activities, names the same span without being told. Of a UUID's last 64 bits two are fixed, so it is never zero.
 */
export function spanOfRun(runId: string): string {
  return runId.replaceAll('-', '').slice(16);
}

/** What a run works for, as far as its id says it: `recharge/<organization>/<event>`, `reversal/<recharge>`. */
export function subjectOfRun(workflowId: string): Record<string, string> {
  const [kind, first, second] = workflowId.split('/');
  if (kind === 'recharge' && first && second) return { 'bill.organization_id': first, 'bill.event_id': second };
  if (kind === 'reversal' && first) return { 'bill.recharge_id': first };
  return {};
}

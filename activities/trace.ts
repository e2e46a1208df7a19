/** Each attempt of an activity as a span of its run's trace. */
import type { Context } from '@temporalio/activity';
import { ApplicationFailure, defaultPayloadConverter, type Headers } from '@temporalio/common';
import type { ActivityInterceptors } from '@temporalio/worker';
import { readTraceparent, spanOfRun, subjectOfRun, TRACE_HEADER, writeTraceparent } from '../src/domain/trace.ts';
import { activeTrace, type FailureReader, isTracing, noteInTrace, traced } from '../src/observability/tracing.ts';

/**
 * For `Worker.create`, outermost: sees the failures that the others make, and their log lines name the trace. An
 * activity of a run that was started without a trace, as by a schedule, begins one of its own.
 */
export function traceActivity({ info }: Context): ActivityInterceptors {
  return {
    outbound: {
      // The SDK may write a line later, outside of the work that it is about.
      getLogAttributes: (attributes, next) => next({ ...attributes, ...activeTrace() }),
    },
    inbound: {
      execute: (input, next) => {
        if (!isTracing()) return next(input);
        const [subject] = input.args;
        const span = {
          name: info.activityType,
          kind: 'consumer',
          parent: placeOf(info.workflowExecution?.runId, input.headers),
          attributes: {
            ...subjectOfRun(info.workflowExecution?.workflowId ?? ''),
            ...idsIn(subject),
            temporalWorkflowID: info.workflowExecution?.workflowId,
            temporalRunID: info.workflowExecution?.runId,
            temporalActivityID: info.activityId,
            'temporal.attempt': info.attempt,
            'temporal.is_local': info.isLocal,
            'temporal.task_queue': info.taskQueue,
          },
        } as const;
        const work = async () => {
          const result = await next(input);
          noteInTrace(outcomeIn(result));
          return result;
        };
        return traced(span, work, failureOf);
      },
    },
  };
}

/** The span of the run, in the trace that the run was started in. */
function placeOf(runId: string | undefined, headers: Headers): string | undefined {
  const header = headers[TRACE_HEADER];
  const started = header && readTraceparent(defaultPayloadConverter.fromPayload<{ traceparent?: string }>(header).traceparent);
  return started && runId ? writeTraceparent({ ...started, spanId: spanOfRun(runId) }) : undefined;
}

/** The ids by which an operator asks for what an activity works on. */
function idsIn(subject: unknown): Record<string, string | undefined> {
  const { eventId, rechargeId, reversalId, organizationId } = (subject ?? {}) as Record<string, string | undefined>;
  return {
    ...(eventId && { 'bill.event_id': eventId }),
    'bill.recharge_id': rechargeId,
    'bill.reversal_id': reversalId,
    ...(organizationId && { 'bill.organization_id': organizationId }),
  };
}

/** Which way it took, and the recharge that it has reserved. */
function outcomeIn(result: unknown): Record<string, string | undefined> {
  const { kind, outcome, recharge } = (result ?? {}) as { kind?: string; outcome?: string; recharge?: unknown };
  return { 'bill.result': kind, 'bill.outcome': outcome, ...(recharge ? idsIn(recharge) : {}) };
}

/** Our failures have a type and a message that anybody may read (failures.ts); of any other only its name is told. */
const failureOf: FailureReader = (error) =>
  error instanceof ApplicationFailure
    ? { type: error.type ?? error.name, message: error.message }
    : { type: error instanceof Error ? error.name : 'Error' };

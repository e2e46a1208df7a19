/** Traces over Temporal: from what starts a run to the run, and the span of the run itself. */
import type { WorkflowClientInterceptor } from '@temporalio/client';
import { defaultPayloadConverter, type Headers } from '@temporalio/common';
import type { InjectedSinks } from '@temporalio/worker';
import type { TraceSinks } from '../../workflows/trace.ts';
import { spanOfRun, subjectOfRun, TRACE_HEADER } from '../domain/trace.ts';
import { activeTraceparent, beginSpan } from '../observability/tracing.ts';

/** For clients: a run belongs to the trace in which it is started. */
export const startInTrace: WorkflowClientInterceptor = {
  start: (input, next) => next({ ...input, headers: withTrace(input.headers) }),
  signalWithStart: (input, next) => next({ ...input, headers: withTrace(input.headers) }),
};

function withTrace(headers: Headers): Headers {
  const traceparent = activeTraceparent();
  return traceparent === undefined ? headers : { ...headers, [TRACE_HEADER]: defaultPayloadConverter.toPayload({ traceparent }) };
}

/**
 * For workers: records the span of a run when it has ended, as its last worker sees it. A worker that dies between this
 * and Temporal's answer leaves a second one with the same id to the next.
 */
export const traceSinks: InjectedSinks<TraceSinks> = {
  trace: {
    ended: {
      callDuringReplay: false,
      fn({ workflowType, workflowId, runId, taskQueue }, { header, startedAtMs, failure }) {
        const span = beginSpan({
          name: workflowType,
          kind: 'consumer',
          parent: (header as { traceparent?: string }).traceparent,
          id: spanOfRun(runId),
          startedAt: new Date(startedAtMs),
          attributes: {
            ...subjectOfRun(workflowId),
            temporalWorkflowID: workflowId,
            temporalRunID: runId,
            'temporal.task_queue': taskQueue,
          },
        });
        if (failure !== null) span?.fail(failure);
        span?.end();
      },
    },
  },
};

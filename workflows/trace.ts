/**
 * Hands the trace of a run on to its activities: the header that it was started with goes with each of them. Nothing is
 * measured in here, so a replay measures nothing, and a run that was started without a trace does nothing of this.
 */
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { ContinueAsNew, proxySinks, type Sinks, type WorkflowInterceptorsFactory, workflowInfo } from '@temporalio/workflow';
import { TRACE_HEADER } from '../src/domain/trace.ts';

/** What the worker is told when a run has ended; never of one that it replays. */
export interface TraceSinks extends Sinks {
  trace: { ended(run: { header: unknown; startedAtMs: number; failure: string | null }): void };
}

const { trace } = proxySinks<TraceSinks>();

export const interceptors: WorkflowInterceptorsFactory = () => {
  let header: Payload | undefined;
  const handOn = <Input extends { readonly headers: Readonly<Record<string, Payload>> }>(input: Input): Input =>
    header ? { ...input, headers: { ...input.headers, [TRACE_HEADER]: header } } : input;
  return {
    inbound: [
      {
        async execute(input, next) {
          header = input.headers[TRACE_HEADER];
          if (!header) return next(input);
          let failure: string | null = null;
          try {
            return await next(input);
          } catch (error) {
            // That is how a run ends which goes on in another one.
            failure = error instanceof ContinueAsNew ? null : (error as Error).name;
            throw error;
          } finally {
            const { runStartTime } = workflowInfo();
            trace.ended({ header: defaultPayloadConverter.fromPayload(header), startedAtMs: runStartTime.getTime(), failure });
          }
        },
      },
    ],
    outbound: [
      {
        scheduleActivity: (input, next) => next(handOn(input)),
        scheduleLocalActivity: (input, next) => next(handOn(input)),
        startChildWorkflowExecution: (input, next) => next(handOn(input)),
        continueAsNew: (input, next) => next(handOn(input)),
      },
    ],
  };
};

/**
 * Traces: what was done for one alert, in whichever process. Nothing of OpenTelemetry is loaded here: a process without
 * `OTEL_…` traces nothing, and every function of this module then does next to nothing.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Attributes, Span, SpanWish, Tracer, TracingOptions } from './span.ts';

/** One in a process, as OpenTelemetry has it: what is measured deep inside is not handed through everything above. */
let tracer: Tracer | undefined;
const active = new AsyncLocalStorage<Span>();

/** Begins to trace. Called once in a process, before it does anything. */
export async function startTracing(options: TracingOptions): Promise<void> {
  const { openTelemetry } = await import('./open-telemetry.ts');
  tracer = openTelemetry(options);
}

export async function stopTracing(): Promise<void> {
  const stopping = tracer;
  tracer = undefined;
  await stopping?.stop();
}

export function isTracing(): boolean {
  return tracer !== undefined;
}

/** Begins a span that its caller ends. undefined while nothing is traced. */
export function beginSpan(wish: SpanWish): Span | undefined {
  const parent = wish.parent ?? active.getStore()?.traceparent;
  return tracer?.begin({ ...wish, parent });
}

/** What is done in `work` belongs to the span. */
export function within<T>(span: Span, work: () => T): T {
  return active.run(span, work);
}

/** For what is handed on to others, such as a row or a request. */
export function activeTraceparent(): string | undefined {
  return active.getStore()?.traceparent;
}

/** The fields of a log line that lead to its trace. */
export function activeTrace(): { trace_id: string; span_id: string } | undefined {
  const span = active.getStore();
  return span && { trace_id: span.traceId, span_id: span.spanId };
}

/** Adds to the span in whose work this is. */
export function noteInTrace(attributes: Attributes): void {
  active.getStore()?.note(attributes);
}

/** Marks the span in whose work this is as failed, where its error is caught. */
export function failInTrace(type: string, message?: string): void {
  active.getStore()?.fail(type, message);
}

/** What may be said of an error that a span ends with. Its message may repeat what was sent. */
export type FailureReader = (error: unknown) => { type: string; message?: string; attributes?: Attributes };

const nameOnly: FailureReader = (error) => ({ type: error instanceof Error ? error.name : 'Error' });

/** Does `work` as a span, which fails as it does. */
export async function traced<T>(wish: SpanWish, work: () => Promise<T>, readFailure: FailureReader = nameOnly): Promise<T> {
  const span = beginSpan(wish);
  if (!span) return work();
  try {
    return await within(span, work);
  } catch (error) {
    const { type, message, attributes } = readFailure(error);
    span.fail(type, message);
    if (attributes) span.note(attributes);
    throw error;
  } finally {
    span.end();
  }
}

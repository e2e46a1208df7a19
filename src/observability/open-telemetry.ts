/** Spans by OpenTelemetry, sent by OTLP over HTTP. Loaded by tracing.ts where the environment asks for it. */
import { hostname } from 'node:os';
import { type Span as OtelSpan, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { setGlobalErrorHandler } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  type IdGenerator,
  ParentBasedSampler,
  RandomIdGenerator,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { withDeadline } from '../deadline.ts';
import { readTraceparent, writeTraceparent } from '../domain/trace.ts';
import type { Attributes, SamplerName, Span, SpanWish, Tracer, TracingOptions } from './span.ts';

/** At the end of a process: what a collector that hangs has not taken by then is lost. */
const LAST_EXPORT_MS = 5_000;

/**
 * The exporter reads its own `OTEL_EXPORTER_OTLP_…`, the resource `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
 * What cannot be sent is dropped and logged, and nothing waits for it.
 */
export function openTelemetry({ service, version, sampler, ratio, batches, unsent }: TracingOptions): Tracer {
  setGlobalErrorHandler((error) => unsent(reasonOf(error)));
  const own = resourceFromAttributes({
    'service.name': service,
    'service.version': version,
    'service.instance.id': `${hostname()}/${process.pid}`,
    'process.pid': process.pid,
  });
  const ids = new NamedIds();
  const provider = new TracerProvider({
    resource: own.merge(detectResources({ detectors: [envDetector] })),
    sampler: samplerOf(sampler, ratio),
    idGenerator: ids,
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter(), ...definedOf(batches) })],
  });
  const tracer = provider.getTracer('bill-service', version);
  return {
    begin({ name, kind = 'internal', parent, attributes = {}, id, startedAt }: SpanWish): Span {
      const place = readTraceparent(parent);
      const context = place
        ? trace.setSpanContext(ROOT_CONTEXT, { traceId: place.traceId, spanId: place.spanId, traceFlags: place.flags, isRemote: true })
        : ROOT_CONTEXT;
      const options = { kind: KINDS[kind], attributes: definedOf(attributes), ...(startedAt && { startTime: startedAt }) };
      return new RecordedSpan(ids.named(id, () => tracer.startSpan(name, options, context)));
    },
    async stop() {
      await withDeadline(provider.shutdown(), LAST_EXPORT_MS).catch((error) => {
        unsent(reasonOf(error));
      });
    },
  };
}

const KINDS = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

class RecordedSpan implements Span {
  private readonly span: OtelSpan;
  readonly traceId: string;
  readonly spanId: string;
  readonly traceparent: string;
  readonly isRecorded: boolean;

  constructor(span: OtelSpan) {
    this.span = span;
    const { traceId, spanId, traceFlags } = span.spanContext();
    this.traceId = traceId;
    this.spanId = spanId;
    this.isRecorded = span.isRecording();
    this.traceparent = writeTraceparent({ traceId, spanId, flags: traceFlags });
  }

  note(attributes: Attributes): void {
    // The SDK leaves out what is undefined.
    this.span.setAttributes(attributes);
  }

  rename(name: string): void {
    this.span.updateName(name);
  }

  fail(type: string, message?: string): void {
    this.span.setAttribute('error.type', type);
    this.span.setStatus({ code: SpanStatusCode.ERROR, message: message ?? type });
  }

  end(): void {
    this.span.end();
  }
}

/** Random ids, but for a span that has one already. */
class NamedIds implements IdGenerator {
  private readonly random = new RandomIdGenerator();
  private next: string | undefined;

  /** @param begin asks for one id, at once. */
  named<T>(id: string | undefined, begin: () => T): T {
    this.next = id;
    try {
      return begin();
    } finally {
      this.next = undefined;
    }
  }

  generateTraceId(): string {
    return this.random.generateTraceId();
  }

  generateSpanId(): string {
    return this.next ?? this.random.generateSpanId();
  }
}

function samplerOf(name: SamplerName, ratio: number): Sampler {
  const root = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  };
  const [, isByParent, own = 'always_on'] = /^(parentbased_)?(.+)$/.exec(name) ?? [];
  const sampler = root[own as keyof typeof root]();
  return isByParent ? new ParentBasedSampler({ root: sampler }) : sampler;
}

function definedOf<Value>(fields: Readonly<Record<string, Value | undefined>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(fields).filter((field): field is [string, Value] => field[1] !== undefined));
}

/** Its message only: the error may hold the headers of the request, and with them a key. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : typeof error === 'string' ? error : 'unknown';
  return (message.split('\n')[0] ?? '').slice(0, 200);
}

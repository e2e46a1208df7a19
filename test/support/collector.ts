/** A collector of traces, as far as a test needs one: takes OTLP over HTTP, in protobuf, and keeps the spans. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import protobuf from 'protobufjs';
import type { SamplerName } from '../../src/observability/span.ts';
import { startTracing, stopTracing } from '../../src/observability/tracing.ts';

/** Of opentelemetry-proto, trace/v1 and common/v1: the fields that are read here, by their numbers. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message Request { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { repeated Span spans = 2; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
    fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9; Status status = 15;
  }
  message Status { string message = 2; int32 code = 3; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
`);
const Request = root.lookupType('Request');

export type CollectedSpan = {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  name: string;
  startMs: number;
  endMs: number;
  isFailed: boolean;
  attributes: Record<string, string | number | boolean>;
  /** Of the process that has recorded it. */
  resource: Record<string, string | number | boolean>;
};

export class Collector {
  readonly spans: CollectedSpan[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  /** @param next the address of another collector, which gets everything too. */
  static async start(next?: string): Promise<Collector> {
    const collector = new Collector(
      createServer((request, response) => {
        void buffer(request).then(async (body) => {
          const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } = request.headers;
          const passed = { method: 'POST', body: new Uint8Array(body), headers: { 'content-type': type, 'content-encoding': encoding } };
          if (next !== undefined) await fetch(new URL('/v1/traces', next), passed);
          collector.take(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
          response.setHeader('content-type', 'application/x-protobuf');
          response.end();
        });
      }),
    );
    await new Promise<void>((resolve) => collector.server.listen(0, '127.0.0.1', resolve));
    return collector;
  }

  /** What a process that sends its traces here has in its environment. */
  get env(): Record<string, string> {
    const { port } = this.server.address() as AddressInfo;
    return { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_BSP_SCHEDULE_DELAY: '100' };
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
  }

  private take(body: Buffer): void {
    const { resourceSpans = [] } = Request.toObject(Request.decode(body), { longs: Number }) as OtlpRequest;
    for (const { resource, scopeSpans = [] } of resourceSpans)
      for (const { spans = [] } of scopeSpans) this.spans.push(...spans.map((span) => read(span, resource?.attributes)));
  }
}

type KeyValue = { key: string; value?: Record<string, string | number | boolean> };
type OtlpSpan = {
  traceId: Buffer;
  spanId: Buffer;
  parentSpanId?: Buffer;
  name: string;
  startTimeUnixNano: number;
  endTimeUnixNano: number;
  attributes?: KeyValue[];
  status?: { code?: number };
};
type OtlpRequest = { resourceSpans?: { resource?: { attributes?: KeyValue[] }; scopeSpans?: { spans?: OtlpSpan[] }[] }[] };

/** OpenTelemetry's code of a status. */
const ERROR = 2;

function read(span: OtlpSpan, resource: KeyValue[] = []): CollectedSpan {
  return {
    traceId: span.traceId.toString('hex'),
    spanId: span.spanId.toString('hex'),
    parentSpanId: span.parentSpanId?.toString('hex') ?? '',
    name: span.name,
    startMs: span.startTimeUnixNano / 1e6,
    endMs: span.endTimeUnixNano / 1e6,
    isFailed: span.status?.code === ERROR,
    attributes: valuesOf(span.attributes),
    resource: valuesOf(resource),
  };
}

function valuesOf(attributes: KeyValue[] = []): Record<string, string | number | boolean> {
  return Object.fromEntries(attributes.map(({ key, value = {} }) => [key, Object.values(value)[0] ?? '']));
}

/** How a test traces. */
export const TRACING = {
  service: 'bill-test',
  version: '1',
  sampler: 'parentbased_always_on',
  ratio: 1,
  batches: { scheduledDelayMillis: 50, maxQueueSize: undefined, maxExportBatchSize: undefined, exportTimeoutMillis: undefined },
} as const;

/** What a collector gets of `work` in this process. */
export async function collected(work: () => Promise<void>, sampler: SamplerName = TRACING.sampler): Promise<CollectedSpan[]> {
  const collector = await Collector.start();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  await startTracing({ ...TRACING, sampler, unsent: () => {} });
  try {
    await work();
  } finally {
    await stopTracing();
    await collector.stop();
    delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  }
  return collector.spans;
}

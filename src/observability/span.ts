/** What a trace is made of, whoever records it. */

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** What a span is named, belongs to and says. An attribute holds no secret, and no URL with its query. */
export type SpanWish = {
  name: string;
  /** As OpenTelemetry has it: who asks, who answers, who hands on and who takes it. */
  kind?: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  /** A traceparent; without one the span in whose work this is, or none. */
  parent?: string | null | undefined;
  attributes?: Attributes;
  /** Given where others name the span before it has ended. */
  id?: string;
  startedAt?: Date;
};

export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  /** For what is handed on: what is done for it belongs to this span. */
  readonly traceparent: string;
  /** false: the sampler leaves its trace out. What it belongs to has to be handed on all the same. */
  readonly isRecorded: boolean;
  note(attributes: Attributes): void;
  rename(name: string): void;
  /** Marks it as failed. @param message for everybody to read: no text that may repeat what was sent. */
  fail(type: string, message?: string): void;
  end(): void;
}

export interface Tracer {
  begin(wish: SpanWish): Span;
  /** Ends after what was recorded has been sent, or could not be. */
  stop(): Promise<void>;
}

export type SamplerName =
  | 'always_on'
  | 'always_off'
  | 'traceidratio'
  | 'parentbased_always_on'
  | 'parentbased_always_off'
  | 'parentbased_traceidratio';

/** What the environment says of traces, beside what the exporter reads of it by itself. */
export type TracingSettings = {
  sampler: SamplerName;
  /** Of traces, from 0 to 1: for the samplers by ratio. */
  ratio: number;
  /** Of the batches that are sent; undefined: as OpenTelemetry has it. */
  batches: Readonly<Record<'scheduledDelayMillis' | 'maxQueueSize' | 'maxExportBatchSize' | 'exportTimeoutMillis', number | undefined>>;
};

export type TracingOptions = TracingSettings & {
  /** The `service.name` where the environment names none, such as `bill-worker`. */
  service: string;
  version: string;
  /** Is told why spans could not be sent; they are lost. */
  unsent: (reason: string) => void;
};

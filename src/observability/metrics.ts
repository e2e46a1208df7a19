/**
 * What a process counts, and the page that Prometheus reads. A process has one of it; `bill dev`, which runs API and
 * worker in one, has one for each.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  METRICS,
  type MetricName,
  metricsOf,
  type ProcessKind,
} from './catalogue.ts';
import type { Logger } from './log.ts';

/** Gauges with the ending of a counter; promtool refuses them. Those by type are there without it. */
const AGAINST_CONVENTION = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** Puts what is to be shown into the metrics, when they are read. */
type Collector = { name: string; collect: () => Promise<void> | void };

export class Metrics {
  private readonly registry = new Registry();
  private readonly log: Logger;
  private readonly collectors: Collector[] = [];
  /** Adds to the page what is not ours; see sdk-metrics.ts. */
  private append: (page: string) => string = (page) => page;
  private making: Promise<string> | undefined;

  constructor(kind: ProcessKind, log: Logger) {
    this.log = log;
    for (const name of metricsOf(kind)) this.register(name);
  }

  /** From now on the page has CPU, memory and event loop of the process. */
  watchProcess(): void {
    collectDefaultMetrics({ register: this.registry });
    for (const name of AGAINST_CONVENTION) this.registry.removeSingleMetric(name);
  }

  private register(name: MetricName): void {
    const { type, help, labels, buckets } = METRICS[name] as (typeof METRICS)[MetricName] & { buckets?: readonly number[] };
    const options = { name, help, labelNames: [...labels], registers: [this.registry] };
    if (type === 'counter') new Counter(options);
    else if (type === 'gauge') new Gauge(options);
    else new Histogram({ ...options, ...(buckets && { buckets: [...buckets] }) });
  }

  /** Adds to a counter. Of a metric that this process does not have, nothing is counted. */
  count<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, by = 1): void {
    this.harmlessly(name, () => (this.registry.getSingleMetric(name) as Counter | undefined)?.inc(labels, by));
  }

  /** Shows 0 of what has not happened yet: an increase from nothing is not seen. */
  begin<Name extends CounterName>(name: Name, each: readonly LabelsOf<Name>[]): void {
    for (const labels of each) this.count(name, labels, 0);
  }

  observe<Name extends HistogramName>(name: Name, labels: LabelsOf<Name>, value: number): void {
    this.harmlessly(name, () => (this.registry.getSingleMetric(name) as Histogram | undefined)?.observe(labels, value));
  }

  set<Name extends GaugeName>(name: Name, labels: LabelsOf<Name>, value: number): void {
    this.harmlessly(name, () => (this.registry.getSingleMetric(name) as Gauge | undefined)?.set(labels, value));
  }

  /** The library refuses a value that is no number. No charge fails for how it is counted. */
  private harmlessly(name: MetricName, note: () => void): void {
    try {
      note();
    } catch (error) {
      this.log.warn({ metrics: name, reason: (error as Error).message }, 'a metric could not be noted');
    }
  }

  /** A counter that somebody else counts: shows their number. */
  showTotal<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, total: number): void {
    const counter = this.registry.getSingleMetric(name) as Counter | undefined;
    counter?.remove(labels);
    counter?.inc(labels, total);
  }

  /** Takes away every value of these: one that is not known now is not shown. */
  forget(names: readonly MetricName[]): void {
    for (const name of names) {
      const metric = this.registry.getSingleMetric(name) as Gauge | undefined;
      metric?.reset();
      // Without labels it would be 0.
      if (METRICS[name].labels.length === 0) metric?.remove();
    }
  }

  /** `collect` runs before each page. One that fails is logged, and the others are shown all the same. */
  beforePage(name: string, collect: Collector['collect']): void {
    this.collectors.push({ name, collect });
  }

  appendToPage(append: (page: string) => string): void {
    this.append = append;
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** In Prometheus' text format. Who asks while one is made gets the same: another would take away what is read for it. */
  page(): Promise<string> {
    this.making ??= this.make().finally(() => {
      this.making = undefined;
    });
    return this.making;
  }

  private async make(): Promise<string> {
    await Promise.all(this.collectors.map((collector) => this.run(collector)));
    return this.append(await this.registry.metrics());
  }

  private async run({ name, collect }: Collector): Promise<void> {
    try {
      await collect();
    } catch (error) {
      this.log.warn({ metrics: name, reason: (error as Error).message.split('\n')[0] }, 'some metrics could not be read');
    }
  }
}

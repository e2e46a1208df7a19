/**
 * Shows what is read from PostgreSQL and Temporal: numbers that are the same in every process, and that equal the
 * books. Each of the two fails alone. What could not be read is not shown, and the page says so.
 */
import { withDeadline } from '../deadline.ts';
import { accountsOf, everyKind, type Figures, unaccounted } from '../domain/figures.ts';
import { LEDGER_ACCOUNTS } from '../domain/ledger.ts';
import { OPEN_STATUSES } from '../domain/recharge-status.ts';
import { isSchedulePlaced, type TemporalFacts, WORKER_GONE_MS } from '../domain/service-status.ts';
import { METRICS, type MetricName } from './catalogue.ts';
import type { Metrics } from './metrics.ts';

/** Scrapes within this time get the same figures: several Prometheus servers cost no more than one. */
const KEEP_FIGURES_MS = 5_000;
/** What Temporal says takes some ten calls. */
const KEEP_TEMPORAL_MS = 5_000;
/** A scrape waits no longer, and then goes without. Prometheus gives up after 10 s by itself. */
const READ_DEADLINE_MS = 4_000;

const SHARED = (Object.keys(METRICS) as MetricName[]).filter((name) => 'isShared' in METRICS[name]);
const OF_TEMPORAL: readonly MetricName[] = ['bill_workers_polling', 'bill_schedule_ok', 'bill_schedule_last_success_timestamp_seconds'];
const OF_DATABASE = [
  ...SHARED.filter((name) => !OF_TEMPORAL.includes(name) && name !== 'bill_temporal_up'),
  'bill_figures_age_seconds',
] as const;

export type Sources = {
  /** @throws while PostgreSQL cannot be read. */
  figures: () => Promise<Figures>;
  /** Never throws. */
  temporalFacts: () => Promise<TemporalFacts>;
};

export function showBooks(metrics: Metrics, { figures, temporalFacts }: Sources): void {
  const readFigures = kept(KEEP_FIGURES_MS, figures);
  const readFacts = kept(KEEP_TEMPORAL_MS, temporalFacts);

  metrics.beforePage('figures of the database', async () => {
    metrics.forget(OF_DATABASE);
    metrics.set('bill_database_up', {}, 0);
    const { value, at } = await withDeadline(readFigures(), READ_DEADLINE_MS);
    metrics.set('bill_database_up', {}, 1);
    metrics.set('bill_figures_age_seconds', {}, (Date.now() - at) / 1000);
    showFigures(metrics, value);
  });
  metrics.beforePage('facts of Temporal', async () => {
    metrics.forget(OF_TEMPORAL);
    metrics.set('bill_temporal_up', {}, 0);
    const { value } = await withDeadline(readFacts(), READ_DEADLINE_MS);
    if ('failure' in value) throw new Error(value.failure);
    metrics.set('bill_temporal_up', {}, 1);
    showFacts(metrics, value, new Date());
  });
}

/** What was read is returned again for a while; a failure is not kept. */
function kept<T>(forMs: number, read: () => Promise<T>): () => Promise<{ value: T; at: number }> {
  let last: { at: number; reading: Promise<{ value: T; at: number }> } | undefined;
  return () => {
    if (last && Date.now() - last.at < forMs) return last.reading;
    const at = Date.now();
    const reading = read().then((value) => ({ value, at }));
    const mine = { at, reading };
    last = mine;
    reading.catch(() => {
      if (last === mine) last = undefined;
    });
    return reading;
  };
}

function showFigures(metrics: Metrics, figures: Figures): void {
  for (const { kind, currency, amount } of everyKind(figures.transferred))
    metrics.showTotal('bill_ledger_transferred_minor_units_total', { kind, currency }, amount);
  for (const { currency, ...accounts } of accountsOf(figures.transferred))
    for (const account of LEDGER_ACCOUNTS) metrics.set('bill_ledger_balance_minor_units', { account, currency }, accounts[account]);
  for (const { currency, amount } of unaccounted(figures)) metrics.set('bill_ledger_unaccounted_minor_units', { currency }, amount);

  for (const status of OPEN_STATUSES) {
    const open = figures.open.filter((each) => each.status === status);
    metrics.set('bill_recharges_open', { status }, sum(open.map(({ count }) => count)));
    metrics.set('bill_recharges_open_oldest_age_seconds', { status }, Math.max(0, ...open.map(({ oldestMs }) => oldestMs)) / 1000);
  }
  const parked = figures.open.filter(({ status }) => status === 'needs_attention');
  metrics.set('bill_needs_attention', { what: 'recharge' }, sum(parked.map(({ count }) => count)));
  metrics.set('bill_needs_attention', { what: 'reversal' }, figures.parkedReversals);

  for (const { scope, reason, count } of figures.holds) metrics.set('bill_holds_open', { scope, reason }, count);
  for (const [queue, { count, oldestMs }] of Object.entries(figures.backlog)) {
    metrics.set('bill_backlog', { queue }, count);
    metrics.set('bill_backlog_oldest_age_seconds', { queue }, (oldestMs ?? 0) / 1000);
  }
  metrics.set('bill_events_open', {}, figures.events.open);
  metrics.set('bill_events_undecided_oldest_age_seconds', {}, (figures.events.undecided.oldestMs ?? 0) / 1000);

  metrics.set('bill_outbound_deliveries_failing', {}, figures.outbound.failing);
  for (const [state, count] of Object.entries(figures.outbound.endpoints)) metrics.set('bill_outbound_endpoints', { state }, count);
  metrics.set('bill_outbound_endpoint_failing_oldest_age_seconds', {}, (figures.outbound.failingForMs ?? 0) / 1000);
  for (const [auto_recharge, count] of Object.entries(figures.organizations)) metrics.set('bill_organizations', { auto_recharge }, count);
  for (const { kind, count } of figures.drift) metrics.set('bill_drift', { kind }, count);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function showFacts(metrics: Metrics, { pollers, schedules }: Exclude<TemporalFacts, { failure: string }>, now: Date): void {
  for (const { taskQueue, count, lastPollAt } of pollers) {
    const isPolled = lastPollAt !== null && now.getTime() - lastPollAt.getTime() <= WORKER_GONE_MS;
    const queue = /-(bulk|charges)$/.exec(taskQueue)?.[1] ?? 'main';
    metrics.set('bill_workers_polling', { queue }, isPolled ? count : 0);
  }
  for (const facts of schedules) {
    const { id: schedule, lastSuccessAt, changedAt, isMade } = facts;
    metrics.set('bill_schedule_ok', { schedule }, isSchedulePlaced(facts) ? 1 : 0);
    if (!isMade) continue;
    const at = (lastSuccessAt ?? changedAt).getTime() / 1000;
    metrics.set('bill_schedule_last_success_timestamp_seconds', { schedule }, at);
  }
}

/**
 * Every metric of the service: its name, what it says, and its labels. docs/operating.md has the same table, and the
 * alert rules and dashboards name no other.
 *
 * No label holds the id of a customer, a recharge or an event: each label has as many values as the code has words
 * for it. Durations are seconds, moments are seconds since 1970. Money is in minor units, because those are integers:
 * the sums equal the ledger's to the cent.
 */

type Metric = {
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  labels: readonly string[];
  /** Which process has it. */
  from: 'serve' | 'worker' | 'both';
  /** Read from the database or Temporal at the scrape: the same in every process, so `max` and not `sum` over them. */
  isShared?: true;
  buckets?: readonly number[];
};

/** From a millisecond, as an acknowledgement takes, to the deadline of a request. */
const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** From a quick answer of LiteLLM to the deadline of a call to Stripe. */
const CALL_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25];
/** A row is handed on within milliseconds, or waits for an outage to end. */
const LAG_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300];
/** Around the 30 s that are promised. */
const QUOTA_SECONDS = [0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 120, 300, 900, 3600];
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

export const METRICS = {
  bill_build_info: { type: 'gauge', from: 'both', labels: ['version', 'node'], help: 'Always 1: the version that runs, and of Node.js' },

  bill_ingest_events_total: {
    type: 'counter',
    from: 'serve',
    labels: ['source', 'outcome'],
    help: 'Events that were posted to a webhook, by what was answered',
  },
  bill_ingest_duration_seconds: {
    type: 'histogram',
    from: 'serve',
    labels: ['source'],
    buckets: REQUEST_SECONDS,
    help: 'From the request of an event to its answer',
  },
  bill_ingest_batch_size: {
    type: 'histogram',
    from: 'serve',
    labels: [],
    buckets: BATCH_SIZES,
    help: 'Alerts that were stored by one statement',
  },
  bill_http_request_duration_seconds: {
    type: 'histogram',
    from: 'serve',
    labels: ['method', 'route', 'status'],
    buckets: [0.005, 0.05, 0.5, 5],
    help: 'Requests of every route, by its template and the answer',
  },
  bill_dispatch_lag_seconds: {
    type: 'histogram',
    from: 'serve',
    labels: ['inbox'],
    buckets: LAG_SECONDS,
    help: 'From the receipt of an event to the moment it was handed on',
  },
  bill_dispatch_failures_total: {
    type: 'counter',
    from: 'serve',
    labels: ['inbox'],
    help: 'Attempts to hand on an event, or to deliver an outbound one, that failed and are made again',
  },
  bill_outbound_attempts_total: {
    type: 'counter',
    from: 'serve',
    labels: ['outcome'],
    help: 'Attempts to deliver an outbound event',
  },
  bill_outbound_attempt_duration_seconds: {
    type: 'histogram',
    from: 'serve',
    labels: [],
    buckets: CALL_SECONDS,
    help: 'From the post of an outbound event to its answer',
  },

  bill_recharges_total: {
    type: 'counter',
    from: 'worker',
    labels: ['outcome', 'reason', 'source'],
    help: 'Events that a run has closed, by how they ended; `refused` with the reason of the policy',
  },
  bill_alert_to_quota_seconds: {
    type: 'histogram',
    from: 'worker',
    labels: ['source'],
    buckets: QUOTA_SECONDS,
    help: 'From the receipt of an event to the raised quota',
  },
  bill_charges_total: {
    type: 'counter',
    from: 'worker',
    labels: ['outcome'],
    help: 'Attempts to charge a card that came to an answer',
  },
  bill_activity_failures_total: {
    type: 'counter',
    from: 'worker',
    labels: ['activity', 'failure'],
    help: 'Attempts of an activity that failed, by our type of failure; `Unexpected` is a programming error',
  },
  bill_sweep_reported_total: { type: 'counter', from: 'worker', labels: [], help: 'Balances that the sweep has reported' },
  bill_sweep_unreadable_total: { type: 'counter', from: 'worker', labels: [], help: 'Teams that a sweep could not read' },
  bill_reconcile_findings_total: {
    type: 'counter',
    from: 'worker',
    labels: ['kind', 'settled'],
    help: 'Findings of the reconciliation; one that stays is found again every hour',
  },

  bill_dependency_call_duration_seconds: {
    type: 'histogram',
    from: 'both',
    labels: ['dependency', 'route', 'outcome'],
    buckets: CALL_SECONDS,
    help: 'Calls to Stripe and LiteLLM, with the wait for their turn; `outcome`: ok, or the kind of the error',
  },
  bill_gate_calls: {
    type: 'gauge',
    from: 'both',
    labels: ['dependency', 'lane', 'state'],
    help: 'Calls to Stripe and LiteLLM that are under way, and that wait for their turn',
  },
  bill_gate_refused_total: {
    type: 'counter',
    from: 'both',
    labels: ['dependency', 'lane'],
    help: 'Calls that were not made, because too many are under way',
  },
  bill_database_pool_connections: {
    type: 'gauge',
    from: 'both',
    labels: ['pool', 'state'],
    help: 'Connections to PostgreSQL that are idle and used, and statements that wait for one',
  },
  bill_sdk_metrics_up: {
    type: 'gauge',
    from: 'worker',
    labels: [],
    help: "1: the Temporal SDK's own metrics are on this page, 0: they could not be read",
  },

  bill_database_up: { type: 'gauge', from: 'both', labels: [], help: '1: PostgreSQL was read for this page, 0: it could not be' },
  bill_figures_age_seconds: {
    type: 'gauge',
    from: 'serve',
    labels: [],
    help: 'How old the figures are that were read from PostgreSQL',
  },
  bill_ledger_transferred_minor_units_total: {
    type: 'counter',
    from: 'serve',
    isShared: true,
    labels: ['kind', 'currency'],
    help: 'Money that was charged (captured), granted, refunded, reversed, charged back and recovered, as the ledger has it',
  },
  bill_ledger_balance_minor_units: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['account', 'currency'],
    help: "The ledger's accounts, of all organizations together; `prepaid` is held: captured, neither granted nor given back",
  },
  bill_ledger_unaccounted_minor_units: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['currency'],
    help: 'What is held and belongs to no open recharge: 0, or the books are wrong',
  },
  bill_recharges_open: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['status'],
    help: 'Recharges that are not settled',
  },
  bill_recharges_open_oldest_age_seconds: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['status'],
    help: 'Since when the oldest of them has been in its status; 0 where there is none',
  },
  bill_needs_attention: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['what'],
    help: 'Recharges and reversals that a person has to settle',
  },
  bill_holds_open: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['scope', 'reason'],
    help: 'Holds that stop charges now',
  },
  bill_backlog: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['queue'],
    help: 'What has arrived, or is to be told, and waits to be handed on',
  },
  bill_backlog_oldest_age_seconds: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['queue'],
    help: 'How long the oldest of it has waited; 0 where nothing waits',
  },
  bill_events_open: { type: 'gauge', from: 'serve', isShared: true, labels: [], help: 'Events without an outcome' },
  bill_events_undecided_oldest_age_seconds: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: [],
    help: 'How long the oldest event has waited for a recharge or an outcome; 0 where none does',
  },
  bill_outbound_deliveries_failing: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: [],
    help: 'Outbound events that an endpoint has not taken, after one attempt or more',
  },
  bill_outbound_endpoints: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['state'],
    help: 'Endpoints of outbound events: ok, failing or disabled',
  },
  bill_outbound_endpoint_failing_oldest_age_seconds: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: [],
    help: 'How long an endpoint has taken nothing; 0 where each takes what it gets',
  },
  bill_organizations: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['auto_recharge'],
    help: 'Organizations, by whether they are recharged by themselves',
  },
  bill_drift: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['kind'],
    help: 'Differences in LiteLLM that the last whole synchronisation could not settle',
  },

  bill_temporal_up: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: [],
    help: '1: Temporal was asked for this page, 0: it could not be',
  },
  bill_workers_polling: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['queue'],
    help: 'Workers that have asked for work in the last 90 s, of the main queue, of charges and of bulk work',
  },
  bill_schedule_ok: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['schedule'],
    help: '1: the schedule is there, not paused, and starts its runs where our workers poll',
  },
  bill_schedule_last_success_timestamp_seconds: {
    type: 'gauge',
    from: 'serve',
    isShared: true,
    labels: ['schedule'],
    help: 'When the last run of a schedule succeeded; of one without any, when it was made or changed',
  },
} as const satisfies Record<string, Metric>;

export type MetricName = keyof typeof METRICS;
type NamesOf<Type extends Metric['type']> = {
  [Name in MetricName]: (typeof METRICS)[Name]['type'] extends Type ? Name : never;
}[MetricName];
export type CounterName = NamesOf<'counter'>;
export type GaugeName = NamesOf<'gauge'>;
export type HistogramName = NamesOf<'histogram'>;

/** A value for each label of a metric. */
export type LabelsOf<Name extends MetricName> = Record<(typeof METRICS)[Name]['labels'][number], string>;

/** The processes that have metrics. */
export type ProcessKind = 'serve' | 'worker';

/** The names of those that a process has. */
export function metricsOf(kind: ProcessKind): MetricName[] {
  return (Object.keys(METRICS) as MetricName[]).filter((name) => ['both', kind].includes(METRICS[name].from));
}

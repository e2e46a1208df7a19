/**
 * What every activity does, as an operator asks for it: a line of the log for each decision, and what is counted. It
 * only looks at what an activity was given and what came of it.
 */
import { ApplicationFailure, CancelledFailure, type Context } from '@temporalio/activity';
import type { ActivityInterceptors } from '@temporalio/worker';
import { FAILURE } from '../src/domain/failures.ts';
import { FINDING_KINDS, type Finding } from '../src/domain/finding.ts';
import { RECHARGE_SOURCES } from '../src/domain/recharge-source.ts';
import type { Logger } from '../src/observability/log.ts';
import type { Metrics } from '../src/observability/metrics.ts';
import type { Activities } from './index.ts';

type Observed = { [Name in keyof Activities]: { input: Parameters<Activities[Name]>[0]; result: Awaited<ReturnType<Activities[Name]>> } };
type Observer<Name extends keyof Activities> = (tools: { log: Logger; metrics: Metrics }, seen: Observed[Name]) => void;

const OBSERVERS: { [Name in keyof Activities]?: Observer<Name> } = {
  checkLimits: ({ log }, { input: { eventId }, result }) => {
    if (result.kind === 'refused') {
      const message = result.outcome === 'held' ? 'held: nothing is charged' : 'nothing is charged';
      log.info({ event_id: eventId, outcome: result.outcome, reason: result.reason }, message);
    }
    if (result.kind === 'reserved') {
      const { rechargeId, organizationId, amount, balance, source } = result.recharge;
      const ids = { event_id: eventId, recharge_id: rechargeId, organization_id: organizationId };
      log.info({ ...ids, amount, balance, source }, 'a recharge is reserved');
    }
  },
  chargeStripe: ({ log, metrics }, { input: { rechargeId: recharge_id }, result }) => {
    const outcome = result.kind === 'ended' ? result.outcome : result.kind;
    metrics.count('bill_charges_total', { outcome });
    if (result.kind !== 'ended')
      return log.info({ recharge_id, outcome }, outcome === 'captured' ? 'charged' : 'the bank is processing it');
    if (outcome === 'needs_attention') return parked(log, { recharge_id, reason: result.reason });
    log.info({ recharge_id, outcome: result.refusal ?? outcome, reason: result.reason }, 'not charged');
  },
  updateKmsQuota: ({ log }, { input: { rechargeId: recharge_id }, result }) => {
    if (result.kind === 'needs_attention') return parked(log, { recharge_id, reason: result.reason });
    log.info({ recharge_id, before: result.before, after: result.after }, 'the quota is raised');
  },
  refundCharge: ({ log }, { input: { rechargeId: recharge_id, reason }, result }) => {
    if (result.kind === 'needs_attention') return parked(log, { recharge_id, reason: result.reason });
    if (result.kind === 'refunded') log.warn({ recharge_id, reason }, 'refunded: the quota could not be raised');
  },
  sweepTeams: ({ metrics }, { result }) => {
    metrics.count('bill_sweep_reported_total', {}, result.reported.length);
    metrics.count('bill_sweep_unreadable_total', {}, result.unreadable);
  },
  checkBooks: ({ metrics }, { result }) => countFindings(metrics, result),
  resumeIdle: ({ metrics }, { result }) => countFindings(metrics, result),
  compareIntents: ({ metrics }, { result }) => countFindings(metrics, result.findings),
  restoreLost: ({ metrics }, { result }) => countFindings(metrics, [result]),
  compareBudgets: ({ metrics }, { result }) => countFindings(metrics, result.findings),
};

/** A person has to settle it. */
function parked(log: Logger, facts: { recharge_id: string; reason: string }): void {
  log.warn(facts, 'parked: a person has to settle it');
}

function countFindings(metrics: Metrics, findings: readonly Finding[]): void {
  for (const { kind, settled } of findings) metrics.count('bill_reconcile_findings_total', { kind, settled: String(settled) });
}

const FAILURES: ReadonlySet<string> = new Set(Object.values(FAILURE));

/** What no run of a worker has met yet, so that its first time is seen. */
export function beginCounting(metrics: Metrics, activities: readonly string[]): void {
  const outcomes = ['captured', 'processing', 'declined', 'action_required', 'cancelled', 'needs_attention'];
  metrics.begin(
    'bill_charges_total',
    outcomes.map((outcome) => ({ outcome })),
  );
  metrics.begin(
    'bill_activity_failures_total',
    activities.map((activity) => ({ activity, failure: 'Unexpected' })),
  );
  metrics.begin(
    'bill_reconcile_findings_total',
    FINDING_KINDS.flatMap((kind) => ['true', 'false'].map((settled) => ({ kind, settled }))),
  );
  metrics.begin(
    'bill_recharges_total',
    RECHARGE_SOURCES.map((source) => ({ outcome: 'succeeded', reason: '', source })),
  );
}

/** What is done is done: no step fails for how it is looked at, such as at the result of another version. */
function look(tools: { log: Logger; metrics: Metrics }, activityType: string, seen: { input: unknown; result: unknown }): void {
  const observer = OBSERVERS[activityType as keyof Activities] as ((...args: unknown[]) => void) | undefined;
  try {
    observer?.(tools, seen);
  } catch (error) {
    tools.log.warn({ activityType, reason: (error as Error).message }, 'the result of an activity could not be looked at');
  }
}

/** For `Worker.create`, outside `superviseActivity`: sees the failures that it makes. */
export function observe({ log, metrics }: { log: Logger; metrics: Metrics }) {
  return ({ info: { activityType } }: Context): ActivityInterceptors => ({
    inbound: {
      async execute(input, next) {
        try {
          const result = await next(input);
          look({ log, metrics }, activityType, { input: input.args[0], result });
          return result;
        } catch (error) {
          const type = error instanceof ApplicationFailure ? (error.type ?? '') : '';
          // Not tried, or not let end, and so not failed.
          if (type !== FAILURE.noGoodTime && !(error instanceof CancelledFailure))
            metrics.count('bill_activity_failures_total', { activity: activityType, failure: FAILURES.has(type) ? type : 'Unexpected' });
          throw error;
        }
      },
    },
  });
}

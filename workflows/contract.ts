/**
 * What the outside sees of each workflow: its type's name, its input and result, its signals and queries. The
 * starter, the schedules and the command line use these, so that no name is written twice.
 */
import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { LostIntent } from '../activities/reconcile/types.ts';
import type { RemovedRows } from '../activities/retention/types.ts';
import type { SweepCounts } from '../activities/sweep/types.ts';
import type { SyncRef, SyncSummary } from '../activities/sync/types.ts';
import type { TeamsCursor } from '../activities/team-pages.ts';
import type { EventOutcome } from '../src/domain/event-outcome.ts';
import type { Finding } from '../src/domain/finding.ts';
import type { SyncCounts } from '../src/domain/sync.ts';

/** Workflow types as Temporal knows them: histories and schedules contain them: never rename one. */
export const WORKFLOW_TYPES = {
  recharge: 'rechargeWorkflow',
  reversal: 'reversalWorkflow',
  reconcile: 'reconcileWorkflow',
  sweep: 'balanceSweepWorkflow',
  sync: 'teamSyncWorkflow',
  retention: 'retentionWorkflow',
} as const;

/**
 * Where the activities of sweep, synchronisation, reconciliation and retention run, beside the task queue of the
 * workflows: whatever they wait for, those of a charge find a place.
 */
export function bulkQueueOf(taskQueue: string): string {
  return `${taskQueue}-bulk`;
}

/**
 * Where cards are charged. Temporal hands out no more than `STRIPE_RATE_LIMIT` of its tasks a second, to all workers
 * together; what is beyond waits in the queue.
 */
export function chargeQueueOf(taskQueue: string): string {
  return `${taskQueue}-charges`;
}

/** Stripe has changed something about the recharge. Without the signal a run only finds out later. */
export const stripeChanged = defineSignal('stripeChanged');

export type RechargeInput = { eventId: string };
export type RechargeResult = { outcome: EventOutcome; rechargeId: string | null; detail: string };
export type RechargeWorkflow = (input: RechargeInput) => Promise<RechargeResult>;

export type ReversalInput = { rechargeId: string };
export type ReversalWorkflow = (input: ReversalInput) => Promise<void>;

export type ReconcileInput = {
  /** Also resumes what is safe to resume. */
  fix?: boolean;
  /** Where an earlier part of the run has stopped. */
  progress?: ReconcileProgress;
};
/**
 * `since`: of intents, from when on. `intents`, `budgets`: the last that was compared; undefined before the first
 * page, null after the last. `lost`: intents that the database has lost, newest first.
 */
export type ReconcileProgress = {
  result: ReconcileResult;
  since: string;
  intents: string | null | undefined;
  lost: LostIntent[];
  budgets: string | null | undefined;
};
export type ReconcileResult = { intents: number; organizations: number; findings: Finding[] };
export type ReconcileWorkflow = (input?: ReconcileInput) => Promise<ReconcileResult>;
export const reconcileProgress = defineQuery<ReconcileResult>('progress');

/** `{}`: what the Temporal Web UI proposes. */
export type NoInput = Record<never, never>;

export type BalanceSweepWorkflow = (input?: NoInput) => Promise<SweepCounts>;
export const sweepProgress = defineQuery<SweepCounts>('progress');

export type RetentionWorkflow = (input?: NoInput) => Promise<RemovedRows>;

export type TeamSyncInput = {
  /** Only these organizations; all of them when absent. */
  organization_ids?: string[];
  /** Finds the differences and changes nothing. */
  dry_run?: boolean;
  /** The row that the API has made of the run. */
  run_id?: string;
  /** Where an earlier part of the run has stopped. */
  progress?: SyncProgress;
};
/** `cursor`: the next page of LiteLLM's teams, then null. `after`: the last organization that is done. */
export type SyncProgress = { run: SyncRef; counts: SyncCounts; cursor: TeamsCursor | null; after: string | null };
export type TeamSyncWorkflow = (input?: TeamSyncInput) => Promise<SyncSummary>;
export const syncProgress = defineQuery<SyncCounts>('progress');

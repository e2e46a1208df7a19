/**
 * Starts and signals workflows. Temporal forgets an id after its retention, so the database decides
 * once-only, not this.
 */
import {
  type Client,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  type WorkflowOptions,
} from '@temporalio/client';
import type { SearchAttributePair } from '@temporalio/common';
import {
  type RechargeWorkflow,
  type ReversalWorkflow,
  stripeChanged,
  type TeamSyncWorkflow,
  WORKFLOW_TYPES,
} from '../../workflows/contract.ts';
import type { TemporalConfig } from '../config.ts';
import type { Recharge, SyncRun } from '../database/entities.ts';
import type { DispatchableEvent } from '../database/webhook-events.ts';
import { shortList } from '../domain/short-list.ts';
import type { RunTrouble } from '../domain/status.ts';
import { traced } from '../observability/tracing.ts';
import type { EventRun, MoneyName, WorkflowStarter } from '../workflow-starter.ts';
import { temporalErrorOf } from './errors.ts';
import { amountMinorKey, organizationIdKey, rechargeSourceKey, rechargeStatusKey, teamIdKey } from './search-attributes.ts';
import { troubleIn } from './trouble.ts';

/** Says whose it is in a list of runs. No id of an organization holds a slash. */
export function rechargeWorkflowId({ organizationId, eventId }: EventRun): string {
  return `recharge/${organizationId}/${eventId}`;
}

/** Of a run that was started before the id named the organization. One may wait for days, as for a slow payment. */
function formerWorkflowId({ eventId }: EventRun): string {
  return `recharge/${eventId}`;
}

export function reversalWorkflowId(rechargeId: string): string {
  return `reversal/${rechargeId}`;
}

/** The workflow that has made the run's row, else the one that the API starts for the row. */
export function syncWorkflowId({ id, workflow }: SyncRun): string {
  return workflow?.split(' ')[0] ?? `team-sync/${id}`;
}

/** A search attribute that the namespace lacks is left out this long, then tried again. */
const TRY_AGAIN_MS = 5 * 60 * 1000;
// gRPC
const INVALID_ARGUMENT = 3;

/** `WorkflowStarter` documents the methods. */
export class TemporalStarter implements WorkflowStarter {
  private readonly client: Client;
  private readonly temporal: TemporalConfig;
  private readonly taskQueue: string;
  /** Search attributes that the namespace lacks, and until when none is started with them. */
  private readonly leftOutUntil = new Map<string, number>();

  constructor(client: Client, temporal: TemporalConfig) {
    this.client = client;
    this.temporal = temporal;
    this.taskQueue = temporal.taskQueue;
  }

  async startRecharge(event: DispatchableEvent): Promise<void> {
    await this.start(event, { workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE });
  }

  async restartRecharge(event: DispatchableEvent): Promise<void> {
    // Of the event's trace, whoever has found that it has no run.
    const span = {
      name: 'start another run',
      kind: 'producer',
      parent: event.traceparent,
      attributes: { 'bill.event_id': event.id },
    } as const;
    await traced(span, () => this.restart(event));
  }

  private async restart(event: DispatchableEvent): Promise<void> {
    const former = this.client.workflow.getHandle(formerWorkflowId({ organizationId: event.organizationId, eventId: event.id }));
    await unlessNotFound(former.terminate('another run takes its place'));
    await this.start(event, {
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.TERMINATE_EXISTING,
    });
  }

  private async start(event: DispatchableEvent, policies: Pick<WorkflowOptions, 'workflowIdReusePolicy' | 'workflowIdConflictPolicy'>) {
    try {
      const attributes = [
        { key: organizationIdKey, value: event.organizationId },
        { key: teamIdKey, value: event.teamId },
        { key: rechargeSourceKey, value: event.source },
        { key: rechargeStatusKey, value: 'checking' },
        // Nothing yet. A run changes only what it was started with, which the namespace has.
        { key: amountMinorKey, value: 0 },
      ];
      await this.startShowing(attributes, (typedSearchAttributes) =>
        this.client.workflow.start<RechargeWorkflow>(WORKFLOW_TYPES.recharge, {
          workflowId: rechargeWorkflowId({ organizationId: event.organizationId, eventId: event.id }),
          taskQueue: this.taskQueue,
          args: [{ eventId: event.id }],
          ...policies,
          staticSummary: `${event.organizationId}: ${event.eventType} (${event.source})`,
          typedSearchAttributes,
        }),
      );
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  async isRechargeRunning(run: EventRun): Promise<boolean> {
    for (const workflowId of [rechargeWorkflowId(run), formerWorkflowId(run)]) {
      const described = await unlessNotFound(this.client.workflow.getHandle(workflowId).describe());
      // By its end, not by its status: a run that an operator has paused has not ended.
      if (described && described.closeTime === undefined) return true;
    }
    return false;
  }

  async troubleOf(run: EventRun): Promise<RunTrouble | undefined> {
    return this.troubleOfRun(rechargeWorkflowId(run));
  }

  async troubleOfSync(run: SyncRun): Promise<RunTrouble | undefined> {
    return this.troubleOfRun(syncWorkflowId(run));
  }

  private async troubleOfRun(workflowId: string): Promise<RunTrouble | undefined> {
    const described = await unlessNotFound(this.client.workflow.getHandle(workflowId).describe());
    return described && troubleIn(described);
  }

  async wakeRecharge(recharge: EventRun): Promise<void> {
    await Promise.all([this.wake(rechargeWorkflowId(recharge)), this.wake(formerWorkflowId(recharge))]);
  }

  async wakeReversals({ id }: Pick<Recharge, 'id'>): Promise<void> {
    await this.wake(reversalWorkflowId(id));
  }

  private async wake(workflowId: string): Promise<void> {
    await unlessNotFound(this.client.workflow.getHandle(workflowId).signal(stripeChanged));
  }

  async startSync(run: SyncRun): Promise<void> {
    const { id, organizationIds, dryRun } = run;
    const start = this.client.workflow.start<TeamSyncWorkflow>(WORKFLOW_TYPES.sync, {
      workflowId: syncWorkflowId(run),
      taskQueue: this.taskQueue,
      args: [{ run_id: id, dry_run: dryRun, ...(organizationIds && { organization_ids: organizationIds }) }],
      staticSummary: `${describeScope(organizationIds ?? null)}${dryRun ? ', dry run' : ''}`,
    });
    await start.catch((error) => {
      throw temporalErrorOf(error, this.temporal);
    });
  }

  async followReversals(
    recharge: Pick<Recharge, 'id' | 'organizationId' | 'litellmTeamId'>,
    moneys: readonly MoneyName[] = [],
  ): Promise<void> {
    const attributes = [
      { key: organizationIdKey, value: recharge.organizationId },
      { key: teamIdKey, value: recharge.litellmTeamId },
    ];
    await this.startShowing(attributes, (typedSearchAttributes) =>
      this.client.workflow.signalWithStart<ReversalWorkflow>(WORKFLOW_TYPES.reversal, {
        workflowId: reversalWorkflowId(recharge.id),
        taskQueue: this.taskQueue,
        args: [{ rechargeId: recharge.id }],
        signal: stripeChanged,
        signalArgs: [],
        staticSummary: `${recharge.organizationId}: ${describeMoneys(moneys)} of ${recharge.id}`,
        typedSearchAttributes,
      }),
    );
  }

  /** Starts a run with those of its search attributes that the namespace has: Temporal refuses a run that has others. */
  private async startShowing(attributes: SearchAttributePair[], start: (usable: SearchAttributePair[]) => Promise<unknown>): Promise<void> {
    const usable = attributes.filter(({ key }) => (this.leftOutUntil.get(key.name) ?? 0) < Date.now());
    try {
      await start(usable);
    } catch (error) {
      const refused = refusedAttributes(error, usable);
      if (refused.length === 0) throw temporalErrorOf(error, this.temporal);
      for (const { key } of refused) this.leftOutUntil.set(key.name, Date.now() + TRY_AGAIN_MS);
      await this.startShowing(attributes, start);
    }
  }
}

/**
 * Those that a start was refused for: missing, or of another type. Temporal names one in its sentence; where it names
 * none of ours, all.
 */
function refusedAttributes(error: unknown, given: SearchAttributePair[]): SearchAttributePair[] {
  const cause = (error as { cause?: unknown } | undefined)?.cause;
  // A worker's connection says it in the message only.
  if (!isGrpcServiceError(cause) || cause.code !== INVALID_ARGUMENT || !/search ?attribute/i.test(cause.message)) return [];
  const named = given.filter(({ key }) => cause.message.includes(key.name));
  return named.length > 0 ? named : given;
}

async function unlessNotFound<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

/** Short: Temporal limits a summary to a few hundred bytes. */
function describeScope(organizationIds: readonly string[] | null): string {
  if (organizationIds === null) return 'every organization';
  return organizationIds.length === 1 ? `${organizationIds[0]}` : `${organizationIds.length} organizations`;
}

/** A summary names so many; a payment has rarely more than one. */
const NAMED_MONEYS = 3;

/** What a run is started for. Whether money has gone back is what it finds out. */
function describeMoneys(moneys: readonly MoneyName[]): string {
  if (moneys.length === 0) return 'looks for refunds and disputes';
  const names = moneys.map(({ kind, id }) => `${kind} ${id}`);
  return shortList(names.slice(0, NAMED_MONEYS), names.length);
}

/**
 * Starts and signals workflows. Temporal forgets an id after its retention, so the database decides
 * once-only, not this.
 */
import {
  type Client,
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  type WorkflowOptions,
} from '@temporalio/client';
import {
  type RechargeWorkflow,
  type ReversalWorkflow,
  stripeChanged,
  type TeamSyncWorkflow,
  WORKFLOW_TYPES,
} from '../../workflows/contract.ts';
import type { Recharge, SyncRun } from '../database/entities.ts';
import type { DispatchableEvent } from '../database/webhook-events.ts';
import type { WorkflowStarter } from '../workflow-starter.ts';
import { organizationIdKey, rechargeSourceKey, rechargeStatusKey, teamIdKey } from './search-attributes.ts';

export function rechargeWorkflowId(eventId: string): string {
  return `recharge/${eventId}`;
}

/** The workflow that has made the run's row, else the one that the API starts for the row. */
export function syncWorkflowId({ id, workflow }: SyncRun): string {
  return workflow?.split(' ')[0] ?? `team-sync/${id}`;
}

/** `WorkflowStarter` documents the methods. */
export class TemporalStarter implements WorkflowStarter {
  private readonly client: Client;
  private readonly taskQueue: string;

  constructor(client: Client, taskQueue: string) {
    this.client = client;
    this.taskQueue = taskQueue;
  }

  async startRecharge(event: DispatchableEvent): Promise<void> {
    await this.start(event, { workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE });
  }

  async restartRecharge(event: DispatchableEvent): Promise<void> {
    await this.start(event, {
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.TERMINATE_EXISTING,
    });
  }

  private async start(event: DispatchableEvent, policies: Pick<WorkflowOptions, 'workflowIdReusePolicy' | 'workflowIdConflictPolicy'>) {
    try {
      await this.client.workflow.start<RechargeWorkflow>(WORKFLOW_TYPES.recharge, {
        workflowId: rechargeWorkflowId(event.id),
        taskQueue: this.taskQueue,
        args: [{ eventId: event.id }],
        ...policies,
        staticSummary: `${event.organizationId}: ${event.eventType} (${event.source})`,
        typedSearchAttributes: [
          { key: organizationIdKey, value: event.organizationId },
          { key: teamIdKey, value: event.teamId },
          { key: rechargeSourceKey, value: event.source },
          { key: rechargeStatusKey, value: 'checking' },
        ],
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  async isRechargeRunning(eventId: string): Promise<boolean> {
    try {
      return (await this.client.workflow.getHandle(rechargeWorkflowId(eventId)).describe()).status.name === 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  async wakeRecharge(recharge: Recharge): Promise<void> {
    try {
      await this.client.workflow.getHandle(rechargeWorkflowId(recharge.eventId)).signal(stripeChanged);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }

  async startSync(run: SyncRun): Promise<void> {
    const { id, organizationIds, dryRun } = run;
    await this.client.workflow.start<TeamSyncWorkflow>(WORKFLOW_TYPES.sync, {
      workflowId: syncWorkflowId(run),
      taskQueue: this.taskQueue,
      args: [{ run_id: id, dry_run: dryRun, ...(organizationIds && { organization_ids: organizationIds }) }],
      staticSummary: `${describeScope(organizationIds ?? null)}${dryRun ? ', dry run' : ''}`,
    });
  }

  async followReversals(recharge: Pick<Recharge, 'id' | 'organizationId' | 'litellmTeamId'>): Promise<void> {
    await this.client.workflow.signalWithStart<ReversalWorkflow>(WORKFLOW_TYPES.reversal, {
      workflowId: `reversal/${recharge.id}`,
      taskQueue: this.taskQueue,
      args: [{ rechargeId: recharge.id }],
      signal: stripeChanged,
      signalArgs: [],
      staticSummary: `${recharge.organizationId}: money of ${recharge.id} has gone back`,
      typedSearchAttributes: [
        { key: organizationIdKey, value: recharge.organizationId },
        { key: teamIdKey, value: recharge.litellmTeamId },
      ],
    });
  }
}

/** Short: Temporal limits a summary to a few hundred bytes. */
function describeScope(organizationIds: readonly string[] | null): string {
  if (organizationIds === null) return 'every organization';
  return organizationIds.length === 1 ? `${organizationIds[0]}` : `${organizationIds.length} organizations`;
}

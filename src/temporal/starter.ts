/** Starts and wakes workflows. Temporal remembers an id only as long as its retention, so once-only rests on the database, not on this. */
import {
  type Client,
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { rechargeWorkflow } from '../../workflows/recharge.ts';
import type { reversalWorkflow } from '../../workflows/reversal.ts';
import type { teamSyncWorkflow } from '../../workflows/team-sync.ts';
import type { Recharge, SyncRun } from '../database/entities.ts';
import type { DispatchableEvent } from '../database/webhook-events.ts';
import { organizationIdKey, rechargeSourceKey, rechargeStatusKey, teamIdKey } from './search-attributes.ts';

/** The signal that `workflows/reversal.ts` defines; both kinds of run listen to it. */
const STRIPE_CHANGED = 'stripeChanged';

export function rechargeWorkflowId(eventId: string): string {
  return `recharge/${eventId}`;
}

/** Of the run that Temporal has begun itself, or else of the one that the API begins. */
export function syncWorkflowId({ id, workflow }: SyncRun): string {
  return workflow?.split(' ')[0] ?? `team-sync/${id}`;
}

export class WorkflowStarter {
  private readonly client: Client;
  private readonly taskQueue: string;

  constructor(client: Client, taskQueue: string) {
    this.client = client;
    this.taskQueue = taskQueue;
  }

  /**
   * Starts `rechargeWorkflow` for an event, or finds that it has been started before: both are success.
   *
   * @param again also when a run of it has ended without settling the event, or is in its last step, telling the world so:
   *   the new run takes its place. All steps bear being made again.
   */
  async startRecharge(event: DispatchableEvent, { again = false } = {}): Promise<void> {
    try {
      await this.client.workflow.start<typeof rechargeWorkflow>('rechargeWorkflow', {
        workflowId: rechargeWorkflowId(event.id),
        taskQueue: this.taskQueue,
        args: [{ eventId: event.id }],
        ...(again
          ? {
              workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
              workflowIdConflictPolicy: WorkflowIdConflictPolicy.TERMINATE_EXISTING,
            }
          : { workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE }),
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

  /** Whether the event's recharge has a run that has not ended. */
  async isRunning(eventId: string): Promise<boolean> {
    try {
      return (await this.client.workflow.getHandle(rechargeWorkflowId(eventId)).describe()).status.name === 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  /** Tells the run of a recharge that Stripe has news of it. One that has ended needs none. */
  async wakeRecharge(recharge: Recharge): Promise<void> {
    try {
      await this.client.workflow.getHandle(rechargeWorkflowId(recharge.eventId)).signal(STRIPE_CHANGED);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }

  /** Starts `teamSyncWorkflow` for a run that has its row. */
  async startSync(run: SyncRun): Promise<void> {
    const { id, organizationIds, dryRun } = run;
    await this.client.workflow.start<typeof teamSyncWorkflow>('teamSyncWorkflow', {
      workflowId: syncWorkflowId(run),
      taskQueue: this.taskQueue,
      args: [{ run_id: id, dry_run: dryRun, ...(organizationIds && { organization_ids: organizationIds }) }],
      staticSummary: `${describeScope(organizationIds ?? null)}${dryRun ? ', dry run' : ''}`,
    });
  }

  /** Has the refunds and disputes of a recharge looked at, by the run that does so already or by a new one. */
  async lookForReversals(recharge: Recharge): Promise<void> {
    await this.client.workflow.signalWithStart<typeof reversalWorkflow>('reversalWorkflow', {
      workflowId: `reversal/${recharge.id}`,
      taskQueue: this.taskQueue,
      args: [{ rechargeId: recharge.id }],
      signal: STRIPE_CHANGED,
      signalArgs: [],
      staticSummary: `${recharge.organizationId}: money of ${recharge.id} has gone back`,
      typedSearchAttributes: [
        { key: organizationIdKey, value: recharge.organizationId },
        { key: teamIdKey, value: recharge.litellmTeamId },
      ],
    });
  }
}

/** Short: Temporal takes a few hundred bytes. */
function describeScope(organizationIds: readonly string[] | null): string {
  if (organizationIds === null) return 'every organization';
  return organizationIds.length === 1 ? `${organizationIds[0]}` : `${organizationIds.length} organizations`;
}

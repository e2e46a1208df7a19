/** Starts the workflow of an event, once. */
import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy } from '@temporalio/client';
import type { rechargeWorkflow } from '../../workflows/recharge.ts';
import type { DispatchableEvent } from '../database/webhook-events.ts';
import { organizationIdKey, rechargeSourceKey, rechargeStatusKey, teamIdKey } from './search-attributes.ts';

export function rechargeWorkflowId(eventId: string): string {
  return `recharge/${eventId}`;
}

/**
 * Starts `rechargeWorkflow` for an event, or finds that it has been started before: both are success. Temporal remembers
 * an id only as long as its retention, so once-only rests on the database, not on this.
 */
export async function startRecharge(client: Client, taskQueue: string, event: DispatchableEvent): Promise<void> {
  try {
    await client.workflow.start<typeof rechargeWorkflow>('rechargeWorkflow', {
      workflowId: rechargeWorkflowId(event.id),
      taskQueue,
      args: [{ eventId: event.id }],
      workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
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

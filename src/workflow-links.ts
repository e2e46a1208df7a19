import type { SyncRun } from './database/entities.ts';
import type { EventRun } from './workflow-starter.ts';

/** Addresses in the Temporal Web UI; null when no UI is configured. `temporal/links.ts` makes them. */
export interface WorkflowLinks {
  /** The `rechargeWorkflow` of an event. */
  recharge(run: EventRun): string | null;
  /** The `teamSyncWorkflow` of a run. */
  sync(run: SyncRun): string | null;
}

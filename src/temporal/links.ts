/** Links into the Temporal Web UI. */
import type { TemporalConfig } from '../config.ts';
import type { SyncRun } from '../database/entities.ts';
import type { WorkflowLinks } from '../workflow-links.ts';
import type { EventRun } from '../workflow-starter.ts';
import { namespaceOf } from './connection.ts';
import { rechargeWorkflowId, syncWorkflowId } from './starter.ts';

export class TemporalLinks implements WorkflowLinks {
  private readonly temporal: TemporalConfig;

  constructor(temporal: TemporalConfig) {
    this.temporal = temporal;
  }

  /** The list of all workflows. */
  get workflows(): string | null {
    const { uiUrl } = this.temporal;
    return uiUrl ? `${uiUrl}/namespaces/${encodeURIComponent(namespaceOf(this.temporal))}/workflows` : null;
  }

  recharge(run: EventRun): string | null {
    return this.workflow(rechargeWorkflowId(run));
  }

  sync(run: SyncRun): string | null {
    return this.workflow(syncWorkflowId(run));
  }

  private workflow(id: string): string | null {
    return this.workflows && `${this.workflows}/${encodeURIComponent(id)}`;
  }
}

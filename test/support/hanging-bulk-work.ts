/** Bulk work for which LiteLLM hangs, as much of it as its worker and its gate take. */
import { randomUUID } from 'node:crypto';
import type { WorkflowHandle } from '@temporalio/client';
import { WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { ALWAYS, HOLD, READ_BUDGET, type StandingFault } from './faults.ts';
import type { World } from './world.ts';

/** More than the worker of the main task queue has places for: there they would take all of them. */
const HANGING_RUNS = 48;
/** As one activity looks up, five at a time: it hangs for ten deadlines. */
const HANGING_TEAMS = 50;

export type HangingBulkWork = {
  /** The calls of bulk work that LiteLLM does not answer. */
  fault: StandingFault;
  /** LiteLLM answers again, and the runs are ended. */
  end: () => Promise<void>;
};

/** Starts synchronisations that look up teams, each by itself, and LiteLLM answers none of that. */
export async function hangBulkWork(world: World): Promise<HangingBulkWork> {
  const fault = await world.kmsFault({ ...READ_BUDGET, contains: `${world.name}-hanging-`, times: ALWAYS, action: HOLD });
  const { rows } = await world.sql.query<{ id: string }>(
    `insert into organization_balance_config (c_organization_id, name, stripe_customer_id, litellm_team_id, currency, minimum_balance,
       target_balance, quota_per_unit, auto_recharge_enabled, max_daily_recharges, time_zone)
     select 'hanging-' || n, 'Hanging ' || n, 'cus_' || n, $1 || '-hanging-' || n, 'usd', 2, 20, 1, false, 10, 'UTC'
     from generate_series(1, $2::int) n returning c_organization_id as id`,
    [world.name, HANGING_TEAMS],
  );
  const args = [{ dry_run: true, organization_ids: rows.map(({ id }) => id) }];
  const runs: WorkflowHandle[] = await Promise.all(
    Array.from({ length: HANGING_RUNS }, () =>
      world.temporal.workflow.start(WORKFLOW_TYPES.sync, { workflowId: `team-sync/${randomUUID()}`, taskQueue: world.name, args }),
    ),
  );
  return {
    fault,
    end: async () => {
      await fault.remove();
      await Promise.all(runs.map((run) => run.terminate().catch(() => {}))); // one that has ended needs no end
    },
  };
}

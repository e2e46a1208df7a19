import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import type { ActivityDependencies } from '../dependencies.ts';

/**
 * A run that works moves its recharge within seconds. One that waits for a bank or for LiteLLM is running,
 * which is checked.
 */
const IDLE_MS = 2 * 60 * 1000;
const IDLE_LIMIT = 500;

/** Starts the run of every open event again that has none: terminated, or lost with Temporal's database. */
export function resumeIdle({ database, workflows }: Pick<ActivityDependencies, 'database' | 'workflows'>) {
  return async ({ fix }: { fix: boolean }): Promise<Finding[]> => {
    const findings: Finding[] = [];
    for (const event of await webhookEvents.findIdle(database.fork(), IDLE_MS, IDLE_LIMIT)) {
      if (await workflows.isRechargeRunning(event.id)) continue;
      if (fix) await workflows.restartRecharge(event);
      const { id: subject, organizationId } = event;
      findings.push(findingOf('run_missing', { subject, organizationId, seen: 'an open event without a run', settled: fix }));
    }
    return findings;
  };
}

import { Context } from '@temporalio/activity';
import type { DispatchableEvent } from '../../src/database/webhook-events.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type Finding, findingOf } from '../../src/domain/finding.ts';
import type { ActivityDependencies } from '../dependencies.ts';

/**
 * A run that works moves its recharge within seconds. One that waits for a bank or for LiteLLM is running,
 * which is checked.
 */
const IDLE_MS = 2 * 60 * 1000;
const EVENTS_A_PAGE = 500;
/** More than a run shows; all of them are resumed. */
const MAX_SHOWN = 200;

/** Starts the run of every open event again that has none: terminated, or lost with Temporal's database. */
export function resumeIdle({ database, workflows }: Pick<ActivityDependencies, 'database' | 'workflows'>) {
  return async ({ fix }: { fix: boolean }): Promise<Finding[]> => {
    const findings: Finding[] = [];
    for (let after: string | undefined = ''; after !== undefined; ) {
      const page: DispatchableEvent[] = await webhookEvents.findIdle(database.fork(), { idleMs: IDLE_MS, after, limit: EVENTS_A_PAGE });
      for (const event of page) {
        Context.current().cancellationSignal.throwIfAborted();
        if (await workflows.isRechargeRunning({ organizationId: event.organizationId, eventId: event.id })) continue;
        if (fix) await workflows.restartRecharge(event);
        const { id: subject, organizationId } = event;
        const finding = findingOf('run_missing', { subject, organizationId, seen: 'an open event without a run', settled: fix });
        if (findings.length < MAX_SHOWN) findings.push(finding);
      }
      after = page.length === EVENTS_A_PAGE ? page.at(-1)?.id : undefined;
    }
    return findings;
  };
}

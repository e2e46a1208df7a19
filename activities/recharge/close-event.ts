import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type EventOutcome, isRefusal } from '../../src/domain/event-outcome.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef } from './types.ts';

/**
 * Closes the event with its outcome; from then on a new alert of the same crossing is an event of its own.
 */
export function closeEvent({ database, log, metrics }: Pick<ActivityDependencies, 'database' | 'log' | 'metrics'>) {
  return async ({ eventId, outcome: name }: EventRef & { outcome: EventOutcome | 'recharged' }): Promise<void> => {
    const outcome = presentName(name);
    const closed = await webhookEvents.close(database.fork(), eventId, outcome);
    // It was closed before, and counted then.
    if (!closed) return;
    const { organizationId, source, seconds } = closed;
    log.info({ event_id: eventId, organization_id: organizationId, outcome, source, seconds }, 'an event is closed');
    const ending = isRefusal(outcome) ? { outcome: 'refused', reason: outcome } : { outcome, reason: '' };
    metrics.count('bill_recharges_total', { ...ending, source });
    if (outcome === 'succeeded') metrics.observe('bill_alert_to_quota_seconds', { source }, seconds);
  };
}

/** The workflow's name for a success, which workers of the version before know too. */
function presentName(outcome: EventOutcome | 'recharged'): EventOutcome {
  return outcome === 'recharged' ? 'succeeded' : outcome;
}

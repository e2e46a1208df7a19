import * as webhookEvents from '../../src/database/webhook-events.ts';
import type { EventOutcome } from '../../src/domain/event-outcome.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef } from './types.ts';

/**
 * Closes the event with its outcome; from then on a new alert of the same crossing is an event of its own.
 */
export function closeEvent({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ eventId, outcome }: EventRef & { outcome: EventOutcome | 'recharged' }): Promise<void> => {
    await webhookEvents.close(database.fork(), eventId, presentName(outcome));
  };
}

/** The workflow's name for a success, which workers of the version before know too. */
function presentName(outcome: EventOutcome | 'recharged'): EventOutcome {
  return outcome === 'recharged' ? 'succeeded' : outcome;
}

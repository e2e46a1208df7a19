import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import type { EventOutcome } from '../../src/domain/event-outcome.ts';
import { countClosed } from '../closed-event.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef } from './types.ts';

/**
 * Closes the event with its outcome; from then on a new alert of the same crossing is an event of its own. What an
 * attempt that was given up has reserved for it meanwhile is cancelled: no run is left that would charge it.
 */
export function closeEvent({ database, log, metrics }: Pick<ActivityDependencies, 'database' | 'log' | 'metrics'>) {
  return async ({ eventId, outcome: name }: EventRef & { outcome: EventOutcome | 'recharged' }): Promise<void> => {
    const outcome = presentName(name);
    const closed = await database.fork().transactional(async (tx) => {
      await recharges.cancelReservation(tx, eventId, `the run ended without a charge: ${outcome}`);
      return webhookEvents.close(tx, eventId, outcome);
    });
    countClosed({ log, metrics }, { eventId, outcome }, closed);
  };
}

/** The workflow's name for a success, which workers of the version before know too. */
function presentName(outcome: EventOutcome | 'recharged'): EventOutcome {
  return outcome === 'recharged' ? 'succeeded' : outcome;
}

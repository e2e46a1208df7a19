import * as reservations from '../../src/database/reservations.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { type EventOutcome, isRefusal } from '../../src/domain/event-outcome.ts';
import { REFUSALS } from '../../src/domain/policy.ts';
import { countClosed } from '../closed-event.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef } from './types.ts';

/**
 * Closes the event with its outcome; from then on a new alert of the same crossing is an event of its own. Where the run
 * was refused, what an attempt that was given up has reserved meanwhile is cancelled: nothing was charged for it. After a
 * charge it stays, for a restored database may call reserved what was captured, and reconciliation finds it.
 */
export function closeEvent({ database, log, metrics }: Pick<ActivityDependencies, 'database' | 'log' | 'metrics'>) {
  return async ({ eventId, outcome: name }: EventRef & { outcome: EventOutcome | 'recharged' }): Promise<void> => {
    const outcome = presentName(name);
    const closed = await database.fork().transactional(async (tx) => {
      if (isRefusal(outcome)) await reservations.cancelReservation(tx, eventId, { refusal: outcome, reason: REFUSALS[outcome] });
      return webhookEvents.close(tx, eventId, outcome);
    });
    countClosed({ log, metrics }, { eventId, outcome }, closed);
  };
}

/** The workflow's name for a success, which workers of the version before know too. */
function presentName(outcome: EventOutcome | 'recharged'): EventOutcome {
  return outcome === 'recharged' ? 'succeeded' : outcome;
}

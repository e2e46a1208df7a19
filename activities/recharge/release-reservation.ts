import * as reservations from '../../src/database/reservations.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { countClosed } from '../closed-event.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef } from './types.ts';

/**
 * Ends an event before any card was touched: closes it, so that nothing can be reserved for it any more, and
 * cancels what was reserved. `released` is false when it is too late: the card may have been charged.
 * Harmless when repeated.
 */
export function releaseReservation({ database, log, metrics }: Pick<ActivityDependencies, 'database' | 'log' | 'metrics'>) {
  return async ({ eventId }: EventRef): Promise<{ released: boolean }> => {
    const ended = await database.fork().transactional(async (tx) => {
      const recharge = await reservations.cancelReservation(tx, eventId, { reason: 'the run was cancelled' });
      if (recharge && recharge.status !== 'cancelled') return { released: false };
      return { released: true, closed: await webhookEvents.close(tx, eventId, 'cancelled') };
    });
    countClosed({ log, metrics }, { eventId, outcome: 'cancelled' }, ended.closed);
    return { released: ended.released };
  };
}

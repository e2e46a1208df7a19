import * as recharges from '../src/database/recharges.ts';
import * as webhookEvents from '../src/database/webhook-events.ts';
import type { ActivityDependencies } from './index.ts';
import type { EventRef } from './types.ts';

/**
 * Ends an event before any card was touched: closes it, so that nothing can be reserved for it any more, and cancels what
 * was reserved. Harmless when there is nothing.
 */
export function releaseReservation({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ eventId }: EventRef): Promise<void> => {
    const em = database.fork();
    await webhookEvents.close(em, eventId, 'cancelled');
    const recharge = await recharges.findByEvent(em, eventId);
    if (recharge?.status === 'reserved') await recharges.move(em, recharge, 'cancelled');
  };
}

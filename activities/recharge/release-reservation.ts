import * as recharges from '../../src/database/recharges.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { EventRef } from './types.ts';

/**
 * Ends an event before any card was touched: closes it, so that nothing can be reserved for it any more, and
 * cancels what was reserved. `released` is false when it is too late: the card may have been charged.
 * Harmless when repeated.
 */
export function releaseReservation({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ eventId }: EventRef): Promise<{ released: boolean }> => {
    const em = database.fork();
    const recharge = await recharges.findByEvent(em, eventId);
    if (recharge && recharge.status !== 'reserved' && recharge.status !== 'cancelled') return { released: false };
    if (recharge) await recharges.move(em, recharge, { to: 'cancelled', facts: { reason: 'the run was cancelled' } });
    await webhookEvents.close(em, eventId, 'cancelled');
    return { released: true };
  };
}

/**
 * Steps of runs that began before outbound events were stored with the moves that they tell of. What such a
 * run has moved in a worker of then is told here; the rest has been told, and is not told twice.
 */
import { tellOverdue, tellStatus } from '../../src/database/recharge-events.ts';
import * as recharges from '../../src/database/recharges.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { Notification } from './types.ts';

/** Tells how the recharge ended. */
export function notify({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ recharge }: Notification): Promise<void> => {
    if (!recharge) return;
    await database.fork().transactional(async (tx) => tellStatus(tx, await recharges.get(tx, recharge.rechargeId)));
  };
}

/** Tells that the recharge is not settled after a day. */
export function raiseAlarm({ database }: Pick<ActivityDependencies, 'database'>) {
  return async ({ recharge }: Omit<Notification, 'outcome'>): Promise<void> => {
    if (recharge) await tellOverdue(database.fork(), recharge.rechargeId);
  };
}

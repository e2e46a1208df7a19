/**
 * What a run told by itself that began before TOLD_BY_ITS_MOVES: since then each move of a recharge is stored with its
 * outbound event, and the sweep tells what is overdue.
 */
import { CancellationScope, isCancellation, log, proxyActivities, sleep } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { ReservedRecharge } from '../activities/recharge/types.ts';
import type { EventOutcome } from '../src/domain/event-outcome.ts';
import { HEARTBEAT_TIMEOUT } from './liveness.ts';
import { reasonOf } from './reason.ts';

/** A patch. */
export const TOLD_BY_ITS_MOVES = 'told-by-its-moves';

/** An operator has to look at a recharge that is not settled by then. */
const ALARM_AFTER = '24 hours';

// What has not been told after three days is not told.
const { notify, raiseAlarm } = proxyActivities<Activities>({
  startToCloseTimeout: '30 seconds',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  scheduleToCloseTimeout: '3 days',
  retry: { initialInterval: '1 second', maximumInterval: '1 hour' },
});

export async function notifyEnding(
  eventId: string,
  recharge: ReservedRecharge,
  { outcome, detail }: { outcome: EventOutcome; detail: string },
): Promise<void> {
  try {
    await notify.executeWithOptions({ summary: `recharge.${outcome}` }, [{ eventId, outcome, recharge, detail }]);
  } catch (error) {
    log.error('the notification was not delivered', { outcome, reason: reasonOf(error) });
  }
}

/** Runs `work`, and raises the alarm when it is not done after a day. The work goes on. */
export async function withAlarm<T>(eventId: string, recharge: ReservedRecharge, work: () => Promise<T>): Promise<T> {
  const watch = new CancellationScope({ cancellable: true });
  const watched = watch
    .run(async () => {
      await sleep(ALARM_AFTER, { summary: 'raise the alarm if this is not settled' });
      const detail = `${recharge.amount} of ${recharge.organizationId} is not settled after ${ALARM_AFTER}: the bank is still processing it, or the money is held, neither granted nor refunded`;
      await raiseAlarm.executeWithOptions({ summary: 'overdue' }, [{ eventId, recharge, detail }]);
    })
    .catch((error) => {
      if (!isCancellation(error)) log.error('the alarm could not be raised', { reason: reasonOf(error) });
    });
  try {
    return await work();
  } finally {
    watch.cancel();
    await watched;
  }
}

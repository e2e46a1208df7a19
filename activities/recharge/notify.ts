import type { ActivityDependencies } from '../dependencies.ts';
import type { Notification } from './types.ts';

/** Tells the world how an event ended, if anybody asked for it (NOTIFY_WEBHOOK_URL). Its id is the event's: a receiver can drop a repetition. */
export function notify({ notifier }: Pick<ActivityDependencies, 'notifier'>) {
  return async ({ eventId, outcome, recharge, detail }: Notification): Promise<void> => {
    await notifier.send({
      id: `${eventId}.${outcome}`,
      type: `recharge.${outcome}`,
      data: { event_id: eventId, detail, ...factsOf(recharge) },
    });
  };
}

/** Says loudly that money is held and neither granted nor given back yet. */
export function raiseAlarm({ notifier, log }: Pick<ActivityDependencies, 'notifier' | 'log'>) {
  return async ({ eventId, recharge, detail }: Omit<Notification, 'outcome'>): Promise<void> => {
    log.error({ event_id: eventId, ...factsOf(recharge) }, detail);
    await notifier.send({ id: `${eventId}.overdue`, type: 'recharge.overdue', data: { event_id: eventId, detail, ...factsOf(recharge) } });
  };
}

function factsOf(recharge: Notification['recharge']): Record<string, string> {
  if (recharge === null) return {};
  return {
    recharge_id: recharge.rechargeId,
    organization_id: recharge.organizationId,
    litellm_team_id: recharge.teamId,
    amount: recharge.amount,
  };
}

import type { ActivityDependencies } from '../dependencies.ts';
import type { Notification } from './types.ts';

/**
 * Notifies NOTIFY_WEBHOOK_URL, where one is set, how a recharge ended. The same id at every attempt lets a
 * receiver drop copies.
 */
export function notify({ notifier }: Pick<ActivityDependencies, 'notifier'>) {
  return async ({ eventId, outcome, recharge, detail }: Notification): Promise<void> => {
    await notifier.send({
      id: `${eventId}.${outcome}`,
      type: `recharge.${outcome}`,
      data: { event_id: eventId, detail, ...factsOf(recharge) },
    });
  };
}

/** Alerts that a recharge is not settled after a day. */
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

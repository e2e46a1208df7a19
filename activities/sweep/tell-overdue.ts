import type { EntityManager } from '../../src/database/database.ts';
import { tell as tellOutside } from '../../src/database/outbound-events.ts';
import { tellOverdue as tell, unsettled } from '../../src/database/recharge-events.ts';
import * as webhookEvents from '../../src/database/webhook-events.ts';
import { UNDECIDED_AFTER_MS, undecidedEvent } from '../../src/domain/overdue.ts';
import type { ActivityDependencies } from '../dependencies.ts';

const RECHARGES_A_PAGE = 200;
/** Of the oldest; while LiteLLM is unavailable for all, these show it. */
const EVENTS_LIMIT = 200;

/**
 * Tells, and logs, which recharges have an intent and do not settle: at 15 minutes and again at 6 hours; and
 * which events nothing could be decided on for 15 minutes. An event that has a recharge is told of as that.
 * Idempotent: each is told once. Asks nobody but the database, so it works while Stripe or LiteLLM is unavailable.
 */
export function tellOverdue({ database, log }: Pick<ActivityDependencies, 'database' | 'log'>) {
  return async (): Promise<void> => {
    const em = database.fork();
    for (let after: string | undefined = ''; after !== undefined; ) {
      const page: string[] = await unsettled(em, { after, limit: RECHARGES_A_PAGE });
      for (const id of page) {
        const told = await tell(em, id);
        if (told) log.error(told, 'a recharge is overdue');
      }
      after = page.length === RECHARGES_A_PAGE ? page.at(-1) : undefined;
    }
    const undecided = await webhookEvents.findUndecided(em, { idleMs: UNDECIDED_AFTER_MS, limit: EVENTS_LIMIT });
    for (const event of undecided) await tellUndecided(em, event);
  };

  async function tellUndecided(em: EntityManager, { id: eventId, organizationId, teamId }: webhookEvents.DispatchableEvent) {
    const data = undecidedEvent({ eventId, teamId });
    const isNew = await tellOutside(em, { type: 'drift.detected', organizationId, key: `event/${eventId}/undecided`, data });
    if (isNew) log.error({ ...data, organization_id: organizationId }, 'an event is undecided');
  }
}

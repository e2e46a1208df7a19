import { tellOverdue as tell, unsettled } from '../../src/database/recharge-events.ts';
import type { ActivityDependencies } from '../dependencies.ts';

const RECHARGES_A_PAGE = 200;

/**
 * Tells, and logs, which recharges have an intent and do not settle: at 15 minutes and again at 6 hours.
 * Idempotent: each is told once. Asks nobody but the database, so it works while Stripe or LiteLLM is
 * unavailable.
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
  };
}

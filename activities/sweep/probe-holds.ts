import * as budgets from '../../src/database/budgets.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Hold } from '../../src/database/entities.ts';
import * as holds from '../../src/database/holds.ts';
import * as organizations from '../../src/database/organizations.ts';
import type { HoldReason } from '../../src/domain/hold.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { BUDGET_READ, BUDGET_WRITE } from '../../src/kms/routes.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { knowsAny } from '../recharge/find-card.ts';

/** The holds that end when what they are about is found to be well. A raise refused to one organization is for a person. */
const PROBED_OF_SERVICE: readonly HoldReason[] = ['key_refused', 'raise_refused'];
const PROBED_OF_ORGANIZATION: readonly HoldReason[] = ['budget_lowered'];
const HOLDS_A_PAGE = 100;

/** Any of so many customers shows that the Stripe key is of their account and mode. */
const CUSTOMERS_LIMIT = 3;

export type ProbeCounts = { ended: number; released: string[] };

/** Ends the holds whose time is over, and those whose cause is gone. What cannot be probed stays held. */
export function probeHolds({ database, kms, payments, log }: Pick<ActivityDependencies, 'database' | 'kms' | 'payments' | 'log'>) {
  return async (): Promise<ProbeCounts> => {
    const em = database.fork();
    const ended = await holds.releaseExpired(em);
    const released: string[] = [];
    // First, because they hold everybody.
    const ofService = await holds.openOf(em, { scope: 'service', reasons: PROBED_OF_SERVICE, limit: HOLDS_A_PAGE });
    for (const hold of ofService) if ((await probe(em, hold)) === 'released') released.push(hold.id);
    for (let after: string | undefined = ''; after !== undefined; ) {
      const page = await holds.openOf(em, { scope: 'organization', reasons: PROBED_OF_ORGANIZATION, after, limit: HOLDS_A_PAGE });
      for (const hold of page) {
        const outcome = await probe(em, hold);
        if (outcome === 'released') released.push(hold.id);
        // The others would only wait for LiteLLM, too.
        if (outcome === 'unanswered' && !(await isLitellmReady())) return { ended, released };
      }
      after = page.length === HOLDS_A_PAGE ? page.at(-1)?.id : undefined;
    }
    return { ended, released };
  };

  async function probe(em: EntityManager, hold: Hold): Promise<'released' | 'stands' | 'unanswered'> {
    try {
      const reason = await passes(em, hold);
      return reason && (await holds.release(em, hold.id, { by: 'probe', reason })) ? 'released' : 'stands';
    } catch (error) {
      if (!(error instanceof KmsError) && !(error instanceof PaymentsError)) throw error;
      log.info({ hold: hold.id, reason: error.message }, 'the probe of a hold has not passed');
      return 'unanswered';
    }
  }

  function isLitellmReady(): Promise<boolean> {
    return kms.ping().then(
      () => true,
      () => false,
    );
  }

  /** Why the hold may end; undefined when it may not. */
  async function passes(em: EntityManager, hold: Hold): Promise<string | undefined> {
    switch (hold.reason) {
      case 'key_refused':
        if (hold.subject === 'litellm') {
          await kms.teams({ page: 1, pageSize: 1 });
          // A key may be allowed to list the teams, and not to read the one that is charged for.
          return (await kms.refusalOf(BUDGET_READ)) === undefined ? 'LiteLLM takes the key' : undefined;
        }
        return (await isStripeKeyRight(em)) ? 'Stripe takes the key, and knows our customers' : undefined;
      case 'raise_refused':
        if (await holds.hasProbeFailedBefore(em, hold)) return undefined;
        return (await kms.refusalOf(BUDGET_WRITE)) === undefined ? 'LiteLLM lets the key write budgets' : undefined;
      default:
        return (await isRestored(em, hold)) ? 'LiteLLM shows the budget again' : undefined;
    }
  }

  async function isStripeKeyRight(em: EntityManager): Promise<boolean> {
    if ((await payments.forbiddenCalls()).length > 0) return false;
    const customers = await organizations.otherCustomers(em, '', CUSTOMERS_LIMIT);
    return customers.length === 0 || knowsAny(payments, customers);
  }

  async function isRestored(em: EntityManager, { subject }: Hold): Promise<boolean> {
    const organization = await organizations.find(em, subject);
    const expected = await budgets.expectedOf(em, subject);
    if (!organization || expected === null) return false;
    const { quota } = await kms.teamBudget(organization.litellmTeamId);
    return quota !== null && quota >= expected;
  }
}

/** What stops charges now, and whether Stripe knows the customers that would be charged. */
import type { EntityManager } from '../../database/database.ts';
import * as holds from '../../database/holds.ts';
import * as organizations from '../../database/organizations.ts';
import { endedBy } from '../../domain/hold.ts';
import { releaseOf } from '../../domain/status.ts';
import { adviceOnSilence } from '../../domain/stripe-address.ts';
import type { PaymentsClient } from '../../payments/client.ts';
import { sideBySide } from '../../teams/side-by-side.ts';
import { change, note, type Reading, runCheck } from './reading.ts';

const AREA = 'holds';
/** More are in `bill holds`. */
const HOLDS_LIMIT = 200;
/** Two calls to Stripe for each; the sweep and alerts find the others. */
const CUSTOMERS_LIMIT = 50;
const MAX_NAMED = 3;

/** A hold of the service has to be looked at; those of organizations and cards are counted. */
export async function examineHolds(em: EntityManager): Promise<Reading[]> {
  const { data: open } = await holds.list(em, { isOpen: true }, { limit: HOLDS_LIMIT, cursor: undefined });
  const ofService = open.filter(({ scope }) => scope === 'service');
  const others = open.length - ofService.length;
  const readings = ofService.map((hold) =>
    runCheck({ area: AREA, check: 'of the service' }, async () =>
      change(`nothing is charged (${hold.reason}): ${hold.detail}`, `${endedBy(hold)}: ${releaseOf(hold.id)}`),
    ),
  );
  const rest = runCheck({ area: AREA, check: 'of organizations and cards' }, async () =>
    others === 0
      ? 'none'
      : note(`${others}${open.length === HOLDS_LIMIT ? ' or more' : ''} open`, 'bill holds says why, and what ends each'),
  );
  return Promise.all([...readings, rest]);
}

/** By customers of ours, because a key of the other mode may make every call, and knows none of them. */
export async function examineCustomers(em: EntityManager, payments: PaymentsClient, apiBase: string): Promise<Reading[]> {
  const otherKey = 'set STRIPE_SECRET_KEY to a key of the account and mode that the customers are of';
  const advice = `none of the customers is judged by that: ${adviceOnSilence(apiBase)}; then run bill doctor again`;
  const check = runCheck({ area: 'Stripe', check: 'has our customers', advice }, async () => {
    const customers = await organizations.otherCustomers(em, '', CUSTOMERS_LIMIT);
    if (customers.length === 0) return 'there are none yet';
    const missing = await missingAmong(customers, payments);
    if (missing.length === 0)
      return customers.length < CUSTOMERS_LIMIT ? `all ${customers.length}` : `the ${CUSTOMERS_LIMIT} that were looked at`;
    const some = missing.slice(0, MAX_NAMED);
    // One that was deleted is known by the right key.
    const isAnyKnown = missing.length < customers.length || (await Promise.all(some.map((id) => payments.knowsCustomer(id)))).some(Boolean);
    if (!isAnyKnown) return change(`none of ${some.join(', ')}`, otherKey);
    const owners = await organizations.ofCustomers(em, some);
    const named = owners.map(({ id, stripeCustomerId }) => `${stripeCustomerId} (${id})`).join(', ');
    const rest = missing.length > some.length ? ` and ${missing.length - some.length} more` : '';
    const commands = owners.map(({ id }) => `bill org set ${id} --customer cus_…`).join('; ');
    return change(`${missing.length} of ${customers.length} that were looked at are not there or deleted: ${named}${rest}`, commands);
  });
  return [await check];
}

async function missingAmong(customers: readonly string[], payments: PaymentsClient): Promise<string[]> {
  const missing: string[] = [];
  await sideBySide(customers, async (id) => {
    if ((await payments.chooseCard(id)).kind === 'customer_missing') missing.push(id);
  });
  return missing.toSorted();
}

import type { EntityManager } from '../../src/database/database.ts';
import * as holds from '../../src/database/holds.ts';
import * as organizations from '../../src/database/organizations.ts';
import type { Card } from '../../src/domain/card.ts';
import { type Refusal, whyNoCard } from '../../src/domain/policy.ts';
import type { CardChoice, PaymentsClient } from '../../src/payments/client.ts';

export type FoundCard = { kind: 'found'; card: Card } | { kind: 'refused'; refusal: Refusal; reason: string };

/** So many other organizations' customers are looked at before the key is taken for one of another mode. */
const OTHERS_LIMIT = 3;

/**
 * The card to charge, or why there is none. A customer that Stripe does not know is this organization's
 * trouble, unless Stripe knows none of the others' either: then the key is of the other mode, or of another
 * account, and the service is held.
 *
 * @throws PaymentsError
 */
export async function findCard(
  em: EntityManager,
  payments: PaymentsClient,
  { organizationId, stripeCustomerId }: { organizationId: string; stripeCustomerId: string },
): Promise<FoundCard> {
  return judgedCard({ em, payments }, { organizationId, stripeCustomerId }, await payments.chooseCard(stripeCustomerId));
}

/** The same of a choice that was read before. @throws PaymentsError */
export async function judgedCard(
  { em, payments }: { em: EntityManager; payments: PaymentsClient },
  { organizationId, stripeCustomerId }: { organizationId: string; stripeCustomerId: string },
  choice: CardChoice,
): Promise<FoundCard> {
  if (choice.kind === 'found') return choice;
  if (choice.kind === 'customer_missing') {
    const others = await organizations.otherCustomers(em, stripeCustomerId, OTHERS_LIMIT);
    if (others.length > 0 && !(await knowsAny(payments, others))) {
      const detail = `Stripe knows none of our customers (${choice.message}): STRIPE_SECRET_KEY is of the other mode or of another account`;
      await holds.open(em, { scope: 'service', subject: 'stripe', reason: 'key_refused', detail, openedBy: organizationId });
      return { kind: 'refused', refusal: 'held', reason: detail };
    }
  }
  return { kind: 'refused', refusal: choice.kind, reason: whyNoCard(choice) };
}

/** @throws PaymentsError */
export async function knowsAny(payments: PaymentsClient, customerIds: readonly string[]): Promise<boolean> {
  const known = await Promise.all(customerIds.map((id) => payments.knowsCustomer(id)));
  return known.includes(true);
}

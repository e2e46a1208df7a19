/** A customer that Stripe does not know is never charged: better said when the organization is made than by its first alert. */
import type { Organization } from '../database/entities.ts';
import * as organizations from '../database/organizations.ts';
import { DeadlineError, withDeadline } from '../deadline.ts';
import { shortList } from '../domain/short-list.ts';
import { PaymentsError } from '../payments/errors.ts';
import type { HttpDependencies } from './dependencies.ts';
import { invalidField, Problem } from './problem.ts';

/** Less than a caller of our API waits, so that nothing is made for one who has left. */
const ASK_MS = 8_000;

/**
 * Asks Stripe for the customer and the card that would be charged.
 *
 * @returns what is likely not meant: a customer without a card that could be charged. Empty: nothing.
 * @throws Problem 422 when Stripe has no such customer, 503 when it cannot be asked.
 */
export async function requireCustomer({ payments }: Pick<HttpDependencies, 'payments'>, customerId: string): Promise<string[]> {
  try {
    const choice = await withDeadline(payments.chooseCard(customerId), ASK_MS, 'Stripe did not answer: no answer');
    if (choice.kind === 'customer_missing') {
      const detail = `Stripe has no such customer for this key: correct it, or check that STRIPE_SECRET_KEY is of the same account and mode (${choice.message})`;
      throw invalidField('stripe_customer_id', detail);
    }
    if (choice.kind === 'found') return [];
    return [`nothing can be charged, because ${choice.message}: attach a card, and make it the default where there are several`];
  } catch (error) {
    if (!(error instanceof PaymentsError || error instanceof DeadlineError)) throw error;
    const asked = `Stripe cannot be asked whether it has the customer ${customerId}: try again. Nothing was stored.`;
    throw new Problem('unavailable', `${asked} ${error.message}`);
  }
}

/** More would not be read. */
const MAX_NAMED = 3;

/**
 * That other organizations have the customer: one payer may have several, and a mistyped id has another one pay.
 *
 * @returns a warning, or nothing.
 */
export async function sharedCustomer(
  { database }: Pick<HttpDependencies, 'database'>,
  { id, stripeCustomerId }: Pick<Organization, 'id' | 'stripeCustomerId'>,
): Promise<string[]> {
  const others = (await organizations.ofCustomers(database.fork(), [stripeCustomerId])).filter((other) => other.id !== id);
  if (others.length === 0) return [];
  const ids = others.map((other) => other.id);
  return [
    `stripe_customer_id ${stripeCustomerId} is that of ${shortList(ids.slice(0, MAX_NAMED), ids.length)} too, so one card pays for all of them: correct it unless that is meant`,
  ];
}

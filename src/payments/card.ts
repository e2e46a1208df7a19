/** A payment method of Stripe as the card that it is. */
import type Stripe from 'stripe';
import type { Card } from '../domain/card.ts';

/**
 * One without a fingerprint, such as a wallet, is only the same as itself.
 *
 * @param method its id alone where Stripe did not expand it.
 */
export function ofPaymentMethod(method: string | Stripe.PaymentMethod): Card {
  if (typeof method === 'string') return { id: method, fingerprint: method, expiry: '' };
  const { id, card, us_bank_account: usBankAccount, sepa_debit: sepaDebit } = method;
  const fingerprint = card?.fingerprint ?? usBankAccount?.fingerprint ?? sepaDebit?.fingerprint ?? id;
  return { id, fingerprint, expiry: card ? `${String(card.exp_month).padStart(2, '0')}/${card.exp_year}` : '' };
}

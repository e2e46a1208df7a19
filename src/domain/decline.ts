/**
 * What a card's refusal means for the next attempt. Classified by Stripe's codes, never by exception class:
 * classes moved between major versions. Codes: https://docs.stripe.com/declines/codes
 */

export type DeclineKind =
  /** The card will not work again: further attempts only count against it with the card networks. */
  | 'hard'
  /** May work later: too little money, a limit, a hiccup. */
  | 'soft'
  /** The bank wants the customer present. */
  | 'authentication_required';

export type DeclineCodes = { code: string | null; declineCode: string | null; adviceCode: string | null };

const HARD_DECLINES: ReadonlySet<string | null> = new Set([
  'expired_card',
  'fraudulent',
  'invalid_account',
  'lost_card',
  'merchant_blacklist',
  'pickup_card',
  'restricted_card',
  'revocation_of_all_authorizations',
  'revocation_of_authorization',
  'stolen_card',
  'stop_payment_order',
]);

/** Unknown codes are soft: they stop this attempt and say nothing about the next. */
export function classifyDecline({ code, declineCode, adviceCode }: DeclineCodes): DeclineKind {
  if (code === 'authentication_required' || declineCode === 'authentication_required') return 'authentication_required';
  if (adviceCode === 'do_not_try_again') return 'hard';
  return HARD_DECLINES.has(declineCode) || HARD_DECLINES.has(code) ? 'hard' : 'soft';
}

/**
 * What a card's refusal means for the next attempt. Classified by codes, never by exception class: classes
 * moved between major versions.
 */

export type DeclineKind =
  /** The card will not work again: further attempts only count against it with the card networks. */
  | 'hard'
  /** May work later: too little money, a limit, a hiccup. */
  | 'soft'
  /** The bank wants the customer present. */
  | 'authentication_required';

/** As Stripe has them; the network's own two come in live mode only. */
export type DeclineCodes = {
  code: string | null;
  declineCode: string | null;
  adviceCode: string | null;
  networkAdviceCode?: string | null;
  networkDeclineCode?: string | null;
};

type Rule = { field: keyof DeclineCodes; values: readonly string[]; kind: DeclineKind; because: string; source: string };

const STRIPE_CODES = 'https://docs.stripe.com/declines/codes';
const STRIPE_DECLINES = 'https://docs.stripe.com/declines/card';

/**
 * The rules, the strongest first. What none of them names is soft: an unknown code stops this attempt and says
 * nothing about the next.
 *
 * Of Visa's codes that are never approved, 12 and 57 are left out: other networks use them for what may pass.
 */
export const DECLINE_RULES: readonly Rule[] = [
  {
    field: 'code',
    values: ['authentication_required'],
    kind: 'authentication_required',
    because: 'the bank wants the customer to authenticate',
    source: STRIPE_CODES,
  },
  {
    field: 'declineCode',
    values: ['authentication_required'],
    kind: 'authentication_required',
    because: 'the bank wants the customer to authenticate',
    source: STRIPE_CODES,
  },
  { field: 'adviceCode', values: ['do_not_try_again'], kind: 'hard', because: "Stripe's advice", source: STRIPE_DECLINES },
  {
    field: 'networkAdviceCode',
    values: ['03', '21'],
    kind: 'hard',
    because: "Mastercard's advice: do not try again, the cardholder has ended it",
    source: 'https://docs.solidgate.com/payments/payments-insights/merchant-advice-codes/',
  },
  {
    field: 'networkDeclineCode',
    values: ['04', '07', '15', '41', '43', '46', 'R0', 'R1', 'R3'],
    kind: 'hard',
    because: 'picked up, lost, stolen, closed, or revoked: the issuer never approves',
    source: 'https://support.forte.net/support/solutions/articles/11000097635-visa-decline-response-code-rules-and-integrity-fees',
  },
  {
    field: 'declineCode',
    values: [
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
    ],
    kind: 'hard',
    because: 'the card or its account is gone, or the cardholder has ended it',
    source: STRIPE_CODES,
  },
  { field: 'code', values: ['expired_card'], kind: 'hard', because: 'the card has expired', source: 'https://docs.stripe.com/error-codes' },
];

export function classifyDecline(codes: DeclineCodes): DeclineKind {
  // Stryker disable next-line StringLiteral: no rule names a code that is not there.
  const applies = ({ field, values }: Rule) => values.includes(codes[field] ?? '');
  return DECLINE_RULES.find(applies)?.kind ?? 'soft';
}

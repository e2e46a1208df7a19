/**
 * Stripe's test payment methods and what becomes of a payment with each: https://docs.stripe.com/testing
 *
 * As at Stripe, attaching a test id makes a payment method with an id of its own, and a card that declines as
 * such cannot be attached to a customer: the attach answers 402 with the decline. It can be used directly as
 * the `payment_method` of a PaymentIntent. `pm_card_chargeCustomerFail` attaches and declines each charge
 * after that.
 *
 * A saved card that goes bad in some other way (reported lost, expired, out of funds) has no test id at
 * Stripe. Attach a good one and change it: `POST /_sandbox/payment_methods/:id
 * {"behaves_like":"pm_card_chargeDeclinedLostCard"}`.
 */
import { type AdviceCode, fingerprintOf, type NetworkCodes, type PaymentMethod } from './objects.ts';

export type Decline = { code: string; decline_code: string; advice_code?: AdviceCode; param?: string; message: string } & NetworkCodes;

export type Outcome =
  | { kind: 'succeeds' }
  | { kind: 'declines'; decline: Decline; attachable: boolean }
  /** Stripe's own Radar blocks it: the bank is never asked. https://docs.stripe.com/radar/testing */
  | { kind: 'blocked'; decline: Decline }
  /** @field unless_authenticated off-session payments pass once the cardholder has authenticated one. */
  | { kind: 'requires_authentication'; unless_authenticated: boolean }
  /** A bank debit: `processing` until it settles. */
  | { kind: 'settles_later' };

export type TestCard = {
  outcome: Outcome;
  details: Pick<PaymentMethod, 'type' | 'card' | 'us_bank_account' | 'sepa_debit'>;
};

function card(last4: string, outcome: Outcome, brand = 'visa', funding = 'credit'): TestCard {
  const exp_year = new Date().getFullYear() + 3;
  // The last four digits tell the test numbers apart.
  const fingerprint = fingerprintOf(last4);
  return { outcome, details: { type: 'card', card: { brand, funding, last4, exp_month: 12, exp_year, country: 'US', fingerprint } } };
}

function declines(decline: Decline, attachable = false): Outcome {
  return { kind: 'declines', decline, attachable };
}

const declined = (decline_code: string, advice_code?: AdviceCode, message = 'Your card was declined.'): Decline => ({
  code: 'card_declined',
  decline_code,
  ...(advice_code && { advice_code }),
  message,
});

const succeeds: Outcome = { kind: 'succeeds' };

/**
 * Stripe does not document which advice code a test card gives. These are as recorded from its test mode by
 * others, who saw none with `fraudulent`; the one with `card_velocity_exceeded` is assumed.
 */
export const TEST_CARDS: Record<string, TestCard> = {
  pm_card_visa: card('4242', succeeds),
  pm_card_mastercard: card('4444', succeeds, 'mastercard'),
  pm_card_visa_debit: card('5556', succeeds, 'visa', 'debit'),
  pm_card_chargeDeclined: card('0002', declines(declined('generic_decline', 'try_again_later'))),
  pm_card_chargeDeclinedInsufficientFunds: card(
    '9995',
    declines(declined('insufficient_funds', 'try_again_later', 'Your card has insufficient funds.')),
  ),
  pm_card_chargeDeclinedLostCard: card('9987', declines(declined('lost_card', 'do_not_try_again'))),
  pm_card_chargeDeclinedStolenCard: card('9979', declines(declined('stolen_card', 'do_not_try_again'))),
  pm_card_chargeDeclinedFraudulent: card('0019', declines(declined('fraudulent'))),
  pm_card_radarBlock: card('0019', { kind: 'blocked', decline: declined('fraudulent') }),
  pm_card_chargeDeclinedVelocityLimitExceeded: card(
    '6975',
    declines(
      declined(
        'card_velocity_exceeded',
        'try_again_later',
        'Your card was declined for making repeated attempts too frequently or exceeding its amount limit.',
      ),
    ),
  ),
  pm_card_chargeDeclinedExpiredCard: card(
    '0069',
    declines({
      code: 'expired_card',
      decline_code: 'expired_card',
      advice_code: 'confirm_card_data',
      param: 'exp_month',
      message: 'Your card has expired.',
    }),
  ),
  pm_card_chargeDeclinedIncorrectCvc: card(
    '0127',
    declines({
      code: 'incorrect_cvc',
      decline_code: 'incorrect_cvc',
      advice_code: 'confirm_card_data',
      param: 'cvc',
      message: "Your card's security code is incorrect.",
    }),
  ),
  pm_card_chargeDeclinedProcessingError: card(
    '0119',
    declines({
      code: 'processing_error',
      decline_code: 'processing_error',
      advice_code: 'try_again_later',
      message: 'An error occurred while processing your card. Try again in a little bit.',
    }),
  ),
  pm_card_chargeCustomerFail: card('0341', declines(declined('generic_decline', 'try_again_later'), true)),
  pm_card_authenticationRequired: card('3184', { kind: 'requires_authentication', unless_authenticated: false }),
  pm_card_authenticationRequiredOnSetup: card('3155', { kind: 'requires_authentication', unless_authenticated: true }),
  pm_usBankAccount: {
    outcome: { kind: 'settles_later' },
    details: { type: 'us_bank_account', us_bank_account: { bank_name: 'STRIPE TEST BANK', last4: '6789' } },
  },
  pm_sepaDebit: {
    outcome: { kind: 'settles_later' },
    details: { type: 'sepa_debit', sepa_debit: { bank_code: '37040044', country: 'DE', last4: '3000' } },
  },
};

/**
 * The key of TEST_CARDS that an id stands for; Stripe writes some with the brand,
 * `pm_card_visa_chargeDeclined…`.
 */
export function testCardId(id: string): string | undefined {
  const name = id.replace('pm_card_visa_charge', 'pm_card_charge');
  return Object.hasOwn(TEST_CARDS, name) ? name : undefined;
}

/** @param id a key of TEST_CARDS, as testCardId returns it. */
export function testCard(id: string): TestCard {
  const found = TEST_CARDS[id];
  if (!found) throw new Error(`${id} is not a test card`);
  return found;
}

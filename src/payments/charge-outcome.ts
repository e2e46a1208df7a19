/** What a PaymentIntent says about the money: the only place where Stripe's statuses of it are read. */
import type Stripe from 'stripe';
import type { DeclineCodes } from '../domain/decline.ts';
import { classifyDecline } from '../domain/decline.ts';
import { amountIn, currencyIn } from './fields.ts';

/** Why no money was taken: Stripe's codes, and its sentence. */
export type ChargeFailure = DeclineCodes & { message: string };

export type ChargeOutcome =
  /** In minor units. */
  | { kind: 'captured'; amountMinor: number; currency: string }
  | { kind: 'processing' }
  /** Not confirmed yet, so no money has moved. */
  | { kind: 'unconfirmed' }
  | { kind: 'declined'; failure: ChargeFailure }
  | { kind: 'action_required'; failure: ChargeFailure }
  /**
   * A status that this version does not know, or a capture without a field that says how much: nothing is granted
   * on it, and a person looks. `reason` is for that person.
   */
  | { kind: 'unexpected'; status: string; reason: string };

export function outcomeOf(intent: Stripe.PaymentIntent): ChargeOutcome {
  switch (intent.status) {
    case 'succeeded':
      return capturedBy(intent);
    case 'processing':
      return { kind: 'processing' };
    case 'requires_confirmation':
      return { kind: 'unconfirmed' };
    case 'requires_action':
      return { kind: 'action_required', failure: failureOf(intent.last_payment_error, 'authentication_required') };
    case 'requires_payment_method':
    case 'canceled': {
      const failure = failureOf(
        intent.last_payment_error,
        intent.status === 'canceled' ? 'payment_intent_canceled' : 'payment_method_required',
      );
      return { kind: classifyDecline(failure) === 'authentication_required' ? 'action_required' : 'declined', failure };
    }
    default:
      return { kind: 'unexpected', status: String(intent.status), reason: `is in the unknown status "${intent.status}"` };
  }
}

function capturedBy({ status, amount_received, currency: code }: Stripe.PaymentIntent): ChargeOutcome {
  const amountMinor = amountIn(amount_received);
  const currency = currencyIn(code);
  if (amountMinor === null) return { kind: 'unexpected', status, reason: `is ${status} without a readable amount_received` };
  if (currency === null) return { kind: 'unexpected', status, reason: `is ${status} without a readable currency` };
  return { kind: 'captured', amountMinor, currency };
}

function failureOf(error: Stripe.PaymentIntent.LastPaymentError | null, fallbackCode: string): ChargeFailure {
  return {
    code: error?.code ?? fallbackCode,
    declineCode: error?.decline_code ?? null,
    adviceCode: error?.advice_code ?? null,
    networkAdviceCode: error?.network_advice_code ?? null,
    networkDeclineCode: error?.network_decline_code ?? null,
    message: error?.message ?? `Stripe gives no reason (${fallbackCode})`,
  };
}

/** What a PaymentIntent says about the money: the only place where Stripe's statuses and codes are read. */
import Stripe from 'stripe';
import type { DeclineCodes } from '../domain/decline.ts';
import { classifyDecline } from '../domain/decline.ts';

export type ChargeFailure = DeclineCodes & { message: string };

export type ChargeOutcome =
  | { kind: 'captured'; amountMinor: number; currency: string }
  | { kind: 'processing' }
  /** Not confirmed yet, so no money has moved. */
  | { kind: 'unconfirmed' }
  | { kind: 'declined'; failure: ChargeFailure }
  | { kind: 'action_required'; failure: ChargeFailure }
  /** A status that this version does not know: nothing is granted on it, and a person looks. */
  | { kind: 'unexpected'; status: string };

export function outcomeOf(intent: Stripe.PaymentIntent): ChargeOutcome {
  switch (intent.status) {
    case 'succeeded':
      return { kind: 'captured', amountMinor: intent.amount_received, currency: intent.currency };
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
      return { kind: 'unexpected', status: intent.status };
  }
}

function failureOf(error: Stripe.PaymentIntent.LastPaymentError | null, fallbackCode: string): ChargeFailure {
  return {
    code: error?.code ?? fallbackCode,
    declineCode: error?.decline_code ?? null,
    adviceCode: error?.advice_code ?? null,
    message: error?.message ?? `Stripe gives no reason (${fallbackCode})`,
  };
}

export type StripeErrorKind =
  /** The request itself is refused and will be refused again; no money has moved by it. */
  | 'refused'
  /** The card was refused: read the intent for what it is now. */
  | 'card'
  /** 401, 403: the key is wrong, revoked, or lacks a permission. */
  | 'key'
  /** Nothing ran: too many requests, or another request holds the idempotency key or the object's lock. */
  | 'busy'
  /** Anything may have happened: read the intent. */
  | 'unknown';

/**
 * By status and code, never by class alone: a 409 has changed class between major versions, and a 200 with a cut body
 * arrives as a plain StripeAPIError.
 */
export function classifyStripeError(error: unknown): StripeErrorKind {
  if (!(error instanceof Stripe.errors.StripeError)) return 'unknown';
  const { statusCode, code } = error;
  if (statusCode === 401 || statusCode === 403) return 'key';
  if (statusCode === 429 || statusCode === 409 || code === 'lock_timeout' || code === 'idempotency_key_in_use') return 'busy';
  if (statusCode === 402) return 'card';
  if (statusCode === 400 || statusCode === 404) return 'refused';
  return 'unknown';
}

/** A 500 that Stripe has saved: it will answer the same idempotency key with it for a day, whatever has happened since. */
export function isSavedServerError(error: unknown): boolean {
  return classifyStripeError(error) === 'unknown' && (error as Stripe.errors.StripeError).headers?.['idempotent-replayed'] === 'true';
}

/** What may be shown of an error: its message and its headers may repeat what was sent, the key among it. */
export function describeStripeError({ type, code, statusCode, requestId }: Stripe.errors.StripeError): string {
  const facts = [code, statusCode && `status ${statusCode}`, requestId].filter(Boolean).join(', ');
  return `Stripe: ${type} (${facts})`;
}

/** The codes of a refused request, in the form of a decline. */
export function failureOfError(error: unknown): ChargeFailure {
  if (!(error instanceof Stripe.errors.StripeError))
    return { code: 'unknown', declineCode: null, adviceCode: null, message: String(error) };
  return {
    code: error.code ?? error.type,
    declineCode: error.decline_code ?? null,
    adviceCode: (error as { advice_code?: string }).advice_code ?? null,
    message: error.message,
  };
}

/** What can go wrong with Stripe, and what it leaves in doubt. */
import Stripe from 'stripe';
import { whyUnreachable } from '../domain/unreachable.ts';
import { GateError } from '../gate.ts';
import type { ChargeFailure } from './charge-outcome.ts';

export type PaymentsErrorKind =
  /** The request itself is refused and will be refused again; no money has moved by it. */
  | 'refused'
  /** The card was refused: read the intent for what it is now. */
  | 'card'
  /** 401, 403: the key is wrong, revoked, or lacks a permission. */
  | 'key'
  /**
   * Nothing ran: too many requests, another request has the idempotency key or the object's lock, or the call was
   * not made because too many of ours are under way.
   */
  | 'busy'
  /** Anything may have happened: read the intent. */
  | 'unknown';

/** The only error that leaves this folder for a call to Stripe. Anybody may read its message. */
export class PaymentsError extends Error {
  override name = 'PaymentsError';
  readonly kind: PaymentsErrorKind;
  /** The HTTP status; null where no answer came. */
  readonly status: number | null;
  /**
   * Why, in the form of a decline. Stripe's own sentence is in it where the request or the card was refused,
   * for the operator.
   */
  readonly failure: ChargeFailure;
  /**
   * A 500 that Stripe has saved: for a day it is the answer to the same idempotency key, whatever has
   * happened since.
   */
  readonly isSavedServerError: boolean;

  constructor(message: string, facts: Pick<PaymentsError, 'kind' | 'status' | 'failure' | 'isSavedServerError'>) {
    super(message);
    this.kind = facts.kind;
    this.status = facts.status;
    this.failure = facts.failure;
    this.isSavedServerError = facts.isSavedServerError;
  }
}

/**
 * Stripe's error as ours; any other error as it is. Nothing of the request is kept: stripe-node's errors
 * carry headers and parameters, and Stripe repeats a key that it refuses in its sentence.
 */
export function paymentsErrorFrom(error: unknown): unknown {
  if (error instanceof GateError) {
    const message = `Stripe was not called: ${error.message}`;
    const failure = { code: 'not_called', declineCode: null, adviceCode: null, message };
    return new PaymentsError(message, { kind: 'busy', status: null, failure, isSavedServerError: false });
  }
  if (!(error instanceof Stripe.errors.StripeError)) return error;
  const kind = kindOf(error);
  const message = describe(kind, error);
  const isSentenceForUs = kind === 'refused' || kind === 'card';
  return new PaymentsError(message, {
    kind,
    status: error.statusCode ?? null,
    failure: {
      code: error.code ?? error.type,
      declineCode: error.decline_code ?? null,
      adviceCode: (error as { advice_code?: string }).advice_code ?? null,
      message: isSentenceForUs ? error.message : message,
    },
    isSavedServerError: kind === 'unknown' && error.headers?.['idempotent-replayed'] === 'true',
  });
}

/**
 * By status and code, never by class alone: a 409 has changed class between major versions, and a 200 with a
 * cut body arrives as a plain StripeAPIError.
 */
function kindOf({ statusCode, code }: Stripe.errors.StripeError): PaymentsErrorKind {
  if (statusCode === 401 || statusCode === 403) return 'key';
  if (statusCode === 429 || statusCode === 409 || code === 'lock_timeout' || code === 'idempotency_key_in_use') return 'busy';
  if (statusCode === 402) return 'card';
  if (statusCode === 400 || statusCode === 404) return 'refused';
  return 'unknown';
}

/** By kind, what Stripe has done, in words. */
const DONE: Readonly<Record<PaymentsErrorKind, string>> = {
  refused: 'Stripe refuses the request',
  card: 'Stripe says that the card was refused',
  key: 'Stripe refuses our key',
  busy: 'Stripe is busy with other calls',
  unknown: 'Stripe has failed',
};

function describe(kind: PaymentsErrorKind, { code, statusCode, requestId, detail }: Stripe.errors.StripeError): string {
  // Of Node's own error only its code and address are said.
  const unreachable = statusCode === undefined ? whyUnreachable(detail) : undefined;
  if (unreachable) return `Stripe did not answer: ${unreachable} (STRIPE_API_BASE)`;
  const facts = [code, statusCode && `status ${statusCode}`, requestId].filter(Boolean).join(', ');
  if (statusCode === undefined) return `Stripe did not answer${facts && ` (${facts})`}`;
  return `${statusCode === 403 ? 'Stripe does not allow our key this' : DONE[kind]} (${facts})`;
}

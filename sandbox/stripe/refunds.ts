/**
 * Refunds: https://docs.stripe.com/refunds
 *
 * An amount counts as refunded from creation on, while the refund may still be pending, and returns to the
 * charge when the refund fails or is canceled, which can be weeks after it was `succeeded`.
 */
import type { Account, RefundMode } from './account.ts';
import { invalidParameter, invalidRequest } from './errors.ts';
import { describe, readPositiveAmount } from './money.ts';
import { type Charge, newId, now, type Refund } from './objects.ts';
import type { Parameters } from './parameters.ts';

const REASONS = ['duplicate', 'fraudulent', 'requested_by_customer'] as const;

const FAILURE_REASONS = [
  'lost_or_stolen_card',
  'expired_or_canceled_card',
  'charge_for_pending_refund_disputed',
  'insufficient_funds',
  'declined',
  'merchant_request',
  'unknown',
] as const;
type FailureReason = (typeof FAILURE_REASONS)[number];

/**
 * @throws {StripeError} 400 charge_already_refunded, charge_disputed, or without a code for more than is
 *   left.
 */
export function createRefund(account: Account, parameters: Parameters): Refund {
  parameters.allowOnly('payment_intent', 'charge', 'amount', 'reason', 'metadata');
  const asked = readPositiveAmount(parameters, 'amount');
  const reason = parameters.oneOf('reason', REASONS) ?? null;
  const metadata = parameters.metadata();
  const charge = chargeToRefund(account, parameters);
  const { currency } = charge;
  if (charge.refunded) throw invalidRequest(`Charge ${charge.id} has already been refunded.`, { code: 'charge_already_refunded' });
  if (account.disputes.all().some((dispute) => dispute.charge === charge.id && dispute.status !== 'won')) {
    throw invalidRequest(`Charge ${charge.id} has been charged back; cannot issue a refund.`, { code: 'charge_disputed' });
  }
  const left = charge.amount_captured - charge.amount_refunded;
  const amount = asked ?? left;
  if (amount > left) {
    const whole = charge.amount_refunded === 0 ? 'charge amount' : 'unrefunded amount on charge';
    throw invalidRequest(`Refund amount (${describe(amount, currency)}) is greater than ${whole} (${describe(left, currency)})`, {
      param: 'amount',
    });
  }
  const refund = account.refunds.add({
    id: newId('re'),
    object: 'refund',
    amount,
    charge: charge.id,
    created: now(),
    currency,
    metadata,
    payment_intent: charge.payment_intent,
    reason,
    status: account.refundMode,
  });
  addRefunded(charge, amount);
  account.emit('charge.refunded', charge);
  account.emit('refund.created', refund);
  return refund;
}

function chargeToRefund(account: Account, parameters: Parameters): Charge {
  const [intentId, chargeId] = [parameters.text('payment_intent'), parameters.text('charge')];
  if (intentId !== undefined && chargeId !== undefined) {
    throw invalidParameter('You may only specify one of these parameters: charge, payment_intent.', 'charge');
  }
  if (intentId === undefined && chargeId === undefined) {
    throw invalidParameter('One of the following params should be provided for this request: payment_intent or charge.', 'payment_intent');
  }
  const intent = intentId === undefined ? undefined : account.paymentIntents.refer(intentId, 'payment_intent');
  const latest = chargeId ?? intent?.latest_charge ?? undefined;
  const charge = latest === undefined ? undefined : account.charges.refer(latest, 'charge');
  if (charge?.status !== 'succeeded') {
    throw invalidRequest(`This PaymentIntent (${intentId ?? charge?.payment_intent}) does not have a successful charge to refund.`);
  }
  if (!charge.captured) {
    throw invalidRequest(`Charge ${charge.id} is not captured. To release its funds, cancel the PaymentIntent ${charge.payment_intent}.`);
  }
  return charge;
}

/** @param amount negative when a refund did not come about. */
function addRefunded(charge: Charge, amount: number): void {
  charge.amount_refunded += amount;
  charge.refunded = charge.amount_refunded === charge.amount_captured;
}

/** @throws {StripeError} 400 unless it is pending. */
export function cancelRefund(account: Account, _: Parameters, id: string): Refund {
  const refund = account.refunds.get(id);
  if (refund.status !== 'pending') throw invalidRequest(`Refund ${id} has a status of ${refund.status} and cannot be canceled.`);
  return changeRefund(account, refund, 'canceled');
}

export function retrieveRefund(account: Account, _: Parameters, id: string): Refund {
  return account.refunds.get(id);
}

export function listRefunds(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'charge', 'payment_intent');
  const inRange = parameters.created();
  const [charge, intent] = [parameters.text('charge'), parameters.text('payment_intent')];
  return account.refunds.list(
    '/v1/refunds',
    parameters.page(),
    (refund) =>
      inRange(refund.created) &&
      (charge === undefined || refund.charge === charge) &&
      (intent === undefined || refund.payment_intent === intent),
  );
}

/** Knob: what becomes of refunds made from now on. */
export function setRefundMode(account: Account, parameters: Parameters): { status: RefundMode } {
  account.refundMode = parameters.oneOf('status', ['succeeded', 'pending']) ?? 'succeeded';
  return { status: account.refundMode };
}

/** Knob: a refund comes through, or fails, a succeeded one too. */
export function concludeRefund(account: Account, parameters: Parameters, id: string): Refund {
  const status = parameters.oneOf('status', ['succeeded', 'failed']) ?? 'succeeded';
  const failure_reason = parameters.oneOf('failure_reason', FAILURE_REASONS) ?? 'unknown';
  const refund = account.refunds.get(id);
  const possible = refund.status === 'pending' || (refund.status === 'succeeded' && status === 'failed');
  if (!possible) throw invalidRequest(`Refund ${id} has a status of ${refund.status} and cannot become ${status}.`);
  return changeRefund(account, refund, status, failure_reason);
}

/** A dispute takes the money back itself: refunds still on their way fail. */
export function failPendingRefunds(account: Account, charge: Charge): void {
  for (const refund of account.refunds.all()) {
    if (refund.charge === charge.id && refund.status === 'pending') {
      changeRefund(account, refund, 'failed', 'charge_for_pending_refund_disputed');
    }
  }
}

function changeRefund(
  account: Account,
  refund: Refund,
  status: 'succeeded' | 'failed' | 'canceled',
  failure_reason?: FailureReason,
): Refund {
  const before = structuredClone(refund);
  refund.status = status;
  if (status === 'failed' && failure_reason) refund.failure_reason = failure_reason;
  if (status !== 'succeeded') addRefunded(account.charges.get(refund.charge), -refund.amount);
  account.emit('refund.updated', refund, before);
  if (status === 'failed') account.emit('refund.failed', refund);
  return refund;
}

/**
 * PaymentIntents and their state machine: https://docs.stripe.com/payments/paymentintents/lifecycle
 *
 *   requires_payment_method → requires_confirmation → (requires_action) → processing │ requires_capture │ succeeded
 *
 * A failed attempt falls back to requires_payment_method; canceled and succeeded are final, and an intent reaches
 * succeeded once.
 */
import type { Account } from './account.ts';
import { invalidParameter, invalidRequest, type StripeError } from './errors.ts';
import { describe, readChargeAmount, readCurrency, readPositiveAmount } from './money.ts';
import { newId, now, type PaymentIntent, type PaymentIntentStatus } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { CONFIRMATION, choosePaymentMethod, confirmIntent, latestCharge, readConfirmation, unexpectedState } from './payment-attempts.ts';
import { liveCustomer } from './payment-methods.ts';

const DESCRIPTIVE = ['metadata', 'description', 'receipt_email', 'statement_descriptor_suffix'];

const CONFIRMABLE: PaymentIntentStatus[] = ['requires_payment_method', 'requires_confirmation', 'requires_action'];
/**
 * Stripe's message names `processing` too; a debit under way is in fact cancelable "in rare cases", here
 * never.
 */
const CANCELABLE: PaymentIntentStatus[] = ['requires_payment_method', 'requires_capture', 'requires_confirmation', 'requires_action'];
const CANCELLATION_REASONS = ['duplicate', 'fraudulent', 'requested_by_customer', 'abandoned'] as const;

/**
 * Bounds of statement_descriptor_suffix: https://docs.stripe.com/get-started/account/statement-descriptors
 */
const MAX_SUFFIX_LENGTH = 22;

export function createPaymentIntent(account: Account, parameters: Parameters): PaymentIntent {
  parameters.allowOnly(
    'amount',
    'currency',
    'customer',
    'payment_method',
    'confirm',
    'capture_method',
    'automatic_payment_methods',
    'payment_method_types',
    ...DESCRIPTIVE,
    ...CONFIRMATION,
  );
  const currency = readCurrency(parameters);
  const amount = readChargeAmount(parameters, 'amount', currency);
  const confirm = parameters.boolean('confirm') ?? false;
  const confirmation = readConfirmation(parameters);
  const premature = CONFIRMATION.find((name) => parameters.has(name));
  if (!confirm && premature !== undefined) {
    throw invalidParameter(`The parameter \`${premature}\` can only be used with \`confirm=true\`.`, premature);
  }
  const customer = parameters.text('customer');
  const methodId = parameters.text('payment_method');
  const id = newId('pi');
  const intent: PaymentIntent = {
    id,
    object: 'payment_intent',
    amount,
    amount_capturable: 0,
    amount_received: 0,
    ...readPaymentMethodTypes(parameters),
    canceled_at: null,
    cancellation_reason: null,
    capture_method: parameters.oneOf('capture_method', ['automatic', 'automatic_async', 'manual']) ?? 'automatic_async',
    client_secret: `${id}_secret_${newId('x').slice(2)}`,
    confirmation_method: 'automatic',
    created: now(),
    currency,
    customer: customer === undefined ? null : liveCustomer(account, customer, 'customer').id,
    description: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    metadata: {},
    next_action: null,
    payment_method: null,
    receipt_email: null,
    statement_descriptor_suffix: null,
    status: 'requires_payment_method',
  };
  describeIntent(intent, parameters);
  if (methodId !== undefined) choosePaymentMethod(account, intent, methodId);
  account.paymentIntents.add(intent);
  account.emit('payment_intent.created', intent);
  if (confirm) confirmIntent(account, intent, confirmation);
  return intent;
}

/** Neither given means automatic payment methods with redirects, since API version 2023-08-16. */
function readPaymentMethodTypes(parameters: Parameters): Pick<PaymentIntent, 'automatic_payment_methods' | 'payment_method_types'> {
  const types = parameters.texts('payment_method_types');
  const automatic = parameters.nested('automatic_payment_methods');
  automatic.allowOnly('enabled', 'allow_redirects');
  const enabled = automatic.boolean('enabled');
  if (types !== undefined && enabled) {
    throw invalidParameter(
      'You may only specify one of these parameters: automatic_payment_methods, payment_method_types.',
      'payment_method_types',
    );
  }
  if (types !== undefined) return { automatic_payment_methods: null, payment_method_types: types };
  const allow_redirects = automatic.oneOf('allow_redirects', ['always', 'never']) ?? 'always';
  return {
    automatic_payment_methods: { enabled: true, allow_redirects },
    payment_method_types: ['card', 'us_bank_account', 'sepa_debit'],
  };
}

function describeIntent(intent: PaymentIntent, parameters: Parameters): void {
  const metadata = parameters.metadata(intent.metadata);
  const suffix = parameters.text('statement_descriptor_suffix');
  if (suffix !== undefined && (suffix.length > MAX_SUFFIX_LENGTH || /[<>\\'"*]/.test(suffix))) {
    throw invalidParameter(
      `The statement descriptor suffix must be at most ${MAX_SUFFIX_LENGTH} characters and contain none of < > \\ ' " *`,
      'statement_descriptor_suffix',
    );
  }
  intent.metadata = metadata;
  if (parameters.has('description')) intent.description = parameters.text('description') ?? null;
  if (parameters.has('receipt_email')) intent.receipt_email = parameters.text('receipt_email') ?? null;
  if (parameters.has('statement_descriptor_suffix')) intent.statement_descriptor_suffix = suffix ?? null;
}

export function confirmPaymentIntent(account: Account, parameters: Parameters, id: string): PaymentIntent {
  parameters.allowOnly('payment_method', 'receipt_email', ...CONFIRMATION);
  const intent = account.paymentIntents.get(id, 'intent');
  if (intent.status === 'succeeded') {
    throw unexpectedState(
      intent,
      'You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.',
    );
  }
  if (!CONFIRMABLE.includes(intent.status)) throw wrongStatus(intent, 'confirm', 'confirmed', CONFIRMABLE);
  const methodId = parameters.text('payment_method');
  const confirmation = readConfirmation(parameters);
  describeIntent(intent, parameters);
  if (methodId !== undefined) choosePaymentMethod(account, intent, methodId);
  confirmIntent(account, intent, confirmation);
  return intent;
}

export function capturePaymentIntent(account: Account, parameters: Parameters, id: string): PaymentIntent {
  parameters.allowOnly('amount_to_capture', 'metadata', 'statement_descriptor_suffix');
  const intent = account.paymentIntents.get(id, 'intent');
  if (intent.status !== 'requires_capture') {
    throw unexpectedState(
      intent,
      `This PaymentIntent could not be captured because it has a status of ${intent.status}. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.`,
    );
  }
  const amount = readPositiveAmount(parameters, 'amount_to_capture') ?? intent.amount_capturable;
  if (amount > intent.amount_capturable) {
    throw invalidRequest(
      `The amount_to_capture (${describe(amount, intent.currency)}) is greater than the amount that can be captured (${describe(intent.amount_capturable, intent.currency)}).`,
      { code: 'amount_too_large', param: 'amount_to_capture' },
    );
  }
  describeIntent(intent, parameters);
  const charge = latestCharge(account, intent);
  charge.captured = true;
  charge.amount_captured = amount;
  intent.amount_received = amount;
  intent.amount_capturable = 0;
  intent.status = 'succeeded';
  account.emit('charge.captured', charge);
  account.emit('payment_intent.succeeded', intent);
  return intent;
}

export function cancelPaymentIntent(account: Account, parameters: Parameters, id: string): PaymentIntent {
  parameters.allowOnly('cancellation_reason');
  const reason = parameters.oneOf('cancellation_reason', CANCELLATION_REASONS) ?? null;
  const intent = account.paymentIntents.get(id, 'intent');
  if (!CANCELABLE.includes(intent.status)) throw wrongStatus(intent, 'cancel', 'canceled', CANCELABLE);
  if (intent.status === 'requires_capture') {
    const charge = latestCharge(account, intent);
    charge.refunded = true;
    charge.amount_refunded = charge.amount;
    account.emit('charge.refunded', charge);
  }
  intent.status = 'canceled';
  intent.canceled_at = now();
  intent.cancellation_reason = reason;
  intent.amount_capturable = 0;
  intent.next_action = null;
  account.emit('payment_intent.canceled', intent);
  return intent;
}

export function updatePaymentIntent(account: Account, parameters: Parameters, id: string): PaymentIntent {
  parameters.allowOnly('amount', 'currency', 'customer', 'payment_method', ...DESCRIPTIVE);
  const intent = account.paymentIntents.get(id, 'intent');
  const payable = ['amount', 'currency', 'customer', 'payment_method'].find((name) => parameters.has(name));
  if (payable !== undefined && !CONFIRMABLE.includes(intent.status)) {
    throw unexpectedState(intent, `This PaymentIntent's ${payable} could not be updated because it has a status of ${intent.status}.`);
  }
  const currency = parameters.has('currency') ? readCurrency(parameters) : intent.currency;
  const amount = parameters.has('amount') ? readChargeAmount(parameters, 'amount', currency) : intent.amount;
  const customer = parameters.text('customer');
  const methodId = parameters.text('payment_method');
  if (customer !== undefined) intent.customer = liveCustomer(account, customer, 'customer').id;
  if (methodId !== undefined) choosePaymentMethod(account, intent, methodId);
  intent.currency = currency;
  intent.amount = amount;
  describeIntent(intent, parameters);
  return intent;
}

export function retrievePaymentIntent(account: Account, parameters: Parameters, id: string): PaymentIntent {
  parameters.allowOnly('client_secret');
  return account.paymentIntents.get(id, 'intent');
}

export function listPaymentIntents(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'customer');
  const inRange = parameters.created();
  const customer = parameters.text('customer');
  return account.paymentIntents.list(
    '/v1/payment_intents',
    parameters.page(),
    (intent) => inRange(intent.created) && (customer === undefined || intent.customer === customer),
  );
}

function wrongStatus(intent: PaymentIntent, verb: string, participle: string, allowed: PaymentIntentStatus[]): StripeError {
  return unexpectedState(
    intent,
    `You cannot ${verb} this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one of the following statuses may be ${participle}: ${allowed.join(', ')}.`,
  );
}

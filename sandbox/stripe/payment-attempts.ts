/**
 * Attempts to pay a PaymentIntent: what the issuer, the cardholder's authentication or a bank debit makes of
 * it.
 */
import type { Account } from './account.ts';
import { addCharge } from './charges.ts';
import { invalidRequest, StripeError } from './errors.ts';
import type { Charge, PaymentError, PaymentIntent, PaymentMethod } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { behaviourOf, issuerFile, liveCustomer, resolvePaymentMethod } from './payment-methods.ts';
import type { Decline } from './test-cards.ts';

/** The parameters that belong to an attempt. */
export const CONFIRMATION = ['off_session', 'error_on_requires_action', 'return_url'];

const AUTHENTICATION_REQUIRED: Decline = {
  code: 'authentication_required',
  decline_code: 'authentication_required',
  message: 'Your card was declined. This transaction requires authentication.',
};
const AUTHENTICATION_NOT_HANDLED: Decline = {
  code: 'authentication_required',
  decline_code: 'authentication_not_handled',
  message: 'This payment required an authentication action to complete, but `error_on_requires_action` was set.',
};
const DEBIT_FAILED: Decline = {
  code: 'payment_intent_payment_attempt_failed',
  decline_code: 'generic_decline',
  message: 'The payment failed.',
};

/**
 * The refusal of a retired payment method has no code at Stripe, only its message.
 *
 * @throws {StripeError} 400 for a payment method that this intent may not charge.
 */
export function choosePaymentMethod(account: Account, intent: PaymentIntent, id: string): void {
  const method = resolvePaymentMethod(account, id, 400);
  if (issuerFile(account, method).retired) {
    throw invalidRequest(
      'The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a connected account without Customer attachment, or was detached from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.',
    );
  }
  if (method.customer !== null && intent.customer === null) {
    throw invalidRequest(
      `The payment method ${id} cannot be used on this PaymentIntent because it belongs to a Customer. Please include the Customer in the \`customer\` parameter on the PaymentIntent.`,
      { param: 'payment_method' },
    );
  }
  if (method.customer !== null && method.customer !== intent.customer) {
    throw invalidRequest(
      `The customer does not have a payment method with the ID ${id}. The payment method must be attached to the customer.`,
      { code: 'resource_missing', param: 'payment_method' },
    );
  }
  if (!intent.payment_method_types.includes(method.type)) {
    throw invalidRequest(`The PaymentMethod provided (${method.type}) is not allowed for this PaymentIntent.`, {
      code: 'payment_intent_incompatible_payment_method',
      param: 'payment_method',
    });
  }
  intent.payment_method = method.id;
  intent.status = 'requires_confirmation';
}

export type Confirmation = { returnUrl: string | undefined; offSession: boolean; errorOnRequiresAction: boolean };

export function readConfirmation(parameters: Parameters): Confirmation {
  const offSession = parameters.oneOf('off_session', ['true', 'false', 'one_off', 'recurring']);
  return {
    returnUrl: parameters.text('return_url'),
    offSession: offSession !== undefined && offSession !== 'false',
    errorOnRequiresAction: parameters.boolean('error_on_requires_action') ?? false,
  };
}

/** One attempt to pay. @throws {StripeError} 402 when the issuer declines, with the intent as it then is. */
export function confirmIntent(
  account: Account,
  intent: PaymentIntent,
  { returnUrl, offSession, errorOnRequiresAction }: Confirmation,
): void {
  if (intent.payment_method === null) {
    throw unexpectedState(intent, "You cannot confirm this PaymentIntent because it's missing a payment method.");
  }
  if (intent.automatic_payment_methods?.allow_redirects === 'always' && returnUrl === undefined) {
    throw invalidRequest(
      "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents.",
    );
  }
  // The payment method may have been detached, or its customer deleted, since it was chosen.
  choosePaymentMethod(account, intent, intent.payment_method);
  if (intent.customer !== null) liveCustomer(account, intent.customer, 'customer');
  const method = account.paymentMethods.get(intent.payment_method);
  intent.last_payment_error = null;
  intent.next_action = null;

  const outcome = behaviourOf(account, method);
  switch (outcome.kind) {
    case 'succeeds':
      pay(account, intent, method);
      return;
    case 'declines':
      throw decline(account, intent, method, { ...outcome.decline, ...issuerFile(account, method).network_codes });
    case 'blocked':
      throw block(account, intent, method, outcome.decline);
    case 'requires_authentication':
      if (offSession && outcome.unless_authenticated && issuerFile(account, method).authenticated) {
        pay(account, intent, method);
        return;
      }
      if (offSession) throw decline(account, intent, method, AUTHENTICATION_REQUIRED);
      if (errorOnRequiresAction) throw refuse(account, intent, method, AUTHENTICATION_NOT_HANDLED);
      intent.status = 'requires_action';
      intent.next_action = nextAction(intent, returnUrl);
      account.emit('payment_intent.requires_action', intent);
      return;
    case 'settles_later':
      intent.status = 'processing';
      addCharge(account, intent, method, { status: 'pending', captured: true });
      account.emit('payment_intent.processing', intent);
  }
}

function nextAction(intent: PaymentIntent, returnUrl: string | undefined): PaymentIntent['next_action'] {
  if (returnUrl === undefined) return { type: 'use_stripe_sdk', use_stripe_sdk: { type: 'three_d_secure_redirect' } };
  return {
    type: 'redirect_to_url',
    redirect_to_url: { return_url: returnUrl, url: `https://hooks.stripe.com/3d_secure_2/hosted?payment_intent=${intent.id}` },
  };
}

function pay(account: Account, intent: PaymentIntent, method: PaymentMethod): void {
  const captured = intent.capture_method !== 'manual';
  const charge = addCharge(account, intent, method, { status: 'succeeded', captured });
  intent.status = captured ? 'succeeded' : 'requires_capture';
  intent.amount_received = captured ? intent.amount : 0;
  intent.amount_capturable = captured ? 0 : intent.amount;
  account.emit('charge.succeeded', charge);
  account.emit(captured ? 'payment_intent.succeeded' : 'payment_intent.amount_capturable_updated', intent);
}

/** The issuer has declined: a failed charge, and the error for the caller. */
function decline(account: Account, intent: PaymentIntent, method: PaymentMethod, why: Decline): StripeError {
  const charge = addCharge(account, intent, method, { status: 'failed', decline: why, blocked: false });
  account.emit('charge.failed', charge);
  return refuse(account, intent, method, why, charge.id);
}

/** Stripe refuses to ask the issuer: a failed charge all the same. */
function block(account: Account, intent: PaymentIntent, method: PaymentMethod, why: Decline): StripeError {
  const charge = addCharge(account, intent, method, { status: 'failed', decline: why, blocked: true });
  account.emit('charge.failed', charge);
  return refuse(account, intent, method, why, charge.id);
}

/** The attempt ends without reaching the issuer, or, with a charge, after its no. */
function refuse(account: Account, intent: PaymentIntent, method: PaymentMethod, why: Decline, charge?: string): StripeError {
  const error = { type: 'card_error' as const, ...why, ...(charge && { charge }), payment_method: structuredClone(method) };
  failAttempt(account, intent, error);
  return new StripeError(402, { ...error, payment_intent: structuredClone(intent) });
}

function failAttempt(account: Account, intent: PaymentIntent, error: PaymentError): void {
  intent.status = 'requires_payment_method';
  intent.payment_method = null;
  intent.next_action = null;
  intent.last_payment_error = error;
  account.emit('payment_intent.payment_failed', intent);
}

/** Knob: a debit under way ends. */
export function settlePaymentIntent(account: Account, parameters: Parameters, id: string): PaymentIntent {
  const outcome = parameters.oneOf('outcome', ['succeeded', 'failed']) ?? 'succeeded';
  const intent = account.paymentIntents.get(id, 'intent');
  if (intent.status !== 'processing') throw unexpectedState(intent, `This PaymentIntent has a status of ${intent.status}, not processing.`);
  const charge = latestCharge(account, intent);
  if (outcome === 'succeeded') {
    charge.status = 'succeeded';
    charge.paid = true;
    intent.status = 'succeeded';
    intent.amount_received = intent.amount;
    account.emit('charge.succeeded', charge);
    account.emit('payment_intent.succeeded', intent);
    return intent;
  }
  Object.assign(charge, {
    status: 'failed',
    captured: false,
    amount_captured: 0,
    failure_code: DEBIT_FAILED.code,
    failure_message: DEBIT_FAILED.message,
  });
  account.emit('charge.failed', charge);
  const method = account.paymentMethods.get(charge.payment_method);
  failAttempt(account, intent, { type: 'card_error', ...DEBIT_FAILED, charge: charge.id, payment_method: structuredClone(method) });
  return intent;
}

/** Knob: the cardholder authenticates, or fails to. */
export function completeAuthentication(account: Account, parameters: Parameters, id: string): PaymentIntent {
  const outcome = parameters.oneOf('outcome', ['succeeded', 'failed']) ?? 'succeeded';
  const intent = account.paymentIntents.get(id, 'intent');
  if (intent.status !== 'requires_action' || intent.payment_method === null) {
    throw unexpectedState(intent, `This PaymentIntent has a status of ${intent.status}, not requires_action.`);
  }
  const method = account.paymentMethods.get(intent.payment_method);
  if (outcome === 'succeeded') {
    issuerFile(account, method).authenticated = true;
    intent.next_action = null;
    pay(account, intent, method);
    return intent;
  }
  failAttempt(account, intent, {
    type: 'invalid_request_error',
    code: 'payment_intent_authentication_failure',
    message: 'We are unable to authenticate your payment method. Please choose a different payment method and try again.',
    payment_method: structuredClone(method),
  });
  return intent;
}

export function latestCharge(account: Account, intent: PaymentIntent): Charge {
  if (intent.latest_charge === null) throw new Error(`${intent.id} is ${intent.status} without a charge`);
  return account.charges.get(intent.latest_charge);
}

export function unexpectedState(intent: PaymentIntent, message: string): StripeError {
  return invalidRequest(message, { code: 'payment_intent_unexpected_state', payment_intent: structuredClone(intent) });
}

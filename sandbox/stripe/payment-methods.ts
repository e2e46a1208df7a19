/** Payment methods: created from Stripe's test ids, attached to customers, detached for good. */
import type { Account } from './account.ts';
import { invalidParameter, invalidRequest, resourceMissing, StripeError } from './errors.ts';
import { type IssuerFile, newId, now, type PaymentMethod } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { type TestCard, testCard, testCardId } from './test-cards.ts';

const TYPES = ['card', 'us_bank_account', 'sepa_debit'] as const;
const NETWORK_CODES = ['network_advice_code', 'network_decline_code'] as const;
const FINGERPRINT = /^[A-Za-z0-9]{16}$/;

/**
 * A new payment method for a test id, or the one with that id. @throws {StripeError} 400 or 404
 * resource_missing
 */
export function resolvePaymentMethod(account: Account, id: string, status: 400 | 404): PaymentMethod {
  const existing = account.paymentMethods.find(id);
  if (existing) return existing;
  const behaves_like = testCardId(id);
  if (!behaves_like) throw resourceMissing(status, 'PaymentMethod', id, 'payment_method');
  const method: PaymentMethod = {
    id: newId('pm'),
    object: 'payment_method',
    created: now(),
    customer: null,
    billing_details: { address: null, email: null, name: null, phone: null },
    livemode: false,
    metadata: {},
    ...structuredClone(testCard(behaves_like).details),
  };
  account.issuerFiles.add({ id: method.id, behaves_like, retired: false, authenticated: false });
  return account.paymentMethods.add(method);
}

export function issuerFile(account: Account, method: PaymentMethod): IssuerFile {
  return account.issuerFiles.get(method.id);
}

export function behaviourOf(account: Account, method: PaymentMethod): TestCard['outcome'] {
  return testCard(issuerFile(account, method).behaves_like).outcome;
}

/**
 * @throws {StripeError} 402 for a card that declines as such, 400 for one that is retired or another
 *   customer's.
 */
export function attachTo(account: Account, customer: string, methodId: string): PaymentMethod {
  const method = resolvePaymentMethod(account, methodId, 404);
  if (method.customer === customer) return method;
  if (method.customer !== null) {
    throw invalidRequest('The payment method you provided has already been attached to a customer.');
  }
  if (issuerFile(account, method).retired) {
    throw invalidRequest(
      'This PaymentMethod was previously used without being attached to a Customer or was detached from a Customer, and may not be used again.',
    );
  }
  const outcome = behaviourOf(account, method);
  if (outcome.kind === 'declines' && !outcome.attachable) {
    account.paymentMethods.remove(method.id);
    account.issuerFiles.remove(method.id);
    throw new StripeError(402, { type: 'card_error', ...outcome.decline });
  }
  method.customer = customer;
  account.emit('payment_method.attached', method);
  return method;
}

export function attachPaymentMethod(account: Account, parameters: Parameters, id: string): PaymentMethod {
  parameters.allowOnly('customer');
  return attachTo(account, liveCustomer(account, parameters.requiredText('customer'), 'customer').id, id);
}

/** @throws {StripeError} 400 for a payment method without a customer. */
export function detachPaymentMethod(account: Account, _: Parameters, id: string): PaymentMethod {
  const method = account.paymentMethods.get(id, 'payment_method');
  const before = structuredClone(method);
  if (method.customer === null) {
    throw invalidRequest('The payment method you provided is not attached to a customer so detachment is impossible.');
  }
  const customer = account.customers.find(method.customer);
  if (customer && !('deleted' in customer) && customer.invoice_settings.default_payment_method === id) {
    customer.invoice_settings.default_payment_method = null;
  }
  method.customer = null;
  issuerFile(account, method).retired = true;
  account.emit('payment_method.detached', method, before);
  return method;
}

export function retrievePaymentMethod(account: Account, _: Parameters, id: string): PaymentMethod {
  return account.paymentMethods.get(id, 'payment_method');
}

/** Without a customer the list is empty, as at Stripe. */
export function listPaymentMethods(account: Account, parameters: Parameters) {
  return listOf(account, parameters, parameters.text('customer'), '/v1/payment_methods');
}

export function listCustomerPaymentMethods(account: Account, parameters: Parameters, id: string) {
  account.customers.get(id, 'customer');
  return listOf(account, parameters, id, `/v1/customers/${id}/payment_methods`);
}

function listOf(account: Account, parameters: Parameters, customer: string | undefined, url: string) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'type', ...(url === '/v1/payment_methods' ? ['customer'] : []));
  const type = parameters.oneOf('type', TYPES);
  return account.paymentMethods.list(
    url,
    parameters.page(),
    (method) => method.customer !== null && method.customer === customer && (type === undefined || method.type === type),
  );
}

/**
 * Knob: what becomes of a card after it was saved. `behaves_like` has it go bad, or good again, and changes
 * nothing that Stripe shows. `fingerprint` gives it another number, for a test that tells cards apart.
 * `exp_month` and `exp_year` are a card updater's change in place, under the same id. `network_advice_code` and
 * `network_decline_code` come with each decline of the bank from then on, as in live mode.
 */
export function changePaymentMethod(account: Account, parameters: Parameters, id: string): IssuerFile {
  parameters.allowOnly('behaves_like', 'fingerprint', 'exp_month', 'exp_year', ...NETWORK_CODES);
  const method = account.paymentMethods.get(id, 'payment_method');
  const behaves_like = readBehaviour(parameters);
  const [fingerprint, expiry] = [readFingerprint(parameters), readExpiry(parameters)];
  if (fingerprint !== undefined || Object.keys(expiry).length > 0) {
    if (!method.card) throw invalidRequest(`${id} is not a card.`);
    changeCard(account, method, { ...(fingerprint !== undefined && { fingerprint }), ...expiry });
  }
  const file = issuerFile(account, method);
  const codes = NETWORK_CODES.flatMap((name) => (parameters.has(name) ? [[name, parameters.requiredText(name)]] : []));
  if (codes.length > 0) file.network_codes = { ...file.network_codes, ...Object.fromEntries(codes) };
  return behaves_like === undefined ? file : Object.assign(file, { behaves_like });
}

function readBehaviour(parameters: Parameters): string | undefined {
  const name = parameters.text('behaves_like');
  const behaves_like = name === undefined ? undefined : testCardId(name);
  if (name !== undefined && behaves_like === undefined) throw resourceMissing(400, 'test card', name, 'behaves_like');
  return behaves_like;
}

function readFingerprint(parameters: Parameters): string | undefined {
  const fingerprint = parameters.text('fingerprint');
  if (fingerprint === undefined || FINGERPRINT.test(fingerprint)) return fingerprint;
  throw invalidParameter('A fingerprint is 16 letters and digits.', 'fingerprint');
}

function readExpiry(parameters: Parameters): Partial<Record<'exp_month' | 'exp_year', number>> {
  const [exp_month, exp_year] = [parameters.integer('exp_month'), parameters.integer('exp_year')];
  if (exp_month !== undefined && (exp_month < 1 || exp_month > 12)) {
    throw invalidParameter("Your card's expiration month is invalid.", 'exp_month', 'invalid_expiry_month');
  }
  if (exp_year !== undefined && (exp_year < 1000 || exp_year > 9999)) {
    throw invalidParameter("Your card's expiration year is invalid.", 'exp_year', 'invalid_expiry_year');
  }
  return { ...(exp_month !== undefined && { exp_month }), ...(exp_year !== undefined && { exp_year }) };
}

/** Only an expiry that really changes is an event. */
function changeCard(account: Account, method: PaymentMethod, change: Partial<NonNullable<PaymentMethod['card']>>): void {
  const before = structuredClone(method);
  Object.assign(method.card as object, change);
  const isUpdated = method.card?.exp_month !== before.card?.exp_month || method.card?.exp_year !== before.card?.exp_year;
  if (isUpdated) account.emit('payment_method.automatically_updated', method, before);
}

/** A customer that a parameter names and that is not deleted. @throws {StripeError} 400 resource_missing */
export function liveCustomer(account: Account, id: string, param: string) {
  const customer = account.customers.refer(id, param);
  if ('deleted' in customer) throw resourceMissing(400, 'customer', id, param);
  return customer;
}

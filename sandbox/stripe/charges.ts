/** Charges: one for each attempt to take a PaymentIntent's money. */
import type { Account } from './account.ts';
import { type Charge, newId, now, type PaymentIntent, type PaymentMethod } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { issuerFile } from './payment-methods.ts';
import type { Decline } from './test-cards.ts';

/** Of a payment that Radar's default rule blocks. https://docs.stripe.com/declines#blocked-payments */
const BLOCKED: Charge['outcome'] = {
  type: 'blocked',
  network_status: 'not_sent_to_network',
  reason: 'highest_risk_level',
  risk_level: 'highest',
  seller_message: 'Stripe blocked this payment as too risky.',
  advice_code: null,
  network_advice_code: null,
  network_decline_code: null,
};

/**
 * Adds an attempt in the state in which the issuer left it, and makes it the intent's latest. A payment
 * method without a customer is spent by it.
 */
export function addCharge(
  account: Account,
  intent: PaymentIntent,
  method: PaymentMethod,
  result: { status: 'succeeded' | 'pending'; captured: boolean } | { status: 'failed'; decline: Decline; blocked: boolean },
): Charge {
  const decline = result.status === 'failed' ? result.decline : undefined;
  const captured = result.status === 'failed' ? false : result.captured;
  if (method.customer === null) issuerFile(account, method).retired = true;
  const charge: Charge = {
    id: newId('ch'),
    object: 'charge',
    amount: intent.amount,
    amount_captured: captured ? intent.amount : 0,
    amount_refunded: 0,
    captured,
    created: now(),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_code: decline?.code ?? null,
    failure_message: decline?.message ?? null,
    livemode: false,
    metadata: { ...intent.metadata },
    outcome: result.status === 'failed' && result.blocked ? BLOCKED : outcomeOf(result.status, decline),
    paid: result.status === 'succeeded',
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: detailsOf(method),
    refunded: false,
    status: result.status,
  };
  intent.latest_charge = charge.id;
  return account.charges.add(charge);
}

function detailsOf({ type, card, us_bank_account, sepa_debit }: PaymentMethod): Charge['payment_method_details'] {
  return structuredClone({ type, ...(card && { card }), ...(us_bank_account && { us_bank_account }), ...(sepa_debit && { sepa_debit }) });
}

function outcomeOf(status: Charge['status'], decline: Decline | undefined): Charge['outcome'] {
  if (status === 'pending') return null;
  return {
    type: decline ? 'issuer_declined' : 'authorized',
    network_status: decline ? 'declined_by_network' : 'approved_by_network',
    reason: decline?.decline_code ?? null,
    seller_message: decline ? 'The bank did not return any further details with this decline.' : 'Payment complete.',
    advice_code: decline?.advice_code ?? null,
    network_advice_code: decline?.network_advice_code ?? null,
    network_decline_code: decline?.network_decline_code ?? null,
  };
}

export function retrieveCharge(account: Account, parameters: Parameters, id: string): Charge {
  parameters.allowOnly();
  return account.charges.get(id);
}

export function listCharges(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'customer', 'payment_intent');
  const inRange = parameters.created();
  const [customer, intent] = [parameters.text('customer'), parameters.text('payment_intent')];
  return account.charges.list(
    '/v1/charges',
    parameters.page(),
    (charge) =>
      inRange(charge.created) &&
      (customer === undefined || charge.customer === customer) &&
      (intent === undefined || charge.payment_intent === intent),
  );
}

/** The objects that this stand-in keeps, with the fields of Stripe's that a payments service reads. */
import { createHash, randomInt } from 'node:crypto';

export type Metadata = Record<string, string>;

export type Customer = {
  id: string;
  object: 'customer';
  created: number;
  email: string | null;
  name: string | null;
  description: string | null;
  invoice_settings: { default_payment_method: string | null };
  default_source: null;
  livemode: false;
  metadata: Metadata;
};

export type DeletedCustomer = { id: string; object: 'customer'; deleted: true };

export type PaymentMethod = {
  id: string;
  object: 'payment_method';
  created: number;
  type: 'card' | 'us_bank_account' | 'sepa_debit';
  customer: string | null;
  billing_details: { address: null; email: null; name: null; phone: null };
  card?: {
    brand: string;
    funding: string;
    last4: string;
    exp_month: number;
    exp_year: number;
    country: string;
    /** The same for the same number, whoever has saved it: 16 letters and digits. */
    fingerprint: string;
  };
  us_bank_account?: { bank_name: string; last4: string };
  sepa_debit?: { bank_code: string; country: string; last4: string };
  livemode: false;
  metadata: Metadata;
};

/** What the issuer knows of a payment method and Stripe does not show. */
export type IssuerFile = {
  /** The payment method's id. */
  id: string;
  /** The test id whose behaviour it has, a key of TEST_CARDS. */
  behaves_like: string;
  /** Detached, or used without a customer: never to be charged again. */
  retired: boolean;
  /** The cardholder has authenticated a payment, which lets some cards pay off-session from then on. */
  authenticated: boolean;
  /** Sent with each decline of the bank. */
  network_codes?: NetworkCodes;
};

/** What the card network says with a bank's decline. Stripe has them in live mode only. */
export type NetworkCodes = {
  network_advice_code?: string;
  network_decline_code?: string;
};

/** What the issuer advises after a decline: https://docs.stripe.com/declines/card */
export type AdviceCode = 'confirm_card_data' | 'do_not_try_again' | 'try_again_later';

export type PaymentError = {
  type: 'card_error' | 'invalid_request_error';
  code: string;
  decline_code?: string;
  advice_code?: AdviceCode;
  message: string;
  charge?: string;
  payment_method?: PaymentMethod;
} & NetworkCodes;

export type PaymentIntentStatus =
  | 'requires_payment_method'
  | 'requires_confirmation'
  | 'requires_action'
  | 'processing'
  | 'requires_capture'
  | 'canceled'
  | 'succeeded';

export type PaymentIntent = {
  id: string;
  object: 'payment_intent';
  amount: number;
  amount_capturable: number;
  amount_received: number;
  automatic_payment_methods: { enabled: true; allow_redirects: 'always' | 'never' } | null;
  canceled_at: number | null;
  cancellation_reason: string | null;
  capture_method: 'automatic' | 'automatic_async' | 'manual';
  client_secret: string;
  confirmation_method: 'automatic';
  created: number;
  currency: string;
  customer: string | null;
  description: string | null;
  last_payment_error: PaymentError | null;
  latest_charge: string | null;
  livemode: false;
  metadata: Metadata;
  next_action: { type: string; [details: string]: unknown } | null;
  payment_method: string | null;
  payment_method_types: string[];
  receipt_email: string | null;
  statement_descriptor_suffix: string | null;
  status: PaymentIntentStatus;
};

export type Charge = {
  id: string;
  object: 'charge';
  amount: number;
  amount_captured: number;
  amount_refunded: number;
  /** A pending bank debit says true as well: money has been taken when `status` is succeeded too. */
  captured: boolean;
  created: number;
  currency: string;
  customer: string | null;
  description: string | null;
  disputed: boolean;
  failure_code: string | null;
  failure_message: string | null;
  livemode: false;
  metadata: Metadata;
  outcome: {
    type: string;
    network_status: string;
    reason: string | null;
    seller_message: string;
    advice_code: AdviceCode | null;
    network_advice_code: string | null;
    network_decline_code: string | null;
    /** Radar's; here only of a payment that it blocked. */
    risk_level?: 'highest';
  } | null;
  paid: boolean;
  payment_intent: string;
  payment_method: string;
  /** The payment method as it was at the attempt. */
  payment_method_details: Pick<PaymentMethod, 'type' | 'card' | 'us_bank_account' | 'sepa_debit'>;
  refunded: boolean;
  status: 'succeeded' | 'pending' | 'failed';
};

export type Refund = {
  id: string;
  object: 'refund';
  amount: number;
  charge: string;
  created: number;
  currency: string;
  failure_reason?: string;
  metadata: Metadata;
  payment_intent: string;
  reason: string | null;
  status: 'pending' | 'succeeded' | 'failed' | 'canceled';
};

export type Dispute = {
  id: string;
  object: 'dispute';
  amount: number;
  charge: string;
  created: number;
  currency: string;
  is_charge_refundable: boolean;
  livemode: false;
  metadata: Metadata;
  payment_intent: string;
  reason: string;
  status: 'needs_response' | 'won' | 'lost';
};

export type EarlyFraudWarning = {
  id: string;
  object: 'radar.early_fraud_warning';
  actionable: boolean;
  charge: string;
  created: number;
  fraud_type: string;
  livemode: false;
  /** Absent when only the charge names it. */
  payment_intent?: string;
};

export type StripeEvent = {
  id: string;
  object: 'event';
  api_version: string;
  created: number;
  data: { object: object; previous_attributes?: object };
  livemode: false;
  pending_webhooks: number;
  request: { id: string | null; idempotency_key: string | null };
  type: string;
};

export type WebhookEndpoint = {
  id: string;
  object: 'webhook_endpoint';
  created: number;
  enabled_events: string[];
  livemode: false;
  secret: string;
  status: 'enabled';
  url: string;
};

const FINGERPRINT_LENGTH = 16;
const ID_ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** An id in Stripe's shape, such as `pi_3XkUa5…`: 24 random letters and digits behind the prefix. */
export function newId(prefix: string): string {
  let id = `${prefix}_`;
  for (let i = 0; i < 24; i++) id += ID_ALPHABET[randomInt(ID_ALPHABET.length)];
  return id;
}

/**
 * A card's fingerprint in Stripe's shape, 16 letters and digits.
 *
 * @param number what stands for the card's number: the same text has the same fingerprint.
 */
export function fingerprintOf(number: string): string {
  const bytes = createHash('sha256').update(number).digest().subarray(0, FINGERPRINT_LENGTH);
  return Array.from(bytes, (byte) => ID_ALPHABET[byte % ID_ALPHABET.length]).join('');
}

/** Unix time in seconds, as every `created` is. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}

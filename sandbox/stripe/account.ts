/** Everything that one Stripe account holds, and the call that is being answered. */
import { Collection } from './collection.ts';
import {
  type Charge,
  type Customer,
  type DeletedCustomer,
  type Dispute,
  type EarlyFraudWarning,
  type IssuerFile,
  newId,
  now,
  type PaymentIntent,
  type PaymentMethod,
  type Refund,
  type StripeEvent,
  type WebhookEndpoint,
} from './objects.ts';

export const API_VERSION = '2026-10-28.endive';

/** Stripe keeps events for 30 days; here the newest this many are kept. */
const MAX_EVENTS = 10_000;

export type AccountState = {
  customers: (Customer | DeletedCustomer)[];
  payment_methods: PaymentMethod[];
  issuer_files: IssuerFile[];
  payment_intents: PaymentIntent[];
  charges: Charge[];
  refunds: Refund[];
  disputes: Dispute[];
  early_fraud_warnings: EarlyFraudWarning[];
  events: StripeEvent[];
  webhook_endpoints: WebhookEndpoint[];
  refund_mode: RefundMode;
};

/** Status that new refunds get: card refunds succeed at once, others wait. */
export type RefundMode = 'succeeded' | 'pending';

/** An event's fields about the request that caused it; both null when a knob or time was the cause. */
export type Cause = StripeEvent['request'];

const NO_REQUEST: Cause = { id: null, idempotency_key: null };

export class Account {
  readonly customers = new Collection<Customer | DeletedCustomer>('customer');
  readonly paymentMethods = new Collection<PaymentMethod>('PaymentMethod');
  readonly issuerFiles = new Collection<IssuerFile>('PaymentMethod');
  readonly paymentIntents = new Collection<PaymentIntent>('payment_intent');
  readonly charges = new Collection<Charge>('charge');
  readonly refunds = new Collection<Refund>('refund');
  readonly disputes = new Collection<Dispute>('dispute');
  readonly earlyFraudWarnings = new Collection<EarlyFraudWarning>('early_fraud_warning');
  readonly events = new Collection<StripeEvent>('event', MAX_EVENTS);
  readonly webhookEndpoints = new Collection<WebhookEndpoint>('webhook endpoint');
  refundMode: RefundMode = 'succeeded';
  private cause: Cause = NO_REQUEST;
  private readonly onEvent: (event: StripeEvent) => void;

  /** @param onEvent delivers an event to the webhook endpoints. */
  constructor(onEvent: (event: StripeEvent) => void) {
    this.onEvent = onEvent;
  }

  /**
   * Runs one call; events emitted meanwhile name it as their cause. Calls are synchronous, so only one runs
   * at a time.
   */
  run<T>(cause: Cause, call: () => T): T {
    this.cause = cause;
    try {
      return call();
    } finally {
      this.cause = NO_REQUEST;
    }
  }

  /**
   * Records an event with the object as it is now.
   *
   * @param before the object before an update, for `previous_attributes`.
   */
  emit(type: string, object: object, before?: object): void {
    const snapshot = structuredClone(object);
    const event = this.events.add({
      id: newId('evt'),
      object: 'event',
      api_version: API_VERSION,
      created: now(),
      data: { object: snapshot, ...(before && { previous_attributes: changedFields(before, snapshot) }) },
      livemode: false,
      pending_webhooks: 0,
      request: this.cause,
      type,
    });
    this.onEvent(event);
  }

  state(): AccountState {
    return {
      customers: this.customers.all(),
      payment_methods: this.paymentMethods.all(),
      issuer_files: this.issuerFiles.all(),
      payment_intents: this.paymentIntents.all(),
      charges: this.charges.all(),
      refunds: this.refunds.all(),
      disputes: this.disputes.all(),
      early_fraud_warnings: this.earlyFraudWarnings.all(),
      events: this.events.all(),
      webhook_endpoints: this.webhookEndpoints.all(),
      refund_mode: this.refundMode,
    };
  }

  load(state: AccountState): void {
    this.customers.load(state.customers);
    this.paymentMethods.load(state.payment_methods);
    this.issuerFiles.load(state.issuer_files);
    this.paymentIntents.load(state.payment_intents);
    this.charges.load(state.charges);
    this.refunds.load(state.refunds);
    this.disputes.load(state.disputes);
    // Absent in a state file from before there were any.
    this.earlyFraudWarnings.load(state.early_fraud_warnings ?? []);
    this.events.load(state.events);
    this.webhookEndpoints.load(state.webhook_endpoints);
    this.refundMode = state.refund_mode;
  }
}

/** The fields that differ, with their values before. */
function changedFields(before: object, after: object): object {
  const values = new Map(Object.entries(after));
  return Object.fromEntries(Object.entries(before).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(values.get(name))));
}

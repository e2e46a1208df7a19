/**
 * The way to Stripe: each call in its turn, by a deadline, and believed only where it is answered with what was asked
 * for. What fails is thrown as PaymentsError.
 */
import Stripe from 'stripe';
import { type CallWatcher, Gate, type GateLoad, type GateSize, type Lane, reported } from '../gate.ts';
import { PaymentsError, paymentsErrorFrom } from './errors.ts';

/**
 * stripe-node waits 80 s by default; a charge that takes longer than this is read back rather than waited
 * for.
 */
const DEADLINE_MS = 25_000;
/** For a place in the gate: eight calls with their waits fit into the four minutes of an attempt to charge. */
const MAX_WAIT_MS = 4_000;
/**
 * Calls of this process that Stripe handles at once. A call takes half a second, so 40 make the 80 to 100 a second
 * that Stripe allows an account. No worker has as many calls as are refused: its 40 activities make four at a time
 * at most, and a probe of bulk work ten, of which 8 may run at once (`src/temporal/worker.ts`).
 */
export const STRIPE_CALLS: Readonly<Record<Lane, GateSize>> = {
  money: { atOnce: 40, waiting: 120 },
  bulk: { atOnce: 5, waiting: 80 },
};

/** The object that each of our calls to Stripe is answered with. */
const OBJECTS = {
  'balance.retrieve': 'balance',
  'customers.retrieve': 'customer',
  'customers.listPaymentMethods': 'list',
  'paymentIntents.create': 'payment_intent',
  'paymentIntents.confirm': 'payment_intent',
  'paymentIntents.retrieve': 'payment_intent',
  'paymentIntents.update': 'payment_intent',
  'paymentIntents.cancel': 'payment_intent',
  'paymentIntents.list': 'list',
  'charges.retrieve': 'charge',
  'refunds.create': 'refund',
  'refunds.list': 'list',
  'disputes.list': 'list',
  'radar.earlyFraudWarnings.retrieve': 'radar.early_fraud_warning',
  'radar.earlyFraudWarnings.list': 'list',
} as const;
export type StripeRoute = keyof typeof OBJECTS;

/**
 * `apiBase`: such as `https://api.stripe.com`, or the address of a stand-in. `deadlineMs`: of a call, where whoever asks
 * waits for less than DEADLINE_MS.
 */
export type StripeOptions = { secretKey: string; apiBase: string; deadlineMs?: number; watch?: CallWatcher };

type Answered = { object: string; lastResponse: { statusCode: number } };

export class StripeTransport {
  private readonly stripe: Stripe;
  private readonly gate: Gate;
  private readonly watch: CallWatcher;

  constructor({ secretKey, apiBase, deadlineMs = DEADLINE_MS, watch = () => {} }: StripeOptions, lane: Lane) {
    this.watch = watch;
    this.gate = new Gate(STRIPE_CALLS[lane]);
    const { protocol, hostname, port } = new URL(apiBase);
    this.stripe = new Stripe(secretKey, {
      host: hostname,
      port: port || (protocol === 'http:' ? 80 : 443),
      protocol: protocol === 'http:' ? 'http' : 'https',
      timeout: deadlineMs,
      // Temporal retries; a retry in here would hide its first failure.
      maxNetworkRetries: 0,
      telemetry: false,
      appInfo: { name: 'bill-service' },
    });
  }

  /** What its gate has to do now. */
  get load(): GateLoad {
    return this.gate.load;
  }

  /**
   * Makes a call when it is its turn. stripe-node takes every JSON object without an `error` for what was asked
   * for, whatever its status: a gateway's `503 {"message":"Service Unavailable"}` would be an intent in no status,
   * or one without an id. Such an answer says nothing of what has happened at Stripe.
   *
   * @throws PaymentsError, `busy` when it is not its turn in time.
   */
  ask<T extends Answered>(route: StripeRoute, call: (stripe: Stripe) => Promise<T>): Promise<T> {
    const kindOf = (error: unknown) => (error instanceof PaymentsError ? error.kind : 'unknown');
    const made = () => this.make(OBJECTS[route], () => call(this.stripe));
    return reported({ dependency: 'stripe', route, watch: this.watch, kindOf }, made);
  }

  private async make<T extends Answered>(object: string, call: () => Promise<T>): Promise<T> {
    const answered = await this.gate.through(call, AbortSignal.timeout(MAX_WAIT_MS)).catch((error) => {
      throw paymentsErrorFrom(error);
    });
    if (answered.object === object) return answered;
    const status = answered.lastResponse.statusCode;
    const message = `Stripe: the answer is no ${object} (status ${status})`;
    const failure = { code: 'unknown', declineCode: null, adviceCode: null, message };
    throw new PaymentsError(message, { kind: 'unknown', status, failure, isSavedServerError: false });
  }
}

/** The stand-in for Stripe with a client of it, and what happens to cards and customers there. */
import Stripe from 'stripe';
import type { Fault, FaultRequest } from '../../sandbox/faults.ts';
import type { SandboxServer } from '../../sandbox/http.ts';
import type * as ours from '../../sandbox/stripe/objects.ts';
import { type StripeOptions, type StripeState, startStripe } from '../../sandbox/stripe/server.ts';

export const SECRET_KEY = 'sk_test_alpha';
export const USD_10 = { amount: 1000, currency: 'usd', payment_method_types: ['card', 'us_bank_account'] };

export class StripeStandIn {
  readonly stripe: Stripe;
  private readonly server: SandboxServer;

  private constructor(server: SandboxServer) {
    this.server = server;
    this.stripe = stripeClient(server.url);
  }

  static async start(options: Omit<StripeOptions, 'port'> = {}): Promise<StripeStandIn> {
    return new StripeStandIn(await startStripe({ port: 0, ...options }));
  }

  get url(): string {
    return this.server.url;
  }

  close(): Promise<void> {
    return this.server.close();
  }

  /** As it was at its start, but for its objects. */
  async calm(): Promise<void> {
    await this.clearFaults();
    await this.knob('refunds/mode', { status: 'succeeded' });
  }

  clientWith(key: string): Stripe {
    return stripeClient(this.url, key);
  }

  /** @throws when the knob is refused. */
  async knob(path: string, body: object = {}): Promise<unknown> {
    const response = await fetch(`${this.url}/_sandbox/${path}`, { method: 'POST', body: JSON.stringify(body) });
    const answer: unknown = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer;
  }

  async state(): Promise<StripeState> {
    return (await (await fetch(`${this.url}/_sandbox/state`)).json()) as StripeState;
  }

  fault(request: FaultRequest): Fault {
    return this.server.faults.add(request);
  }

  async clearFaults(): Promise<void> {
    await fetch(`${this.url}/_sandbox/faults`, { method: 'DELETE' });
  }

  /** A customer with a default card, in the words of a payment. */
  customerWith(testCard?: string) {
    return customerOf(this.stripe, testCard);
  }

  /** A confirmed payment intent. */
  paid(testCard?: string): Promise<Stripe.PaymentIntent> {
    return paymentAt(this.stripe, testCard);
  }

  async capturedCharges(intentId: string): Promise<ours.Charge[]> {
    return (await this.state()).charges.filter((charge) => charge.payment_intent === intentId && charge.captured);
  }
}

/** A client that sends each call once. */
export function stripeClient(url: string, key = SECRET_KEY): Stripe {
  const { hostname, port } = new URL(url);
  return new Stripe(key, { host: hostname, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false });
}

async function customerOf(stripe: Stripe, testCard = 'pm_card_visa'): Promise<{ customer: string; payment_method: string }> {
  const customer = await stripe.customers.create({
    payment_method: testCard,
    invoice_settings: { default_payment_method: testCard },
  });
  return { customer: customer.id, payment_method: customer.invoice_settings.default_payment_method as string };
}

export async function paymentAt(stripe: Stripe, testCard?: string): Promise<Stripe.PaymentIntent> {
  return stripe.paymentIntents.create({ ...USD_10, ...(await customerOf(stripe, testCard)), confirm: true, off_session: true });
}

/** The error that a call ends with. @throws when it succeeds. */
export async function errorOf(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeError) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

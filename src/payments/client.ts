/**
 * Stripe, as far as the service uses it: find the card, create an intent, confirm it, read it, cancel it, refund it.
 *
 * Every POST carries an idempotency key made from the recharge's own id, never from a workflow run: a retried or reset
 * workflow then asks for the same thing again. Stripe keeps a 500 under its key for a day, so a key that is answered with
 * one is given up for the next; that cannot do a thing twice, for an intent is captured once and refunded once in full. Errors come out as Stripe's own; `outcome.ts` says what they mean.
 */
import Stripe from 'stripe';
import type { Recharge } from '../database/entities.ts';
import { formatQuota } from '../domain/money.ts';
import { describeStripeError } from './outcome.ts';
import { ofDispute, ofRefund, type ReturnedMoney } from './returned-money.ts';

/** stripe-node waits 80 s by default; a charge that takes longer than this is read back rather than waited for. */
const DEADLINE_MS = 25_000;

/**
 * What an intent carries of its recharge: enough to enter it again, should the database have lost it. Decimal strings.
 */
export type IntentMetadata = {
  recharge_id: string;
  event_id: string;
  organization_id: string;
  litellm_team_id: string;
  quota: string;
  quota_before: string;
  balance: string;
};

function metadataOf(recharge: Recharge): IntentMetadata {
  return {
    recharge_id: recharge.id,
    event_id: recharge.eventId,
    organization_id: recharge.organizationId,
    litellm_team_id: recharge.litellmTeamId,
    quota: formatQuota(recharge.quotaGranted),
    quota_before: recharge.quotaBefore === null || recharge.quotaBefore === undefined ? '' : formatQuota(recharge.quotaBefore),
    balance: formatQuota(recharge.balanceSeen),
  };
}

export type PaymentMethodChoice = { kind: 'found'; id: string } | { kind: 'none'; code: string; message: string };

export class PaymentsClient {
  private readonly stripe: Stripe;

  /** @param apiBase such as `https://api.stripe.com`, or the address of a stand-in. */
  constructor(options: { secretKey: string; apiBase: string }) {
    const { protocol, hostname, port } = new URL(options.apiBase);
    this.stripe = new Stripe(options.secretKey, {
      host: hostname,
      port: port || (protocol === 'http:' ? 80 : 443),
      protocol: protocol === 'http:' ? 'http' : 'https',
      timeout: DEADLINE_MS,
      // Temporal retries; a retry in here would hide its first failure.
      maxNetworkRetries: 0,
      telemetry: false,
      appInfo: { name: 'bill-service' },
    });
  }

  /**
   * The card to charge off-session: the customer's default for invoices (Stripe applies it to invoices only), else the only
   * card there is.
   */
  async choosePaymentMethod(customerId: string): Promise<PaymentMethodChoice> {
    const customer = await answer('customer', this.stripe.customers.retrieve(customerId));
    if (customer.deleted) return { kind: 'none', code: 'customer_deleted', message: `Stripe customer ${customerId} is deleted` };
    const standard = customer.invoice_settings.default_payment_method;
    if (standard) return { kind: 'found', id: typeof standard === 'string' ? standard : standard.id };
    const cards = await answer('list', this.stripe.customers.listPaymentMethods(customerId, { type: 'card', limit: 2 }));
    const [only, another] = cards.data;
    if (only && !another) return { kind: 'found', id: only.id };
    return {
      kind: 'none',
      code: 'no_payment_method',
      message: only
        ? 'the customer has several cards and no default: set invoice_settings.default_payment_method'
        : 'the customer has no card: attach one',
    };
  }

  /** An intent that is not confirmed takes no money, so a second one after a lost answer does no harm. */
  async createIntent(recharge: Recharge, paymentMethodId: string): Promise<Stripe.PaymentIntent> {
    return answer(
      'payment_intent',
      this.stripe.paymentIntents.create(
        {
          amount: recharge.amountMinor,
          currency: recharge.currency,
          customer: recharge.stripeCustomerId,
          payment_method: paymentMethodId,
          // An off-session charge can follow no redirect.
          automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
          description: `LLM budget of team ${recharge.litellmTeamId}`,
          metadata: metadataOf(recharge),
        },
        { idempotencyKey: `recharge/${recharge.id}/create/${paymentMethodId}/${recharge.keysSpent}` },
      ),
    );
  }

  /** Takes the money. One intent can succeed only once, under whatever key. */
  async confirmIntent(recharge: Recharge, intentId: string): Promise<Stripe.PaymentIntent> {
    return answer(
      'payment_intent',
      this.stripe.paymentIntents.confirm(
        intentId,
        { off_session: true, error_on_requires_action: true },
        { idempotencyKey: `recharge/${recharge.id}/confirm/${recharge.keysSpent}` },
      ),
    );
  }

  async readIntent(intentId: string): Promise<Stripe.PaymentIntent> {
    return answer('payment_intent', this.stripe.paymentIntents.retrieve(intentId));
  }

  async cancelIntent(recharge: Recharge, intentId: string): Promise<Stripe.PaymentIntent> {
    return answer(
      'payment_intent',
      this.stripe.paymentIntents.cancel(
        intentId,
        { cancellation_reason: 'abandoned' },
        { idempotencyKey: `recharge/${recharge.id}/cancel/${recharge.keysSpent}` },
      ),
    );
  }

  /** Gives all of it back. Stripe refuses to refund more than was captured, under whatever key. */
  async refund(recharge: Recharge, intentId: string): Promise<Stripe.Refund> {
    return answer(
      'refund',
      this.stripe.refunds.create(
        { payment_intent: intentId, amount: recharge.amountMinor, metadata: { recharge_id: recharge.id } },
        { idempotencyKey: `recharge/${recharge.id}/refund/${recharge.keysSpent}` },
      ),
    );
  }

  /** Every refund of an intent, whoever made it. */
  async refundsOf(intentId: string): Promise<Stripe.Refund[]> {
    return (await answer('list', this.stripe.refunds.list({ payment_intent: intentId, limit: 100 }))).data;
  }

  async disputesOf(intentId: string): Promise<Stripe.Dispute[]> {
    return (await answer('list', this.stripe.disputes.list({ payment_intent: intentId, limit: 100 }))).data;
  }

  async returnedMoneyOf(intentId: string): Promise<ReturnedMoney[]> {
    return [...(await this.refundsOf(intentId)).map(ofRefund), ...(await this.disputesOf(intentId)).map(ofDispute)];
  }

  /** Every refund and dispute of an intent that was made since then, whenever its charge was. */
  async returnedSince(since: Date): Promise<{ intentId: string; money: ReturnedMoney }[]> {
    const refunds = await all((query) => answer('list', this.stripe.refunds.list(query)), since);
    const disputes = await all((query) => answer('list', this.stripe.disputes.list(query)), since);
    return [
      ...refunds.map((refund) => ({ intent: refund.payment_intent, money: ofRefund(refund) })),
      ...disputes.map((dispute) => ({ intent: dispute.payment_intent, money: ofDispute(dispute) })),
    ].flatMap(({ intent, money }) => (intent ? [{ intentId: typeof intent === 'string' ? intent : intent.id, money }] : []));
  }

  /** One page of the intents created since `since`, newest first. @param after the last id of the page before. */
  async intentsSince(since: Date, limit: number, after?: string): Promise<{ intents: Stripe.PaymentIntent[]; hasMore: boolean }> {
    const query = { created: from(since), limit, ...(after && { starting_after: after }) };
    const page = await answer('list', this.stripe.paymentIntents.list(query));
    return { intents: page.data, hasMore: page.has_more };
  }

  /**
   * Makes each call that the service makes, in a way that changes nothing, and answers those that the key may not make: a
   * restricted key has to be allowed each by itself.
   *
   * @throws an error whose message anybody may read, when a call says neither yes nor no.
   */
  async forbiddenCalls(): Promise<string[]> {
    const nobody = { customer: 'cus_BillDoctorNobody', intent: 'pi_BillDoctorNobody' };
    const calls: [string, () => Promise<unknown>][] = [
      ['balance: read', () => answer('balance', this.stripe.balance.retrieve())],
      ['customers: read', () => this.stripe.customers.retrieve(nobody.customer)],
      ['payment methods: read', () => this.stripe.customers.listPaymentMethods(nobody.customer, { limit: 1 })],
      ['payment intents: read', () => this.stripe.paymentIntents.retrieve(nobody.intent)],
      ['payment intents: write', () => this.stripe.paymentIntents.confirm(nobody.intent)],
      ['refunds: read', () => answer('list', this.stripe.refunds.list({ limit: 1 }))],
      ['refunds: write', () => this.stripe.refunds.create({ payment_intent: nobody.intent })],
      ['disputes: read', () => answer('list', this.stripe.disputes.list({ limit: 1 }))],
    ];
    const refused = await Promise.all(
      calls.map(async ([name, call]) => {
        const error = await call().then(
          () => undefined,
          (reason) => reason,
        );
        // There is no such customer, and no such payment: the key was let through.
        if (!error || error instanceof Stripe.errors.StripeInvalidRequestError) return [];
        if (error instanceof Stripe.errors.StripePermissionError) return [name];
        throw error instanceof Stripe.errors.StripeError ? new Error(describeStripeError(error)) : error;
      }),
    );
    return refused.flat();
  }

  /** Round trip in milliseconds of a call that needs a valid key. @throws an error whose message anybody may read. */
  async ping(): Promise<number> {
    const started = performance.now();
    await answer('balance', this.stripe.balance.retrieve()).catch((error) => {
      throw error instanceof Stripe.errors.StripeError ? new Error(describeStripeError(error)) : error;
    });
    return performance.now() - started;
  }
}

/**
 * stripe-node takes every JSON object without an `error` for what was asked for, whatever its status: a gateway's
 * `503 {"message":"Service Unavailable"}` would be an intent in no status, or one without an id.
 *
 * @throws StripeAPIError, which says nothing of what has happened at Stripe.
 */
async function answer<T extends { object: string; lastResponse: { statusCode: number } }>(
  object: T['object'],
  asked: Promise<T>,
): Promise<T> {
  const answered = await asked;
  if (answered.object === object) return answered;
  const message = `the answer is no ${object} (status ${answered.lastResponse.statusCode})`;
  throw new Stripe.errors.StripeAPIError({ type: 'api_error', message });
}

type ListQuery = { created: { gte: number }; limit: number; starting_after?: string };

/** Every object of a list, page by page. */
async function all<T extends { id: string }>(list: (query: ListQuery) => Promise<Stripe.ApiList<T>>, since: Date): Promise<T[]> {
  const found: T[] = [];
  for (let hasMore = true; hasMore; ) {
    const last = found.at(-1);
    const page = await list({ created: from(since), limit: 100, ...(last && { starting_after: last.id }) });
    found.push(...page.data);
    hasMore = page.has_more && page.data.length > 0;
  }
  return found;
}

function from(since: Date): { gte: number } {
  return { gte: Math.floor(since.getTime() / 1000) };
}

/**
 * Stripe, as far as the service uses it: find the card, create an intent, confirm it, read it, cancel it,
 * refund it. What Stripe answers is returned as our own types; what fails is thrown as PaymentsError.
 *
 * Every POST about money carries an idempotency key made from the recharge's own id, never from a workflow run: a
 * retried or reset workflow asks for the same thing again. Stripe keeps a 500 under its key for a day, so the next
 * attempt takes the next key. That does nothing twice: an intent is captured once, and refunded once in full.
 */
import type Stripe from 'stripe';
import type { Card } from '../domain/card.ts';
import type { FraudWarning } from '../domain/fraud-warning.ts';
import type { ReturnedMoney } from '../domain/reversal.ts';
import type { BudgetDirection, RememberedWrite } from '../domain/reversal-budget.ts';
import type { GateLoad, Lane } from '../gate.ts';
import { ofPaymentMethod } from './card.ts';
import { PaymentsError } from './errors.ts';
import { idIn } from './fields.ts';
import { ofFraudWarning } from './fraud-warning.ts';
import { type ChargeOrder, type Intent, metadataOf, metadataOfWrite, ofIntent, readWrite } from './intent.ts';
import { ofDispute, ofRefund, type Refund } from './returned-money.ts';
import { type StripeOptions, type StripeRoute, StripeTransport } from './transport.ts';

export type CardChoice =
  | { kind: 'found'; card: Card }
  /** The customer is deleted, or Stripe does not know it for this key. */
  | { kind: 'customer_missing'; message: string }
  | { kind: 'no_payment_method'; message: string };

/** `hasMore`: older ones behind the last. */
export type IntentsPage = { intents: Intent[]; hasMore: boolean };

export class PaymentsClient {
  private readonly stripe: StripeTransport;

  /** @param lane whose calls these are: those of the other lane do not wait for them. */
  constructor(options: StripeOptions, lane: Lane = 'money') {
    this.stripe = new StripeTransport(options, lane);
  }

  /**
   * The card to charge off-session: the customer's default for invoices (Stripe applies it to invoices only),
   * else the only card there is.
   */
  async chooseCard(customerId: string): Promise<CardChoice> {
    const expand = { expand: ['invoice_settings.default_payment_method'] };
    try {
      const customer = await this.stripe.ask('customers.retrieve', (stripe) => stripe.customers.retrieve(customerId, expand));
      if (customer.deleted) return { kind: 'customer_missing', message: `Stripe customer ${customerId} is deleted` };
      const standard = standardCardOf(customer);
      if (standard) return standard;
      const cards = await this.stripe.ask('customers.listPaymentMethods', (stripe) =>
        stripe.customers.listPaymentMethods(customerId, { type: 'card', limit: 2 }),
      );
      const [only, another] = cards.data;
      if (only && !another) return { kind: 'found', card: ofPaymentMethod(only) };
      const message = only ? 'the customer has several cards and no default' : 'the customer has no card';
      return { kind: 'no_payment_method', message };
    } catch (error) {
      if (!(error instanceof PaymentsError) || error.status !== 404) throw error;
      return { kind: 'customer_missing', message: error.failure.message };
    }
  }

  /** Whether Stripe knows the customer, by this key; one that was deleted is known. @throws PaymentsError */
  async knowsCustomer(customerId: string): Promise<boolean> {
    try {
      await this.stripe.ask('customers.retrieve', (stripe) => stripe.customers.retrieve(customerId));
      return true;
    } catch (error) {
      if (error instanceof PaymentsError && error.status === 404) return false;
      throw error;
    }
  }

  /**
   * An intent that is not confirmed takes no money, so a second one after a lost answer does no harm. What may
   * change between two attempts is part of the key: Stripe refuses other parameters under the same one.
   */
  async createIntent(
    recharge: ChargeOrder,
    { paymentMethodId, installation }: { paymentMethodId: string; installation: string },
  ): Promise<Intent> {
    const metadata = metadataOf(recharge, installation);
    return this.intent('paymentIntents.create', (stripe) =>
      stripe.paymentIntents.create(
        {
          amount: recharge.amountMinor,
          currency: recharge.currency,
          customer: recharge.stripeCustomerId,
          payment_method: paymentMethodId,
          // An off-session charge can follow no redirect.
          automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
          description: `LLM budget of team ${recharge.litellmTeamId}`,
          metadata,
        },
        { idempotencyKey: idempotencyKey(recharge, `create/${paymentMethodId}/${metadata['quota_before']}`) },
      ),
    );
  }

  /** Takes the money. One intent can succeed only once, under whatever key. */
  async confirmIntent(recharge: Attempt, intentId: string): Promise<Intent> {
    return this.intent('paymentIntents.confirm', (stripe) =>
      stripe.paymentIntents.confirm(
        intentId,
        { off_session: true, error_on_requires_action: true },
        { idempotencyKey: idempotencyKey(recharge, 'confirm') },
      ),
    );
  }

  async readIntent(intentId: string): Promise<Intent> {
    return this.intent('paymentIntents.retrieve', (stripe) => stripe.paymentIntents.retrieve(intentId, { expand: ['latest_charge'] }));
  }

  async cancelIntent(recharge: Attempt, intentId: string): Promise<Intent> {
    return this.intent('paymentIntents.cancel', (stripe) =>
      stripe.paymentIntents.cancel(intentId, { cancellation_reason: 'abandoned' }, { idempotencyKey: idempotencyKey(recharge, 'cancel') }),
    );
  }

  /**
   * Notes on the intent a write that follows its returned money, for a database that loses it. Without an idempotency
   * key: made again it says the same, and a restored database may have another one to note.
   *
   * @throws PaymentsError
   */
  async rememberWrite(intentId: string, { reversalId, direction }: WriteName, write: RememberedWrite): Promise<void> {
    await this.intent('paymentIntents.update', (stripe) =>
      stripe.paymentIntents.update(intentId, { metadata: metadataOfWrite(reversalId, direction, write) }),
    );
  }

  /** The write as it was noted; undefined where none was. @throws PaymentsError */
  async rememberedWrite(intentId: string, { reversalId, direction }: WriteName): Promise<RememberedWrite | undefined> {
    const { metadata } = await this.stripe.ask('paymentIntents.retrieve', (stripe) => stripe.paymentIntents.retrieve(intentId));
    return readWrite(metadata ?? {}, reversalId, direction);
  }

  /**
   * Gives the amount back. It is part of the key, because somebody may refund a part elsewhere between two attempts. Stripe
   * refuses to refund more than was captured, under whatever key.
   *
   * @param besides an earlier refund of ours, of another part.
   */
  async refund(
    recharge: Attempt & Pick<ChargeOrder, 'amountMinor'>,
    { intentId, besides }: { intentId: string; besides?: string | undefined },
  ): Promise<Refund> {
    const what = ['refund', recharge.amountMinor, besides].filter((part) => part !== undefined).join('/');
    return ofRefund(
      await this.stripe.ask('refunds.create', (stripe) =>
        stripe.refunds.create(
          { payment_intent: intentId, amount: recharge.amountMinor, metadata: { recharge_id: recharge.id } },
          { idempotencyKey: idempotencyKey(recharge, what) },
        ),
      ),
    );
  }

  /** The refunds of an intent, whoever made them; the newest 100. */
  async refundsOf(intentId: string): Promise<Refund[]> {
    return (await this.stripe.ask('refunds.list', (stripe) => stripe.refunds.list({ payment_intent: intentId, limit: 100 }))).data.map(
      ofRefund,
    );
  }

  async disputesOf(intentId: string): Promise<ReturnedMoney[]> {
    return (await this.stripe.ask('disputes.list', (stripe) => stripe.disputes.list({ payment_intent: intentId, limit: 100 }))).data.map(
      ofDispute,
    );
  }

  async returnedMoneyOf(intentId: string): Promise<ReturnedMoney[]> {
    return [...(await this.refundsOf(intentId)), ...(await this.disputesOf(intentId))];
  }

  /**
   * Every refund and dispute of an intent that was made since then, whenever its charge was. Read page by page: four
   * months of them need not fit into memory.
   */
  async *returnedSince(since: Date): AsyncGenerator<{ intentId: string; money: ReturnedMoney }> {
    for await (const refund of listEach((query) => this.stripe.ask('refunds.list', (stripe) => stripe.refunds.list(query)), since)) {
      const intentId = idIn(refund.payment_intent);
      if (intentId) yield { intentId, money: ofRefund(refund) };
    }
    for await (const dispute of listEach((query) => this.stripe.ask('disputes.list', (stripe) => stripe.disputes.list(query)), since)) {
      const intentId = idIn(dispute.payment_intent);
      if (intentId) yield { intentId, money: ofDispute(dispute) };
    }
  }

  /**
   * A warning with its charge, as Stripe has them now. What the key may not read is left out: a warning whose
   * event has come is not lost for a permission.
   *
   * @param named what the event names.
   * @returns undefined where neither the event nor Stripe names the charge.
   * @throws PaymentsError
   */
  async fraudWarning(named: { id: string; chargeId: string | null }): Promise<FraudWarning | undefined> {
    const warning = await unlessHidden(
      this.stripe.ask('radar.earlyFraudWarnings.retrieve', (stripe) => stripe.radar.earlyFraudWarnings.retrieve(named.id)),
    );
    const chargeId = warning ? idIn(warning.charge) : named.chargeId;
    if (chargeId === null) return undefined;
    const charge = await unlessHidden(this.stripe.ask('charges.retrieve', (stripe) => stripe.charges.retrieve(chargeId)));
    return ofFraudWarning({ ...(warning ?? { id: named.id, actionable: true }), charge: charge ?? chargeId });
  }

  /** Every early fraud warning that was made since then, whenever its charge was. @throws PaymentsError */
  async *fraudWarningsSince(since: Date): AsyncGenerator<FraudWarning> {
    const expand = ['data.charge'];
    const list = (query: ListQuery) =>
      this.stripe.ask('radar.earlyFraudWarnings.list', (stripe) => stripe.radar.earlyFraudWarnings.list({ ...query, expand }));
    for await (const warning of listEach(list, since)) yield ofFraudWarning(warning);
  }

  /**
   * The card to charge, and the newest intents of the customer, whoever made them, newest first; at most 100. One call
   * where the customer has paid before and has a default card, since each intent shows its customer.
   *
   * @throws PaymentsError
   */
  async cardAndNewestIntents(customerId: string, limit: number): Promise<IntentsPage & { choice: CardChoice }> {
    const query = { customer: customerId, limit, expand: ['data.customer.invoice_settings.default_payment_method'] };
    const page = await this.stripe
      .ask('paymentIntents.list', (stripe) => stripe.paymentIntents.list(query))
      .catch((error) => {
        // Of a customer that the key does not know; the choice of the card says so.
        if (error instanceof PaymentsError && error.failure.code === 'resource_missing') return { data: [], has_more: false };
        throw error;
      });
    const { data, has_more: hasMore } = page;
    const customer = data[0]?.customer;
    const shown = typeof customer === 'object' && customer !== null && !customer.deleted ? standardCardOf(customer) : undefined;
    return { choice: shown ?? (await this.chooseCard(customerId)), intents: data.map(ofIntent), hasMore };
  }

  /** The next intents of the customer behind one of them, newest first; at most 100. @throws PaymentsError */
  async intentsBehind(intentId: string, { customerId, limit }: { customerId: string; limit: number }): Promise<IntentsPage> {
    const query = { customer: customerId, limit, starting_after: intentId };
    const page = await this.stripe.ask('paymentIntents.list', (stripe) => stripe.paymentIntents.list(query));
    return { intents: page.data.map(ofIntent), hasMore: page.has_more };
  }

  /**
   * One page of the intents created since `since`, newest first. @param after the last id of the page before.
   */
  async intentsSince(since: Date, limit: number, after?: string): Promise<IntentsPage> {
    const query = { created: createdSince(since), limit, ...(after && { starting_after: after }) };
    const page = await this.stripe.ask('paymentIntents.list', (stripe) => stripe.paymentIntents.list(query));
    return { intents: page.data.map(ofIntent), hasMore: page.has_more };
  }

  /**
   * Makes each call that the service makes, in a way that changes nothing, and returns those that the key may
   * not make: a restricted key has to be allowed each by itself.
   *
   * @throws PaymentsError when a call says neither yes nor no.
   */
  async forbiddenCalls(): Promise<string[]> {
    const nobody = { customer: 'cus_BillDoctorNobody', intent: 'pi_BillDoctorNobody', charge: 'ch_BillDoctorNobody' };
    const calls: [string, Promise<unknown>][] = [
      ['balance: read', this.stripe.ask('balance.retrieve', (stripe) => stripe.balance.retrieve())],
      ['customers: read', this.stripe.ask('customers.retrieve', (stripe) => stripe.customers.retrieve(nobody.customer))],
      [
        'payment methods: read',
        this.stripe.ask('customers.listPaymentMethods', (stripe) => stripe.customers.listPaymentMethods(nobody.customer, { limit: 1 })),
      ],
      ['payment intents: read', this.intent('paymentIntents.retrieve', (stripe) => stripe.paymentIntents.retrieve(nobody.intent))],
      ['payment intents: write', this.intent('paymentIntents.confirm', (stripe) => stripe.paymentIntents.confirm(nobody.intent))],
      ['charges: read', this.stripe.ask('charges.retrieve', (stripe) => stripe.charges.retrieve(nobody.charge))],
      ['refunds: read', this.stripe.ask('refunds.list', (stripe) => stripe.refunds.list({ limit: 1 }))],
      ['refunds: write', this.stripe.ask('refunds.create', (stripe) => stripe.refunds.create({ payment_intent: nobody.intent }))],
      ['disputes: read', this.stripe.ask('disputes.list', (stripe) => stripe.disputes.list({ limit: 1 }))],
      [
        'early fraud warnings: read',
        this.stripe.ask('radar.earlyFraudWarnings.list', (stripe) => stripe.radar.earlyFraudWarnings.list({ limit: 1 })),
      ],
    ];
    const refused = await Promise.all(
      calls.map(async ([name, call]) => {
        const error = await call.then(
          () => undefined,
          (reason) => reason,
        );
        // There is no such customer, and no such payment: the key was let through.
        if (!error || (error instanceof PaymentsError && error.kind === 'refused')) return [];
        if (error instanceof PaymentsError && error.status === 403) return [name];
        throw error;
      }),
    );
    return refused.flat();
  }

  /** What its gate has to do now. */
  get load(): GateLoad {
    return this.stripe.load;
  }

  /** The PaymentIntent of a charge; null where Stripe has no such charge, or it has none. @throws PaymentsError */
  async intentOfCharge(chargeId: string): Promise<string | null> {
    try {
      const { payment_intent: intent } = await this.stripe.ask('charges.retrieve', (stripe) => stripe.charges.retrieve(chargeId));
      return typeof intent === 'string' ? intent : (intent?.id ?? null);
    } catch (error) {
      if (error instanceof PaymentsError && error.kind === 'refused') return null;
      throw error;
    }
  }

  /** Round trip in milliseconds of a call that needs a valid key. */
  async ping(): Promise<number> {
    const started = performance.now();
    await this.stripe.ask('balance.retrieve', (stripe) => stripe.balance.retrieve());
    return performance.now() - started;
  }

  private async intent(route: StripeRoute, call: (stripe: Stripe) => Promise<Stripe.Response<Stripe.PaymentIntent>>): Promise<Intent> {
    return ofIntent(await this.stripe.ask(route, call));
  }
}

/** The customer's default for invoices. */
function standardCardOf({ invoice_settings: settings }: Stripe.Customer): Extract<CardChoice, { kind: 'found' }> | undefined {
  const standard = settings.default_payment_method;
  return standard ? { kind: 'found', card: ofPaymentMethod(standard) } : undefined;
}

/** Which write of the budget: a reversal makes one of each direction. */
export type WriteName = { reversalId: string; direction: BudgetDirection };

/** What a further request about a recharge needs for its idempotency key. */
type Attempt = Pick<ChargeOrder, 'id' | 'keysSpent'>;

function idempotencyKey({ id, keysSpent }: Attempt, step: string): string {
  return `recharge/${id}/${step}/${keysSpent}`;
}

/** undefined for what Stripe does not know, or does not let the key read. */
async function unlessHidden<T>(reading: Promise<T>): Promise<T | undefined> {
  return reading.catch((error) => {
    if (error instanceof PaymentsError && (error.status === 403 || error.status === 404)) return undefined;
    throw error;
  });
}

type ListQuery = { created: { gte: number }; limit: number; starting_after?: string };

/** Every object of a list, page by page. */
async function* listEach<T extends { id: string }>(list: (query: ListQuery) => Promise<Stripe.ApiList<T>>, since: Date): AsyncGenerator<T> {
  for (let after: string | undefined, hasMore = true; hasMore; ) {
    const page: Stripe.ApiList<T> = await list({ created: createdSince(since), limit: 100, ...(after && { starting_after: after }) });
    yield* page.data;
    after = page.data.at(-1)?.id;
    hasMore = page.has_more && after !== undefined;
  }
}

function createdSince(since: Date): { gte: number } {
  return { gte: Math.floor(since.getTime() / 1000) };
}

/**
 * Stripe and LiteLLM as everybody but the service sees them: what goes wrong there, what somebody else does
 * there, what is true there.
 */
import { randomBytes } from 'node:crypto';
import axios, { type AxiosInstance } from 'axios';
import Stripe from 'stripe';
import type { FaultAction, FaultRequest } from '../../sandbox/faults.ts';
import type { Config } from '../../src/config.ts';
import type { KmsState, StripeState } from './answers.ts';
import { ALWAYS, HOLD, READ_BUDGET, StandingFault, UNAVAILABLE, WRITE_BUDGET } from './faults.ts';

type Team = { teamId: string };
type Customer = { customerId: string };

/** The fingerprint of a card that nobody has yet, in Stripe's shape. */
export function newFingerprint(): string {
  return randomBytes(8).toString('hex');
}

export class StandIns {
  readonly config: Config;
  readonly stripe: Stripe;

  constructor(config: Config) {
    this.config = config;
    const { hostname, port } = new URL(config.stripe.apiBase);
    this.stripe = new Stripe(config.stripe.secretKey, { host: hostname, port, protocol: 'http', maxNetworkRetries: 0 });
  }

  get stripeUrl(): string {
    return this.config.stripe.apiBase;
  }

  get kmsUrl(): string {
    return this.config.kms.baseUrl;
  }

  /** LiteLLM as somebody else uses it: none of our faults strikes there. */
  get kms(): AxiosInstance {
    return axios.create({ baseURL: this.kmsUrl, headers: { Authorization: `Bearer ${this.config.kms.apiKey}`, 'X-Sandbox-Spare': '1' } });
  }

  stripeFault(fault: FaultRequest): Promise<StandingFault> {
    return StandingFault.set(this.stripeUrl, fault);
  }

  kmsFault(fault: FaultRequest): Promise<StandingFault> {
    return StandingFault.set(this.kmsUrl, fault);
  }

  /** Takes away every fault; what they hold goes on. */
  async clearFaults(): Promise<void> {
    await Promise.all([axios.delete(`${this.stripeUrl}/_sandbox/faults`), axios.delete(`${this.kmsUrl}/_sandbox/faults`)]);
  }

  /** How often the faults have struck that `clearFaults` has not taken away. */
  async strikes(): Promise<number> {
    const answers = await Promise.all([this.stripeUrl, this.kmsUrl].map((url) => axios.get(`${url}/_sandbox/faults`)));
    return answers.flatMap(({ data }) => data.data as { struck: number }[]).reduce((sum, { struck }) => sum + struck, 0);
  }

  /** LiteLLM refuses to write the budget of the organization's team, as long as this stands. */
  refuseBudget({ teamId }: Team, action: FaultAction = UNAVAILABLE): Promise<StandingFault> {
    return this.kmsFault({ ...WRITE_BUDGET, contains: teamId, times: ALWAYS, action });
  }

  /**
   * Waits until a refused write of the budget is over and the next attempt is held up before it reads the
   * budget, so that what is done to the budget comes between the two.
   *
   * @returns lets that attempt go on, and LiteLLM take the budget.
   */
  async betweenAttempts({ teamId }: Team, refusal: StandingFault): Promise<() => Promise<void>> {
    await refusal.struck();
    const held = await this.kmsFault({ ...READ_BUDGET, contains: teamId, times: ALWAYS, action: HOLD });
    await held.struck();
    return async () => {
      await refusal.remove();
      await held.remove();
    };
  }

  /** A knob of the stand-in for Stripe, see `sandbox/stripe/server.ts`. Returns what it answers. */
  async stripeKnob<T = { id: string }>(path: string, body: Record<string, unknown> = {}): Promise<T> {
    return (await axios.post(`${this.stripeUrl}/_sandbox/${path}`, body)).data;
  }

  /**
   * A test payment method becomes the customer's default. Returns its id.
   *
   * @param fingerprint without it the card is one that nobody else has.
   */
  async attachCard(customerId: string, testCard: string, fingerprint = newFingerprint()): Promise<string> {
    const { id, type } = await this.stripe.paymentMethods.attach(testCard, { customer: customerId });
    if (type === 'card') await this.stripeKnob(`payment_methods/${id}`, { fingerprint });
    await this.stripe.customers.update(customerId, { invoice_settings: { default_payment_method: id } });
    return id;
  }

  /** The customer's card behaves like a test card of Stripe's from now on. */
  async makeCardBehaveLike({ customerId }: Customer, testCard: string): Promise<void> {
    const [card] = (await this.stripe.customers.listPaymentMethods(customerId)).data;
    await this.stripeKnob(`payment_methods/${card?.id}`, { behaves_like: testCard });
  }

  /** How often a card of the customer was asked for money, in vain or not. */
  async chargeAttempts({ customerId }: Customer): Promise<number> {
    return (await this.stripe.charges.list({ customer: customerId, limit: 100 })).data.length;
  }

  /** The customer pays 5.00 USD for something that is none of the service's. */
  async payElsewhere({ customerId }: Customer): Promise<Stripe.PaymentIntent> {
    const [card] = (await this.stripe.customers.listPaymentMethods(customerId)).data;
    return this.stripe.paymentIntents.create({
      amount: 500,
      currency: 'usd',
      customer: customerId,
      payment_method: card?.id ?? '',
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      confirm: true,
      off_session: true,
    });
  }

  /** What the stand-in for Stripe was asked, the newest request last, and the events that it has sent. */
  async stripeState(): Promise<StripeState> {
    return (await axios.get(`${this.stripeUrl}/_sandbox/state`)).data;
  }

  /** Whether Stripe refuses the service's key. */
  async revokeStripeKey(isRevoked: boolean): Promise<void> {
    await this.stripeKnob('keys', { revoked: isRevoked ? [this.config.stripe.secretKey] : [] });
  }

  /** A knob of the stand-in for LiteLLM, see `sandbox/litellm/server.ts`. */
  async kmsKnob(path: string, body: Record<string, unknown> = {}): Promise<void> {
    await axios.post(`${this.kmsUrl}/_sandbox/${path}`, body);
  }

  /** What the stand-in for LiteLLM holds, and what it was asked, the newest request last. */
  async kmsState(): Promise<KmsState> {
    return (await axios.get(`${this.kmsUrl}/_sandbox/state`)).data;
  }

  /** A team that somebody else makes in LiteLLM. */
  async makeTeam(fields: Record<string, unknown>): Promise<void> {
    await this.kms.post('/team/new', fields);
  }

  /** Edits that somebody else makes in LiteLLM. */
  async editTeam(teamId: string, fields: Record<string, unknown>): Promise<void> {
    await this.kms.post('/team/update', { team_id: teamId, ...fields });
  }

  async setBudget(teamId: string, maxBudget: number | null): Promise<void> {
    await this.editTeam(teamId, { max_budget: maxBudget });
  }

  async deleteTeam(teamId: string): Promise<void> {
    await this.kms.post('/team/delete', { team_ids: [teamId] });
  }

  async spend(teamId: string, amount: number): Promise<void> {
    await axios.post(`${this.kmsUrl}/_sandbox/teams/${encodeURIComponent(teamId)}/spend`, { amount });
  }

  /** The team's max_budget as LiteLLM has it. */
  async budgetOf(teamId: string): Promise<number | null> {
    return (await this.kms.get('/team/info', { params: { team_id: teamId } })).data.team_info.max_budget;
  }

  /** What LiteLLM answers about a team, whole. */
  async teamInfo(teamId: string): Promise<unknown> {
    return (await this.kms.get('/team/info', { params: { team_id: teamId } })).data;
  }
}

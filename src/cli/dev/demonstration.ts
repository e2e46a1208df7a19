/** Three organizations to look at, and customers of theirs who spend. */
import axios, { isAxiosError } from 'axios';
import Stripe from 'stripe';
import type { Config } from '../../config.ts';
import { callService } from '../service-client.ts';

type DemonstrationOrganization = {
  id: string;
  name: string;
  /** A Stripe test payment method. */
  card: string;
  budget: number;
  settings: Record<string, unknown>;
  /** What one call costs, in dollars. */
  callCost: number;
};

/** One whose card works, one in another currency with a margin, and one whose card is declined. */
const ORGANIZATIONS: readonly DemonstrationOrganization[] = [
  {
    id: 'acme',
    name: 'Acme Corporation',
    card: 'pm_card_visa',
    budget: 2,
    settings: { minimum_balance: '5.00', target_balance: '25.00', max_daily_recharges: 1000 },
    callCost: 0.9,
  },
  {
    id: 'globex',
    name: 'Globex GmbH',
    card: 'pm_card_mastercard',
    budget: 12,
    settings: {
      minimum_balance: '10.00',
      target_balance: '40.00',
      currency: 'eur',
      quota_per_unit: '1.05',
      time_zone: 'Europe/Berlin',
      max_daily_recharges: 1000,
    },
    callCost: 0.7,
  },
  {
    id: 'initech',
    name: 'Initech',
    card: 'pm_card_chargeCustomerFail',
    budget: 9,
    settings: { minimum_balance: '2.00', target_balance: '12.00', max_daily_recharges: 3 },
    callCost: 0.5,
  },
];

/** Between two calls of one organization's users. */
const CALL_INTERVAL_MS = 1_200;

export type Member = { organizationId: string; key: string; callCost: number };

/**
 * Creates at Stripe, in LiteLLM and here what is not there yet, and answers a fresh LiteLLM key for each organization.
 * For stand-ins only: it attaches test cards.
 */
export async function createDemonstration(config: Config): Promise<Member[]> {
  const { hostname, port } = new URL(config.stripe.apiBase);
  const stripe = new Stripe(config.stripe.secretKey, { host: hostname, port, protocol: 'http' });
  const kms = axios.create({ baseURL: config.kms.baseUrl, headers: { Authorization: `Bearer ${config.kms.apiKey}` } });
  const { data: existing } = await callService<{ data: { c_organization_id: string }[] }>('GET', '/api/v1/organizations', undefined, {
    limit: 200,
  });

  const members: Member[] = [];
  for (const { id, name, card, budget, settings, callCost } of ORGANIZATIONS) {
    if (!existing.some(({ c_organization_id: known }) => known === id)) {
      await kms.post('/team/new', { team_id: id, team_alias: name, max_budget: budget }).catch(unlessItExists);
      const customer = await stripe.customers.create({ name, metadata: { c_organization_id: id } });
      const paymentMethod = await stripe.paymentMethods.attach(card, { customer: customer.id });
      await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: paymentMethod.id } });
      const organization = { c_organization_id: id, name, stripe_customer_id: customer.id, litellm_team_id: id, ...settings };
      await callService('POST', '/api/v1/organizations', organization);
    }
    const { data: key } = await kms.post('/key/generate', { team_id: id });
    members.push({ organizationId: id, key: key.key, callCost });
  }
  return members;
}

function unlessItExists(error: unknown): void {
  if (!isAxiosError(error) || error.response?.status !== 400) throw error;
}

/** A member has been refused for lack of budget, or answers again after having been. */
export type Refusal = { organizationId: string; kind: 'refused' } | { organizationId: string; kind: 'answers_again'; afterMs: number };

/** Calls the LLM as the organizations' users would, until stopped. */
export function startSpending(kmsUrl: string, members: Member[], noticed: (refusal: Refusal) => void): { stop: () => void } {
  const timers = members.map((member) => {
    let refusedSince: number | undefined;
    return setInterval(async () => {
      // Between half and one and a half of the usual cost, as prompts differ.
      const cost = member.callCost * (0.5 + Math.random());
      const status = await callModel(kmsUrl, member.key, cost);
      if (status === 429 && refusedSince === undefined) {
        refusedSince = Date.now();
        noticed({ organizationId: member.organizationId, kind: 'refused' });
      } else if (status === 200 && refusedSince !== undefined) {
        noticed({ organizationId: member.organizationId, kind: 'answers_again', afterMs: Date.now() - refusedSince });
        refusedSince = undefined;
      }
    }, CALL_INTERVAL_MS);
  });
  return {
    stop: () => {
      for (const timer of timers) clearInterval(timer);
    },
  };
}

/** The HTTP status of one chat completion; undefined when there was none. */
async function callModel(kmsUrl: string, key: string, cost: number): Promise<number | undefined> {
  const body = { model: 'fake', messages: [{ role: 'user', content: 'hello' }], sandbox_cost: cost };
  try {
    return (
      await axios.post(`${kmsUrl}/chat/completions`, body, { headers: { Authorization: `Bearer ${key}` }, validateStatus: () => true })
    ).status;
  } catch {
    return undefined;
  }
}

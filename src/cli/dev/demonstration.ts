/** The demonstration of `bill dev`: three organizations, and users who spend. */
import type { Config, KmsConfig, StripeConfig } from '../../config.ts';
import { fetchWithin } from '../fetch.ts';

/** Its customers spend in an hour what others spend in months. */
const SPENDS_ALL_DAY = { max_daily_recharges: 1000, max_daily_amount: '50000.00', max_monthly_amount: '500000.00' };

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
    settings: { minimum_balance: '5.00', target_balance: '25.00', ...SPENDS_ALL_DAY },
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
      ...SPENDS_ALL_DAY,
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

const ORGANIZATIONS_PATH = '/api/v1/organizations';
/** The stand-ins run on this machine. */
const DEADLINE_MS = 15_000;
/** Between two calls of one organization's users. */
const CALL_INTERVAL_MS = 1_200;

/** Both LiteLLM and the service take a key as a bearer token. */
type Server = { baseUrl: string; apiKey: string };

export type Member = { organizationId: string; key: string; callCost: number };

/**
 * Creates what is missing at Stripe, in LiteLLM and in the service, and returns a new LiteLLM key for each
 * organization. For stand-ins only: it attaches test cards.
 *
 * @param apiUrl the API that `bill dev` has started.
 */
export async function createDemonstration(
  { stripe, kms, http }: Pick<Config, 'stripe' | 'kms' | 'http'>,
  apiUrl: string,
): Promise<Member[]> {
  // This API, whatever service the environment names: the commands would ask that one.
  const api = { baseUrl: apiUrl, apiKey: http.adminApiKey };
  const { data: existing } = await bodyOf<{ data: { c_organization_id: string }[] }>(await get(api, `${ORGANIZATIONS_PATH}?limit=200`));

  const members: Member[] = [];
  for (const { id, name, card, budget, settings, callCost } of ORGANIZATIONS) {
    if (!existing.some(({ c_organization_id: known }) => known === id)) {
      await createTeam(kms, { team_id: id, team_alias: name, max_budget: budget });
      const customer = await createCustomer(stripe, { id, name, card });
      const organization = { c_organization_id: id, name, stripe_customer_id: customer, litellm_team_id: id, ...settings };
      await bodyOf(await postJson(api, ORGANIZATIONS_PATH, organization));
    }
    const { key } = await bodyOf<{ key: string }>(await postJson(kms, '/key/generate', { team_id: id }));
    members.push({ organizationId: id, key, callCost });
  }
  return members;
}

/** A team that exists stays as it is. */
async function createTeam(kms: KmsConfig, team: { team_id: string; team_alias: string; max_budget: number }): Promise<void> {
  const response = await postJson(kms, '/team/new', team);
  if (response.status !== 400) await bodyOf(response);
}

/** A customer whose default payment method is the test card; its id. */
async function createCustomer(
  { apiBase, secretKey }: StripeConfig,
  { id, name, card }: Record<'id' | 'name' | 'card', string>,
): Promise<string> {
  const form = { name, 'metadata[c_organization_id]': id, payment_method: card, 'invoice_settings[default_payment_method]': card };
  const headers = { authorization: `Bearer ${secretKey}` };
  const response = await fetchWithin(DEADLINE_MS, `${apiBase}/v1/customers`, { method: 'POST', headers, body: new URLSearchParams(form) });
  return (await bodyOf<{ id: string }>(response)).id;
}

function get({ baseUrl, apiKey }: Server, path: string): Promise<Response> {
  return fetchWithin(DEADLINE_MS, `${baseUrl}${path}`, { headers: { authorization: `Bearer ${apiKey}` } });
}

function postJson({ baseUrl, apiKey }: Server, path: string, body: object): Promise<Response> {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
  return fetchWithin(DEADLINE_MS, `${baseUrl}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
}

/** @throws unless the answer is 2xx, with what it says. */
async function bodyOf<T>(response: Response): Promise<T> {
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

/** A member has been refused for lack of budget, or answers again after having been. */
export type Refusal = { organizationId: string; kind: 'refused' } | { organizationId: string; kind: 'answers_again'; afterMs: number };

/** Calls the LLM as the organizations' users would, until stopped. */
export function startSpending(kmsUrl: string, members: Member[], noticed: (refusal: Refusal) => void): { stop: () => void } {
  const timers = members.map((member) => {
    let refusedSince: number | undefined;
    return setInterval(async () => {
      // From half to one and a half times the usual cost, as prompts differ.
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
    const response = await postJson({ baseUrl: kmsUrl, apiKey: key }, '/chat/completions', body);
    await response.body?.cancel();
    return response.status;
  } catch {
    return undefined;
  }
}

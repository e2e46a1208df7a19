/**
 * A world to test in: the service on a database and a task queue of its own, with the stand-ins for Stripe and LiteLLM
 * running as servers. The tests act as LiteLLM, as an operator and as the world's faults, and then ask the stand-ins and
 * the ledger what really happened.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { WorkflowBundle } from '@temporalio/worker';
import axios, { type AxiosInstance, type AxiosResponse } from 'axios';
import pg from 'pg';
import type { DestinationStream } from 'pino';
import Stripe from 'stripe';
import type { FaultRequest } from '../../sandbox/faults.ts';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { type Config, readConfig } from '../../src/config.ts';
import { createLogger, type Logger } from '../../src/observability/log.ts';
import { type Running, startApi, startWorker } from '../../src/service.ts';
import { installTemporalLogger } from '../../src/temporal/worker.ts';
import { createDatabase } from './databases.ts';
import { TEMPLATE_DATABASE } from './global-setup.ts';
import { freePort } from './ports.ts';

export const HMAC_SECRET = 'test-hmac-secret-of-litellm';
export const URL_TOKEN = 'test-url-token-of-litellm';
export const ADMIN_API_KEY = 'test-admin-key-of-operator';
const KMS_KEY = 'sk-1234';

/** A recharge takes about a second; one that outlives this has been forgotten. */
const SETTLE_TIMEOUT_MS = 30_000;

/** The SDK takes its logger once a process: that of the first world. */
let isTemporalLogging = false;

export type Organization = { id: string; teamId: string; customerId: string; teamKey: string };

export type OrganizationWish = {
  /** A Stripe test payment method, attached to the customer. */
  card?: string;
  minimum?: string;
  target?: string;
  /** A name of its own for the team; otherwise it gets one that nobody else has. */
  teamId?: string;
  /** The team's budget and what it has spent of it, in dollars. */
  budget?: number | null;
  spend?: number;
  settings?: Record<string, unknown>;
};

export class World {
  readonly name: string;
  readonly env: Record<string, string>;
  readonly config: Config;
  readonly stripe: Stripe;
  readonly sql: pg.Pool;
  /** Set by tests that run the service in processes of their own. */
  apiUrl = '';
  /** Where the service's log goes; standard output unless `start` was told otherwise. */
  private logDestination: DestinationStream | undefined;
  private readonly servers: LaunchedServer[];
  private api: Running | undefined;
  private worker: Running | undefined;
  private serial = 0;

  private constructor(name: string, env: Record<string, string>, servers: LaunchedServer[]) {
    this.name = name;
    this.env = env;
    this.config = readConfig(env);
    this.servers = servers;
    const { hostname, port } = new URL(this.stripeUrl);
    this.stripe = new Stripe(this.config.stripe.secretKey, { host: hostname, port, protocol: 'http', maxNetworkRetries: 0 });
    this.sql = new pg.Pool({ connectionString: this.config.databaseUrl, max: 4 });
    this.sql.on('error', () => {}); // some tests restart PostgreSQL
  }

  /**
   * The world without the service: for tests that start its processes themselves.
   *
   * @param overrides a `KMS_BASE_URL` among them replaces the stand-in for LiteLLM. `STRIPE_WEBHOOK_SECRETS` has Stripe's
   *   events posted to the API, signed with the first of them; without it they are lost.
   */
  static async create(overrides: Record<string, string> = {}): Promise<World> {
    const name = `test_${randomBytes(6).toString('hex')}`;
    const signingSecret = overrides['STRIPE_WEBHOOK_SECRETS']?.split(',')[0];
    const apiPort = overrides['PORT'] ?? (signingSecret ? String(await freePort()) : '0');
    const webhookUrl = signingSecret && `http://127.0.0.1:${apiPort}/webhooks/stripe`;
    const [stripe, litellm, databaseUrl] = await Promise.all([
      launch('stripe', { port: 0, 'webhook-url': webhookUrl, 'webhook-secret': signingSecret }),
      overrides['KMS_BASE_URL'] ? undefined : launch('litellm', { port: 0, 'spend-lag-ms': 0, 'master-key': overrides['KMS_API_KEY'] }),
      createDatabase(name, TEMPLATE_DATABASE),
    ]);
    const env = {
      DATABASE_URL: databaseUrl,
      TEMPORAL_ADDRESS: process.env['TEST_TEMPORAL_ADDRESS'] ?? '',
      TEMPORAL_TASK_QUEUE: name,
      TEMPORAL_UI_URL: 'http://127.0.0.1:8233',
      STRIPE_SECRET_KEY: 'sk_test_bill_service',
      STRIPE_API_BASE: stripe.ready['url'] ?? '',
      KMS_BASE_URL: litellm?.ready['url'] ?? '',
      KMS_API_KEY: KMS_KEY,
      WEBHOOK_HMAC_SECRETS: HMAC_SECRET,
      WEBHOOK_URL_TOKENS: URL_TOKEN,
      ADMIN_API_KEY,
      PORT: apiPort,
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      ...overrides,
    };
    return new World(name, env, litellm ? [stripe, litellm] : [stripe]);
  }

  /** The world with API and worker running in this process. */
  static async start(overrides: Record<string, string> = {}, logDestination?: DestinationStream): Promise<World> {
    const world = await World.create(overrides);
    world.logDestination = logDestination;
    if (!isTemporalLogging) installTemporalLogger(world.log);
    isTemporalLogging = true;
    await Promise.all([world.startApi(), world.startWorker()]);
    return world;
  }

  private get log(): Logger {
    return createLogger(this.config.logLevel, this.logDestination);
  }

  get stripeUrl(): string {
    return this.config.stripe.apiBase;
  }

  get kmsUrl(): string {
    return this.config.kms.baseUrl;
  }

  async startApi(): Promise<void> {
    const api = await startApi(this.config, this.log);
    this.api = api;
    this.apiUrl = `http://127.0.0.1:${api.port}`;
  }

  /** Runs `work` against one more API, whose environment differs from the world's in some variables. */
  async withAnotherApi(overrides: Record<string, string>, work: (url: string) => Promise<void>): Promise<void> {
    const api = await startApi(readConfig({ ...this.env, ...overrides }), this.log);
    try {
      await work(`http://127.0.0.1:${api.port}`);
    } finally {
      await api.stop();
    }
  }

  async stopApi(): Promise<void> {
    await this.api?.stop();
    this.api = undefined;
  }

  /**
   * @param overrides variables in which the worker's environment differs from the world's.
   * @param workflowBundle other workflow code than the service's own.
   */
  async startWorker(overrides: Record<string, string> = {}, workflowBundle?: WorkflowBundle): Promise<void> {
    const failed = (error: Error) => {
      throw error;
    };
    this.worker = await startWorker(readConfig({ ...this.env, ...overrides }), this.log, { failed, workflowBundle });
  }

  async stopWorker(): Promise<void> {
    await this.worker?.stop();
    this.worker = undefined;
  }

  async close(): Promise<void> {
    await this.stopApi();
    await this.stopWorker();
    await this.sql.end();
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  /** The admin API; never throws for a status. */
  get admin(): AxiosInstance {
    return axios.create({ baseURL: this.apiUrl, headers: { Authorization: `Bearer ${ADMIN_API_KEY}` }, validateStatus: () => true });
  }

  /** LiteLLM as somebody else uses it: none of our faults strikes there. */
  private get kms(): AxiosInstance {
    return axios.create({ baseURL: this.kmsUrl, headers: { Authorization: `Bearer ${this.config.kms.apiKey}`, 'X-Sandbox-Spare': '1' } });
  }

  /** A paying customer with a team that has, unless wished otherwise, just run out: 10 dollars of budget, 10.50 spent. */
  async organization(wish: OrganizationWish = {}): Promise<Organization> {
    const { card = 'pm_card_visa', minimum = '2.00', target = '20.00', budget = 10, spend = 10.5, settings = {} } = wish;
    const id = `org-${++this.serial}`;
    const teamId = wish.teamId ?? `${this.name}-team-${this.serial}`;
    const customer = await this.stripe.customers.create({ name: id });
    const paymentMethod = await this.stripe.paymentMethods.attach(card, { customer: customer.id });
    await this.stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: paymentMethod.id } });
    await this.kms.post('/team/new', { team_id: teamId, team_alias: id, max_budget: budget });
    const { data: key } = await this.kms.post('/key/generate', { team_id: teamId });
    if (spend) await this.spend(teamId, spend);
    const created = await this.admin.post('/api/v1/organizations', {
      c_organization_id: id,
      stripe_customer_id: customer.id,
      litellm_team_id: teamId,
      minimum_balance: minimum,
      target_balance: target,
      ...settings,
    });
    if (created.status !== 201) throw new Error(`organization not created: ${JSON.stringify(created.data)}`);
    return { id, teamId, customerId: customer.id, teamKey: key.key };
  }

  /** Moves an organization to a new team of its own. Answers the team's id. */
  async anotherTeam({ id }: Organization, { budget, spend }: { budget: number; spend: number }): Promise<string> {
    const teamId = `${this.name}-team-${++this.serial}`;
    await this.kms.post('/team/new', { team_id: teamId, max_budget: budget });
    await this.spend(teamId, spend);
    const { status } = await this.admin.patch(`/api/v1/organizations/${id}`, { litellm_team_id: teamId });
    if (status !== 200) throw new Error(`organization ${id} was not moved: ${status}`);
    return teamId;
  }

  /** What LiteLLM answers about a team, whole. */
  async teamInfo(teamId: string): Promise<unknown> {
    return (await this.kms.get('/team/info', { params: { team_id: teamId } })).data;
  }

  async spend(teamId: string, amount: number): Promise<void> {
    await axios.post(`${this.kmsUrl}/_sandbox/teams/${encodeURIComponent(teamId)}/spend`, { amount });
  }

  /** LiteLLM's alert, signed as Standard Webhooks unless `headers` say otherwise. Never throws for a status. */
  async alert(
    teamId: string,
    { body = {}, id = `msg_${randomBytes(8).toString('hex')}`, headers }: AlertWish = {},
  ): Promise<AxiosResponse> {
    const text = typeof body === 'string' ? body : JSON.stringify({ ...alertBody(teamId), ...body });
    return axios.post(`${this.apiUrl}/webhooks/litellm/limit-exceeded`, text, {
      headers: { 'content-type': 'application/json', ...(headers ?? standardWebhookHeaders(text, id)) },
      validateStatus: () => true,
    });
  }

  /** Waits until an event is closed. */
  async closed(eventId: string, timeoutMs = SETTLE_TIMEOUT_MS): Promise<{ outcome: string; success: boolean }> {
    return this.eventually(
      async () => (await this.sql.query('select outcome, success from webhook_event where id = $1 and processed', [eventId])).rows[0],
      `event ${eventId} closed`,
      timeoutMs,
    );
  }

  /** Waits until `look` answers something, and answers that. A look that fails is one that saw nothing. */
  async eventually<T>(look: () => Promise<T | undefined | false>, what: string, timeoutMs = SETTLE_TIMEOUT_MS): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const seen = await look().catch(() => undefined);
      if (seen) return seen;
      if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async stripeFault(fault: FaultRequest): Promise<void> {
    await axios.post(`${this.stripeUrl}/_sandbox/faults`, fault);
  }

  async kmsFault(fault: FaultRequest): Promise<void> {
    await axios.post(`${this.kmsUrl}/_sandbox/faults`, fault);
  }

  /** Takes away every fault that has not struck yet. */
  async clearFaults(): Promise<void> {
    await Promise.all([axios.delete(`${this.stripeUrl}/_sandbox/faults`), axios.delete(`${this.kmsUrl}/_sandbox/faults`)]);
  }

  /** How often the faults have struck that `clearFaults` has not taken away. */
  async strikes(): Promise<number> {
    const answers = await Promise.all([this.stripeUrl, this.kmsUrl].map((url) => axios.get(`${url}/_sandbox/faults`)));
    return answers.flatMap(({ data }) => data.data as { struck: number }[]).reduce((sum, { struck }) => sum + struck, 0);
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

  /** The team's max_budget as LiteLLM has it. */
  async budgetOf(teamId: string): Promise<number | null> {
    return (await this.kms.get('/team/info', { params: { team_id: teamId } })).data.team_info.max_budget;
  }

  /** What really happened to an organization's money, from Stripe and the ledger. Amounts in minor units. */
  async books(organization: Organization): Promise<Books> {
    const charges = (await this.stripe.charges.list({ customer: organization.customerId, limit: 100 })).data.filter(
      ({ status, captured }) => status === 'succeeded' && captured,
    );
    const { rows } = await this.sql.query(
      `select coalesce(sum(amount_minor) filter (where credit_account = 'prepaid'), 0)::int
            - coalesce(sum(amount_minor) filter (where debit_account = 'prepaid'), 0)::int as prepaid,
              coalesce(sum(amount_minor) filter (where kind = 'grant'), 0)::int as granted
       from ledger_transfer where organization_id = $1`,
      [organization.id],
    );
    return {
      charges: charges.length,
      captured: charges.reduce((sum, charge) => sum + charge.amount_captured, 0),
      refunded: charges.reduce((sum, charge) => sum + charge.amount_refunded, 0),
      ...rows[0],
    };
  }

  /** The same with what came after the grant: disputes, and quota that was taken or given back. */
  async accounts(organization: Organization): Promise<Accounts> {
    const { captured, refunded, prepaid } = await this.books(organization);
    const charges = (await this.stripe.charges.list({ customer: organization.customerId, limit: 100 })).data.map(({ id }) => id);
    const disputes = (await this.stripe.disputes.list({ limit: 100 })).data.filter(
      ({ charge, status }) => charges.includes(String(charge)) && status !== 'won',
    );
    const { rows } = await this.sql.query(
      `select coalesce(sum(sign * amount_minor), 0)::int as granted, coalesce(sum(sign * quota_micros), 0)::float / 1e6 as quota
       from (select *, case 'granted' when credit_account then 1 when debit_account then -1 else 0 end as sign from ledger_transfer) t
       where organization_id = $1`,
      [organization.id],
    );
    return { captured, refunded, prepaid, disputed: disputes.reduce((sum, { amount }) => sum + amount, 0), ...rows[0] };
  }

  /** A knob of the stand-in for Stripe, see `sandbox/stripe/server.ts`. Answers what it answers. */
  async stripeKnob<T = { id: string }>(path: string, body: Record<string, unknown> = {}): Promise<T> {
    return (await axios.post(`${this.stripeUrl}/_sandbox/${path}`, body)).data;
  }
}

/**
 * Everything that has moved, in minor units. `granted` and `prepaid` are what the ledger's accounts hold, `quota` is what
 * `granted` stands for in dollars, `disputed` what disputes have taken.
 */
export type Accounts = { captured: number; refunded: number; disputed: number; granted: number; prepaid: number; quota: number };

/** `prepaid` is the ledger's: what is held for an organization, neither granted nor refunded. */
export type Books = { charges: number; captured: number; refunded: number; granted: number; prepaid: number };

export type AlertWish = { body?: Record<string, unknown> | string; id?: string; headers?: Record<string, string> };

/** The alert as LiteLLM 1.100.5 sends it, with every null present. */
export function alertBody(teamId: string): Record<string, unknown> {
  return {
    spend: 10.500123,
    max_budget: 10.0,
    soft_budget: null,
    token: '88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b',
    customer_id: null,
    user_id: 'u1',
    team_id: teamId,
    team_alias: 'acme',
    organization_id: null,
    user_email: null,
    key_alias: null,
    projected_exceeded_date: null,
    projected_spend: null,
    event_group: 'team',
    alert_emails: null,
    max_budget_alert_emails: null,
    event: 'budget_crossed',
    event_message: 'Team Budget: Budget Crossed\n Total Budget:`10.0`',
  };
}

export function standardWebhookHeaders(
  body: string,
  id: string,
  { secret = HMAC_SECRET, at = Math.floor(Date.now() / 1000) } = {},
): Record<string, string> {
  const signature = createHmac('sha256', secret).update(`${id}.${at}.${body}`).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': `v1,${signature}` };
}

/**
 * A world to test in: the service on a database and a task queue of its own, with the stand-ins for Stripe
 * and LiteLLM running as servers. The tests act as LiteLLM, as an operator and as the world's faults, and
 * then ask the stand-ins and the ledger what really happened.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import type { WorkflowBundle } from '@temporalio/worker';
import axios, { type AxiosInstance, type AxiosResponse } from 'axios';
import pg from 'pg';
import type { DestinationStream } from 'pino';
import type { SweepCounts } from '../../activities/sweep/types.ts';
import { type LaunchedServer, launch } from '../../sandbox/launch.ts';
import { freePort } from '../../sandbox/ports.ts';
import { startApi } from '../../src/api.ts';
import { readConfig } from '../../src/config.ts';
import { createLogger, type Logger } from '../../src/observability/log.ts';
import type { Running } from '../../src/running.ts';
import { namespaceOf } from '../../src/temporal/connection.ts';
import { rechargeWorkflowId } from '../../src/temporal/starter.ts';
import { installTemporalLogger } from '../../src/temporal/worker.ts';
import { startWorker } from '../../src/worker.ts';
import { type BalanceSweepWorkflow, type ReconcileResult, type ReconcileWorkflow, WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { type AlertWish, alertBody, HMAC_SECRET, standardWebhookHeaders, URL_TOKEN } from './alerts.ts';
import type { Recharge, ReversalRow } from './answers.ts';
import { type Accounts, type Books, type Ending, readAccounts, readBooks, SUCCEEDED } from './books.ts';
import { createDatabase, TEMPLATE_DATABASE } from './databases.ts';
import { StandIns } from './stand-ins.ts';
import { eventually } from './time.ts';

export { type AlertWish, alertBody, HMAC_SECRET, standardWebhookHeaders, URL_TOKEN } from './alerts.ts';
export type { Accounts, Books } from './books.ts';

/** A customer with a card, for organizations that are not to be charged. */
export const SOME_CUSTOMER = 'cus_Somebody';
export const ADMIN_API_KEY = 'test-admin-key-of-operator';
const KMS_KEY = 'sk-1234';

/** The SDK takes its logger once a process, so that one hands on to the newest world's. */
let temporalLog: Logger | undefined;

function logTemporalTo(log: Logger): void {
  const isInstalled = temporalLog !== undefined;
  temporalLog = log;
  if (!isInstalled) installTemporalLogger(new Proxy(log, { get: (_, key) => Reflect.get(temporalLog ?? log, key) }));
}

export type Organization = { id: string; teamId: string; customerId: string; teamKey: string };

export type RechargeIds = { eventId: string; rechargeId: string; intentId: string };

export type OrganizationWish = {
  /** A Stripe test payment method, attached to the customer. */
  card?: string;
  /** The card's, see `newFingerprint`: two organizations with the same one pay with the same card. */
  fingerprint?: string;
  minimum?: string;
  target?: string;
  /** A name of its own for the team; otherwise it gets one that nobody else has. */
  teamId?: string;
  /** The team's budget and what it has spent of it, in dollars. */
  budget?: number | null;
  spend?: number;
  settings?: Record<string, unknown>;
};

export class World extends StandIns {
  readonly name: string;
  readonly env: Record<string, string>;
  readonly sql: pg.Pool;
  /** Set by tests that run the service in processes of their own. */
  apiUrl = '';
  /** Where the service's log goes; standard output unless `start` was told otherwise. */
  private logDestination: DestinationStream | undefined;
  /** The stand-ins. */
  readonly servers: readonly LaunchedServer[];
  private api: Running | undefined;
  private worker: Running | undefined;
  private temporalClient: Client | undefined;
  private serial = 0;

  private constructor(name: string, env: Record<string, string>, servers: LaunchedServer[]) {
    super(readConfig(env));
    this.name = name;
    this.env = env;
    this.servers = servers;
    this.sql = new pg.Pool({ connectionString: this.config.databaseUrl, max: 4 });
    // Some tests restart PostgreSQL, also between two statements of a transaction.
    this.sql.on('error', () => {});
    this.sql.on('connect', (client) => client.on('error', () => {}));
  }

  /**
   * The world without the service: for tests that start its processes themselves.
   *
   * @param overrides a `KMS_BASE_URL` among them replaces the stand-in for LiteLLM. `STRIPE_WEBHOOK_SECRETS`
   *   has Stripe's events posted to the API, signed with the first of them; without it they are lost.
   */
  static async create(overrides: Record<string, string> = {}): Promise<World> {
    const name = `test_${randomBytes(6).toString('hex')}`;
    const signingSecret = overrides['STRIPE_WEBHOOK_SECRETS']?.split(',')[0];
    const apiPort = overrides['PORT'] ?? (signingSecret ? String(await freePort()) : '0');
    const webhookUrl = signingSecret && `http://127.0.0.1:${apiPort}/webhooks/stripe`;
    const [stripe, litellm, databaseUrl] = await Promise.all([
      launch('stripe', { port: 0, 'webhook-url': webhookUrl, 'webhook-secret': signingSecret }),
      overrides['KMS_BASE_URL']
        ? undefined
        : launch('litellm', {
            port: 0,
            version: process.env['TEST_LITELLM_VERSION'],
            'spend-lag-ms': 0,
            'master-key': overrides['KMS_API_KEY'],
          }),
      createDatabase(name, TEMPLATE_DATABASE),
    ]);
    const env = {
      DATABASE_URL: databaseUrl,
      TEMPORAL_ADDRESS: process.env['TEST_TEMPORAL_ADDRESS'] ?? '',
      TEMPORAL_TASK_QUEUE: name,
      TEMPORAL_UI_URL: 'http://127.0.0.1:8233',
      STRIPE_SECRET_KEY: 'sk_test_bill_service',
      STRIPE_API_BASE: stripe.ready['url'] ?? '',
      STRIPE_RATE_LIMIT: '1000',
      KMS_BASE_URL: litellm?.ready['url'] ?? '',
      KMS_API_KEY: KMS_KEY,
      WEBHOOK_HMAC_SECRETS: HMAC_SECRET,
      WEBHOOK_URL_TOKENS: URL_TOKEN,
      ADMIN_API_KEY,
      PORT: apiPort,
      // Every world and every process would take the same ports.
      METRICS_PORT: '0',
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      ...overrides,
    };
    const card = { payment_method: 'pm_card_visa', invoice_settings: { default_payment_method: 'pm_card_visa' } };
    await axios.post(`${stripe.ready['url']}/_sandbox/customers/${SOME_CUSTOMER}`, card);
    return new World(name, env, litellm ? [stripe, litellm] : [stripe]);
  }

  /** The world with API and worker running in this process. */
  static async start(overrides: Record<string, string> = {}, logDestination?: DestinationStream): Promise<World> {
    const world = await World.create(overrides);
    world.logDestination = logDestination;
    logTemporalTo(world.log);
    await Promise.all([world.startApi(), world.startWorker()]);
    return world;
  }

  private get log(): Logger {
    return createLogger(this.config.logLevel, this.logDestination);
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
    await this.temporalClient?.connection.close();
    await this.sql.end();
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  /** The admin API; never throws for a status. */
  get admin(): AxiosInstance {
    return axios.create({ baseURL: this.apiUrl, headers: { Authorization: `Bearer ${ADMIN_API_KEY}` }, validateStatus: () => true });
  }

  get temporal(): Client {
    const { connectionOptions } = this.config.temporal.connect;
    this.temporalClient ??= new Client({ connection: Connection.lazy(connectionOptions), namespace: namespaceOf(this.config.temporal) });
    return this.temporalClient;
  }

  /** The run of an event. */
  async runOf(eventId: string): Promise<WorkflowHandle> {
    const { rows } = await this.sql.query('select organization_id from webhook_event where id = $1', [eventId]);
    return this.temporal.workflow.getHandle(rechargeWorkflowId({ organizationId: rows[0].organization_id, eventId }));
  }

  /** The run that looks for refunds and disputes of a recharge. */
  reversalRunOf(rechargeId: string): WorkflowHandle {
    return this.temporal.workflow.getHandle(`reversal/${rechargeId}`);
  }

  /**
   * The ids of the runs that a query finds. Temporal lists a run a little after it was started: waits until
   * the run of this event is listed, which was started last.
   */
  async runs(query: string, lastEventId: string): Promise<string[]> {
    const list = async (more: string) => {
      const ids: string[] = [];
      for await (const { workflowId } of this.temporal.workflow.list({ query: `TaskQueue = '${this.name}' and ${more}` }))
        ids.push(workflowId);
      return ids;
    };
    const { workflowId } = await this.runOf(lastEventId);
    await this.eventually(async () => (await list(`WorkflowId = '${workflowId}'`)).length > 0, `${workflowId} is listed`);
    return list(query);
  }

  /** Waits until a transaction waits for a lock with a statement that holds this text. */
  async waitsForLock(statement: string): Promise<void> {
    const query = `select 1 from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and position($1 in query) > 0 and pid <> pg_backend_pid()`;
    await this.eventually(async () => (await this.sql.query(query, [statement])).rowCount, `${statement} waits for a lock`);
  }

  /**
   * A paying customer with a team that has, unless wished otherwise, just run out: 10 dollars of budget,
   * 10.50 spent. Its card is its own, so that what becomes of it touches no other organization.
   */
  async organization(wish: OrganizationWish = {}): Promise<Organization> {
    const { card = 'pm_card_visa', minimum = '2.00', target = '20.00', budget = 10, spend = 10.5, settings = {} } = wish;
    const id = `org-${++this.serial}`;
    const teamId = wish.teamId ?? `${this.name}-team-${this.serial}`;
    const customer = await this.stripe.customers.create({ name: id });
    await this.attachCard(customer.id, card, wish.fingerprint);
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

  /** Moves an organization to a new team of its own. Returns the team's id. */
  async anotherTeam({ id }: Organization, { budget, spend }: { budget: number; spend: number }): Promise<string> {
    const teamId = `${this.name}-team-${++this.serial}`;
    await this.kms.post('/team/new', { team_id: teamId, max_budget: budget });
    await this.spend(teamId, spend);
    const { status } = await this.admin.patch(`/api/v1/organizations/${id}`, { litellm_team_id: teamId });
    if (status !== 200) throw new Error(`organization ${id} was not moved: ${status}`);
    return teamId;
  }

  /**
   * LiteLLM's alert, signed as Standard Webhooks unless `headers` say otherwise. Never throws for a status.
   */
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

  /**
   * An alert of the organization's team that is to be handled, its body changed so; returns the event's id.
   */
  async accepted({ teamId }: Pick<Organization, 'teamId'>, body: Record<string, unknown> = {}): Promise<string> {
    const { data } = await this.alert(teamId, { body });
    if (data.status !== 'accepted') throw new Error(`the alert was not accepted: ${JSON.stringify(data)}`);
    return data.event_id;
  }

  /** An alert of the organization's team, and how its event ends. */
  async alerted(organization: Pick<Organization, 'teamId'>, body: Record<string, unknown> = {}): Promise<Ending> {
    return this.closed(await this.accepted(organization, body));
  }

  /** The time of the organization's holds is over, as if it had passed. */
  async holdsPass({ id }: Pick<Organization, 'id'>): Promise<void> {
    await this.sql.query('update hold set until = now() where organization_id = $1 and until is not null', [id]);
  }

  /** Ends every hold of the service, which would hold the next test's organizations too. */
  async releaseService(): Promise<void> {
    await this.sql.query(`update hold set released_at = now(), released_by = 'a test' where scope = 'service' and released_at is null`);
  }

  /** A recharge that is charged and granted. @throws when it ends otherwise. */
  async recharge(organization: Organization, body: Record<string, unknown> = {}): Promise<RechargeIds> {
    const eventId = await this.accepted(organization, body);
    const { outcome } = await this.closed(eventId);
    if (outcome !== SUCCEEDED) throw new Error(`${organization.id} was not recharged: ${outcome}`);
    return this.rechargeIs(eventId, 'succeeded');
  }

  /** An organization that was recharged once. */
  async recharged(wish: OrganizationWish = {}): Promise<RechargeIds & { organization: Organization }> {
    const organization = await this.organization(wish);
    return { organization, ...(await this.recharge(organization)) };
  }

  /** Waits until an event is closed. */
  async closed(eventId: string, timeoutMs?: number): Promise<Ending> {
    return this.eventually(
      async () => (await this.sql.query('select outcome, success from webhook_event where id = $1 and processed', [eventId])).rows[0],
      `event ${eventId} closed`,
      timeoutMs,
    );
  }

  /** Waits until the recharge of an event has this status. */
  async rechargeIs(eventId: string, status: string): Promise<RechargeIds> {
    const query = 'select id as "rechargeId", payment_intent_id as "intentId" from recharge where event_id = $1 and status = $2';
    const ids = await this.eventually(
      async () => (await this.sql.query(query, [eventId, status])).rows[0] as Omit<RechargeIds, 'eventId'>,
      `the recharge of ${eventId} is ${status}`,
    );
    return { eventId, ...ids };
  }

  /** Waits until the charge of an event is being refunded; returns the refund's id. */
  refundOf(eventId: string): Promise<string> {
    const query = 'select refund_id from recharge where event_id = $1';
    return this.eventually<string>(
      async () => (await this.sql.query(query, [eventId])).rows[0]?.refund_id,
      `the refund of ${eventId} is asked for`,
    );
  }

  /** Waits until a refund or dispute is followed so far. */
  reversalIs(id: string, status: string): Promise<ReversalRow> {
    return this.eventually(
      async () => (await this.sql.query('select * from reversal where id = $1 and status = $2', [id, status])).rows[0] as ReversalRow,
      `reversal ${id} is ${status}`,
    );
  }

  /** The organization's recharges as the admin API lists them, the newest first. */
  async rechargesOf({ id }: Organization): Promise<Omit<Recharge, 'timeline' | 'ledger_transfers'>[]> {
    return (await this.admin.get('/api/v1/recharges', { params: { organization_id: id } })).data.data;
  }

  /** The organization's newest recharge. */
  async rechargeOf(organization: Organization): Promise<Recharge> {
    const [recharge] = await this.rechargesOf(organization);
    if (!recharge) throw new Error(`${organization.id} has no recharge`);
    return (await this.admin.get(`/api/v1/recharges/${recharge.id}`)).data;
  }

  /** As the function of that name. */
  eventually<T>(look: () => Promise<T | null | undefined | false>, what: string, timeoutMs?: number): Promise<T> {
    return eventually(look, what, timeoutMs);
  }

  /**
   * A recharge that is charged and whose budget LiteLLM refuses to take, its plan stored: between two
   * attempts at it.
   */
  async chargedButNotGranted(
    organization: Organization,
    body: Record<string, unknown> = {},
  ): Promise<RechargeIds & { goOn: () => Promise<void> }> {
    const refusal = await this.refuseBudget(organization);
    const eventId = await this.accepted(organization, body);
    const goOn = await this.betweenAttempts(organization, refusal);
    return { ...(await this.rechargeIs(eventId, 'charged')), goOn };
  }

  /**
   * An event whose recharge is reserved and whose charge Stripe refuses to talk about. Ended by
   * `revokeStripeKey(false)`.
   */
  async reservedOnly(organization: Organization): Promise<string> {
    await this.revokeStripeKey(true);
    const eventId = await this.accepted(organization);
    await this.rechargeIs(eventId, 'reserved');
    return eventId;
  }

  /** Runs a reconciliation, which settles what it may unless told not to. */
  reconcile({ fix }: { fix: boolean } = { fix: true }): Promise<ReconcileResult> {
    return this.temporal.workflow.execute<ReconcileWorkflow>(WORKFLOW_TYPES.reconcile, {
      workflowId: `reconcile/${randomUUID()}`,
      taskQueue: this.name,
      args: [{ fix }],
    });
  }

  /** Runs a sweep, of every organization of this world. */
  sweep(): Promise<SweepCounts> {
    return this.temporal.workflow.execute<BalanceSweepWorkflow>(WORKFLOW_TYPES.sweep, {
      workflowId: `balance-sweep/${randomUUID()}`,
      taskQueue: this.name,
      args: [],
    });
  }

  /** What a reconciliation finds of an organization. */
  async findingsOf({ id }: Pick<Organization, 'id'>, wish?: { fix: boolean }): Promise<ReconcileResult['findings']> {
    return (await this.reconcile(wish)).findings.filter(({ organizationId }) => organizationId === id);
  }

  /** What really happened to an organization's money, from Stripe and the ledger. */
  books(organization: Organization): Promise<Books> {
    return readBooks(this, organization);
  }

  /** The same with what came after the grant. */
  accounts(organization: Organization): Promise<Accounts> {
    return readAccounts(this, organization);
  }
}

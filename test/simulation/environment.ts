/**
 * What all runs share: PostgreSQL and Temporal, the stand-ins for Stripe and LiteLLM, and `bill serve` twice and
 * `bill worker` as processes of their own, which are started again whenever they die.
 */
import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import axios, { type AxiosInstance } from 'axios';
import pg from 'pg';
import Stripe from 'stripe';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { freePort } from '../../sandbox/ports.ts';
import { startStripe } from '../../sandbox/stripe/server.ts';
import { Database } from '../../src/database/database.ts';
import type { Finding } from '../../src/domain/finding.ts';
import { type ReconcileWorkflow, type TeamSyncWorkflow, WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { type BillProcess, startBill } from '../support/processes.ts';
import { ADMIN_API_KEY, HMAC_SECRET, URL_TOKEN } from '../support/world.ts';
import { type Mishap, MishapBoard, type MishapQuestion } from './mishap-board.ts';
import { persist } from './patience.ts';
import type { Disturbance } from './schedule.ts';
import { StripePost } from './stripe-post.ts';

/** What befell it so far. */
export type Counts = Record<'kills' | 'restarts' | 'sweeps' | 'reconciliations' | 'synchronisations', number>;

export type Servers = {
  databaseUrl: string;
  temporalAddress: string;
  /** Absent where the servers are shared with others. */
  restart?: Record<'PostgreSQL' | 'Temporal', () => Promise<void>>;
};

const MASTER_KEY = 'sk-1234';
const SECRET_KEY = 'sk_test_bill_service';
const WEBHOOK_SECRET = 'whsec_of_the_simulation';
/** A bank debit settles soon, while the service looks again after ten seconds. */
const SETTLE_AFTER_MS = 1_500;
/** The service waits for no answer longer than 25 s. */
const REQUEST_TIMEOUT_MS = 30_000;

/** The header of calls that none of our faults strikes. */
const SPARED = { 'X-Sandbox-Spare': '1' };

/**
 * Two APIs, as behind a balancer. One alone stores together what waits at the same moment: copies of an alert race each
 * other only between two.
 */
const APIS = ['first API', 'second API'] as const;
type Api = (typeof APIS)[number];
type ProcessName = Api | 'worker';

type Parts = {
  servers: Servers;
  database: Database;
  ports: Record<Api, number>;
  stripeServer: SandboxServer;
  litellmServer: SandboxServer;
  stripePost: StripePost;
};

export class Environment {
  readonly stripeServer: SandboxServer;
  readonly litellmServer: SandboxServer;
  /** Stripe and LiteLLM as somebody else uses them: none of our faults strikes there. */
  readonly stripe: Stripe;
  readonly litellm: AxiosInstance;
  readonly sql: pg.Pool;
  readonly temporal: Client;
  readonly counts: Counts = { kills: 0, restarts: 0, sweeps: 0, reconciliations: 0, synchronisations: 0 };
  /** Processes that ended although nobody killed them. */
  readonly crashes: string[] = [];
  /** What befell all runs, with the time, for the story of a run that it befell too. */
  readonly disturbances: { at: number; what: Disturbance; by: string | undefined }[] = [];
  /** Told before each activity of each run. Set by whoever knows the runs. */
  decideMishap: (question: MishapQuestion) => Promise<Mishap | null> = async () => null;
  readonly database: Database;
  readonly stripePost: StripePost;
  private readonly servers: Servers;
  private readonly ports: Record<Api, number>;
  private readonly mishaps = new MishapBoard((question) => this.decideMishap(question));
  private readonly taskQueue = `simulation_${randomBytes(6).toString('hex')}`;
  private readonly processes = new Map<ProcessName, BillProcess>();
  private env: Record<string, string> = {};
  private killer: string | undefined;
  private disturbing: Promise<void> = Promise.resolve();
  /** The last one, and the one that is asked for and has not begun. */
  private reconciling: Promise<unknown> = Promise.resolve();
  private reconciliation: Promise<Finding[]> | undefined;
  /** Those under way. */
  private readonly sweeps = new Set<Promise<unknown>>();
  private closing = false;

  private constructor({ servers, database, ports, stripeServer, litellmServer, stripePost }: Parts) {
    this.servers = servers;
    this.database = database;
    this.ports = ports;
    this.stripeServer = stripeServer;
    this.litellmServer = litellmServer;
    this.stripePost = stripePost;
    this.stripe = new Stripe(SECRET_KEY, {
      host: '127.0.0.1',
      port: stripeServer.port,
      protocol: 'http',
      maxNetworkRetries: 2,
      httpClient: Stripe.createFetchHttpClient((url, init) => {
        const headers = new Headers(init?.headers);
        for (const [name, value] of Object.entries(SPARED)) headers.set(name, value);
        return fetch(url, { ...init, headers });
      }),
    });
    this.litellm = axios.create({
      baseURL: litellmServer.url,
      headers: { Authorization: `Bearer ${MASTER_KEY}`, ...SPARED },
      validateStatus: () => true,
    });
    this.sql = new pg.Pool({ connectionString: servers.databaseUrl, max: 10 });
    // PostgreSQL is restarted under it, also between two statements of a transaction.
    this.sql.on('error', () => {});
    this.sql.on('connect', (client) => client.on('error', () => {}));
    this.temporal = new Client({ connection: Connection.lazy({ address: servers.temporalAddress }) });
  }

  /** @param servers its database has every migration applied and nothing in it. */
  static async open(servers: Servers): Promise<Environment> {
    const ports = { 'first API': await freePort(), 'second API': await freePort() };
    const stripePost = new StripePost(`http://127.0.0.1:${ports['first API']}/webhooks/stripe`);
    const webhook = { url: await stripePost.listen(), secret: WEBHOOK_SECRET };
    const [stripeServer, litellmServer, database] = await Promise.all([
      startStripe({ port: 0, settleAfterMs: SETTLE_AFTER_MS, webhook }),
      startLitellm({ port: 0, spend_lag_ms: 0, master_key: MASTER_KEY }),
      Database.open(servers.databaseUrl),
    ]);
    const environment = new Environment({ servers, database, ports, stripeServer, litellmServer, stripePost });
    await environment.start();
    return environment;
  }

  private async start(): Promise<void> {
    this.env = {
      DATABASE_URL: this.servers.databaseUrl,
      TEMPORAL_ADDRESS: this.servers.temporalAddress,
      TEMPORAL_TASK_QUEUE: this.taskQueue,
      METRICS_PORT: '0',
      STRIPE_SECRET_KEY: SECRET_KEY,
      STRIPE_WEBHOOK_SECRETS: WEBHOOK_SECRET,
      STRIPE_API_BASE: this.stripeServer.url,
      STRIPE_RATE_LIMIT: '1000',
      KMS_BASE_URL: this.litellmServer.url,
      KMS_API_KEY: MASTER_KEY,
      WEBHOOK_HMAC_SECRETS: HMAC_SECRET,
      WEBHOOK_URL_TOKENS: URL_TOKEN,
      ADMIN_API_KEY,
      SIMULATION_MISHAPS_URL: await this.mishaps.listen(),
    };
    await Promise.all([...APIS, 'worker' as const].map((name) => this.startProcess(name)));
  }

  /** Starts one, and again whenever it ends although nobody asked it to. */
  private async startProcess(name: ProcessName): Promise<void> {
    const mishaps = { NODE_OPTIONS: `--import ${new URL('./mishaps.ts', import.meta.url).href}` };
    const started =
      name === 'worker'
        ? await startBill('worker', { ...this.env, ...mishaps })
        : await startBill('serve', { ...this.env, PORT: String(this.ports[name]) });
    this.processes.set(name, started);
    started.process.once('exit', (code, signal) => {
      this.processes.delete(name);
      if (this.closing) return;
      if (signal === 'SIGKILL') {
        this.counts.kills++;
        this.note(name === 'worker' ? 'kill the worker' : 'kill the API', this.killer);
        this.killer = undefined;
      } else this.crashes.push(`the ${name} ended with ${signal ?? code}: ${started.lines.slice(-5).join('\n')}`);
      this.startProcess(name).catch((error) => {
        if (!this.closing) throw error;
      });
    });
  }

  /** Never throws for a status, and throws while it is being started again. */
  get api(): AxiosInstance {
    return this.clientOf('first API');
  }

  /** For the n-th copy of an alert: each other one goes to the other API. */
  apiOf(copy: number): AxiosInstance {
    return this.clientOf(APIS[copy % APIS.length] ?? 'first API');
  }

  private clientOf(api: Api): AxiosInstance {
    return axios.create({
      baseURL: `http://127.0.0.1:${this.ports[api]}`,
      timeout: REQUEST_TIMEOUT_MS,
      headers: { Authorization: `Bearer ${ADMIN_API_KEY}` },
      validateStatus: () => true,
    });
  }

  /** @param by the organization in whose run that happens. */
  async disturb(what: Disturbance, by: string): Promise<void> {
    if (what === 'kill the worker') return this.kill('worker', by);
    if (what === 'kill the API') return this.kill('first API', by);
    if (what === 'start a sweep') return this.sweep(by);
    if (what === 'start a reconciliation') return void (await this.reconcile(by));
    const server = what === 'restart PostgreSQL' ? 'PostgreSQL' : 'Temporal';
    // One at a time, whoever asks.
    this.disturbing = this.disturbing.then(async () => {
      this.note(what, by);
      await this.servers.restart?.[server]();
      this.counts.restarts++;
    });
    return this.disturbing;
  }

  /**
   * One that begins after this was asked for, which others who ask meanwhile share: it looks at everybody. Returns
   * what it has found, settled or not; nothing where it fails.
   */
  reconcile(by: string): Promise<Finding[]> {
    this.reconciliation ??= this.reconciling.then(() => {
      this.reconciliation = undefined;
      this.note('start a reconciliation', by);
      this.counts.reconciliations++;
      const run = { workflowId: nameOf('reconcile'), taskQueue: this.taskQueue, args: [{ fix: true }] as [{ fix: boolean }] };
      return this.temporal.workflow.execute<ReconcileWorkflow>(WORKFLOW_TYPES.reconcile, run).then(
        ({ findings }) => findings,
        () => [],
      );
    });
    this.reconciling = this.reconciliation;
    return this.reconciliation;
  }

  /** Brings the teams of these organizations to what the database says. Returns when it has ended. */
  async synchronise(organizationIds: string[]): Promise<void> {
    this.counts.synchronisations++;
    const run = { workflowId: nameOf('team-sync'), taskQueue: this.taskQueue, args: [{ organization_ids: organizationIds }] as const };
    await this.temporal.workflow.execute<TeamSyncWorkflow>(WORKFLOW_TYPES.sync, { ...run, args: [...run.args] }).catch(() => {});
  }

  /** Returns when it has ended. One that fails, with what it asks, has found nothing. */
  async sweep(by: string): Promise<void> {
    this.note('start a sweep', by);
    this.counts.sweeps++;
    const workflowId = nameOf('balance-sweep');
    const run = this.temporal.workflow.execute(WORKFLOW_TYPES.sweep, { workflowId, taskQueue: this.taskQueue, args: [] }).catch(() => {});
    this.sweeps.add(run);
    await run;
    this.sweeps.delete(run);
  }

  /** Resolves when no sweep is under way that was when this was called. */
  async sweepsEnd(): Promise<void> {
    await Promise.all(this.sweeps);
  }

  /** Ends every hold of the service that a run has left. */
  async releaseService(): Promise<void> {
    const release = `update hold set released_at = now(), released_by = 'the simulation' where scope = 'service' and released_at is null`;
    await persist('the service is released', () => this.sql.query(release));
  }

  /** The worker is about to end itself, in a run of this organization. */
  expectDeath(by: string): void {
    this.killer = by;
  }

  private async kill(name: ProcessName, by: string): Promise<void> {
    this.killer = by;
    await this.processes.get(name)?.kill();
  }

  async pruneIdempotencyKeys(): Promise<void> {
    await axios.post(`${this.stripeServer.url}/_sandbox/idempotency/prune`);
  }

  async close(): Promise<void> {
    this.closing = true;
    await this.disturbing;
    await Promise.all([...this.processes.values()].map((running) => running.kill()));
    this.mishaps.close();
    this.stripePost.close();
    await Promise.all([
      this.stripeServer.close(),
      this.litellmServer.close(),
      this.sql.end(),
      this.database.close(),
      this.temporal.connection.close(),
    ]);
  }

  private note(what: Disturbance, by: string | undefined): void {
    this.disturbances.push({ at: Date.now(), what, by });
  }
}

function nameOf(kind: string): string {
  return `${kind}/${randomBytes(6).toString('hex')}`;
}

/**
 * What all runs share: PostgreSQL and Temporal, the stand-ins for Stripe and LiteLLM, and `bill serve` and
 * `bill worker` as processes of their own, which are started again whenever they die.
 */
import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import axios, { type AxiosInstance } from 'axios';
import pg from 'pg';
import Stripe from 'stripe';
import type { SandboxServer } from '../../sandbox/http.ts';
import { startLitellm } from '../../sandbox/litellm/server.ts';
import { startStripe } from '../../sandbox/stripe/server.ts';
import { Database } from '../../src/database/database.ts';
import { WORKFLOW_TYPES } from '../../workflows/contract.ts';
import { freePort } from '../support/ports.ts';
import { type BillProcess, startBill } from '../support/processes.ts';
import { ADMIN_API_KEY, HMAC_SECRET, URL_TOKEN } from '../support/world.ts';
import { type Mishap, MishapBoard, type MishapQuestion } from './mishap-board.ts';
import type { Disturbance } from './schedule.ts';

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

export class Environment {
  readonly stripeServer: SandboxServer;
  readonly litellmServer: SandboxServer;
  readonly stripe: Stripe;
  /** LiteLLM as somebody else uses it: none of our faults strikes there. */
  readonly litellm: AxiosInstance;
  readonly sql: pg.Pool;
  readonly temporal: Client;
  readonly counts = { kills: 0, restarts: 0, sweeps: 0 };
  /** Processes that ended although nobody killed them. */
  readonly crashes: string[] = [];
  /** What befell all runs, with the time, for the story of a run that it befell too. */
  readonly disturbances: { at: number; what: Disturbance; by: string | undefined }[] = [];
  /** Told before each activity of each run. Set by whoever knows the runs. */
  decideMishap: (question: MishapQuestion) => Promise<Mishap | null> = async () => null;
  readonly database: Database;
  private readonly servers: Servers;
  private readonly apiPort: number;
  private readonly mishaps = new MishapBoard((question) => this.decideMishap(question));
  private readonly taskQueue = `simulation_${randomBytes(6).toString('hex')}`;
  private readonly processes = new Map<'serve' | 'worker', BillProcess>();
  private env: Record<string, string> = {};
  private killer: string | undefined;
  private disturbing: Promise<void> = Promise.resolve();
  /** Those under way. */
  private readonly sweeps = new Set<Promise<unknown>>();
  private closing = false;

  private constructor(servers: Servers, database: Database, apiPort: number, stripeServer: SandboxServer, litellmServer: SandboxServer) {
    this.servers = servers;
    this.database = database;
    this.apiPort = apiPort;
    this.stripeServer = stripeServer;
    this.litellmServer = litellmServer;
    this.stripe = new Stripe(SECRET_KEY, { host: '127.0.0.1', port: stripeServer.port, protocol: 'http', maxNetworkRetries: 2 });
    this.litellm = axios.create({
      baseURL: litellmServer.url,
      headers: { Authorization: `Bearer ${MASTER_KEY}`, 'X-Sandbox-Spare': '1' },
      validateStatus: () => true,
    });
    this.sql = new pg.Pool({ connectionString: servers.databaseUrl, max: 10 });
    this.sql.on('error', () => {}); // PostgreSQL is restarted under it
    this.temporal = new Client({ connection: Connection.lazy({ address: servers.temporalAddress }) });
  }

  /** @param servers its database has every migration applied and nothing in it. */
  static async open(servers: Servers): Promise<Environment> {
    const apiPort = await freePort();
    const webhook = { url: `http://127.0.0.1:${apiPort}/webhooks/stripe`, secret: WEBHOOK_SECRET };
    const [stripe, litellm, database] = await Promise.all([
      startStripe({ port: 0, settleAfterMs: SETTLE_AFTER_MS, webhook }),
      startLitellm({ port: 0, spend_lag_ms: 0, master_key: MASTER_KEY }),
      Database.open(servers.databaseUrl),
    ]);
    const environment = new Environment(servers, database, apiPort, stripe, litellm);
    await environment.start();
    return environment;
  }

  private async start(): Promise<void> {
    this.env = {
      DATABASE_URL: this.servers.databaseUrl,
      TEMPORAL_ADDRESS: this.servers.temporalAddress,
      TEMPORAL_TASK_QUEUE: this.taskQueue,
      STRIPE_SECRET_KEY: SECRET_KEY,
      STRIPE_WEBHOOK_SECRETS: WEBHOOK_SECRET,
      STRIPE_API_BASE: this.stripeServer.url,
      KMS_BASE_URL: this.litellmServer.url,
      KMS_API_KEY: MASTER_KEY,
      WEBHOOK_HMAC_SECRETS: HMAC_SECRET,
      WEBHOOK_URL_TOKENS: URL_TOKEN,
      ADMIN_API_KEY,
      PORT: String(this.apiPort),
      SIMULATION_MISHAPS_URL: await this.mishaps.listen(),
    };
    await Promise.all([this.startProcess('serve'), this.startProcess('worker')]);
  }

  /** Starts `bill serve` or `bill worker`, and again whenever it ends although nobody asked it to. */
  private async startProcess(command: 'serve' | 'worker'): Promise<void> {
    const preload = command === 'worker' ? { NODE_OPTIONS: `--import ${new URL('./mishaps.ts', import.meta.url).href}` } : {};
    const started = await startBill(command, { ...this.env, ...preload });
    this.processes.set(command, started);
    started.process.once('exit', (code, signal) => {
      this.processes.delete(command);
      if (this.closing) return;
      if (signal === 'SIGKILL') {
        this.counts.kills++;
        this.note(command === 'worker' ? 'kill the worker' : 'kill the API', this.killer);
        this.killer = undefined;
      } else this.crashes.push(`bill ${command} ended with ${signal ?? code}: ${started.lines.slice(-5).join('\n')}`);
      this.startProcess(command).catch((error) => {
        if (!this.closing) throw error;
      });
    });
  }

  /** The API; never throws for a status, and throws while it is being started again. */
  get api(): AxiosInstance {
    return axios.create({
      baseURL: `http://127.0.0.1:${this.apiPort}`,
      timeout: REQUEST_TIMEOUT_MS,
      headers: { Authorization: `Bearer ${ADMIN_API_KEY}` },
      validateStatus: () => true,
    });
  }

  /** @param by the organization in whose run that happens. */
  async disturb(what: Disturbance, by: string): Promise<void> {
    if (what === 'kill the worker') return this.kill('worker', by);
    if (what === 'kill the API') return this.kill('serve', by);
    if (what === 'start a sweep') return this.sweep(by);
    const server = what === 'restart PostgreSQL' ? 'PostgreSQL' : 'Temporal';
    // One at a time, whoever asks.
    this.disturbing = this.disturbing.then(async () => {
      this.note(what, by);
      await this.servers.restart?.[server]();
      this.counts.restarts++;
    });
    return this.disturbing;
  }

  /** Returns when it has ended. One that fails, with what it asks, has found nothing. */
  async sweep(by: string): Promise<void> {
    this.note('start a sweep', by);
    this.counts.sweeps++;
    const workflowId = `balance-sweep/${randomBytes(6).toString('hex')}`;
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
    await this.sql.query(
      `update hold set released_at = now(), released_by = 'the simulation' where scope = 'service' and released_at is null`,
    );
  }

  /** The worker is about to end itself, in a run of this organization. */
  expectDeath(by: string): void {
    this.killer = by;
  }

  private async kill(command: 'serve' | 'worker', by: string): Promise<void> {
    this.killer = by;
    await this.processes.get(command)?.kill();
  }

  async pruneIdempotencyKeys(): Promise<void> {
    await axios.post(`${this.stripeServer.url}/_sandbox/idempotency/prune`);
  }

  async close(): Promise<void> {
    this.closing = true;
    await this.disturbing;
    await Promise.all([...this.processes.values()].map((running) => running.kill()));
    this.mishaps.close();
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

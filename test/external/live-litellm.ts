/**
 * The real LiteLLM proxy: one that the test starts from `LIVE_LITELLM_START`, on a database of its own, or
 * one that somebody runs already.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import axios, { type AxiosInstance, type AxiosResponse } from 'axios';
import { freePort } from '../../sandbox/ports.ts';
import { URL_TOKEN } from '../support/world.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WEBHOOK_PATH = `/webhooks/litellm/limit-exceeded?token=${URL_TOKEN}`;

/** Two minutes of installing at the first start, on a fast line; 20 seconds from then on. */
export const START_TIMEOUT_MS = 600_000;
const PROGRESS_INTERVAL_MS = 10_000;

/** Short, so that a test need not wait long for a second alert about one team. */
const ALERT_TTL_S = '5';
/**
 * In 1.110.2 what a call may cost stays reserved after its answer, for up to 15 ms on an idle machine, so that the
 * next one of a client without a pause can be refused. Nothing tells when it is over.
 */
const SETTLING_MS = 300;
/** LiteLLM adds up to five seconds of its own. */
const BATCH_WRITE_AT_S = process.env['LITELLM_BATCH_WRITE_AT'] ?? '1';

/**
 * Becomes LiteLLM, and leads a process group that ends when the test closes stdin or dies, LiteLLM's own
 * children with it.
 */
const TETHERED = 'exec 3<&0; (cat <&3 >/dev/null; kill -KILL -- -$$) & exec "$0" 3<&- </dev/null';

export class LiveLitellm {
  readonly url: string;
  readonly masterKey: string;
  /** Where our API has to listen; 0 for any port. */
  readonly apiPort: string;
  private readonly script: string | undefined;
  private child: ChildProcess | undefined;
  private readonly said: string[] = [];

  private constructor(url: string, masterKey: string, apiPort: string, script?: string) {
    this.url = url;
    this.masterKey = masterKey;
    this.apiPort = apiPort;
    this.script = script;
  }

  /** @throws saying what to set when there is neither a script nor a running proxy. */
  static async locate(): Promise<LiveLitellm> {
    const { LITELLM_URL: url, LITELLM_MASTER_KEY: key, LITELLM_WEBHOOK_PORT: port = '18090' } = process.env;
    if (url && key) return new LiveLitellm(url.replace(/\/+$/, ''), key, port);
    return LiveLitellm.own(
      'Or run a LiteLLM proxy yourself and set LITELLM_URL and LITELLM_MASTER_KEY.\n' +
        'Such a proxy needs a model "fake" with a mock_response, alerting ["webhook", "slack"], alerting_args.budget_alert_ttl of ' +
        `${ALERT_TTL_S}, and WEBHOOK_URL=http://127.0.0.1:${port}${WEBHOOK_PATH} (LITELLM_WEBHOOK_PORT sets another port).`,
    );
  }

  /**
   * One that `start` starts, with whatever environment the test wants it to have.
   *
   * @throws saying what to set when there is no script, and `otherwise`.
   */
  static async own(otherwise = ''): Promise<LiveLitellm> {
    const script = resolve(ROOT, process.env['LIVE_LITELLM_START'] ?? '../shared/live-litellm/start');
    if (existsSync(script)) return new LiveLitellm(`http://127.0.0.1:${await freePort()}`, 'sk-1234', '0', script);
    throw new Error(
      `There is no LiteLLM to test against: ${script} does not exist.\n` +
        `Set LIVE_LITELLM_START to the \`start\` script of live-litellm.\n${otherwise}`,
    );
  }

  /**
   * Starts it, unless it runs already, and waits until it is ready, telling of its progress.
   *
   * @param environment of a LiteLLM that is started here, where it is to differ.
   * @throws with its last lines
   */
  async start(apiUrl: string, environment: Record<string, string> = {}): Promise<void> {
    if (this.script) this.spawn(this.script, `${apiUrl}${WEBHOOK_PATH}`, environment);
    const started = Date.now();
    let told = started;
    while (!(await this.isReady())) {
      const waited = Math.round((Date.now() - started) / 1000);
      const lastLines = this.said.join('\n');
      if (this.child && this.child.exitCode !== null) throw new Error(`LiteLLM ended with ${this.child.exitCode}:\n${lastLines}`);
      if (Date.now() - started > START_TIMEOUT_MS) throw new Error(`LiteLLM was not ready at ${this.url} after ${waited} s:\n${lastLines}`);
      if (Date.now() - told > PROGRESS_INTERVAL_MS) {
        told = Date.now();
        process.stderr.write(`LiteLLM is being installed or started: ${waited} s, ${this.said.at(-1) ?? ''}\n`);
      }
      await new Promise((done) => setTimeout(done, 500));
    }
    process.stderr.write(`LiteLLM is ready at ${this.url} after ${Math.round((Date.now() - started) / 1000)} s\n`);
  }

  /** Ends what `start` started. */
  async stop(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.stdin?.end();
    await gone;
  }

  /** LiteLLM's API with the admin key, or another. Never throws for a status. */
  as(key: string = this.masterKey): AxiosInstance {
    return axios.create({ baseURL: this.url, headers: { Authorization: `Bearer ${key}` }, validateStatus: () => true });
  }

  /** One LLM call, of about $0.0002. */
  chat(key: string): Promise<AxiosResponse> {
    return this.as(key).post('/chat/completions', { model: 'fake', messages: [{ role: 'user', content: 'hi' }] });
  }

  /** The same, settled when this returns. */
  async settledChat(key: string): Promise<AxiosResponse> {
    const answer = await this.chat(key);
    await new Promise((done) => setTimeout(done, SETTLING_MS));
    return answer;
  }

  /** What a call is answered that the budget refuses: 422, and 429 before 1.110. */
  async refusedStatus(): Promise<number> {
    const { data } = await this.as().get('/openapi.json');
    const [major = Number.NaN, minor = Number.NaN] = data.info.version.split('.').map(Number);
    return major === 1 && minor < 110 ? 429 : 422;
  }

  private spawn(script: string, webhookUrl: string, environment: Record<string, string>): void {
    const database = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
    database.pathname = `/litellm_${randomBytes(6).toString('hex')}`;
    const child = spawn('bash', ['-c', TETHERED, script], {
      env: {
        ...process.env,
        DATABASE_URL: database.href,
        LITELLM_PORT: new URL(this.url).port,
        LITELLM_MASTER_KEY: this.masterKey,
        LITELLM_ALERT_TTL: ALERT_TTL_S,
        LITELLM_BATCH_WRITE_AT: BATCH_WRITE_AT_S,
        WEBHOOK_URL: webhookUrl,
        ...environment,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    const remember = (line: string) => {
      this.said.push(line);
      if (this.said.length > 30) this.said.shift();
    };
    createInterface({ input: child.stdout }).on('line', remember);
    createInterface({ input: child.stderr }).on('line', remember);
    this.child = child;
  }

  private async isReady(): Promise<boolean> {
    const answer = await this.as()
      .get('/health/readiness', { timeout: 5_000 })
      .catch(() => undefined);
    return answer?.status === 200 && answer.data.db === 'connected';
  }
}

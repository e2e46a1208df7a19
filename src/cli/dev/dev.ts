/**
 * `bill dev`: the whole service on this machine. Starts the servers that the environment does not name, shows
 * what happens, and stops everything in the end.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { pino } from 'pino';
import { startApi } from '../../api.ts';
import { type Config, EX_CONFIG, METRICS_PORTS } from '../../config.ts';
import { Database } from '../../database/database.ts';
import type { ProcessKind } from '../../observability/catalogue.ts';
import { createLogger } from '../../observability/log.ts';
import { stopTracing } from '../../observability/tracing.ts';
import type { Running } from '../../running.ts';
import { TemporalLinks } from '../../temporal/links.ts';
import { installTemporalRuntime } from '../../temporal/worker.ts';
import { startWorker } from '../../worker.ts';
import { beginTracing } from '../begin-tracing.ts';
import { migrate } from '../migrate.ts';
import { configOrExit, stopOnSignal } from '../process.ts';
import { DEV_ADDRESS_FILE, type DevAddress } from '../service-settings.ts';
import { databaseOrExit } from '../startup-check.ts';
import { banner } from './banner.ts';
import { createDemonstration, startSpending } from './demonstration.ts';
import { freePort, startEmbedded } from './embedded.ts';
import { isReal, mixtureRefusal, PARTS, type Part } from './parts.ts';
import { clock, startTimeline } from './timeline.ts';

const DATA_FOLDER = fileURLToPath(new URL('../../../.data', import.meta.url));
const ENV_FILE = fileURLToPath(new URL('../../../.env', import.meta.url));
/** Programs that set-up has fetched. They are no state, so `--fresh` keeps them. */
const TOOLS = 'tools';
const LOG_FILE = join(DATA_FOLDER, 'bill.log');

const TITLES: Readonly<Record<Part, string>> = {
  database: 'PostgreSQL',
  temporal: 'Temporal',
  stripe: 'a stand-in for Stripe',
  litellm: 'a stand-in for LiteLLM',
};

/** @param options.allowReal the parts of the operator's own that may stand beside those that are started here. */
export async function dev({ fresh, traffic, allowReal }: { fresh: boolean; traffic: boolean; allowReal: readonly Part[] }): Promise<void> {
  const refusal = mixtureRefusal(process.env, allowReal);
  if (refusal !== undefined) {
    console.error(`bill: ${refusal}`);
    process.exit(EX_CONFIG);
  }
  refuseSecondRun();
  if (fresh) startOver();
  mkdirSync(DATA_FOLDER, { recursive: true });
  const say = (line: string) => console.log(`${styleText('dim', clock(new Date()))}  ${line}`);

  const ignored = ignoredEnvFile();
  if (ignored !== null) say(ignored);
  const own = PARTS.filter((part) => !isReal(part, process.env));
  if (own.length > 0) say(`starting ${own.map((part) => TITLES[part]).join(', ')} …`);
  const stops: (() => Promise<void> | void)[] = [];
  const running: Running = {
    stop: async () => {
      rmSync(DEV_ADDRESS_FILE, { force: true });
      for (const stop of stops.toReversed()) await stop();
      say('everything has stopped; the state is kept in .data');
    },
  };
  stopOnSignal(running, () => say('stopping …'));

  const embedded = await startEmbedded(process.env, DATA_FOLDER, say);
  stops.push(embedded.stop);
  const config = configOrExit(embedded.env);
  const log = createLogger(config.logLevel, pino.destination({ dest: LOG_FILE, sync: false }));
  const metrics = await metricsOf(config.metrics, say);
  const sdkMetrics = await installTemporalRuntime(log, { hasMetrics: metrics.worker.port !== 0 });
  const fail = (what: string) => {
    console.error(`bill: ${what}; the log is ${LOG_FILE}`);
    process.exitCode = 1;
    void running.stop().finally(() => process.exit(1)); // Nothing is left to do with a failure to stop.
  };
  for (const { name, server } of embedded.servers) {
    server.process.once('exit', (code) => code !== 0 && fail(`the ${name} server has ended`));
  }

  await migrate(config, log);
  await databaseOrExit(config, log);
  await beginTracing('bill-dev', config, log);
  stops.push(stopTracing);
  const [worker, api] = await Promise.all([
    startWorker({ ...config, metrics: metrics.worker }, log, {
      failed: ({ message }) => fail(`the worker has failed: ${message}`),
      sdkMetrics,
    }),
    startApi({ ...config, metrics: metrics.serve }, log),
  ]);
  stops.push(worker.stop, api.stop);
  say('API and worker are running');
  writeAddress(config, embedded.env);

  const database = await Database.open(config.databaseUrl);
  stops.push(() => database.close());
  const links = new TemporalLinks(config.temporal);
  const { apiUrl } = embedded;
  console.log(
    `\n${banner({ config, given: process.env, apiUrl, workflowsUrl: links.workflows, logFile: LOG_FILE, metricsUrls: urlsOf(metrics) })}\n`,
  );
  const timeline = startTimeline(database, links, (line) => console.log(line));
  stops.push(timeline.stop);

  if (own.length < PARTS.length) {
    say('no demonstration customers: they are made only where every part is one that was started here');
    return;
  }
  const members = await createDemonstration(config, apiUrl);
  if (!traffic) return say('no simulated spending (--no-traffic)');
  const spending = startSpending(config.kms.baseUrl, members, (refusal) => {
    const text =
      refusal.kind === 'refused' ? 'answers 429: out of budget' : `answers 200 again after ${(refusal.afterMs / 1000).toFixed(1)} s`;
    console.log(
      `${clock(new Date())}  ${refusal.organizationId.padEnd(10)} ${styleText('blue', 'LiteLLM'.padEnd(10))} ${' '.repeat(8)}  ${text}`,
    );
  });
  stops.push(spending.stop);
}

/** Said of a file `.env` that is there and that this process was not started with; null: it was, or there is none. */
export function ignoredEnvFile({ execArgv = process.execArgv, isThere = existsSync(ENV_FILE) } = {}): string | null {
  const isRead = execArgv.some((argument) => argument.startsWith('--env-file='));
  return isThere && !isRead ? 'the file .env is ignored: npm start reads none, and npx bill dev does' : null;
}

/**
 * Where API and worker show their metrics: as `bill serve` and `bill worker` do, so that the same Prometheus scrapes
 * both. With METRICS_PORT the API is there, and the worker one port further.
 */
async function metricsOf({ host, port }: Config['metrics'], say: (line: string) => void): Promise<Record<ProcessKind, Config['metrics']>> {
  if (port === 0) return { serve: { host, port }, worker: { host, port } };
  const [serve, worker] = port === undefined ? [METRICS_PORTS.serve, METRICS_PORTS.worker] : [port, port + 1];
  const avoided = (busy: number, taken: number) => say(`port ${busy} is busy; metrics are at ${taken}`);
  const api = await freePort(serve, avoided);
  return { serve: { host, port: api }, worker: { host, port: await freePort(Math.max(worker, api + 1), avoided) } };
}

function urlsOf(metrics: Record<ProcessKind, Config['metrics']>): string[] {
  return Object.values(metrics).flatMap(({ host, port }) => (port ? [`http://${host}:${port}/metrics`] : []));
}

function startOver(): void {
  if (!existsSync(DATA_FOLDER)) return;
  for (const entry of readdirSync(DATA_FOLDER)) {
    if (entry !== TOOLS) rmSync(join(DATA_FOLDER, entry), { recursive: true, force: true });
  }
}

/** Two of them would share one PostgreSQL folder. @throws when one runs already. */
function refuseSecondRun(): void {
  if (!existsSync(DEV_ADDRESS_FILE)) return;
  const { pid, PUBLIC_URL } = JSON.parse(readFileSync(DEV_ADDRESS_FILE, 'utf8')) as { pid: number; PUBLIC_URL: string };
  try {
    process.kill(pid, 0);
  } catch {
    return; // It has ended without removing the file.
  }
  throw new Error(`bill dev is running already, as process ${pid} at ${PUBLIC_URL}`);
}

function writeAddress(config: Config, env: Record<string, string>): void {
  const address: DevAddress = {
    PUBLIC_URL: config.http.publicUrl,
    ADMIN_API_KEY: config.http.adminApiKey,
    WEBHOOK_HMAC_SECRETS: config.webhook.hmacSecrets.join(','),
    DATABASE_URL: config.databaseUrl,
    TEMPORAL_ADDRESS: env['TEMPORAL_ADDRESS'] ?? '',
    TEMPORAL_TASK_QUEUE: config.temporal.taskQueue,
    STRIPE_API_BASE: config.stripe.apiBase,
    STRIPE_SECRET_KEY: config.stripe.secretKey,
    STRIPE_WEBHOOK_SECRETS: config.stripe.webhookSecrets.join(','),
    KMS_BASE_URL: config.kms.baseUrl,
    KMS_API_KEY: config.kms.apiKey,
  };
  writeFileSync(DEV_ADDRESS_FILE, JSON.stringify({ ...address, pid: process.pid }), { mode: 0o600 });
}

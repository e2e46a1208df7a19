/**
 * The environment as one frozen object. Everything wrong with it is reported at once. The README lists names
 * and defaults.
 */
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { z } from 'zod';
import { ConnectionUrlError, readConnectionUrl } from './database/connection-url.ts';
import { STRIPE_API_BASE } from './domain/stripe-address.ts';
import { webhookKey } from './domain/webhook-key.ts';
import type { SamplerName, TracingSettings } from './observability/span.ts';

/** Exit code of a process whose settings cannot be used (sysexits.h EX_CONFIG). */
export const EX_CONFIG = 78;

/** Shorter secrets can be guessed. */
const MIN_SECRET_LENGTH = 8;
const tooShort = `is shorter than ${MIN_SECRET_LENGTH} characters`;

const secrets = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  )
  .refine((items) => items.every((item) => item.length >= MIN_SECRET_LENGTH), `holds a secret that ${tooShort}`);

/**
 * Standard Webhooks writes a key as base64 after `whsec_`. Other text there would decode to a key of few
 * bytes, or none.
 */
function isKey(secret: string): boolean {
  if (!secret.startsWith('whsec_')) return true;
  const bytes = webhookKey(secret);
  return bytes.length >= MIN_SECRET_LENGTH && bytes.toString('base64') === secret.slice('whsec_'.length);
}
const notAKey = `begins with whsec_ but is not base64 of at least ${MIN_SECRET_LENGTH} bytes after it`;

/** Orchestrators give a minute or so for all of the end. */
const MAX_DRAIN_SECONDS = 300;
/** More than Stripe takes from anybody. */
const MAX_RATE_LIMIT = 10_000;

const notAPort = 'is not a port number from 0 to 65535';
const anyHttpUrl = z.url({ protocol: /^https?$/, error: 'is not an http:// or https:// address' });
/** Paths are put behind it. */
const httpUrl = anyHttpUrl.transform((url) => url.replace(/\/+$/, ''));
const port = z
  .string()
  .regex(/^\d{1,5}$/, notAPort)
  .transform(Number)
  .refine((number) => number <= 65535, notAPort);
const count = z
  .string()
  .regex(/^\d{1,9}$/, 'is not a whole number')
  .transform(Number);
/** Batches of no span are sent for ever, until the memory is full. */
const spans = count.refine((number) => number > 0, 'is not a number of spans above 0');
const onlyProtobuf = z
  .enum(['http/protobuf'], { error: 'is not http/protobuf, the one that is spoken here; its port is mostly 4318' })
  .optional();
const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const satisfies SamplerName[];
/** Without the line break that a file or an `echo` puts behind a key: no header can carry it. */
const required = (what: string) =>
  z
    .string({ error: `is not set: ${what}` })
    .trim()
    .min(1, `is empty: ${what}`);

const isPostgres = /^postgres(ql)?:\/\//;

const environment = z.object({
  DATABASE_URL: required('the PostgreSQL database, like postgres://user:password@host:5432/bill').regex(
    isPostgres,
    'does not begin with postgres://',
  ),
  TEMPORAL_TASK_QUEUE: z.string().min(1).default('bill-service'),
  TEMPORAL_UI_URL: httpUrl.optional(),
  STRIPE_SECRET_KEY: required("Stripe's secret key, sk_… or rk_…").regex(
    /^(sk|rk)_/,
    'is not a secret key: it has to begin with sk_ or rk_',
  ),
  STRIPE_API_BASE: httpUrl.default(STRIPE_API_BASE),
  STRIPE_WEBHOOK_SECRETS: secrets,
  STRIPE_RATE_LIMIT: z
    .string()
    .default('20')
    .transform(Number)
    .refine((rate) => rate > 0 && rate <= MAX_RATE_LIMIT, `is not a number of charges a second above 0, up to ${MAX_RATE_LIMIT}`),
  KMS_BASE_URL: required('the address of the LiteLLM proxy').pipe(httpUrl),
  KMS_API_KEY: required('an admin key of the LiteLLM proxy'),
  WEBHOOK_HMAC_SECRETS: secrets.refine((items) => items.every(isKey), `holds a secret that ${notAKey}`),
  WEBHOOK_URL_TOKENS: secrets,
  ADMIN_API_KEY: required('a key of your own choice for the admin API').min(MIN_SECRET_LENGTH, tooShort),
  HOST: z.string().min(1).default('127.0.0.1'),
  PORT: port.default(8080),
  METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  METRICS_PORT: port.optional(),
  PUBLIC_URL: httpUrl.optional(),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
      error: 'is not one of fatal, error, warn, info, debug, trace, silent',
    })
    .default('info'),
  NODE_ENV: z.string().optional(),
  NOTIFY_WEBHOOK_URL: anyHttpUrl.optional(),
  DRAIN_SECONDS: z
    .string()
    .default('0')
    .refine(
      (text) => /^\d{1,3}$/.test(text) && Number(text) <= MAX_DRAIN_SECONDS,
      `is not a number of seconds from 0 to ${MAX_DRAIN_SECONDS}`,
    )
    .transform(Number),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl.optional(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: httpUrl.optional(),
  OTEL_EXPORTER_OTLP_PROTOCOL: onlyProtobuf,
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: onlyProtobuf,
  OTEL_SDK_DISABLED: z.string().default('false'),
  OTEL_TRACES_EXPORTER: z.enum(['otlp', 'none'], { error: 'is not otlp or none' }).default('otlp'),
  OTEL_TRACES_SAMPLER: z.enum(SAMPLERS, { error: `is not one of ${SAMPLERS.join(', ')}` }).default('parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: z
    .string()
    .default('1')
    .transform(Number)
    .refine((ratio) => ratio >= 0 && ratio <= 1, 'is not a ratio from 0 to 1'),
  OTEL_BSP_SCHEDULE_DELAY: count.optional(),
  OTEL_BSP_EXPORT_TIMEOUT: count.optional(),
  OTEL_BSP_MAX_QUEUE_SIZE: spans.optional(),
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: spans.optional(),
  OUTBOUND_ALLOW_PRIVATE: z.enum(['true', 'false'], { error: 'is not true or false' }).default('false'),
  NOTIFY_WEBHOOK_SECRET: z.string().trim().min(MIN_SECRET_LENGTH, tooShort).refine(isKey, notAKey).optional(),
});

/** What is wrong with the address of the database, beyond its scheme. */
function problemsOfDatabase(url = '', env: Record<string, string | undefined>): readonly string[] {
  if (!isPostgres.test(url)) return [];
  try {
    readConnectionUrl(url, env);
    return [];
  } catch (error) {
    if (error instanceof ConnectionUrlError) return error.problems.map((problem) => `DATABASE_URL ${problem}`);
    throw error;
  }
}

/** Rules between variables. Checked beside the schema, so that they are reported with the rest. */
function problemsBetween(env: Record<string, string | undefined>, parts: readonly Part[]): string[] {
  const problems: string[] = [];
  const holdsNone = (list = '') => !/[^,\s]/.test(list);
  if (parts.includes('webhook') && holdsNone(env['WEBHOOK_HMAC_SECRETS']) && holdsNone(env['WEBHOOK_URL_TOKENS'])) {
    problems.push('WEBHOOK_HMAC_SECRETS is not set, nor is WEBHOOK_URL_TOKENS: one of the two has to say which alerts are authentic');
  }
  if (parts.includes('outbound') && env['NOTIFY_WEBHOOK_URL'] && !env['NOTIFY_WEBHOOK_SECRET']) {
    problems.push('NOTIFY_WEBHOOK_SECRET is not set, but NOTIFY_WEBHOOK_URL is: outbound events are signed');
  }
  return problems;
}

export type TemporalConfig = {
  /** Address, TLS and namespace, as every Temporal SDK reads them. */
  readonly connect: ReturnType<typeof loadClientConnectConfig>;
  readonly taskQueue: string;
  /** Address of the Web UI, for links. */
  readonly uiUrl: string | undefined;
};

export type StripeConfig = {
  readonly secretKey: string;
  readonly apiBase: string;
  readonly webhookSecrets: readonly string[];
  /** Of all workers together. */
  readonly chargesPerSecond: number;
};

/** LiteLLM's key-management API, with an admin key. */
export type KmsConfig = { readonly baseUrl: string; readonly apiKey: string };

/** What authenticates an alert: any one of the secrets. */
export type WebhookConfig = { readonly hmacSecrets: readonly string[]; readonly urlTokens: readonly string[] };

export type HttpConfig = {
  readonly host: string;
  readonly port: number;
  readonly publicUrl: string;
  readonly adminApiKey: string;
  /** From SIGTERM on, while `/ready` is 503 and requests are still taken, so that a balancer can look away first. */
  readonly drainMs: number;
};

/** Where a process shows its metrics. `port`: 0 is nowhere; undefined is METRICS_PORTS of the process. */
export type MetricsConfig = { readonly host: string; readonly port: number | undefined };

/** Of one process each, so that both run on one machine without a setting. */
export const METRICS_PORTS = { serve: 9464, worker: 9465 } as const;

/**
 * Outbound events. `notify`: where every one goes, and what signs it. `allowPrivate`: endpoints that are made
 * by API may have private addresses.
 */
export type OutboundConfig = {
  readonly notify: { readonly url: string; readonly secret: string } | undefined;
  readonly allowPrivate: boolean;
};

export type Config = {
  readonly databaseUrl: string;
  readonly temporal: TemporalConfig;
  readonly stripe: StripeConfig;
  readonly kms: KmsConfig;
  readonly webhook: WebhookConfig;
  readonly http: HttpConfig;
  readonly logLevel: string;
  readonly metrics: MetricsConfig;
  readonly outbound: OutboundConfig;
  /** undefined: nothing is traced. */
  readonly tracing: TracingSettings | undefined;
};

/**
 * Everything that is wrong with the environment, one line a variable. Values are left out: many are secrets.
 */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the environment cannot be used:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** A part of the configuration: what one process needs of it. */
export type Part = keyof Config;
type Variable = keyof typeof environment.shape;
type Environment = z.output<typeof environment>;

/** The variables that each part is made of. Those of Temporal are also read by its own library. */
const VARIABLES: Readonly<Record<Part, readonly Variable[]>> = {
  databaseUrl: ['DATABASE_URL'],
  temporal: ['TEMPORAL_TASK_QUEUE', 'TEMPORAL_UI_URL'],
  stripe: ['STRIPE_SECRET_KEY', 'STRIPE_API_BASE', 'STRIPE_WEBHOOK_SECRETS', 'STRIPE_RATE_LIMIT'],
  kms: ['KMS_BASE_URL', 'KMS_API_KEY'],
  webhook: ['WEBHOOK_HMAC_SECRETS', 'WEBHOOK_URL_TOKENS'],
  http: ['ADMIN_API_KEY', 'HOST', 'PORT', 'PUBLIC_URL', 'DRAIN_SECONDS'],
  logLevel: ['LOG_LEVEL'],
  metrics: ['METRICS_HOST', 'METRICS_PORT'],
  tracing: [
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    'OTEL_EXPORTER_OTLP_PROTOCOL',
    'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL',
    'OTEL_SDK_DISABLED',
    'OTEL_TRACES_EXPORTER',
    'OTEL_TRACES_SAMPLER',
    'OTEL_TRACES_SAMPLER_ARG',
    'OTEL_BSP_SCHEDULE_DELAY',
    'OTEL_BSP_EXPORT_TIMEOUT',
    'OTEL_BSP_MAX_QUEUE_SIZE',
    'OTEL_BSP_MAX_EXPORT_BATCH_SIZE',
  ],
  outbound: ['NOTIFY_WEBHOOK_URL', 'NOTIFY_WEBHOOK_SECRET', 'OUTBOUND_ALLOW_PRIVATE'],
};
const EVERY_PART = Object.keys(VARIABLES) as Part[];

/**
 * The configuration, or some parts of it: the variables of the others may be missing or wrong.
 *
 * @throws ConfigError naming every variable that is missing or wrong.
 */
export function readConfig(env: Record<string, string | undefined>): Config;
export function readConfig<P extends Part>(env: Record<string, string | undefined>, parts: readonly P[]): Pick<Config, P>;
export function readConfig(env: Record<string, string | undefined>, parts: readonly Part[] = EVERY_PART): Partial<Config> {
  // An empty variable counts as not set: Compose and .env files set such.
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const used = new Set(parts.flatMap((part) => VARIABLES[part]));
  const mask = Object.fromEntries([...used].map((name) => [name, true])) as { [V in Variable]?: true };
  const parsed = environment.pick(mask).safeParse(given);
  const problems = [
    ...(parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${String(path[0])} ${message}`)),
    ...(parts.includes('databaseUrl') ? problemsOfDatabase(given['DATABASE_URL'], given) : []),
    ...problemsBetween(given, parts),
  ];
  let connect: TemporalConfig['connect'] | undefined;
  try {
    if (parts.includes('temporal')) connect = loadClientConnectConfig({ overrideEnvVars: given as Record<string, string> });
  } catch (error) {
    problems.push(`TEMPORAL_… ${(error as Error).message}`);
  }
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  const config = configOf(parsed.data as Environment, connect as TemporalConfig['connect']);
  return Object.freeze(Object.fromEntries(parts.map((part) => [part, config[part]])));
}

/** Of parts that were not read, the variables are undefined. */
function configOf(e: Environment, connect: TemporalConfig['connect']): Config {
  return {
    databaseUrl: e.DATABASE_URL,
    temporal: { connect, taskQueue: e.TEMPORAL_TASK_QUEUE, uiUrl: e.TEMPORAL_UI_URL },
    stripe: {
      secretKey: e.STRIPE_SECRET_KEY,
      apiBase: e.STRIPE_API_BASE,
      webhookSecrets: e.STRIPE_WEBHOOK_SECRETS,
      chargesPerSecond: e.STRIPE_RATE_LIMIT,
    },
    kms: { baseUrl: e.KMS_BASE_URL, apiKey: e.KMS_API_KEY },
    webhook: { hmacSecrets: e.WEBHOOK_HMAC_SECRETS, urlTokens: e.WEBHOOK_URL_TOKENS },
    http: {
      host: e.HOST,
      port: e.PORT,
      publicUrl: e.PUBLIC_URL ?? `http://${e.HOST}:${e.PORT}`,
      adminApiKey: e.ADMIN_API_KEY,
      drainMs: e.DRAIN_SECONDS * 1000,
    },
    logLevel: e.LOG_LEVEL,
    metrics: { host: e.METRICS_HOST, port: e.METRICS_PORT },
    tracing: tracingOf(e),
    outbound: {
      notify: e.NOTIFY_WEBHOOK_URL && e.NOTIFY_WEBHOOK_SECRET ? { url: e.NOTIFY_WEBHOOK_URL, secret: e.NOTIFY_WEBHOOK_SECRET } : undefined,
      allowPrivate: e.OUTBOUND_ALLOW_PRIVATE === 'true',
    },
  };
}

/** As OpenTelemetry has it, but for one thing: without an endpoint nothing is sent to the port that it would guess. */
function tracingOf(e: Environment): TracingSettings | undefined {
  const endpoint = e.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? e.OTEL_EXPORTER_OTLP_ENDPOINT;
  const isOff = e.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || e.OTEL_TRACES_EXPORTER === 'none';
  if (endpoint === undefined || isOff) return undefined;
  const batches = {
    scheduledDelayMillis: e.OTEL_BSP_SCHEDULE_DELAY,
    exportTimeoutMillis: e.OTEL_BSP_EXPORT_TIMEOUT,
    maxQueueSize: e.OTEL_BSP_MAX_QUEUE_SIZE,
    maxExportBatchSize: e.OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
  };
  return { sampler: e.OTEL_TRACES_SAMPLER, ratio: e.OTEL_TRACES_SAMPLER_ARG, batches };
}

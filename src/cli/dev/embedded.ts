/** The servers of `bill dev`: each starts unless the environment names another one in its place. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type LaunchedServer, launch, type ServerName } from '../../../sandbox/launch.ts';
import { isFree } from '../../../sandbox/ports.ts';

/** Seconds between two alerts for the same team, as the README recommends for a real LiteLLM. */
const ALERT_TTL_S = 30;
/** A real LiteLLM takes 10 to 15 s; shorter here, so that a person sees the figures change. */
const SPEND_LAG_MS = 2_000;
/** How many ports are tried from the preferred one on. */
const PORTS_TRIED = 50;

const PREFERRED_PORTS = { api: 8080, postgres: 15432, temporal: 7233, temporalUi: 8233, stripe: 12111, litellm: 4000 } as const;

/** Values of variables that are not set. Not secret: the servers listen on loopback only. */
export const OWN_SETTINGS = {
  STRIPE_SECRET_KEY: 'sk_test_bill_dev',
  STRIPE_WEBHOOK_SECRETS: 'whsec_bill_dev',
  KMS_API_KEY: 'sk-1234',
  WEBHOOK_HMAC_SECRETS: 'dev-webhook-secret',
  WEBHOOK_URL_TOKENS: 'dev-webhook-token',
  ADMIN_API_KEY: 'dev-admin-key',
} as const;

export type Embedded = {
  /** The whole environment that the service runs with. */
  env: Record<string, string>;
  /** Where the API is to listen. What a stand-in posts goes there, and never to a PUBLIC_URL of somewhere else. */
  apiUrl: string;
  /** The servers that were started here, in the order in which to stop them. */
  servers: { name: ServerName; server: LaunchedServer }[];
  stop: () => Promise<void>;
};

/**
 * Starts the servers that the environment does not replace.
 *
 * @param progress called with a line when a server is ready or a port had to be avoided.
 * @throws when a server does not start, after stopping those that did.
 */
export async function startEmbedded(given: NodeJS.ProcessEnv, folder: string, progress: (line: string) => void): Promise<Embedded> {
  mkdirSync(folder, { recursive: true });
  const set = Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => Boolean(entry[1])));
  const env: Record<string, string> = { ...OWN_SETTINGS, ...set };
  const servers: Embedded['servers'] = [];
  const stop = async () => {
    for (const { server } of servers) await server.stop();
  };
  const start = async (name: ServerName, title: string, args: Record<string, string | number>): Promise<Record<string, string>> => {
    const started = performance.now();
    const server = await launch(name, args);
    servers.unshift({ name, server });
    progress(`${title} is ready (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    return server.ready;
  };
  const port = (name: string, preferred: number) =>
    freePort(preferred, (busy, taken) => progress(`port ${busy} is busy; ${name} uses ${taken}`));

  try {
    env['PORT'] ??= String(await port('the API', PREFERRED_PORTS.api));
    env['HOST'] ??= '127.0.0.1';
    env['PUBLIC_URL'] ??= `http://${env['HOST']}:${env['PORT']}`;
    const apiUrl = localUrl(env['HOST'], env['PORT']);
    const webhookUrl = `${apiUrl}/webhooks/litellm/limit-exceeded?token=${env['WEBHOOK_URL_TOKENS']?.split(',')[0]?.trim()}`;
    const alone: Promise<void>[] = [];
    if (!env['DATABASE_URL']) {
      const args = { data: join(folder, 'postgres'), port: await port('PostgreSQL', PREFERRED_PORTS.postgres) };
      alone.push(
        start('postgres', 'PostgreSQL', args).then(({ url = '' }) => {
          env['DATABASE_URL'] = url;
        }),
      );
    }
    if (!env['TEMPORAL_ADDRESS']) {
      const args = {
        db: join(folder, 'temporal.db'),
        port: await port('Temporal', PREFERRED_PORTS.temporal),
        'ui-port': await port('the Temporal Web UI', PREFERRED_PORTS.temporalUi),
      };
      alone.push(
        start('temporal', 'Temporal', args).then(({ address = '', ui = '' }) => {
          env['TEMPORAL_ADDRESS'] = address;
          env['TEMPORAL_UI_URL'] ??= ui;
        }),
      );
    }
    if (!env['STRIPE_API_BASE']) {
      const args = {
        state: join(folder, 'stripe.json'),
        port: await port('the Stripe stand-in', PREFERRED_PORTS.stripe),
        'latency-ms': 100,
        'webhook-url': `${apiUrl}/webhooks/stripe`,
        'webhook-secret': env['STRIPE_WEBHOOK_SECRETS']?.split(',')[0]?.trim() ?? '',
      };
      alone.push(
        start('stripe', 'The Stripe stand-in', args).then(({ url = '' }) => {
          env['STRIPE_API_BASE'] = url;
        }),
      );
    }
    if (!env['KMS_BASE_URL']) {
      const args = {
        state: join(folder, 'litellm.json'),
        port: await port('the LiteLLM stand-in', PREFERRED_PORTS.litellm),
        'master-key': env['KMS_API_KEY'] ?? '',
        'webhook-url': webhookUrl,
        'alert-ttl-s': ALERT_TTL_S,
        'spend-lag-ms': SPEND_LAG_MS,
      };
      alone.push(
        start('litellm', 'The LiteLLM stand-in', args).then(({ url = '' }) => {
          env['KMS_BASE_URL'] = url;
        }),
      );
    }
    const failed = (await Promise.allSettled(alone)).find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return { env, apiUrl, servers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** How this machine reaches a server that listens on `host`. */
function localUrl(host: string, port: string): string {
  const isEverywhere = host === '0.0.0.0' || host === '::';
  return `http://${isEverywhere ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The first free port of loopback from `preferred` on. @param avoided called when `preferred` is busy. */
export async function freePort(preferred: number, avoided: (busy: number, taken: number) => void): Promise<number> {
  for (let port = preferred; port < preferred + PORTS_TRIED; port++) {
    if (await isFree(port)) {
      if (port !== preferred) avoided(preferred, port);
      return port;
    }
  }
  throw new Error(`no port from ${preferred} to ${preferred + PORTS_TRIED - 1} is free`);
}

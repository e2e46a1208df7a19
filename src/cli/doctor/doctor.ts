/**
 * `bill doctor`: checks everything that the service needs, and says what to change. It changes nothing
 * itself.
 */
import { styleText } from 'node:util';
import type { Client } from '@temporalio/client';
import type { Config, TemporalConfig } from '../../config.ts';
import { Database, type Encryption } from '../../database/database.ts';
import * as stripeEvents from '../../database/stripe-events.ts';
import * as webhookEvents from '../../database/webhook-events.ts';
import { withDeadline } from '../../deadline.ts';
import { ago } from '../../domain/elapsed.ts';
import { stopOf } from '../../domain/service-status.ts';
import { KmsClient } from '../../kms/client.ts';
import { PaymentsClient } from '../../payments/client.ts';
import { PaymentsError } from '../../payments/errors.ts';
import { openClient } from '../../temporal/connection.ts';
import { temporalErrorOf } from '../../temporal/errors.ts';
import { temporalFacts } from '../../temporal/facts.ts';
import { databasePlace } from '../database-place.ts';
import { EXIT } from '../exit.ts';
import { fetchWithin } from '../fetch.ts';
import { type Output, print } from '../output.ts';
import { configOrExit } from '../process.ts';
import { progress } from '../progress.ts';
import { elsewhereText, type Known, type Place, placeOf, placeText, serviceEnvironment } from '../service-client.ts';
import { examineCustomers, examineHolds } from './holds.ts';
import { examineLitellm, examineTeams } from './litellm.ts';
import { examineStandings } from './organizations.ts';
import { change, LOOK_DEADLINE_MS, note, type Observation, type Reading, runCheck } from './reading.ts';
import { examineTemporal } from './temporal.ts';
import { examineTimeZones } from './time-zones.ts';

/** Signed alerts are refused from five minutes on; a clock that is a minute off is drifting there. */
const MAX_SKEW_MS = 60_000;
const HTTP_DEADLINE_MS = 5_000;
/** It answers within this where nothing hangs. */
const SILENT_MS = 2_000;

export async function doctor(options: Output): Promise<void> {
  const say = progress(options);
  const waiting = setTimeout(() => say('asking the database, Temporal, Stripe, LiteLLM and the API'), SILENT_MS);
  const config = configOrExit(serviceEnvironment());
  const readings = [...placesOf(config), ...(await examine(config).finally(() => clearTimeout(waiting)))];
  print(options, { readings }, () => textOf(readings));
  if (readings.some(({ verdict }) => verdict === 'change')) process.exitCode = EXIT.found;
}

/** Which servers are asked, and who says so: another one than the service uses is found fine for nothing. */
export function placesOf({ databaseUrl, temporal, stripe, kms, http }: Config, known?: Known): Reading[] {
  const temporalAddress = temporal.connect.connectionOptions.address ?? 'localhost:7233';
  const places: [string, Place][] = [
    ['database', databasePlace(databaseUrl, known)],
    ['Temporal', placeOf('TEMPORAL_ADDRESS', temporalAddress, (address) => address, known)],
    ['Stripe', placeOf('STRIPE_API_BASE', stripe.apiBase, undefined, known)],
    ['LiteLLM', placeOf('KMS_BASE_URL', kms.baseUrl, undefined, known)],
    ['API', placeOf('PUBLIC_URL', http.publicUrl, undefined, known)],
  ];
  return places.map(([area, place]) => {
    const elsewhere = elsewhereText(place);
    const [differs, advice] = elsewhere?.split(': ') ?? [];
    const seen = [placeText(place), differs].filter(Boolean).join('; ');
    return { area, check: 'asked', verdict: elsewhere ? 'note' : 'ok', seen, advice: advice ?? null };
  });
}

/** Every check, in the order in which to repair what has failed. */
export async function examine(config: Config): Promise<Reading[]> {
  const database = await Database.open(config.databaseUrl);
  const client = openClient(config.temporal);
  const kms = new KmsClient(config.kms);
  try {
    const reachesDatabase = await examineDatabase(database);
    const usesDatabase = reachesDatabase.every(({ verdict }) => verdict === 'ok');
    const payments = new PaymentsClient(config.stripe);
    const readings = await Promise.all([
      examineTemporal(client, config.temporal),
      examineStripeWithCustomers(payments, config, usesDatabase ? database : undefined),
      examineLitellmWithTeams(kms, usesDatabase ? database : undefined),
      examineClocks(config, usesDatabase ? database : undefined),
      examineApi(config),
      usesDatabase ? examineWebhooks(database, config) : [],
      usesDatabase ? examineHolds(database.fork()) : [],
      usesDatabase ? examineStandings(database.fork(), await stopNow(client, config.temporal)) : [],
      usesDatabase ? examineTimeZones(database.fork()) : [],
    ]);
    return [...reachesDatabase, ...readings.flat()];
  } finally {
    await client.connection.close();
    await database.close();
  }
}

/** What keeps every run from going on, as far as Temporal says it. */
async function stopNow(client: Client, temporal: TemporalConfig): Promise<string | null> {
  const facts = await withDeadline(temporalFacts(client, temporal), LOOK_DEADLINE_MS).catch((error) => ({
    failure: (temporalErrorOf(error, temporal) as Error).message,
  }));
  return stopOf({ temporal: facts }, new Date());
}

async function examineDatabase(database: Database): Promise<Reading[]> {
  const reached = await runCheck(
    { area: 'database', check: 'answers', advice: 'set DATABASE_URL to a PostgreSQL that this machine reaches' },
    async () => {
      const [row] = await database.fork().execute<{ version: string }[]>("select current_setting('server_version') as version");
      return `PostgreSQL ${row?.version}`;
    },
  );
  if (reached.verdict !== 'ok') return [reached];
  const encrypted = await runCheck({ area: 'database', check: 'connection' }, async () => encryptionOf(await database.encryption()));
  const migrated = await runCheck({ area: 'database', check: 'migrations', advice: 'run: bill migrate' }, async () => {
    const { missing, unknown } = await database.schemaDifference();
    if (missing.length > 0) return change(`not applied: ${missing.join(', ')}`, 'run: bill migrate');
    if (unknown.length === 0) return 'all applied';
    return note(`all applied, and newer ones: ${unknown.join(', ')}`, 'install the version that the database was migrated by');
  });
  return [reached, encrypted, migrated];
}

const LOOPBACK = /^(localhost|127\.|::1$|\/)/;

/** PostgreSQL sees the last part of the way: behind a pooler that is another connection than ours. */
export function encryptionOf({ connection: { sslMode, host }, isEncryptedAtServer, protocol }: Encryption): Observation {
  const advice = 'add ?sslmode=verify-full to DATABASE_URL (and sslrootcert=, where the authority is your own)';
  if (sslMode === 'disable') {
    if (isEncryptedAtServer) return note('in plain text up to a pooler, which encrypts the rest of the way', advice);
    return LOOPBACK.test(host)
      ? 'in plain text, on this machine'
      : note('in plain text: whoever is between can read and change it', advice);
  }
  const proof = {
    require: 'nothing proves the server',
    'verify-ca': 'the authority is checked, the name is not',
    'verify-full': 'name and authority are checked',
  }[sslMode];
  const seen = `encrypted${protocol ? ` (${protocol})` : ' up to a pooler'}, sslmode=${sslMode}: ${proof}`;
  if (!isEncryptedAtServer) return note(`${seen}; from there to PostgreSQL in plain text`, 'have the pooler use TLS to PostgreSQL');
  return sslMode === 'require' ? note(seen, advice) : seen;
}

async function examineStripe(payments: PaymentsClient, config: Config): Promise<Reading[]> {
  return Promise.all([
    runCheck(
      { area: 'Stripe', check: 'key', advice: 'set STRIPE_SECRET_KEY to a key that Stripe accepts, STRIPE_API_BASE to where it is' },
      async () => {
        const forbidden = await payments.forbiddenCalls().catch((error) => {
          if (error instanceof PaymentsError && error.kind !== 'key') return error;
          throw error;
        });
        if (forbidden instanceof PaymentsError) {
          const advice = `see that this machine reaches ${config.stripe.apiBase} (STRIPE_API_BASE), and what status.stripe.com says`;
          return change(forbidden.message, advice);
        }
        if (forbidden.length > 0) {
          return change(
            `may not: ${forbidden.join(', ')}`,
            'allow the restricted key these in the Stripe Dashboard, or set STRIPE_SECRET_KEY to another',
          );
        }
        return `${/_live_/.test(config.stripe.secretKey) ? 'a live key' : 'a test key'}, may make every call`;
      },
    ),
    runCheck({ area: 'Stripe', check: 'webhook secrets' }, async () => {
      if (config.stripe.webhookSecrets.length > 0) return `${config.stripe.webhookSecrets.length} set`;
      return note(
        'STRIPE_WEBHOOK_SECRETS is not set',
        'set it: without events, refunds, disputes and fraud warnings are noticed up to an hour later',
      );
    }),
  ]);
}

/** The customers are looked for only when the key is taken: otherwise each would report the key's fault. */
async function examineStripeWithCustomers(payments: PaymentsClient, config: Config, database: Database | undefined): Promise<Reading[]> {
  const readings = await examineStripe(payments, config);
  if (!database || readings.some(({ verdict }) => verdict === 'change')) return readings;
  return [...readings, ...(await examineCustomers(database.fork(), payments))];
}

/** The teams are checked only when the key is fine: otherwise each of them would report the key's fault. */
async function examineLitellmWithTeams(kms: KmsClient, database: Database | undefined): Promise<Reading[]> {
  const readings = await examineLitellm(kms);
  if (!database || readings.some(({ verdict }) => verdict !== 'ok')) return readings;
  return [...readings, ...(await examineTeams(database.fork(), kms))];
}

async function examineApi({ http }: Config): Promise<Reading[]> {
  const answers = runCheck(
    { area: 'webhooks', check: 'API', advice: 'start it: bill serve; or set PUBLIC_URL to where it is reached' },
    async () => {
      const { ok, status } = await headOf(`${http.publicUrl}/health`);
      if (!ok) throw new Error(`answers ${status}`);
      return `answers at ${http.publicUrl}`;
    },
  );
  return [await answers];
}

async function examineClocks(config: Config, database: Database | undefined): Promise<Reading[]> {
  const advice = 'set the clock of this machine (NTP): alerts are refused when their time is five minutes off';
  const ofServer = (url: string) => async () => {
    const date = (await headOf(url)).headers.get('date');
    return date === null ? undefined : new Date(date);
  };
  const clocks: [string, () => Promise<Date | undefined>][] = [
    // The answer has a date also without a key.
    ['Stripe', ofServer(`${config.stripe.apiBase}/v1/balance`)],
    ['LiteLLM', ofServer(`${config.kms.baseUrl}/health/liveliness`)],
  ];
  if (database) {
    clocks.push([
      'PostgreSQL',
      async () => new Date((await database.fork().execute<{ now: string }[]>('select clock_timestamp() as now'))[0]?.now ?? Number.NaN),
    ]);
  }
  return Promise.all(
    clocks.map(([whose, read]) =>
      runCheck({ area: 'clock', check: `and ${whose}` }, () =>
        skewOf(read, advice).catch((error: Error) =>
          change(`not compared, because there is no answer: ${error.message.split('\n')[0]}`, `see the line of ${whose}`),
        ),
      ),
    ),
  );
}

/** Status and headers of a GET. Redirects are not followed. @throws when there is no answer. */
async function headOf(url: string): Promise<Response> {
  const response = await fetchWithin(HTTP_DEADLINE_MS, url, { redirect: 'manual' });
  await response.body?.cancel();
  return response;
}

async function skewOf(read: () => Promise<Date | undefined>, advice: string): Promise<Observation> {
  const before = Date.now();
  const theirs = await read();
  // An HTTP date is whole seconds; ours is the middle of the call.
  const skew = theirs ? theirs.getTime() - (before + Date.now()) / 2 : Number.NaN;
  if (Number.isNaN(skew)) return note('says no time', 'none');
  const seen = `${Math.round(Math.abs(skew) / 1000)} s apart`;
  return Math.abs(skew) <= MAX_SKEW_MS ? seen : change(`${seen}: this machine is ${skew > 0 ? 'behind' : 'ahead'}`, advice);
}

async function examineWebhooks(database: Database, config: Config): Promise<Reading[]> {
  const url = config.http.publicUrl;
  return Promise.all([
    runCheck({ area: 'webhooks', check: 'LiteLLM', advice: 'see the line about the database' }, async () => {
      const last = await webhookEvents.lastAlertAt(database.fork());
      if (last) return `last alert ${ago(last)}`;
      return note(
        'no alert has ever arrived',
        `have LiteLLM send them to ${url}/webhooks/litellm/limit-exceeded (docs/connecting-litellm.md); until then the sweep finds low balances`,
      );
    }),
    runCheck({ area: 'webhooks', check: 'Stripe', advice: 'see the line about the database' }, async () => {
      const ignored = await stripeEvents.countIgnored(database.fork());
      if (ignored > 0) {
        return note(
          `${ignored} of the events of the last day do not hold what they are about`,
          'have the endpoint in the Stripe Dashboard send snapshot events; thin events are ignored',
        );
      }
      const last = await stripeEvents.lastReceivedAt(database.fork());
      if (last) return `last event ${ago(last)}`;
      return note(
        'no event has ever arrived',
        `point a webhook endpoint in the Stripe Dashboard at ${url}/webhooks/stripe, with the events of docs/connecting-stripe.md`,
      );
    }),
  ]);
}

const MARKS = { ok: 'ok    ', note: 'note  ', change: 'CHANGE' } as const;
const COLOURS = { ok: 'green', note: 'yellow', change: 'red' } as const;

function textOf(readings: Reading[]): string {
  const width = Math.max(...readings.map(({ area, check }) => area.length + check.length + 1));
  const lines = readings.map(({ area, check, verdict, seen, advice }) => {
    const line = `${styleText(COLOURS[verdict], MARKS[verdict])}  ${`${area} ${check}`.padEnd(width)}  ${seen}`;
    return advice ? `${line}\n${' '.repeat(width + 10)}→ ${advice}` : line;
  });
  const changes = readings.filter(({ verdict }) => verdict === 'change').length;
  return `${lines.join('\n')}\n\n${changes === 0 ? 'Nothing has to be changed.' : `${changes} of ${readings.length} checks ${changes === 1 ? 'has' : 'have'} found something to change.`}`;
}

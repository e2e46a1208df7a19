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
import { adviceOnSilence } from '../../domain/stripe-address.ts';
import { KmsClient } from '../../kms/client.ts';
import { PaymentsClient } from '../../payments/client.ts';
import { PaymentsError } from '../../payments/errors.ts';
import { addressOf, openClient } from '../../temporal/connection.ts';
import { temporalErrorOf } from '../../temporal/errors.ts';
import { temporalFacts } from '../../temporal/facts.ts';
import { databasePlace } from '../database-place.ts';
import { EXIT } from '../exit.ts';
import { fetchWithin } from '../fetch.ts';
import { type Output, print } from '../output.ts';
import { elsewhereOf, type Known, type Place, placeOf, placeText } from '../places.ts';
import { configOrExit } from '../process.ts';
import { progress } from '../progress.ts';
import { serviceEnvironment } from '../service-settings.ts';
import { examineCustomers, examineHolds } from './holds.ts';
import { examineLitellm, examineTeams } from './litellm.ts';
import { examineStandings } from './organizations.ts';
import { change, LOOK_DEADLINE_MS, note, type Observation, type Reading, runCheck, withoutAdvice } from './reading.ts';
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
  // A call that was given up runs on, and would keep the command until its own deadline.
  process.stdout.write('', () => process.exit());
}

/** Which servers are asked, and who says so: another one than the service uses is found fine for nothing. */
export function placesOf({ databaseUrl, temporal, stripe, kms, http }: Config, known?: Known): Reading[] {
  const places: [string, Place][] = [
    ['database', databasePlace(databaseUrl, known)],
    ['Temporal', placeOf('TEMPORAL_ADDRESS', addressOf(temporal), (address) => address, known)],
    ['Stripe', placeOf('STRIPE_API_BASE', stripe.apiBase, undefined, known)],
    ['LiteLLM', placeOf('KMS_BASE_URL', kms.baseUrl, undefined, known)],
    ['API', placeOf('PUBLIC_URL', http.publicUrl, undefined, known)],
  ];
  return places.map(([area, place]) => {
    const elsewhere = elsewhereOf(place);
    const seen = elsewhere ? `${placeText(place)}; ${elsewhere.seen}` : placeText(place);
    return { area, check: 'asked', verdict: elsewhere ? 'note' : 'ok', seen, advice: elsewhere?.advice ?? null };
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
    failure: withoutAdvice((temporalErrorOf(error, temporal) as Error).message),
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
    examineKey(payments, config),
    runCheck({ area: 'Stripe', check: 'webhook secrets' }, async () => {
      if (config.stripe.webhookSecrets.length > 0) return `${config.stripe.webhookSecrets.length} set`;
      return note(
        'STRIPE_WEBHOOK_SECRETS is not set',
        'set it: without events, refunds, disputes and fraud warnings are noticed up to an hour later',
      );
    }),
  ]);
}

/** A key that is refused is one thing, and a Stripe that does not answer, or has failed, another: the key may be right. */
async function examineKey(payments: PaymentsClient, { stripe: { apiBase, secretKey } }: Config): Promise<Reading> {
  const asked = await withDeadline(payments.forbiddenCalls(), LOOK_DEADLINE_MS, 'no answer').catch((error: Error) => error);
  const isKey = asked instanceof PaymentsError && asked.kind === 'key';
  if (asked instanceof Error && !isKey) {
    return runCheck({ area: 'Stripe', check: 'answers', advice: adviceOnSilence(apiBase) }, () => Promise.reject(asked));
  }
  return runCheck({ area: 'Stripe', check: 'key', advice: 'set STRIPE_SECRET_KEY to a key that Stripe accepts' }, async () => {
    if (asked instanceof Error) throw asked;
    if (asked.length === 0) return `${/_live_/.test(secretKey) ? 'a live key' : 'a test key'}, may make every call`;
    const advice = 'allow the restricted key these in the Stripe Dashboard, or set STRIPE_SECRET_KEY to another';
    return change(`may not: ${asked.join(', ')}`, advice);
  });
}

/** The customers are looked for only when the key is taken: otherwise each would report the key's fault. */
async function examineStripeWithCustomers(payments: PaymentsClient, config: Config, database: Database | undefined): Promise<Reading[]> {
  const readings = await examineStripe(payments, config);
  if (!database || readings.some(({ verdict }) => verdict === 'change')) return readings;
  return [...readings, ...(await examineCustomers(database.fork(), payments, config.stripe.apiBase))];
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

/** A line for each thing that is found, with the servers that it is found of: one clock that is off is one thing to change. */
async function examineClocks(config: Config, database: Database | undefined): Promise<Reading[]> {
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
  const compared = await Promise.all(clocks.map(async ([whose, read]) => ({ whose, ...(await skewOf(read)) })));
  const found = Map.groupBy(compared, ({ finding }) => finding);
  return Promise.all(
    [...found].map(([finding, those]) => {
      const apart = Math.max(...those.map(({ skewMs }) => Math.round(Math.abs(skewMs) / 1000)));
      return runCheck({ area: 'clock', check: `and ${those.map(({ whose }) => whose).join(', ')}` }, async () =>
        clockObservation(finding, those.length > 1 ? `at most ${apart} s apart` : `${apart} s apart`),
      );
    }),
  );
}

type ClockFinding = 'fine' | 'behind' | 'ahead' | 'says no time' | 'gives no answer';

function clockObservation(finding: ClockFinding, apart: string): Observation {
  switch (finding) {
    case 'fine':
      return apart;
    case 'behind':
    case 'ahead':
      return change(
        `${apart}: this machine is ${finding}`,
        'set the clock of this machine (NTP): alerts are refused when their time is five minutes off',
      );
    case 'says no time':
      return note(finding, 'none');
    case 'gives no answer':
      return note('not compared: no answer', 'what is to be changed stands in the line of the server, if it is not merely slow');
  }
}

/** Status and headers of a GET. Redirects are not followed. @throws when there is no answer. */
async function headOf(url: string): Promise<Response> {
  const response = await fetchWithin(HTTP_DEADLINE_MS, url, { redirect: 'manual' });
  await response.body?.cancel();
  return response;
}

/** How far the server's clock is before this machine's, and what that is. */
async function skewOf(read: () => Promise<Date | undefined>): Promise<{ finding: ClockFinding; skewMs: number }> {
  const before = Date.now();
  try {
    const theirs = await withDeadline(read(), LOOK_DEADLINE_MS);
    // An HTTP date is whole seconds; ours is the middle of the call.
    const skewMs = theirs ? theirs.getTime() - (before + Date.now()) / 2 : Number.NaN;
    if (Number.isNaN(skewMs)) return { finding: 'says no time', skewMs: 0 };
    return { finding: Math.abs(skewMs) <= MAX_SKEW_MS ? 'fine' : skewMs > 0 ? 'behind' : 'ahead', skewMs };
  } catch {
    return { finding: 'gives no answer', skewMs: 0 };
  }
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

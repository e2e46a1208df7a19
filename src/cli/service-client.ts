/** The HTTP API of the running service, found by the environment or by the address file of `bill dev`. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';
import { CommandError, EXIT, type ExitCode } from './exit.ts';
import { fetchWithin } from './fetch.ts';

/** Address and keys of a running `bill dev`; removed when it stops. BILL_DEV_FILE: another one, for the tests. */
export const DEV_ADDRESS_FILE = process.env['BILL_DEV_FILE'] || fileURLToPath(new URL('../../.data/dev.json', import.meta.url));

export type DevAddress = {
  PUBLIC_URL: string;
  ADMIN_API_KEY: string;
  WEBHOOK_HMAC_SECRETS: string;
  DATABASE_URL: string;
  TEMPORAL_ADDRESS: string;
  TEMPORAL_TASK_QUEUE: string;
  STRIPE_API_BASE: string;
  STRIPE_SECRET_KEY: string;
  STRIPE_WEBHOOK_SECRETS: string;
  KMS_BASE_URL: string;
  KMS_API_KEY: string;
};

const DEADLINE_MS = 15_000;

/** What went wrong at the service, in a sentence for the terminal. */
export class ServiceError extends CommandError {
  override name = 'ServiceError';
}

/**
 * A setting of the running service: from the environment, else from a running `bill dev`. @throws
 * CommandError when neither knows it.
 */
export function serviceSetting(name: keyof DevAddress): string {
  const value = process.env[name] || readDevAddress()?.[name];
  if (value) return value;
  throw new CommandError(
    `${name} is not set and no "bill dev" is running here: set it (.env.example describes it), or start one with npm start`,
    EXIT.settings,
  );
}

/** The environment, and beneath it what a running `bill dev` uses; PUBLIC_URL is where the other commands call. */
export function serviceEnvironment(env: Environment = process.env, dev: DevAddress | undefined = readDevAddress()): Record<string, string> {
  const set = Object.entries(env).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return { ...dev, ...Object.fromEntries(set), PUBLIC_URL: addressIn(env, dev) };
}

/** Of the `bill dev` that runs; one that has ended without removing its file is none. */
function readDevAddress(): DevAddress | undefined {
  try {
    const { pid, ...dev } = JSON.parse(readFileSync(DEV_ADDRESS_FILE, 'utf8')) as DevAddress & { pid: number };
    process.kill(pid, 0);
    return dev;
  } catch {
    return undefined;
  }
}

/** Who says where something is. */
export type Origin = '.env' | 'the environment' | 'the running npm start' | 'the default';

/** What a command reads, without a password. */
export type Place = {
  setting: string;
  at: string;
  origin: Origin;
  /** Where the `bill dev` that runs here has it, when that is elsewhere. */
  elsewhere: string | null;
};

type Placed = 'DATABASE_URL' | 'TEMPORAL_ADDRESS' | 'STRIPE_API_BASE' | 'KMS_BASE_URL' | 'PUBLIC_URL';
/** `dev`: null where none runs. */
export type Known = { env?: Environment; dev?: DevAddress | null; file?: Environment };

/**
 * @param used what the command uses, defaults included.
 * @param shown the address as it is shown, the same for the same place.
 */
export function placeOf(
  setting: Placed,
  used: string,
  shown: (address: string) => string = withoutPassword,
  { env = process.env, dev = readDevAddress() ?? null, file = envFile() }: Known = {},
): Place {
  const names = setting === 'PUBLIC_URL' && !env['PUBLIC_URL'] ? ['HOST', 'PORT'].filter((name) => env[name]) : [setting];
  const given = names.filter((name) => env[name]);
  const origin = given.length > 0 ? originOf(given, { env, file }) : dev?.[setting] ? 'the running npm start' : 'the default';
  const [at, ofDev] = [shown(used), dev?.[setting] && shown(dev[setting])];
  const differs = ofDev && canonical(ofDev) !== canonical(at);
  return { setting: given.join(' and ') || setting, at, origin, elsewhere: differs ? ofDev : null };
}

/** Node sets what the file says, but for what the environment has already. */
function originOf(names: readonly string[], { env, file }: { env: Environment; file: Environment }): Origin {
  return names.every((name) => file[name] === env[name]) ? '.env' : 'the environment';
}

/** What `npx bill` has read from `.env`; see setup/bill.mjs. */
function envFile(): Environment {
  const path = process.execArgv.find((argument) => argument.startsWith('--env-file='))?.slice('--env-file='.length);
  try {
    return path === undefined ? {} : parseEnv(readFileSync(path, 'utf8'));
  } catch {
    return {}; // Removed since.
  }
}

function withoutPassword(address: string): string {
  if (!URL.canParse(address)) return address;
  const { protocol, host, pathname } = new URL(address);
  return host === '' ? address : `${protocol}//${host}${pathname.replace(/\/+$/, '')}`;
}

function canonical(at: string): string {
  return at.replace(/localhost|\[::1\]/, '127.0.0.1');
}

/** Of what is read, in a few words. */
export function placeText({ setting, at, origin }: Place): string {
  return `${at} (${origin === 'the default' ? `the default of ${setting}` : `${setting} of ${origin}`})`;
}

/** What is read beside the `bill dev` that runs here; null: that one itself, or none runs. */
export function elsewhereText({ setting, elsewhere, origin }: Place): string | null {
  if (elsewhere === null) return null;
  const how = origin === '.env' ? `take ${setting} out of .env` : `unset ${setting}`;
  return `the npm start that runs here uses another, ${elsewhere}: ${how} to look at that one`;
}

/** The service that is called, when it is not the `bill dev` that runs here; null: it is, or none runs. */
export function otherServiceText(): string | null {
  const place = placeOf('PUBLIC_URL', publicUrl());
  const elsewhere = elsewhereText(place);
  return elsewhere && `this asks the service at ${placeText(place)}; ${elsewhere}`;
}

/** Calls the admin API. @throws ServiceError with the problem's own detail. */
export async function callService<T>(
  method: 'GET' | 'POST' | 'PATCH',
  path: string,
  { body, query = {} }: { body?: object; query?: Record<string, string | undefined> } = {},
): Promise<T> {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const search = given.length > 0 ? `?${new URLSearchParams(given)}` : '';
  return answerOf<T>(`${publicUrl()}${path}${search}`, 'ADMIN_API_KEY', {
    method,
    headers: { authorization: `Bearer ${serviceSetting('ADMIN_API_KEY')}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
}

/** What a command line can be changed about, by the status of the problem. */
const EXIT_CODES: Readonly<Record<number, ExitCode>> = {
  400: EXIT.usage,
  401: EXIT.settings,
  403: EXIT.settings,
  404: EXIT.usage,
  409: EXIT.usage,
  415: EXIT.usage,
  422: EXIT.usage,
};

/**
 * The JSON that the service answers.
 *
 * @param proof the setting by which the service knows us.
 * @throws ServiceError when it does not answer, or with the problem that it answers.
 */
export async function answerOf<T>(url: string, proof: keyof DevAddress, init: RequestInit): Promise<T> {
  const { status, ok, text } = await fetchWithin(DEADLINE_MS, url, init)
    .then(async (response) => ({ status: response.status, ok: response.ok, text: await response.text() }))
    .catch((error: Error) => {
      throw new ServiceError(
        `the service does not answer at ${publicUrl()}: ${error.message}. Start it (npm start, or bill serve), or set PUBLIC_URL to where it is`,
      );
    });
  const answer = jsonIn(text);
  if (ok && answer !== undefined) return answer as T;
  const exitCode = EXIT_CODES[status] ?? EXIT.fault;
  if (!answer?.title) {
    const next = `Is another service there? PUBLIC_URL says where ours is`;
    throw new ServiceError(`${publicUrl()} answered ${status} and nothing that bill-service says. ${next}`, exitCode);
  }
  const next = exitCode === EXIT.settings ? ` (set ${proof} to the one of the service at ${publicUrl()})` : '';
  throw new ServiceError(`${answer.title}: ${answer.detail ?? 'no detail'}${next}`, exitCode);
}

function jsonIn(text: string): { title?: string; detail?: string } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Something else answers there: a proxy, or another service.
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where the service is: PUBLIC_URL, else HOST and PORT, else a running `bill dev`, else the default of HOST and PORT.
 *
 * @throws CommandError when these make no address.
 */
export function publicUrl(env: Environment = process.env, dev: DevAddress | undefined = readDevAddress()): string {
  const address = addressIn(env, dev);
  if (URL.canParse(address) && /^https?:\/\//.test(address)) return address;
  const settings = env['PUBLIC_URL'] ? 'PUBLIC_URL is' : 'HOST and PORT make';
  throw new CommandError(`${settings} no http:// or https:// address (${address}): set it to where the service is`, EXIT.settings);
}

function addressIn({ PUBLIC_URL, HOST, PORT }: Environment, dev: DevAddress | undefined): string {
  const byAddress = `http://${HOST || '127.0.0.1'}:${PORT || '8080'}`;
  if (!PUBLIC_URL && (HOST || PORT)) return byAddress;
  return (PUBLIC_URL || dev?.PUBLIC_URL || byAddress).replace(/\/+$/, '');
}

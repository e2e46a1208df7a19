/** Where a command looks, who says so, and whether the `bill dev` that runs here is elsewhere. */
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { type DevAddress, type Environment, publicUrl, readDevAddress } from './service-settings.ts';

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

/** What the `bill dev` that runs here uses instead, and how to look at that; null: this very place, or none runs. */
export function elsewhereOf({ setting, elsewhere, origin }: Place): { seen: string; advice: string } | null {
  if (elsewhere === null) return null;
  const how = origin === '.env' ? `take ${setting} out of .env` : `unset ${setting}`;
  return { seen: `the npm start that runs here uses another, ${elsewhere}`, advice: `${how} to look at that one` };
}

/** The same in one line. */
export function elsewhereText(place: Place): string | null {
  const elsewhere = elsewhereOf(place);
  return elsewhere && `${elsewhere.seen}: ${elsewhere.advice}`;
}

/** The service that is called, when it is not the `bill dev` that runs here; null: it is, or none runs. */
export function otherServiceText(): string | null {
  const place = placeOf('PUBLIC_URL', publicUrl());
  const elsewhere = elsewhereText(place);
  return elsewhere && `this asks the service at ${placeText(place)}; ${elsewhere}`;
}

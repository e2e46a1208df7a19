/** The settings of the running service: from the environment, and beneath it from the address file of `bill dev`. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CommandError, EXIT } from './exit.ts';

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

export type Environment = Readonly<Record<string, string | undefined>>;

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
export function readDevAddress(): DevAddress | undefined {
  try {
    const { pid, ...dev } = JSON.parse(readFileSync(DEV_ADDRESS_FILE, 'utf8')) as DevAddress & { pid: number };
    process.kill(pid, 0);
    return dev;
  } catch {
    return undefined;
  }
}

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

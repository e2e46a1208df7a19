/** The HTTP API of the running service, found by the environment or by the address file of `bill dev`. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fetchWithin } from './fetch.ts';

/** Address and keys of a running `bill dev`; removed when it stops. */
export const DEV_ADDRESS_FILE = fileURLToPath(new URL('../../.data/dev.json', import.meta.url));

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

/** What went wrong, in a sentence for the terminal. */
export class ServiceError extends Error {
  override name = 'ServiceError';
}

/**
 * A setting of the running service: from the environment, else from a running `bill dev`. @throws
 * ServiceError when neither knows it.
 */
export function serviceSetting(name: keyof DevAddress): string {
  const value = process.env[name] || readDevAddress()?.[name];
  if (!value) throw new ServiceError(`${name} is not set and no "bill dev" is running here: set it, or start one with npm start`);
  return value;
}

/** The environment, and beneath it what a running `bill dev` uses. */
export function serviceEnvironment(): Record<string, string> {
  const set = Object.entries(process.env).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return { ...readDevAddress(), ...Object.fromEntries(set) };
}

function readDevAddress(): DevAddress | undefined {
  try {
    return JSON.parse(readFileSync(DEV_ADDRESS_FILE, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Calls the admin API. @throws ServiceError with the problem's own detail. */
export async function callService<T>(
  method: 'GET' | 'POST' | 'PATCH',
  path: string,
  { body, query = {} }: { body?: object; query?: Record<string, string | undefined> } = {},
): Promise<T> {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const search = given.length > 0 ? `?${new URLSearchParams(given)}` : '';
  return answerOf<T>(`${publicUrl()}${path}${search}`, {
    method,
    headers: { authorization: `Bearer ${serviceSetting('ADMIN_API_KEY')}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
}

/**
 * The JSON that the service answers. @throws ServiceError when it does not answer, or with the problem that
 * it answers.
 */
export async function answerOf<T>(url: string, init: RequestInit): Promise<T> {
  const { status, ok, text } = await fetchWithin(DEADLINE_MS, url, init)
    .then(async (response) => ({ status: response.status, ok: response.ok, text: await response.text() }))
    .catch((error: Error) => {
      throw new ServiceError(`the service does not answer at ${publicUrl()}: ${error.message}`);
    });
  const answer = jsonIn(text);
  if (ok && answer !== undefined) return answer as T;
  throw new ServiceError(`${answer?.title ?? `the service answered ${status}`}: ${answer?.detail ?? 'no detail'}`);
}

function jsonIn(text: string): { title?: string; detail?: string } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Something else answers there: a proxy, or another service.
  }
}

/** Where the service is: PUBLIC_URL, else HOST and PORT, else a running `bill dev`. */
export function publicUrl(): string {
  const { PUBLIC_URL, HOST, PORT } = process.env;
  if (!PUBLIC_URL && PORT) return `http://${HOST || '127.0.0.1'}:${PORT}`;
  return serviceSetting('PUBLIC_URL').replace(/\/+$/, '');
}

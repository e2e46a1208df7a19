/** The commands' way to a running service: its HTTP API, found by the environment or by what `bill dev` has left. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import axios, { type AxiosInstance, isAxiosError } from 'axios';

/** Where a running `bill dev` says how it is reached; removed when it stops. */
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

/** A setting of the running service: from the environment, else from a running `bill dev`. @throws ServiceError when neither knows it. */
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
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  body?: unknown,
  params?: object,
): Promise<T> {
  const http: AxiosInstance = axios.create({
    baseURL: publicUrl(),
    headers: { Authorization: `Bearer ${serviceSetting('ADMIN_API_KEY')}` },
    timeout: DEADLINE_MS,
  });
  return describingErrors(async () => (await http.request<T>({ method, url: path, data: body, params })).data);
}

/** Where the service is: PUBLIC_URL, else HOST and PORT, else a running `bill dev`. */
export function publicUrl(): string {
  const { PUBLIC_URL, HOST, PORT } = process.env;
  if (!PUBLIC_URL && PORT) return `http://${HOST || '127.0.0.1'}:${PORT}`;
  return serviceSetting('PUBLIC_URL').replace(/\/+$/, '');
}

export async function describingErrors<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!isAxiosError(error)) throw error;
    if (!error.response) throw new ServiceError(`the service does not answer at ${publicUrl()}: ${error.message}`);
    const { status, data } = error.response;
    throw new ServiceError(`${data?.title ?? `the service answered ${status}`}: ${data?.detail ?? 'no detail'}`);
  }
}

/**
 * How LiteLLM is called: with a deadline, a bounded number of calls at once, checked answers, and failures of
 * a few kinds.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import axios, { AxiosError, type AxiosInstance, type AxiosRequestConfig, isAxiosError } from 'axios';
import { z } from 'zod';
import { whyUnreachable } from '../domain/unreachable.ts';
import { type CallWatcher, Gate, GateError, type GateLoad, type GateSize, type Lane, reported } from '../gate.ts';
import { type KmsEffect, KmsError, kmsErrorFromStatus } from './errors.ts';

/**
 * LiteLLM answers in milliseconds. Its own database calls end after 60 s, which is too long for a caller of
 * ours.
 */
const DEADLINE_MS = 15_000;
/** A page of teams, each with all its members: about 80 bytes for each. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/**
 * For what LiteLLM can be asked in another way. Longer than any answer of a LiteLLM that is well, and a
 * thousand times what a team takes; twenty such answers at once do not fill the memory.
 */
const BRIEF = { deadlineMs: 10_000, maxContentLength: 2 * 1024 * 1024 } as const;
/**
 * Calls of this process that LiteLLM handles at once: they must not slow down its own users, and bulk work takes
 * the smaller part. Four rounds of calls may wait: LiteLLM answers in milliseconds, and while it hangs, more
 * would only wait for their deadline. No worker has as many calls as are refused: 40 activities make one at a
 * time, 8 of bulk work five (`src/temporal/worker.ts`, `sideBySide`).
 */
export const LITELLM_CALLS: Readonly<Record<Lane, GateSize>> = {
  money: { atOnce: 20, waiting: 80 },
  bulk: { atOnce: 10, waiting: 40 },
};
/** Before the second attempt of a read: a connection was closed while idle, or a proxy is being restarted. */
const READ_AGAIN_AFTER_MS = 200;
/** Statuses of a read after which a second attempt may succeed. */
const TRANSIENT_STATUSES = [429, 502, 503, 504];
/** Fields of an unexpected answer that are named. */
const MAX_PLACES = 5;
/** Failures before a byte of the call was sent: nothing has changed. */
const NEVER_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ERR_INVALID_URL'];

/** `deadlineMs`: of a call, where whoever asks waits for less than DEADLINE_MS. */
export type KmsOptions = { baseUrl: string; apiKey: string; deadlineMs?: number; watch?: CallWatcher };
type Query = Record<string, unknown>;
type KmsRequest = AxiosRequestConfig & { deadlineMs?: number };

export class KmsTransport {
  private readonly http: AxiosInstance;
  private readonly gate: Gate;
  private readonly watch: CallWatcher;
  private readonly deadlineMs: number;

  constructor({ baseUrl, apiKey, deadlineMs = DEADLINE_MS, watch = () => {} }: KmsOptions, lane: Lane) {
    this.watch = watch;
    this.deadlineMs = deadlineMs;
    this.gate = new Gate(LITELLM_CALLS[lane]);
    this.http = axios.create({
      baseURL: baseUrl,
      headers: { Authorization: `Bearer ${apiKey}` },
      maxContentLength: MAX_ANSWER_BYTES,
      maxRedirects: 0,
      httpAgent: new HttpAgent({ keepAlive: true }),
      httpsAgent: new HttpsAgent({ keepAlive: true }),
    });
  }

  get load(): GateLoad {
    return this.gate.load;
  }

  /** GET, tried a second time after a transient failure. @throws KmsError */
  async read<T>(path: string, query: Query, answer: z.ZodType<T>): Promise<T> {
    return this.confirming404(() => this.call({ method: 'GET', url: path, params: query }, 'read', answer));
  }

  /** The same, given up earlier: a caller asks in another way where the error has an `excess`. @throws KmsError */
  async readBriefly<T>(path: string, query: Query, answer: z.ZodType<T>): Promise<T> {
    return this.confirming404(() => this.call({ method: 'GET', url: path, params: query, ...BRIEF }, 'read', answer));
  }

  /** POST, tried once. @throws KmsError */
  async write<T>(path: string, body: Record<string, unknown>, answer: z.ZodType<T>): Promise<T> {
    return this.confirming404(() => this.call({ method: 'POST', url: path, data: body }, 'write', answer));
  }

  /**
   * Round trip in milliseconds of LiteLLM's public readiness. @throws KmsError, also when its database is not
   * connected.
   */
  async ping(): Promise<number> {
    const started = performance.now();
    const { db } = await this.call({ method: 'GET', url: '/health/readiness' }, 'read', z.object({ db: z.unknown() }));
    if (db !== 'connected') throw new KmsError('unavailable', 'LiteLLM has lost its database');
    return performance.now() - started;
  }

  /**
   * A 404 counts only when LiteLLM's database is connected and the second call answers 404 as well: without
   * its database LiteLLM answers 404 for teams that exist (1.100.5).
   */
  private async confirming404<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
      await this.ping().catch((reason: Error) => {
        throw new KmsError('unavailable', `LiteLLM answered 404 while it is not ready: ${reason.message}`);
      });
      return call();
    }
  }

  private call<T>(request: KmsRequest, effect: KmsEffect, answer: z.ZodType<T>): Promise<T> {
    const kindOf = (error: unknown) => (error instanceof KmsError ? error.kind : 'unavailable');
    const route = `${request.method} ${request.url}`;
    return reported({ dependency: 'litellm', route, watch: this.watch, kindOf }, () => this.make(request, effect, answer));
  }

  private async make<T>(
    { deadlineMs: wanted = this.deadlineMs, ...request }: KmsRequest,
    effect: KmsEffect,
    answer: z.ZodType<T>,
  ): Promise<T> {
    const deadlineMs = Math.min(wanted, this.deadlineMs);
    const deadline = AbortSignal.timeout(deadlineMs);
    const attempt = () => this.gate.through(() => this.http.request({ ...request, signal: deadline }), deadline);
    try {
      const { data } = await attempt().catch(async (error) => {
        if (effect === 'write' || deadline.aborted || !isTransient(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_AFTER_MS));
        return attempt();
      });
      return answer.parse(data);
    } catch (error) {
      throw kmsErrorOf(error, { route: `${request.method} ${request.url}`, effect, deadlineMs });
    }
  }
}

/** Which fields of the answer are missing or of another kind. */
function placesOf({ issues }: z.ZodError): string {
  const places = issues.slice(0, MAX_PLACES).map(({ path }) => path.join('.') || 'the whole of it');
  return [...new Set(places)].join(', ');
}

function isTransient(error: unknown): boolean {
  if (!isAxiosError(error) || isTooLarge(error)) return false;
  return error.response ? TRANSIENT_STATUSES.includes(error.response.status) : !NEVER_SENT.includes(error.code ?? '');
}

/** axios has a code of its own for it in no version: it shares `ERR_BAD_RESPONSE` with every 5xx. */
function isTooLarge({ code, message }: AxiosError): boolean {
  return code === AxiosError.ERR_BAD_RESPONSE && message.startsWith('maxContentLength');
}

/**
 * An AxiosError holds the request with its Authorization header: only status and message leave this module.
 */
function kmsErrorOf(error: unknown, { route, effect, deadlineMs }: { route: string; effect: KmsEffect; deadlineMs: number }): KmsError {
  const doubt = effect === 'write' ? 'unknown_outcome' : 'unavailable';
  if (error instanceof z.ZodError)
    return new KmsError(doubt, `LiteLLM answered ${route} otherwise than expected (${placesOf(error)}): does KMS_BASE_URL lead to it?`, {
      isAnswered: true,
    });
  if (!isAxiosError(error)) {
    const reason = error instanceof GateError ? error.message : 'the request could not be made';
    return new KmsError('unavailable', `LiteLLM was not called: ${reason}`);
  }
  if (error.response && error.response.status >= 300) return kmsErrorFromStatus(error.response.status, error.response.data, effect);
  if (isTooLarge(error))
    return new KmsError(doubt, `${route} returned too large an answer: ${error.message}`, { isAnswered: true, excess: 'size' });
  const isLate = error.code === AxiosError.ERR_CANCELED;
  const reason = isLate ? `no whole answer within ${deadlineMs / 1000} s` : `${whyUnreachable(error) ?? error.message} (KMS_BASE_URL)`;
  const kind = NEVER_SENT.includes(error.code ?? '') ? 'unavailable' : doubt;
  return new KmsError(kind, `LiteLLM did not answer: ${reason}`, { excess: isLate ? 'time' : undefined });
}

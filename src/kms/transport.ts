/** How LiteLLM is called: one deadline, a bounded number of calls at once, answers checked, failures in a few kinds. */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import axios, { type AxiosInstance, type AxiosRequestConfig, isAxiosError } from 'axios';
import { z } from 'zod';
import { type KmsEffect, KmsError, kmsErrorFromStatus } from './errors.ts';
import { Gate } from './gate.ts';

/** LiteLLM answers in milliseconds; its own database calls give up after 60 s, which nobody here waits for. */
const DEADLINE_MS = 15_000;
/** A team with its keys; LiteLLM has been seen to send a kilobyte for each key. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Calls of this process that LiteLLM handles at once: a page of a large synchronisation must not crowd out its own users. */
const MAX_CALLS_AT_ONCE = 20;
/** Before a read is tried a second time: a connection that was closed while idle, a proxy that is being restarted. */
const SECOND_LOOK_MS = 200;
/** Answers of a read after which the second attempt may do better. */
const PASSING_STATUSES = [429, 502, 503, 504];
/** Failures that come before a byte of the call has left: nothing has happened. */
const NEVER_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ERR_INVALID_URL'];

export type KmsOptions = { baseUrl: string; apiKey: string };
type Query = Record<string, unknown>;

export class KmsTransport {
  private readonly http: AxiosInstance;
  private readonly gate = new Gate(MAX_CALLS_AT_ONCE);

  constructor({ baseUrl, apiKey }: KmsOptions) {
    this.http = axios.create({
      baseURL: baseUrl,
      headers: { Authorization: `Bearer ${apiKey}` },
      maxContentLength: MAX_ANSWER_BYTES,
      maxRedirects: 0,
      httpAgent: new HttpAgent({ keepAlive: true }),
      httpsAgent: new HttpsAgent({ keepAlive: true }),
    });
  }

  /** GET, tried a second time when the failure is one that passes. @throws KmsError */
  async read<T>(path: string, query: Query, answer: z.ZodType<T>): Promise<T> {
    return this.believing404(() => this.call({ method: 'GET', url: path, params: query }, 'read', answer));
  }

  /** POST, tried once. @throws KmsError */
  async write<T>(path: string, body: Record<string, unknown>, answer: z.ZodType<T>): Promise<T> {
    return this.believing404(() => this.call({ method: 'POST', url: path, data: body }, 'write', answer));
  }

  /** Round trip in milliseconds of LiteLLM's public readiness, which also says whether its database is connected. @throws KmsError */
  async ping(): Promise<number> {
    const started = performance.now();
    const { db } = await this.call({ method: 'GET', url: '/health/readiness' }, 'read', z.object({ db: z.unknown() }));
    if (db !== 'connected') throw new KmsError('unavailable', 'LiteLLM has lost its database');
    return performance.now() - started;
  }

  /**
   * A 404 is believed only when LiteLLM's database is connected and it says so twice: with the database away it answers
   * 404 for teams that exist (seen on 1.100.5).
   */
  private async believing404<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
      await this.ping().catch((reason: Error) => {
        throw new KmsError('unavailable', `404 from a LiteLLM that is not well: ${reason.message}`);
      });
      return call();
    }
  }

  private async call<T>(request: AxiosRequestConfig, effect: KmsEffect, answer: z.ZodType<T>): Promise<T> {
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    const attempt = () => this.gate.through(() => this.http.request({ ...request, signal: deadline }), deadline);
    try {
      const { data } = await attempt().catch(async (error) => {
        if (effect === 'write' || deadline.aborted || !isPassing(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, SECOND_LOOK_MS));
        return attempt();
      });
      return answer.parse(data);
    } catch (error) {
      throw kmsErrorOf(error, `${request.method} ${request.url}`, effect);
    }
  }
}

function isPassing(error: unknown): boolean {
  if (!isAxiosError(error)) return false;
  return error.response ? PASSING_STATUSES.includes(error.response.status) : !NEVER_SENT.includes(error.code ?? '');
}

/** An AxiosError holds the request with its Authorization header: only status and message leave this place. */
function kmsErrorOf(error: unknown, route: string, effect: KmsEffect): KmsError {
  const doubt = effect === 'write' ? 'unknown_outcome' : 'unavailable';
  if (error instanceof z.ZodError) return new KmsError(doubt, `${route} answered what it should not: ${z.prettifyError(error)}`);
  if (!isAxiosError(error)) return new KmsError('unavailable', `LiteLLM was not called: no turn within ${DEADLINE_MS / 1000} s`);
  if (error.response && error.response.status >= 300) return kmsErrorFromStatus(error.response.status, error.response.data, effect);
  const isLate = error.code === 'ERR_CANCELED';
  const reason = isLate ? `no whole answer within ${DEADLINE_MS / 1000} s` : error.message;
  return new KmsError(NEVER_SENT.includes(error.code ?? '') ? 'unavailable' : doubt, `LiteLLM did not answer: ${reason}`);
}

/**
 * LiteLLM's key-management API, as far as the service uses it. LiteLLM's answers are read leniently: what we need is
 * checked, what we do not know is let through.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import axios, { type AxiosInstance, isAxiosError } from 'axios';
import { z } from 'zod';
import { dollarsFromQuota, type QuotaMicros, quotaFromDollars } from '../domain/money.ts';
import type { LiveBudget } from '../domain/policy.ts';
import { KmsError, kmsErrorFromStatus } from './errors.ts';

/** LiteLLM answers in milliseconds; its own database calls give up after 60 s, which nobody here waits for. */
const DEADLINE_MS = 15_000;
/** A team with its keys; LiteLLM has been seen to send a kilobyte for each key. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** Beyond this a double of dollars is no longer exact to a micro-dollar, and nobody has paid for it. */
const MAX_DOLLARS = 1e9;

const dollars = z.number().min(-MAX_DOLLARS).max(MAX_DOLLARS).transform(quotaFromDollars);
/** A limit beyond reckoning is none. */
const limit = z
  .number()
  .transform((value) => (Math.abs(value) <= MAX_DOLLARS ? quotaFromDollars(value) : null))
  .nullish();

const teamInfo = z.object({
  team_info: z.object({
    team_id: z.string(),
    max_budget: limit,
    spend: dollars.nullish(),
    soft_budget: limit,
    budget_duration: z.string().nullish(),
    budget_limits: z.unknown().optional(),
    blocked: z.boolean().nullish(),
  }),
});

export class KmsClient {
  private readonly http: AxiosInstance;

  constructor(options: { baseUrl: string; apiKey: string }) {
    this.http = axios.create({
      baseURL: options.baseUrl,
      headers: { Authorization: `Bearer ${options.apiKey}` },
      timeout: DEADLINE_MS,
      maxContentLength: MAX_ANSWER_BYTES,
      maxRedirects: 0,
      httpAgent: new HttpAgent({ keepAlive: true }),
      httpsAgent: new HttpsAgent({ keepAlive: true }),
    });
  }

  /** A team's budget as LiteLLM's database shows it: `spend` lags by up to 15 s. @throws KmsError */
  async teamBudget(teamId: string): Promise<LiveBudget> {
    const answer = await this.call(() => this.http.get('/team/info', { params: { team_id: teamId } }));
    const parsed = teamInfo.safeParse(answer);
    if (!parsed.success) throw new KmsError('unavailable', `/team/info answered what is not a team: ${z.prettifyError(parsed.error)}`);
    const team = parsed.data.team_info;
    return {
      quota: team.max_budget ?? null,
      spend: team.spend ?? quotaFromDollars(0),
      softBudget: team.soft_budget ?? null,
      budgetDuration: team.budget_duration ?? null,
      hasBudgetLimits: Array.isArray(team.budget_limits) && team.budget_limits.length > 0,
    };
  }

  /**
   * Sets a team's budget to an absolute value. Sends nothing but the two fields: an update with metadata destroys what
   * LiteLLM keeps there.
   *
   * @throws KmsError; after `unavailable` the write may have happened.
   */
  async setTeamBudget(teamId: string, quota: QuotaMicros): Promise<void> {
    await this.call(() => this.http.post('/team/update', { team_id: teamId, max_budget: dollarsFromQuota(quota) }));
  }

  /** Round trip in milliseconds of LiteLLM's public readiness, which also says whether its database is connected. @throws KmsError */
  async ping(): Promise<number> {
    const started = performance.now();
    const answer = await this.attempt<{ db?: string }>(() => this.http.get('/health/readiness'));
    if (answer?.db !== 'connected') throw new KmsError('unavailable', 'LiteLLM has lost its database');
    return performance.now() - started;
  }

  /**
   * One call. A 404 is believed only when LiteLLM's database is connected and it says so twice: with the database away it
   * answers 404 for teams that exist (seen on 1.100.5).
   */
  private async call<T>(request: () => Promise<{ data: T }>): Promise<T> {
    try {
      return await this.attempt(request);
    } catch (error) {
      if (!(error instanceof KmsError) || error.kind !== 'not_found') throw error;
      await this.ping().catch((reason: Error) => {
        throw new KmsError('unavailable', `404 from a LiteLLM that is not well: ${reason.message}`);
      });
      return this.attempt(request);
    }
  }

  private async attempt<T>(request: () => Promise<{ data: T }>): Promise<T> {
    try {
      return (await withDeadline(request(), DEADLINE_MS)).data;
    } catch (error) {
      if (error instanceof KmsError) throw error;
      // An AxiosError holds the request with its Authorization header: only status and message leave this place.
      if (isAxiosError(error) && error.response) throw kmsErrorFromStatus(error.response.status, error.response.data);
      throw new KmsError('unavailable', `LiteLLM did not answer: ${(error as Error).message}`);
    }
  }
}

/** axios's timeout watches the wait for an answer; this one also ends an answer whose body never comes. */
async function withDeadline<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no whole answer within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

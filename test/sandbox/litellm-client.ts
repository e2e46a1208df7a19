/**
 * A client of the LiteLLM stand-in, which sees it over HTTP as the clients of the real proxy do, and turns
 * its knobs.
 */
import { expect } from '@jest/globals';
import type { Alert } from '../../sandbox/litellm/alerts.ts';
import type { Key, Member, Team } from '../../sandbox/litellm/store.ts';
import { until } from './until.ts';

/** The fields that the tests read; reading one that is not there makes a test fail. */
type Body = {
  error: { message: string; type: string };
  detail: unknown;
  key: string;
  keys: object[];
  blocked: boolean;
  deleted_teams: string[];
  data: object;
  info: object;
  teams: { team_id: string }[];
  team_info: Pick<Team, 'max_budget' | 'spend' | 'metadata'> & { members_with_roles: Member[] };
  team_memberships: { litellm_budget_table: { max_budget: number } }[];
  user_info: { teams: string[] };
};
type State = { settings: object; teams: Record<string, Team>; keys: Record<string, Key>; alerts: Alert[]; requests: { path: string }[] };
type Answer<B = Body> = { status: number; body: B };

export class LitellmClient {
  private readonly url: string;
  private readonly masterKey: string;

  constructor(url: string, masterKey = 'sk-1234') {
    this.url = url;
    this.masterKey = masterKey;
  }

  post(path: string, body: unknown, key = this.masterKey): Promise<Answer> {
    return this.call('POST', path, body, key);
  }

  get(path: string, key = this.masterKey): Promise<Answer> {
    return this.call('GET', path, undefined, key);
  }

  knob(path: string, body: unknown = {}): Promise<Answer> {
    return this.post(`/_sandbox/${path}`, body);
  }

  async state(): Promise<State> {
    return (await this.call<State>('GET', '/_sandbox/state', undefined, this.masterKey)).body;
  }

  /** What `/team/info` says of a team. */
  async info(teamId: string): Promise<Body> {
    return (await this.get(`/team/info?team_id=${teamId}`)).body;
  }

  /** One LLM call that costs so many US dollars, or what the stand-in was told that one costs. */
  chat(key: string, cost?: number): Promise<Answer> {
    const call = { model: 'fake', messages: [{ role: 'user', content: 'hi' }], ...(cost !== undefined && { sandbox_cost: cost }) };
    return this.post('/chat/completions', call, key);
  }

  /** Makes a team. Returns a key of it. */
  async teamWithKey(team: { team_id: string; [field: string]: unknown }, key: object = {}): Promise<string> {
    expect((await this.post('/team/new', team)).status).toBe(200);
    return (await this.post('/key/generate', { team_id: team.team_id, ...key })).body.key;
  }

  /** Makes a team and has its first request refused. Returns a key of it. */
  async overBudget(teamId: string): Promise<string> {
    const key = await this.teamWithKey({ team_id: teamId, max_budget: 1 });
    await this.chat(key, 1.5);
    expect((await this.chat(key)).status).toBe(429);
    return key;
  }

  /** Waits until so many alerts have been answered. */
  alertsAnswered(count: number): Promise<void> {
    const answered = async () => (await this.state()).alerts.filter(({ status }) => status !== null).length;
    return until(async () => (await answered()) === count, `${count} alerts are answered`);
  }

  private async call<B = Body>(method: string, path: string, body: unknown, key: string): Promise<Answer<B>> {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as B };
  }
}

/** Runs of the synchronisation as the API starts them, and what there is for them to do. */
import { randomUUID } from 'node:crypto';
import { expect } from '@jest/globals';
import type { KmsState } from './answers.ts';
import { SOME_CUSTOMER, type World } from './world.ts';

type Item = { kind: string; subject: string; organization_id: string | null; ours: string | null; theirs: string | null } & {
  action: string | null;
  outcome: string;
  reason: string | null;
};
export type Run = {
  started_at: string;
  id: string;
  status: string;
  outcomes: Record<string, number>;
  counts: Record<string, unknown>;
  failure: string | null;
  items: Item[];
};

type Wish = { organization_ids?: string[]; dry_run?: boolean };

/** What a run has found about the organization: kind, what was done, and how that ended. */
export function about({ items }: Run, { id }: { id: string }): [string, string | null, string][] {
  return items.filter(({ organization_id }) => organization_id === id).map(({ kind, action, outcome }) => [kind, action, outcome]);
}

export class Syncs {
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** A run by the API, to its end. */
  async run(wish: Wish = {}): Promise<Run> {
    return this.over(await this.begun(wish));
  }

  /** Starts a run; returns its id. */
  async begun(wish: Wish = {}): Promise<string> {
    const { status, data } = await this.world.admin.post('/api/v1/sync', wish);
    expect([status, data.status]).toEqual([201, 'running']);
    return data.id;
  }

  /** Waits until a run is over. */
  over(id: string, timeoutMs?: number): Promise<Run> {
    return this.world.eventually(
      async () => {
        const run: Run = (await this.world.admin.get(`/api/v1/sync/${id}`)).data;
        return run.status !== 'running' && run;
      },
      'the synchronisation is over',
      timeoutMs,
    );
  }

  /** A customer whose team is asked for and nobody has made yet. */
  async newOrganization(wish: Record<string, unknown> = {}): Promise<{ id: string; teamId: string }> {
    const id = `new-${randomUUID()}`;
    const settings = {
      stripe_customer_id: SOME_CUSTOMER,
      minimum_balance: '2.00',
      target_balance: '20.00',
      auto_recharge_enabled: false,
      create_team: true,
    };
    const { data } = await this.world.admin.post('/api/v1/organizations', { c_organization_id: id, ...settings, ...wish });
    return { id, teamId: data.litellm_team_id };
  }

  async newTeam({ id }: { id: string }, teamId: string): Promise<void> {
    expect((await this.world.admin.post(`/api/v1/organizations/${id}/teams`, { c_team_id: teamId })).status).toBe(201);
  }

  /** Everything that was asked of LiteLLM since then and can change something. */
  async writesAfter(count: number): Promise<KmsState['requests']> {
    return (await this.world.kmsState()).requests.slice(count).filter(({ method }) => method === 'POST');
  }
}

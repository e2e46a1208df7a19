/** How organizations stand, as the status says, and what a person does about it who has read nothing else. */
import { expect } from '@jest/globals';
import type { Organization, World } from './world.ts';

export type Standing = {
  organization_id: string;
  balance: string | null;
  balance_at: string | null;
  state: string;
  since: string | null;
  why: string;
  next: string;
};

export const ABOUT_TO_BE_CHARGED = { state: 'recharging', why: 'its balance is at or below its minimum' };

/** The body of the call of LiteLLM that the words tell to make. */
export function callAsTold({ next }: Standing): Record<string, unknown> {
  const [, body = ''] = next.match(/-d '([^']*)'/) ?? [];
  return JSON.parse(body);
}

export class Standings {
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  async of({ id }: Pick<Organization, 'id'>): Promise<Standing> {
    const { status, data } = await this.world.admin.get('/api/v1/status', { params: { organization_id: id } });
    expect(status).toBe(200);
    return data.organizations.data[0];
  }

  /** The organizations that the status lists by itself. */
  async listed(): Promise<string[]> {
    const { data } = await this.world.admin.get('/api/v1/status', { params: { limit: 200 } });
    return data.organizations.data.map(({ organization_id: id }: Standing) => id);
  }

  /** The hold that the words tell to release. */
  async releaseAsTold({ next }: Standing): Promise<void> {
    const [, id] = next.match(/bill release (hld_\w+) "reason"/) ?? [];
    expect((await this.world.admin.post(`/api/v1/holds/${id}/release`, { reason: 'it was looked at' })).status).toBe(200);
  }

  /** The budget in LiteLLM that the words tell to accept. */
  async acceptAsTold({ next }: Standing): Promise<void> {
    const [, id] = next.match(/bill org accept-budget (\S+) "reason"/) ?? [];
    const { status, data } = await this.world.admin.post(`/api/v1/organizations/${id}/accept-budget`, { reason: 'it was meant' });
    expect([status, data.holds]).toEqual([200, []]);
  }

  /** A synchronisation, to its end. */
  async synchronise(): Promise<void> {
    const { id } = (await this.world.admin.post('/api/v1/sync', {})).data;
    await this.world.eventually(
      async () => (await this.world.admin.get(`/api/v1/sync/${id}`)).data.status === 'succeeded',
      'the synchronisation is over',
    );
  }
}

/** Holds as the admin API shows them, and what was told beside them. */
import type { Organization, World } from './world.ts';

export const HOLDS = '/api/v1/holds';

export type Hold = { id: string; scope: string; subject: string; reason: string; detail: string; until: string | null; ended_by: string };

/** The open holds of a query such as `scope=card`. */
export async function openHolds(world: World, query: string): Promise<Hold[]> {
  const { data } = await world.admin.get<{ data: Hold[] }>(`${HOLDS}?open=true&${query}`);
  return data.data;
}

/** The open hold that stops an organization. @throws where there is none. */
export async function holdOf(world: World, { id }: Organization): Promise<Hold> {
  const [hold] = await openHolds(world, `organization_id=${id}`);
  if (!hold) throw new Error(`${id} has no open hold`);
  return hold;
}

/** The types of what was told about an organization, oldest first. */
export async function told(world: World, { id }: Pick<Organization, 'id'>): Promise<string[]> {
  const { rows } = await world.sql.query('select type from outbound_event where organization_id = $1 order by id', [id]);
  return rows.map(({ type }) => type).filter((type: string) => type !== 'balance.low');
}

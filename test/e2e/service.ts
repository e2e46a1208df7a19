/** The service as its two processes, and the end that a recharge comes to there whatever happened to them. */
import { expect } from '@jest/globals';
import { BUDGET_AFTER, CHARGED_ONCE, RECHARGED } from '../support/books.ts';
import type { BillProcess, Processes } from '../support/processes.ts';
import type { Organization, World } from '../support/world.ts';

/** An alert that was taken in, about a team that has just run out. */
export type Underway = { organization: Organization; eventId: string };

/** Starts an API, whose environment may differ from the world's, and a worker. */
export async function startService(
  processes: Processes,
  world: World,
  apiOverrides: Record<string, string> = {},
): Promise<{ api: BillProcess; worker: BillProcess }> {
  const [api, worker] = await Promise.all([processes.start('serve', world, apiOverrides), processes.start('worker', world)]);
  return { api, worker };
}

/** Waits until a recharge has ended: charged once, and the quota raised once. */
export async function expectRechargedOnce(world: World, { organization, eventId }: Underway, timeoutMs: number): Promise<void> {
  expect(await world.closed(eventId, timeoutMs)).toEqual(RECHARGED);
  expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
}

/** A recharge that a person has to settle, because its budget cannot be written, and the person's decision. */
import { expect } from '@jest/globals';
import type { FaultAction } from '../../sandbox/faults.ts';
import { BUDGET_BEFORE } from './books.ts';
import { expectRefunded } from './expectations.ts';
import type { Organization, RechargeIds, World } from './world.ts';

/** What LiteLLM says of a write that fails. */
export const SENTENCE = '1 validation error for the row';
/** LiteLLM repeats its key, and what it must not be repeated in is our log. */
export const WRITE_FAILS: FaultAction = {
  kind: 'respond',
  status: 500,
  body: { error: { message: `${SENTENCE} (Bearer sk-1234)`, type: 'internal_server_error', param: 'None', code: '500' } },
};

/** Charged, and its budget cannot be written: the run tries it again and again. */
export async function stuck(world: World, action: FaultAction = WRITE_FAILS): Promise<RechargeIds & { organization: Organization }> {
  const organization = await world.organization();
  const refusal = await world.refuseBudget(organization, action);
  const eventId = await world.accepted(organization);
  await refusal.struck(2);
  return { organization, ...(await world.rechargeIs(eventId, 'charged')) };
}

/** A person decides. @param url of another API than the world's. */
export async function resolve(
  world: World,
  rechargeId: string,
  resolution: string,
  url = '',
): Promise<{ status: number; data: { status: string; detail: string } }> {
  const body = { resolution, reason: 'cannot be raised', by: 'ada' };
  return world.admin.post(`${url}/api/v1/recharges/${rechargeId}/resolve`, body);
}

/** Waits until the run of an event has ended. */
export async function runIsOver(world: World, eventId: string): Promise<void> {
  await world.eventually(
    async () => (await (await world.runOf(eventId)).describe()).status.name !== 'RUNNING',
    `the run of ${eventId} ends`,
  );
}

export async function expectNoQuotaAndMoneyBack(world: World, organization: Organization): Promise<void> {
  await expectRefunded(world, organization);
  expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_BEFORE);
}

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
}, 60_000);
afterAll(() => world.close());

test('an alert charges the organization once and raises the budget by exactly what was paid', async () => {
  const organization = await world.organization({ budget: 10, spend: 10.5, target: '20.00' });
  const { status, data } = await world.alert(organization.teamId);
  expect([status, data.status]).toEqual([200, 'accepted']);
  expect(await world.closed(data.event_id)).toEqual({ outcome: 'recharged', success: true });
  expect(await world.budgetOf(organization.teamId)).toBe(30.5);
  expect(await world.books(organization)).toEqual({ charges: 1, captured: 2050, refunded: 0, granted: 2050, prepaid: 0 });
}, 60_000);

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RECHARGED } from '../support/books.ts';
import { expectChargedOnce } from '../support/expectations.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.close());

test('an alert charges the organization once and raises the budget by exactly what was paid', async () => {
  const organization = await world.organization({ budget: 10, spend: 10.5, target: '20.00' });
  const { status, data } = await world.alert(organization.teamId);
  expect([status, data.status]).toEqual([200, 'accepted']);
  expect(await world.closed(data.event_id)).toEqual(RECHARGED);
  await expectChargedOnce(world, organization);
});

/** What a test expects of an organization's money in the end. */
import { expect } from '@jest/globals';
import { BUDGET_AFTER, CHARGED_AND_REFUNDED, CHARGED_ONCE, UNTOUCHED } from './books.ts';
import type { Organization, World } from './world.ts';

/** One charge of 20.50, all of it granted, and the budget raised by just that. */
export async function expectChargedOnce(world: World, organization: Organization): Promise<void> {
  expect(await world.books(organization)).toEqual(CHARGED_ONCE);
  expect(await world.budgetOf(organization.teamId)).toBe(BUDGET_AFTER);
}

/** One charge of 20.50, all of it refunded, once. */
export async function expectRefunded(world: World, organization: Organization): Promise<void> {
  expect(await world.books(organization)).toEqual(CHARGED_AND_REFUNDED);
}

/** No charge, and nothing in the ledger. */
export async function expectUncharged(world: World, organization: Organization): Promise<void> {
  expect(await world.books(organization)).toEqual(UNTOUCHED);
}

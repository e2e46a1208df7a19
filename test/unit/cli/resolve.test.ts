/** `bill resolve` says what happens now, not only which status the recharge has. */
import { expect, test } from '@jest/globals';
import { whatHappens } from '../../../src/cli/commands/resolve.ts';
import type { Resolution } from '../../../src/domain/resolution.ts';

test.each<[Resolution, string, RegExp]>([
  [
    'grant',
    'charged',
    /^the quota is raised now for the 20\.50 USD that the customer has paid; the card is not charged again\. bill recharges show rch_1/,
  ],
  ['refund', 'refunding', /^20\.50 USD or what is left of it goes back to the customer now\. bill recharges show rch_1/],
  ['accept', 'refunding', /^the refund goes on, and the budget stays as it is/],
  ['accept', 'succeeded', /^accepted as it is: the 20\.50 USD counts as granted/],
  ['accept', 'cancelled', /^cancelled: nothing was charged, and nothing is$/],
  ['accept', 'taken_back', /^accepted as it is \(taken_back\): the quota stays as it is in LiteLLM$/],
])('--%s that leads to %s', (resolution, status, said) => {
  expect(whatHappens(resolution, { id: 'rch_1', status, amount: '20.50', currency: 'usd' })).toMatch(said);
});

/** How a recharge whose money goes back is told. */
import { expect, test } from '@jest/globals';
import { currency, minorUnits, parseQuota } from '../../../src/domain/money.ts';
import { storyOf, type ToldRecharge } from '../../../src/domain/story.ts';

const NOW = new Date('2026-11-27T05:05:00Z');
const at = '2026-11-27T05:00:00Z';

function storyWith(changes: Partial<ToldRecharge>): ReturnType<typeof storyOf> {
  const recharge: ToldRecharge = {
    id: 'rch_1',
    status: 'refunding',
    amountMinor: minorUnits(2100),
    currency: currency('usd'),
    balanceSeen: parseQuota('1'),
    timeline: [{ at, status: 'refunding', reason: 'the team is gone' }],
    ...changes,
  };
  return storyOf(recharge, { event: null, reversals: [], holds: [] }, NOW);
}

test('money that is on its way back names the refund, once Stripe has it', () => {
  expect(storyWith({}).summary).toBe('21.00 USD is to go back to the customer, and Stripe has not been asked yet');
  expect(storyWith({ refundId: 're_1' }).summary).toBe(
    '21.00 USD goes back to the customer by re_1, which Stripe or the bank has not settled yet',
  );
});

test('what was refunded has its unit', () => {
  const { steps } = storyWith({
    status: 'refunded',
    refundId: 're_1',
    timeline: [{ at, status: 'refunded', amount: '21.00', refund: 're_1' }],
  });
  expect(steps.map(({ what }) => what)).toEqual(['21.00 USD was refunded by re_1']);
});

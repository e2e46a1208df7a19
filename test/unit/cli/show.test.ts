import { expect, test } from '@jest/globals';
import { statusWithReturned } from '../../../src/cli/commands/show.ts';

const recharge = { status: 'succeeded', amount: '20.50', currency: 'usd', returned: '0.00' };

test('a recharge whose money went back says so beside its status, with the unit of a part', () => {
  expect(statusWithReturned(recharge)).toBe('succeeded');
  expect(statusWithReturned({ ...recharge, returned: '20.50' })).toBe('succeeded, returned');
  expect(statusWithReturned({ ...recharge, returned: '5.00' })).toBe('succeeded, 5.00 USD returned');
  expect(statusWithReturned({ ...recharge, status: 'refunded', returned: '20.50' })).toBe('refunded');
});

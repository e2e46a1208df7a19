import { describe, expect, test } from '@jest/globals';
import { describeWarning, type FraudWarning } from '../../../src/domain/fraud-warning.ts';
import { currency, minorUnits } from '../../../src/domain/money.ts';

const WARNING: FraudWarning = {
  id: 'issfr_1',
  chargeId: 'ch_1',
  intentId: 'pi_1',
  amountMinor: minorUnits(2050),
  isActionable: true,
  isRefunded: false,
  isDisputed: false,
};
const RECHARGE = { id: 'rch_1', status: 'succeeded', amountMinor: minorUnits(2000), currency: currency('usd') } as const;
const REPORTED = "the card's issuer reports charge ch_1 of 20.50 USD, recharge rch_1, as fraudulent (issfr_1); ";

describe('what a person reads of a fraud warning', () => {
  test('names charge, amount and recharge, and the refund that avoids a dispute', () => {
    expect(describeWarning(WARNING, RECHARGE)).toBe(`${REPORTED}a refund now avoids a dispute: stripe refunds create --charge=ch_1`);
  });

  test('leaves a recharge that has not settled to its own run', () => {
    const open = { ...RECHARGE, status: 'needs_attention' } as const;
    expect(describeWarning(WARNING, open)).toBe(`${REPORTED}a refund now avoids a dispute: bill resolve rch_1 --refund "reason"`);
  });

  test.each<[string, Partial<FraudWarning>, string]>([
    ['refunded', { isRefunded: true, isActionable: false }, 'it is refunded already, so nothing is left to give back'],
    ['disputed', { isDisputed: true, isActionable: false }, 'it is disputed already, so a refund avoids nothing any more'],
    ['disputed since Stripe said otherwise', { isDisputed: true }, 'it is disputed already, so a refund avoids nothing any more'],
    ['not actionable', { isActionable: false }, 'Stripe says that a refund avoids nothing any more'],
  ])('promises nothing of a refund when the charge is %s', (_what, fields, words) => {
    expect(describeWarning({ ...WARNING, ...fields }, RECHARGE)).toBe(REPORTED + words);
  });

  test('names the amount of the recharge where that of the charge cannot be read', () => {
    expect(describeWarning({ ...WARNING, amountMinor: null }, RECHARGE)).toContain('charge ch_1 of 20.00 USD');
  });
});

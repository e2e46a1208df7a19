import { describe, expect, test } from '@jest/globals';
import type Stripe from 'stripe';
import { ofFraudWarning } from '../../../src/payments/fraud-warning.ts';

const CHARGE = { id: 'ch_1', amount: 2050, payment_intent: 'pi_1', refunded: false, disputed: false };
const WARNING = { id: 'issfr_1', actionable: true, charge: CHARGE };
const warning = (fields: object = {}) => ofFraudWarning({ ...WARNING, ...fields } as unknown as Stripe.Radar.EarlyFraudWarning);

describe('an early fraud warning', () => {
  test('names charge, intent and amount', () => {
    expect(warning()).toEqual({
      id: 'issfr_1',
      chargeId: 'ch_1',
      intentId: 'pi_1',
      amountMinor: 2050,
      isActionable: true,
      isRefunded: false,
      isDisputed: false,
    });
  });

  test.each([
    ['itself', { payment_intent: 'pi_2' }, 'pi_2'],
    ['itself, expanded', { payment_intent: { id: 'pi_2' } }, 'pi_2'],
    ['its charge, expanded', { charge: { ...CHARGE, payment_intent: { id: 'pi_3' } } }, 'pi_3'],
    ['neither', { charge: { ...CHARGE, payment_intent: null } }, null],
    ['neither, and the charge is not shown', { charge: 'ch_1' }, null],
  ])('has the intent that is named by %s', (_who, fields, intentId) => {
    expect(warning(fields)).toMatchObject({ chargeId: 'ch_1', intentId });
  });

  test('says whether a refund still helps, and what became of the charge', () => {
    expect(warning({ actionable: false })).toMatchObject({ isActionable: false });
    expect(warning({ charge: { ...CHARGE, refunded: true } })).toMatchObject({ isRefunded: true, isDisputed: false });
    expect(warning({ charge: { ...CHARGE, disputed: true } })).toMatchObject({ isRefunded: false, isDisputed: true });
  });

  test('with fields left out is one all the same', () => {
    expect(warning({ actionable: undefined, charge: { id: 'ch_1' } })).toEqual({
      id: 'issfr_1',
      chargeId: 'ch_1',
      intentId: null,
      amountMinor: null,
      isActionable: true,
      isRefunded: false,
      isDisputed: false,
    });
  });
});

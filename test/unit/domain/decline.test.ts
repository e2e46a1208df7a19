import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { classifyDecline, DECLINE_RULES, type DeclineCodes } from '../../../src/domain/decline.ts';

const codes = (given: Partial<DeclineCodes>): DeclineCodes => ({ code: 'card_declined', declineCode: null, adviceCode: null, ...given });

test.each([
  'lost_card',
  'stolen_card',
  'pickup_card',
  'expired_card',
  'fraudulent',
  'merchant_blacklist',
  'restricted_card',
  'invalid_account',
  'stop_payment_order',
  'revocation_of_authorization',
  'revocation_of_all_authorizations',
])('a card declined with %s will not work again', (declineCode) => {
  expect(classifyDecline(codes({ declineCode }))).toBe('hard');
});

test('an expired card will not work again, though Stripe says so in the code alone', () => {
  expect(classifyDecline(codes({ code: 'expired_card' }))).toBe('hard');
});

test.each(['insufficient_funds', 'try_again_later', 'processing_error', 'do_not_honor', 'generic_decline', 'card_velocity_exceeded'])(
  'a card declined with %s may work later',
  (declineCode) => {
    expect(classifyDecline(codes({ declineCode }))).toBe('soft');
  },
);

test("the network's advice not to try again outweighs a decline that sounds soft", () => {
  expect(classifyDecline(codes({ declineCode: 'do_not_honor', adviceCode: 'do_not_try_again' }))).toBe('hard');
  expect(classifyDecline(codes({ declineCode: 'do_not_honor', adviceCode: 'try_again_later' }))).toBe('soft');
});

test.each(['03', '21'])("Mastercard's advice %s outweighs a decline that sounds soft", (networkAdviceCode) => {
  expect(classifyDecline(codes({ declineCode: 'do_not_honor', networkAdviceCode }))).toBe('hard');
  expect(classifyDecline(codes({ declineCode: 'do_not_honor', networkAdviceCode: '02' }))).toBe('soft');
});

test.each(['04', '07', '15', '41', '43', '46', 'R0', 'R1', 'R3'])("the network's code %s is never approved again", (networkDeclineCode) => {
  expect(classifyDecline(codes({ declineCode: 'generic_decline', networkDeclineCode }))).toBe('hard');
  expect(classifyDecline(codes({ declineCode: 'generic_decline', networkDeclineCode: '51' }))).toBe('soft');
});

test('every rule says why, and where that comes from', () => {
  for (const { because, source, values } of DECLINE_RULES) {
    expect([because, source, values.length]).toEqual([expect.stringMatching(/\w+/), expect.stringMatching(/^https:/), expect.any(Number)]);
    expect(values).not.toContain('');
  }
});

test('a bank that wants the customer present is told by either code, and above all else', () => {
  expect(classifyDecline(codes({ code: 'authentication_required' }))).toBe('authentication_required');
  expect(classifyDecline(codes({ declineCode: 'authentication_required' }))).toBe('authentication_required');
  expect(classifyDecline(codes({ declineCode: 'authentication_required', adviceCode: 'do_not_try_again' }))).toBe(
    'authentication_required',
  );
});

test('a code that nobody knows yet says nothing against the card', () => {
  const unknown = fc.string().map((text) => `new_${text}`);
  fc.assert(
    fc.property(unknown, unknown, unknown, (code, declineCode, adviceCode) => {
      expect(classifyDecline({ code, declineCode, adviceCode })).toBe('soft');
    }),
  );
  expect(classifyDecline({ code: null, declineCode: null, adviceCode: null })).toBe('soft');
});

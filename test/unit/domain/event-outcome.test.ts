import { expect, test } from '@jest/globals';
import { EVENT_OUTCOMES, type EventOutcome, isRefusal, isSuccess } from '../../../src/domain/event-outcome.ts';
import { REFUSALS, type Refusal } from '../../../src/domain/policy.ts';

test.each(['succeeded', 'above_minimum', 'ignored', 'duplicate'] satisfies EventOutcome[])(
  'an event that ends %s is taken care of',
  (outcome) => {
    expect(isSuccess(outcome)).toBe(true);
  },
);

test.each(['declined', 'action_required', 'refunded', 'needs_attention', 'cancelled', 'unknown_team'] satisfies EventOutcome[])(
  'an event that ends %s has left the team without budget',
  (outcome) => {
    expect(isSuccess(outcome)).toBe(false);
  },
);

test.each((Object.keys(REFUSALS) as Refusal[]).filter((refusal) => refusal !== 'above_minimum'))(
  'a recharge refused with %s has left the team without budget',
  (refusal) => {
    expect(isSuccess(refusal)).toBe(false);
  },
);

test('an ending is a refusal where the policy has a sentence for it', () => {
  expect(EVENT_OUTCOMES.filter(isRefusal)).toEqual(Object.keys(REFUSALS));
});

test('every ending is listed once: those of a recharge, those without one, and each refusal', () => {
  const others = [
    'succeeded',
    'declined',
    'action_required',
    'refunded',
    'needs_attention',
    'cancelled',
    'unknown_team',
    'ignored',
    'duplicate',
  ];
  expect(EVENT_OUTCOMES.toSorted()).toEqual([...others, ...Object.keys(REFUSALS)].toSorted());
});

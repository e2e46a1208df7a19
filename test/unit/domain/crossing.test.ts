import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { crossingOf } from '../../../src/domain/crossing.ts';

/** As the real proxy sends it. */
const alert = {
  spend: 10.000123,
  max_budget: 10,
  soft_budget: null,
  token: '88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b',
  customer_id: null,
  user_id: 'u1',
  team_id: 't1',
  team_alias: 'acme',
  organization_id: null,
  event_group: 'team',
  event: 'budget_crossed',
  event_message: 'Team Budget: Budget Crossed\n Total Budget:`10.0`',
};

const keyOf = (changes: Record<string, unknown>) => crossingOf({ ...alert, ...changes })?.key;

describe('copies of one alert', () => {
  test('that differ in spend, key, user or a field of a later release are one crossing', () => {
    fc.assert(
      fc.property(fc.double(), fc.string(), fc.jsonValue(), (spend, token, later) => {
        expect(keyOf({ spend, token, user_id: token, later_field: later })).toBe(keyOf({}));
      }),
    );
  });

  test('are one crossing whether a budget that is not there is null or left out', () => {
    const { max_budget: _, ...without } = alert;
    expect(crossingOf(without)?.key).toBe(keyOf({ max_budget: null }));
  });
});

test('alerts are one crossing exactly when team, event and budget are the same', () => {
  const facts = fc.record({
    team_id: fc.constantFrom('t1', 't2', 't1","budget_crossed', 't1,budget_crossed'),
    event: fc.constantFrom('budget_crossed', 'soft_budget_crossed'),
    max_budget: fc.constantFrom(10, 10.5, 100, '10', 0, null),
  });
  fc.assert(
    fc.property(facts, facts, (one, other) => {
      expect(keyOf(one) === keyOf(other)).toBe(JSON.stringify(one) === JSON.stringify(other));
    }),
    { numRuns: 1000 },
  );
});

test('a key has the same length whatever the alert holds', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 5000 }), fc.jsonValue(), (team_id, max_budget) => {
      expect(keyOf({ team_id, max_budget })).toMatch(/^[0-9a-f]{64}$/);
    }),
  );
});

test.each(['budget_crossed', 'threshold_crossed', 'soft_budget_crossed', 'projected_limit_exceeded', 'max_budget_alert'])(
  "%s is about a team's budget",
  (event) => {
    expect(crossingOf({ ...alert, event })).toMatchObject({ teamId: 't1', eventType: event });
  },
);

test.each(['key_created', 'spend_tracked', 'internal_user_created', 'toString', '', 'BUDGET_CROSSED', null, 7])(
  'an event %j is not about a budget',
  (event) => {
    expect(crossingOf({ ...alert, event })).toBeUndefined();
  },
);

test.each(['key', 'user', 'end_user', 'team_member', 'organization', 'project', 'tag', 'agent', 'proxy', 'Team', null, undefined])(
  "an alert of the group %j is not about the team's own budget, though it may name a team",
  (event_group) => {
    expect(crossingOf({ ...alert, event_group })).toBeUndefined();
  },
);

test.each([null, undefined, '', 7, ['t1'], { id: 't1' }])('an alert whose team is %j is about no team', (team_id) => {
  expect(crossingOf({ ...alert, team_id })).toBeUndefined();
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { crossingOf, isRefusalEvent, lacksTeam, SWEEP_EVENTS, sweepCrossing } from '../../../src/domain/crossing.ts';

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

test('only budget_crossed is sent because a call was refused', () => {
  const events = ['budget_crossed', 'threshold_crossed', 'soft_budget_crossed', 'projected_limit_exceeded', 'max_budget_alert', ''];
  expect(events.filter(isRefusalEvent)).toEqual(['budget_crossed']);
});

test.each([undefined, null, '', 7])(
  "an alert about a team's budget whose team_id is %j lacks its team, and one about something else lacks nothing",
  (team_id) => {
    expect(lacksTeam({ ...alert, team_id })).toBe(true);
    expect(lacksTeam({ ...alert, team_id, event_group: 'key' })).toBe(false);
    expect(lacksTeam({ ...alert, team_id, event: 'spend_report' })).toBe(false);
    expect(lacksTeam(alert)).toBe(false);
  },
);

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

describe('what a sweep reports', () => {
  test('is a balance at the minimum, or one that will be there before the next sweep', () => {
    expect(SWEEP_EVENTS).toEqual({ low: 'balance_low', forecast: 'balance_forecast' });
  });

  test('is one crossing of the team, whichever of the two it is: one event is open at a time', () => {
    const low = sweepCrossing('t1', 'balance_low');
    expect(low).toEqual({ teamId: 't1', eventType: 'balance_low', key: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(sweepCrossing('t1', 'balance_forecast')).toEqual({ ...low, eventType: 'balance_forecast' });
    expect(sweepCrossing('t2', 'balance_low').key).not.toBe(low.key);
  });

  test('is never a copy of an alert', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.jsonValue(), (team_id, max_budget) => {
        expect(keyOf({ team_id, max_budget })).not.toBe(sweepCrossing(team_id, 'balance_low').key);
      }),
    );
  });

  test('has a key that stays the same in every release: an event may be open while the service is replaced', () => {
    // sha256 of ["t1","sweep",null], and of ["t1","budget_crossed",10].
    expect(sweepCrossing('t1', 'balance_low').key).toBe('8fb2b59911c338bab3f0c1a992481260023cfd732271f427b78121c64d6039de');
    expect(keyOf({})).toBe('118c4faff8476c98aa6fafe535461f6dcb4a0bc5ce66e9e7c079ccf8e6450300');
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type AppliedHold, endsWithCard, HOLD_REASONS, type HoldReason } from '../../../src/domain/hold.ts';
import { minorUnits, parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { decideRecharge } from '../../../src/domain/policy.ts';
import { decideSweep, type SweepFacts } from '../../../src/domain/sweep.ts';
import { NO_HISTORY } from '../arbitraries.ts';
import { policy } from '../policy-facts.ts';

const MINUTE_MS = 60_000;

/** An organization at its minimum of 10.00, which nothing keeps from a recharge. */
const facts: SweepFacts = {
  policy,
  team: {
    quota: parseQuota('100'),
    spend: parseQuota('90'),
    softBudget: null,
    budgetDuration: null,
    hasBudgetLimits: false,
    blocked: false,
  },
  history: NO_HISTORY,
  hasOpenEvent: false,
  fruitless: { count: 0, lastAgoMs: null },
  expectedSpend: quotaMicros(0),
  createTeam: false,
  wasAskedFor: false,
};
const above = { ...facts.team, spend: parseQuota('89.999999') };
const once = (lastAgoMs: number) => ({ count: 1, lastAgoMs });
const hold = (reason: HoldReason): AppliedHold => ({ id: 'hld_1', scope: 'organization', reason, detail: 'because', until: null });

describe('a sweep reports', () => {
  test('a balance at the minimum as low', () => {
    expect(decideSweep(facts)).toEqual({ kind: 'report', eventType: 'balance_low', balance: parseQuota('10') });
  });
  test('a balance that is held until the customer has another card: only Stripe knows whether it has', () => {
    for (const reason of ['declined', 'card_refused', 'three_failures'] as const) {
      expect(decideSweep({ ...facts, history: { ...facts.history, holds: [hold(reason)] } }).kind).toBe('report');
    }
  });
  test('a balance above the minimum that will be there before the next sweep as a forecast', () => {
    const decision = decideSweep({ ...facts, team: above, expectedSpend: quotaMicros(1) });
    expect(decision).toEqual({ kind: 'report', eventType: 'balance_forecast', balance: parseQuota('10.000001') });
  });
  test('a charge that has to be held, as its run opens the hold', () => {
    const policy = { ...facts.policy, maxCharge: minorUnits(1) };
    expect(decideSweep({ ...facts, policy })).toEqual({ kind: 'report', eventType: 'balance_low', balance: parseQuota('10') });
  });
});

describe('a sweep reports nothing', () => {
  const nothing = { kind: 'nothing' };
  test('of a balance that stays above the minimum', () => {
    expect(decideSweep({ ...facts, team: above })).toEqual(nothing);
  });
  test('of a team that we have blocked', () => {
    expect(decideSweep({ ...facts, policy: { ...facts.policy, blocked: true } })).toEqual(nothing);
  });
  test('while an event of the organization is open', () => {
    expect(decideSweep({ ...facts, hasOpenEvent: true })).toEqual(nothing);
  });
  test('that a recharge would refuse', () => {
    expect(decideSweep({ ...facts, policy: { ...facts.policy, autoRechargeEnabled: false } })).toEqual(nothing);
    expect(decideSweep({ ...facts, history: { ...facts.history, holds: [hold('operator')] } })).toEqual(nothing);
  });
});

describe('a sweep notes what a recharge would refuse', () => {
  const refused = (refusal: string) => ({ kind: 'refused', refusal });
  test('of the team, at any balance', () => {
    for (const team of [facts.team, above]) {
      expect(decideSweep({ ...facts, team: { ...team, blocked: true } })).toEqual(refused('team_blocked'));
      expect(decideSweep({ ...facts, team: { ...team, budgetDuration: '30d' } })).toEqual(refused('budget_duration'));
    }
  });
  test('by a limit, of a balance that is low', () => {
    const policy = { ...facts.policy, maxDailyRecharges: 0 };
    expect(decideSweep({ ...facts, policy })).toEqual(refused('daily_limit_reached'));
    expect(decideSweep({ ...facts, policy, team: above, expectedSpend: quotaMicros(1) })).toEqual({ kind: 'nothing' });
  });
});

describe('a team that was made for the organization', () => {
  const unspent = { quota: parseQuota('0'), spend: parseQuota('0') };
  const made: SweepFacts = { ...facts, team: { ...facts.team, ...unspent }, createTeam: true };
  test('is not charged for while it was never used', () => {
    expect(decideSweep(made)).toEqual({ kind: 'unused' });
    expect(decideSweep({ ...made, fruitless: once(0) })).toEqual({ kind: 'unused' });
  });
  test('is reported from its first spend on', () => {
    expect(decideSweep({ ...made, team: { ...made.team, spend: quotaMicros(1) } }).kind).toBe('report');
  });
  test('is reported when it was asked to be filled', () => {
    expect(decideSweep({ ...made, wasAskedFor: true }).kind).toBe('report');
  });
  test('is reported unspent when it was there before the organization', () => {
    expect(decideSweep({ ...made, createTeam: false }).kind).toBe('report');
  });
  test('is nothing to tell of when no recharge is due', () => {
    expect(decideSweep({ ...made, team: { ...made.team, quota: parseQuota('11') } })).toEqual({ kind: 'nothing' });
  });
});

describe('a sweep waits', () => {
  const wait = { kind: 'wait' };
  test('after an event of its own that led to no recharge, until its pause is over', () => {
    expect(decideSweep({ ...facts, fruitless: once(14 * MINUTE_MS) })).toEqual(wait);
    expect(decideSweep({ ...facts, fruitless: once(15 * MINUTE_MS) }).kind).toBe('report');
  });
  test('only for an organization that it would report', () => {
    expect(decideSweep({ ...facts, team: above, fruitless: once(0) })).toEqual({ kind: 'nothing' });
  });
});

test('whatever it reports, a recharge is due on the same figures', () => {
  const spends = fc.integer({ min: 0, max: 200_000_000 }).map(quotaMicros);
  const failures = fc.record({ count: fc.nat({ max: 3 }), lastAgoMs: fc.nat({ max: 120 * MINUTE_MS }) });
  const sweeps = fc.record({
    spend: spends,
    expectedSpend: spends,
    blocked: fc.boolean(),
    hasOpenEvent: fc.boolean(),
    reason: fc.option(fc.constantFrom(...HOLD_REASONS)),
    fruitless: failures,
    createTeam: fc.boolean(),
    wasAskedFor: fc.boolean(),
  });
  fc.assert(
    fc.property(sweeps, ({ spend, blocked, reason, ...rest }) => {
      const { expectedSpend, hasOpenEvent } = rest;
      const { policy } = facts;
      const team = { ...facts.team, spend, blocked };
      const history = { ...facts.history, holds: reason ? [hold(reason)] : [] };
      const decision = decideSweep({ policy, team, history, ...rest });
      const recharge = decideRecharge({ policy, budget: team, history, occasion: { kind: 'sweep', expectedSpend } });
      // Whether the customer has another card by now is asked by the run.
      const isCards = reason !== null && endsWithCard(reason);
      if (decision.kind === 'report') expect(recharge).toMatchObject({ balance: decision.balance, kind: isCards ? 'refuse' : 'recharge' });
      if (decision.kind === 'report') expect([blocked, hasOpenEvent]).toEqual([false, false]);
    }),
  );
});

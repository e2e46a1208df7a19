import { describe, expect, test } from '@jest/globals';
import {
  type AppliedHold,
  describeHold,
  endedBy,
  endsWithCard,
  HOLD_REASONS,
  HOLD_SCOPES,
  HOLDS,
  type HoldReason,
  lostDispute,
  loweredBudget,
  RESUMED_REASONS,
  type Stopped,
  seenOf,
  stopsReserved,
} from '../../../src/domain/hold.ts';
import type { QuotaMicros } from '../../../src/domain/money.ts';

const hold: AppliedHold = { id: 'hld_1', scope: 'card', reason: 'declined', detail: 'the card was declined', until: null };

describe('a hold', () => {
  test('names what was seen, when and how it ends, and its id', () => {
    expect(describeHold(hold)).toBe(`held (declined): the card was declined; ${HOLDS.declined.endedBy} (hld_1)`);
    const until = new Date('2026-12-01T00:00:00Z');
    expect(describeHold({ ...hold, until })).toBe(
      `held (declined): the card was declined; it ends at 2026-12-01T00:00:00.000Z, or sooner: ${HOLDS.declined.endedBy} (hld_1)`,
    );
  });
  test('of a dispute that is lost waits for no winning', () => {
    const disputed = { ...hold, reason: 'disputed', detail: 'dispute du_1' } as const;
    expect(endedBy(disputed)).toContain('the dispute is won');
    expect(endedBy({ ...disputed, detail: `dispute du_1; ${lostDispute('du_1')}` })).toBe('a person releases it');
  });
  test('on a card says whom it stops, one or more; another says what was seen alone', () => {
    const seen = (stops: Stopped | null) => seenOf({ detail: 'the card was declined', stops });
    expect(seen({ count: 1, ids: ['acme'] })).toBe('the card was declined; it stops acme alone');
    expect(seen({ count: 2, ids: ['acme', 'globex'] })).toBe('the card was declined; it stops 2 organizations: acme, globex');
    expect(seen({ count: 7, ids: ['acme', 'globex'] })).toBe('the card was declined; it stops 7 organizations: acme, globex and 5 more');
    expect(seen(null)).toBe('the card was declined');
  });
  test('on a card, and one after failures, ends with another card', () => {
    expect(HOLD_REASONS.filter(endsWithCard)).toEqual(['declined', 'card_refused', 'three_failures']);
  });
  test('stops what was reserved before it, unless it is about a key: that charge is the probe', () => {
    expect(HOLD_REASONS.filter((reason) => !stopsReserved({ ...hold, reason }))).toEqual(['key_refused']);
  });
  test('ends when the organization is resumed, unless it shows what somebody has to approve', () => {
    const approvals: HoldReason[] = ['runaway', 'budget_lowered'];
    expect(RESUMED_REASONS).toEqual(HOLD_REASONS.filter((reason) => !approvals.includes(reason)));
  });
  test('has at least one scope, and only scopes that there are', () => {
    for (const { scopes } of Object.values(HOLDS)) {
      expect(scopes.length).toBeGreaterThan(0);
      expect(HOLD_SCOPES).toEqual(expect.arrayContaining([...scopes]));
    }
  });
});

describe('a budget that was lowered', () => {
  const seen = (shown: number | null, expected: number | null) =>
    loweredBudget({ teamId: 'acme', shown: shown as QuotaMicros | null, expected: expected as QuotaMicros | null });
  test('is below what our last write left, and says both and what to do', () => {
    expect(seen(12_000_000, 30_500_000)).toBe(
      'max_budget of team acme is 12.00, our last write left 30.50: restore it in LiteLLM, or release this hold to go on from 12.00',
    );
  });
  test('is none at or above it, without a budget, or where what we left is not known', () => {
    expect([seen(30_500_000, 30_500_000), seen(31_000_000, 30_500_000), seen(null, 30_500_000)]).toEqual([null, null, null]);
    expect([seen(12_000_000, null), seen(-1, null)]).toEqual([null, null]);
  });
});

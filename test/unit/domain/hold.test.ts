import { describe, expect, test } from '@jest/globals';
import { type AppliedHold, describeHold, endsWithCard, HOLD_REASONS, HOLD_SCOPES, HOLDS, stopsReserved } from '../../../src/domain/hold.ts';

const hold: AppliedHold = { id: 'hld_1', scope: 'card', reason: 'declined', detail: 'the card was declined', until: null };

describe('a hold', () => {
  test('names what was seen, when and how it ends, and its id', () => {
    expect(describeHold(hold)).toBe(`held (declined): the card was declined; ${HOLDS.declined.endedBy} (hld_1)`);
    const until = new Date('2026-12-01T00:00:00Z');
    expect(describeHold({ ...hold, until })).toBe(
      `held (declined): the card was declined; it ends at 2026-12-01T00:00:00.000Z, or sooner: ${HOLDS.declined.endedBy} (hld_1)`,
    );
  });
  test('on a card, and one after failures, ends with another card', () => {
    expect(HOLD_REASONS.filter(endsWithCard)).toEqual(['declined', 'card_refused', 'three_failures']);
  });
  test('stops what was reserved before it, unless it is about a key: that charge is the probe', () => {
    expect(HOLD_REASONS.filter((reason) => !stopsReserved({ ...hold, reason }))).toEqual(['key_refused']);
  });
  test('has at least one scope, and only scopes that there are', () => {
    for (const { scopes } of Object.values(HOLDS)) {
      expect(scopes.length).toBeGreaterThan(0);
      expect(HOLD_SCOPES).toEqual(expect.arrayContaining([...scopes]));
    }
  });
});

import { describe, expect, test } from '@jest/globals';
import { LATE_MOVES } from '../../../src/domain/recharge-status.ts';
import { destinationOf, RESOLUTIONS } from '../../../src/domain/resolution.ts';

describe('what a person decides about a recharge that needs attention', () => {
  test('is one of three', () => {
    expect(RESOLUTIONS).toEqual(['grant', 'refund', 'accept']);
  });
  test('goes the ordinary way when money is held: the quota is raised, or the money goes back', () => {
    expect(destinationOf('grant', true)).toBe('charged');
    expect(destinationOf('refund', true)).toBe('refunding');
  });
  test('can neither grant nor refund what is not held', () => {
    expect(destinationOf('grant', false)).toBeUndefined();
    expect(destinationOf('refund', false)).toBeUndefined();
  });
  test('may accept it as it is: what is held counts as granted, and nothing held as cancelled', () => {
    expect(destinationOf('accept', true)).toBe('succeeded');
    expect(destinationOf('accept', false)).toBe('cancelled');
  });
  test('leads only where a person may take a recharge, and between them to every such place', () => {
    const destinations = RESOLUTIONS.flatMap((resolution) => [true, false].map((isHeld) => destinationOf(resolution, isHeld)));
    expect(new Set(destinations.filter((to) => to !== undefined))).toEqual(new Set(LATE_MOVES.resolve.to));
  });
});

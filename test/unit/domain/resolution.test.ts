import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isOpen, LATE_MOVES, RECHARGE_STATUSES, type RechargeStatus } from '../../../src/domain/recharge-status.ts';
import { destinationOf, RESOLUTIONS, resolutionsOf } from '../../../src/domain/resolution.ts';

/** Grant, refund and accept, in this order. */
const destinations = (status: RechargeStatus, isMoneyHeld: boolean) =>
  RESOLUTIONS.map((resolution) => destinationOf(resolution, { status, isMoneyHeld }));

describe('what a person decides about a recharge', () => {
  test('is one of three', () => {
    expect(RESOLUTIONS).toEqual(['grant', 'refund', 'accept']);
  });

  test.each(['charged', 'needs_attention'] as const)('that is %s and holds money: quota, money back, or right as it is', (status) => {
    expect(destinations(status, true)).toEqual(['charged', 'refunding', 'succeeded']);
  });

  test.each(['reserved', 'charging', 'processing', 'needs_attention'] as const)(
    'that is %s without money: only that it is over',
    (status) => {
      expect(destinations(status, false)).toEqual([undefined, undefined, 'cancelled']);
    },
  );

  test('whose money may be on its way back: nothing but that it goes on', () => {
    expect(destinations('refunding', true)).toEqual([undefined, 'refunding', 'refunding']);
  });
});

const STANDINGS = fc.record({ status: fc.constantFrom(...RECHARGE_STATUSES), isMoneyHeld: fc.boolean() });

test('what is settled is settled; what is open leads only where a person may take it', () => {
  fc.assert(
    fc.property(STANDINGS, fc.constantFrom(...RESOLUTIONS), ({ status, isMoneyHeld }, resolution) => {
      const to = destinationOf(resolution, { status, isMoneyHeld });
      if (!isOpen(status)) expect(to).toBeUndefined();
      if (to) expect(LATE_MOVES.resolve.to).toContain(to);
    }),
  );
});

test('money that may be on its way back never becomes quota, and what holds no money moves none', () => {
  fc.assert(
    fc.property(STANDINGS, fc.constantFrom(...RESOLUTIONS), ({ status, isMoneyHeld }, resolution) => {
      const to = destinationOf(resolution, { status, isMoneyHeld });
      if (status === 'refunding') expect([undefined, 'refunding']).toContain(to);
      if (!isMoneyHeld) expect([undefined, 'cancelled']).toContain(to);
      if (isMoneyHeld && ['charged', 'needs_attention'].includes(status)) expect(to).not.toBe('cancelled');
    }),
  );
});

test('there is a way out of every open status', () => {
  for (const status of RECHARGE_STATUSES.filter(isOpen)) {
    const isMoneyHeld = status === 'charged' || status === 'refunding';
    expect([status, resolutionsOf(status, isMoneyHeld).length > 0]).toEqual([status, true]);
  }
  expect(resolutionsOf('charged', true)).toEqual(['grant', 'refund', 'accept']);
  expect(resolutionsOf('charged', false)).toEqual([]);
  expect(resolutionsOf('refunding', false)).toEqual([]);
});

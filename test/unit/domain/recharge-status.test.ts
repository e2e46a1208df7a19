import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import {
  ATTEMPTED_STATUSES,
  CHARGED_STATUSES,
  isOpen,
  LATE_MOVES,
  NOT_CHARGED_STATUSES,
  OPEN_STATUSES,
  QUOTA_DUE_STATUSES,
  RECHARGE_STATUSES,
  type RechargeStatus,
  statusesBefore,
  UNDER_WAY_STATUSES,
  waitsForStripe,
} from '../../../src/domain/recharge-status.ts';

const movesFrom = (from: RechargeStatus) => RECHARGE_STATUSES.filter((to) => statusesBefore(to).includes(from));

/** Every way that a recharge can go, from its reservation to where nothing leads on. */
function journeys(sofar: RechargeStatus[] = ['reserved']): RechargeStatus[][] {
  const last = sofar.at(-1) as RechargeStatus;
  const next = movesFrom(last);
  if (sofar.length > RECHARGE_STATUSES.length) throw new Error(`goes in circles: ${sofar.join(' → ')}`);
  return next.length === 0 ? [sofar] : next.flatMap((to) => journeys([...sofar, to]));
}

test('a recharge moves only forward: no status comes twice', () => {
  for (const journey of journeys()) expect(new Set(journey).size).toBe(journey.length);
});

test('every status can be reached from a reservation', () => {
  expect(new Set(journeys().flat())).toEqual(new Set(RECHARGE_STATUSES));
});

test.each(['succeeded', 'refunded', 'declined', 'action_required', 'cancelled', 'needs_attention'] as const)(
  '%s has no way out',
  (status) => {
    expect(movesFrom(status)).toEqual([]);
  },
);

test.each(['reserved', 'charging', 'processing', 'charged', 'refunding'] as const)('%s is not where a recharge ends', (status) => {
  expect(movesFrom(status)).not.toEqual([]);
});

describe('the money', () => {
  test('is granted or refunded, never both', () => {
    for (const journey of journeys()) expect(journey.includes('succeeded') && journey.includes('refunded')).toBe(false);
  });

  test('is granted, refunded or looked at by a person once it is captured', () => {
    for (const journey of journeys().filter((statuses) => statuses.includes('charged'))) {
      expect(['succeeded', 'refunded', 'needs_attention']).toContain(journey.at(-1));
    }
  });

  test('is neither granted nor refunded unless it was captured', () => {
    expect(statusesBefore('succeeded')).toEqual(['charged']);
    expect(statusesBefore('refunding')).toEqual(['charged']);
    expect(statusesBefore('refunded')).toEqual(['refunding']);
  });

  test('is captured only after an intent was confirmed', () => {
    expect(statusesBefore('charged')).toEqual(['charging', 'processing']);
    expect(statusesBefore('processing')).toEqual(['charging']);
    expect(statusesBefore('charging')).toEqual(['reserved']);
  });

  test('has not moved when a recharge is cancelled', () => {
    expect(statusesBefore('cancelled')).toEqual(['reserved', 'charging']);
  });
});

test('nothing moves back to a reservation', () => {
  expect(statusesBefore('reserved')).toEqual([]);
});

describe('an organization gets no other recharge', () => {
  test('while one moves on or waits for a person', () => {
    for (const status of RECHARGE_STATUSES) {
      expect([status, isOpen(status)]).toEqual([status, movesFrom(status).length > 0 || status === 'needs_attention']);
    }
  });

  test('by an index that names the same statuses', () => {
    const migration = readFileSync(
      new URL('../../../src/database/migrations/0001-organizations-inbox-recharges-ledger.ts', import.meta.url),
      'utf8',
    );
    const [, list = ''] = /recharge_one_open_per_organization[^;]*?status in \(([^)]*)\)/.exec(migration) ?? [];
    expect(list.match(/\w+/g)).toEqual([...OPEN_STATUSES]);
  });
});

test('the statuses from which each may be reached are these, and no other', () => {
  expect(Object.fromEntries(RECHARGE_STATUSES.map((status) => [status, statusesBefore(status)]))).toEqual({
    reserved: [],
    charging: ['reserved'],
    processing: ['charging'],
    charged: ['charging', 'processing'],
    refunding: ['charged'],
    needs_attention: ['reserved', 'charging', 'processing', 'charged', 'refunding'],
    succeeded: ['charged'],
    refunded: ['refunding'],
    declined: ['charging', 'processing'],
    action_required: ['charging', 'processing'],
    cancelled: ['reserved', 'charging'],
  });
});

describe('what no run may do', () => {
  test('is to settle what is open: a person grants it, refunds it, or accepts it as it is', () => {
    expect(new Set(LATE_MOVES.resolve.from)).toEqual(new Set(OPEN_STATUSES));
    expect(LATE_MOVES.resolve.to).toEqual(['charged', 'refunding', 'succeeded', 'cancelled']);
  });
  test('is to open again what ended without a grant: only money that Stripe turns out to hold does', () => {
    expect(LATE_MOVES.reopen).toEqual({ from: ['refunded', 'declined', 'action_required', 'cancelled'], to: ['needs_attention'] });
  });
  test('is to open again what a run still moves', () => {
    for (const status of LATE_MOVES.reopen.from) expect(movesFrom(status)).toEqual([]);
  });
});

describe('of the statuses', () => {
  const where = (holds: (status: RechargeStatus) => boolean) => RECHARGE_STATUSES.filter(holds);
  const leadsTo = (from: RechargeStatus, to: RechargeStatus): boolean => movesFrom(from).some((next) => next === to || leadsTo(next, to));

  test('those under way are the ones that a run still moves', () => {
    expect(UNDER_WAY_STATUSES).toEqual(where((status) => movesFrom(status).length > 0));
  });

  test('the quota is due in those that lead to a success', () => {
    expect(QUOTA_DUE_STATUSES).toEqual(where((status) => leadsTo(status, 'succeeded')));
  });

  test("those wait for Stripe's word that a bank or a refund is under way in", () => {
    expect(where(waitsForStripe)).toEqual(['processing', 'refunding']);
  });

  test('an approval outlasts what took no money, and never will', () => {
    expect(NOT_CHARGED_STATUSES).toEqual(['cancelled', 'declined', 'action_required']);
    for (const status of NOT_CHARGED_STATUSES) expect(movesFrom(status)).toEqual([]);
  });

  test('every attempt counts against the daily limit but a cancelled one', () => {
    expect(ATTEMPTED_STATUSES).toEqual(where((status) => status !== 'cancelled'));
  });

  test('those count against the monthly limit that kept the money or may still take it', () => {
    expect(CHARGED_STATUSES).toEqual(where((status) => isOpen(status) || status === 'succeeded'));
  });
});

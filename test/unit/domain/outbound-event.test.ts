/** What is told, and when it is tried again. */
import { describe, expect, test } from '@jest/globals';
import {
  actionOnRecharge,
  actionOnRefusal,
  actionOnReversal,
  DELIVERY_DAYS,
  isToldRefusal,
  retryDelayMs,
} from '../../../src/domain/outbound-event.ts';
import { overdueAfter, underWaySince } from '../../../src/domain/overdue.ts';
import { REFUSALS, type Refusal } from '../../../src/domain/policy.ts';

test('attempts are made after 5 s, then twice as long each time, up to 6 hours', () => {
  expect([1, 2, 3, 10].map(retryDelayMs)).toEqual([5_000, 10_000, 20_000, 2_560_000]);
  expect([13, 14, 40].map(retryDelayMs)).toEqual([20_480_000, 21_600_000, 21_600_000]);
});

test('a delivery has some twenty attempts in its days', () => {
  let attempts = 1;
  for (let passed = 0; passed < DELIVERY_DAYS * 24 * 60 * 60 * 1000; attempts++) passed += retryDelayMs(attempts);
  expect(attempts).toBeGreaterThan(20);
  expect(attempts).toBeLessThan(40);
});

describe('refusals', () => {
  const refusals = Object.keys(REFUSALS) as Refusal[];

  test('are told unless nothing is wrong, they pass by themselves, or a hold tells of itself', () => {
    const untold = refusals.filter((refusal) => !isToldRefusal(refusal));
    expect(untold).toEqual(['above_minimum', 'held', 'recharge_open']);
  });

  test.each(refusals.filter(isToldRefusal))('%s says what to do', (refusal) => {
    expect(actionOnRefusal(refusal, 'acme')).not.toMatch(/undefined|\bORG\b/);
  });
});

test('what a person has to settle is told with the command', () => {
  expect(actionOnRecharge('rch_1')).toMatch(
    /^one of:\nbill resolve rch_1 --grant "reason" .*\nbill resolve rch_1 --refund "reason" .*\nbill resolve rch_1 --accept "reason" /,
  );
  expect(actionOnReversal('re_1')).toBe('bill resolve re_1 --accept "reason", when max_budget in LiteLLM is right');
});

test('a recharge is overdue after a quarter of an hour, and again after six hours', () => {
  const since = new Date('2026-11-26T12:00:00Z');
  const after = (minutes: number) => overdueAfter(since, new Date(since.getTime() + minutes * 60_000));
  expect([0, 14.9, 15, 359.9, 360, 5_000].map(after)).toEqual([undefined, undefined, '15m', '15m', '6h', '6h']);
});

describe('a recharge is under way', () => {
  const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
  const steps = (...statuses: Parameters<typeof underWaySince>[0][number]['status'][]) =>
    statuses.map((status, minute) => ({ at: at(minute), status }));

  test.each([
    ['from its intent on', steps('reserved', 'charging', 'charged'), { since: new Date(at(1)), round: 1 }],
    ['and not before', steps('reserved'), undefined],
    ['not while a bank is processing', steps('reserved', 'charging', 'processing'), undefined],
    ['again when the bank is done', steps('reserved', 'charging', 'processing', 'charged'), { since: new Date(at(3)), round: 2 }],
    ['not while a person has to decide', steps('reserved', 'charging', 'charged', 'needs_attention'), undefined],
    [
      'again when the person has decided',
      steps('reserved', 'charging', 'charged', 'needs_attention', 'refunding'),
      { since: new Date(at(4)), round: 2 },
    ],
    ['and not when it is settled', steps('reserved', 'charging', 'charged', 'succeeded'), undefined],
  ])('%s', (_, timeline, expected) => {
    expect(underWaySince(timeline)).toEqual(expected);
  });

  test.each([
    [14.9, undefined],
    [15, '15m'],
    [359, '15m'],
    [360, '6h'],
  ])('for %d minutes: overdue %s', (minutes, expected) => {
    expect(overdueAfter(new Date(0), new Date(minutes * 60_000))).toBe(expected);
  });
});

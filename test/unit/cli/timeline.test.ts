/** The live timeline of `bill dev`: whatever happens to a recharge, each line has a time, and says what happened. */
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { closingLine, format, linesOf } from '../../../src/cli/dev/timeline.ts';
import type { Hold, Recharge, TimelineStep, WebhookEvent } from '../../../src/database/entities.ts';
import { currency, minorUnits, parseQuota } from '../../../src/domain/money.ts';
import type { RechargePolicy } from '../../../src/domain/policy.ts';
import { RECHARGE_STATUSES } from '../../../src/domain/recharge-status.ts';
import { RESOLUTIONS } from '../../../src/domain/resolution.ts';

const ALERTED = new Date('2026-11-26T09:00:00.000Z');
const at = '2026-11-26T09:00:01.500Z';
const resolved = { by: 'ada', reason: 'looked at it' };

function linesAfter(...steps: Omit<TimelineStep, 'at'>[]): string[] {
  const recharge = {
    id: 'rch_1',
    organizationId: 'acme',
    amountMinor: minorUnits(2471),
    currency: currency('usd'),
    balanceSeen: parseQuota('0.30'),
    quotaBefore: parseQuota('26.42'),
    quotaAfter: parseQuota('51.13'),
    paymentIntentId: 'pi_1',
    failureMessage: null,
    timeline: steps.map((step) => ({ at, ...step }) as TimelineStep),
  } as unknown as Recharge;
  return linesOf(recharge).map((line) => stripVTControlCharacters(format(line, ALERTED)).replace(/^.{8} {2}/, ''));
}

test('a charge is shown when it was captured, and when it was recorded', () => {
  expect(linesAfter({ status: 'charged', captured_at: '2026-11-26T09:00:01.000Z', amount: '24.71' })).toEqual([
    'acme       charged     +1.00 s  24.71 USD by pi_1',
    'acme       recorded    +1.50 s  ledger: stripe → prepaid 24.71 USD',
  ]);
});

describe('a decision of a person', () => {
  test.each<[TimelineStep['status'], string]>([
    ['charged', 'grant'],
    ['refunding', 'refund'],
    ['succeeded', 'accept'],
    ['cancelled', 'accept'],
  ])('that takes a recharge to %s by --%s says who decided and why, and nothing that has not happened', (status, resolution) => {
    expect(linesAfter({ status, resolution, ...resolved })).toEqual([`acme       resolved    +1.50 s  ${resolution} by ada: looked at it`]);
  });

  test('on a reversal names it, and raises no quota again', () => {
    expect(linesAfter({ status: 'succeeded', reversal: 'dp_1', resolution: 'accept', ...resolved })).toEqual([
      'acme       resolved    +1.50 s  dp_1: accept by ada: looked at it',
    ]);
  });
});

test('a recharge that the database had lost says so', () => {
  expect(linesAfter({ status: 'charging', restored: 1 })).toEqual([
    'acme       restored    +1.50 s  24.71 USD by pi_1, which the database had lost',
  ]);
  expect(linesAfter({ status: 'charging', payment_intent: 'pi_1' })).toEqual([]);
});

test.each(RECHARGE_STATUSES)('no step to %s is told without a time or with a word that is none, whatever facts it has', (status) => {
  const facts = [{}, { reason: 'a reason' }, { code: 'card_declined' }, ...RESOLUTIONS.map((resolution) => ({ resolution, ...resolved }))];
  for (const each of facts) expect(linesAfter({ status, ...each }).join('\n')).not.toMatch(/NaN|Invalid|undefined|null|\?/);
});

test('a card that is declined is told with its code', () => {
  expect(linesAfter({ status: 'declined', code: 'generic_decline' })).toEqual([
    'acme       declined    +1.50 s  24.71 USD: refused (generic_decline)',
  ]);
});

test('an event that a hold has refused names the hold, and what ends it', () => {
  const event = { outcome: 'held', processedAt: new Date(at), organizationId: 'acme', teamId: 'acme' } as WebhookEvent;
  const hold = { id: 'hld_1', reason: 'operator', detail: 'unpaid', until: null } as Hold;
  expect(closingLine(event, hold, null)?.text).toBe('held (operator): unpaid; a person releases it (hld_1)');
  expect(closingLine(event, null, null)?.text).toBe('held: a hold applies: bill holds shows it, and what ends it');
  expect(closingLine({ ...event, outcome: 'succeeded' }, null, null)).toBeUndefined();
  const limits = { maxDailyRecharges: 0, maxDailyAmount: 100, maxMonthlyAmount: 100, currency: 'usd' } as RechargePolicy;
  const limited = closingLine({ ...event, outcome: 'daily_limit_reached' }, null, limits);
  expect(limited?.text).toBe('daily_limit_reached: max_daily_recharges is 0, so nothing is ever charged: set it to 1 at least');
});

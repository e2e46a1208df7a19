import { describe, expect, test } from '@jest/globals';
import { ApplicationFailure, CancelledFailure, type Context } from '@temporalio/activity';
import { observe } from '../../../activities/observe.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { parsePage, totalOf } from '../../support/prometheus.ts';

/** What is logged and counted when an activity is given this and ends so. */
async function seen(activityType: string, input: unknown, work: () => Promise<unknown>) {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
  const metrics = new Metrics('worker', log);
  const { inbound } = observe({ log, metrics })({ info: { activityType } } as Context);
  const ended = await inbound?.execute?.({ args: [input], headers: {} }, work).then(
    (result) => ({ result }),
    (error: Error) => ({ error }),
  );
  return { lines, samples: parsePage(await metrics.page()), ended };
}

const RESERVED = {
  kind: 'reserved',
  recharge: { rechargeId: 'rch_1', organizationId: 'acme', amount: '20.50 USD', balance: '-0.50', source: 'webhook' },
};

describe('an operator finds in the log', () => {
  test.each([
    [
      'that a recharge is reserved',
      'checkLimits',
      { eventId: 'evt_1' },
      RESERVED,
      { msg: 'a recharge is reserved', recharge_id: 'rch_1', organization_id: 'acme' },
    ],
    [
      'that nothing is charged, and why',
      'checkLimits',
      { eventId: 'evt_1' },
      { kind: 'refused', outcome: 'above_minimum', reason: 'enough is left' },
      { msg: 'nothing is charged', event_id: 'evt_1', outcome: 'above_minimum', reason: 'enough is left' },
    ],
    [
      'that a hold stops it, and which',
      'checkLimits',
      { eventId: 'evt_1' },
      { kind: 'refused', outcome: 'held', reason: 'held (operator): a look' },
      { msg: 'held: nothing is charged', reason: 'held (operator): a look' },
    ],
    [
      'that a card is charged',
      'chargeStripe',
      { rechargeId: 'rch_1' },
      { kind: 'captured', at: '' },
      { msg: 'charged', recharge_id: 'rch_1' },
    ],
    [
      'that a card is declined, and why',
      'chargeStripe',
      { rechargeId: 'rch_1' },
      { kind: 'ended', outcome: 'declined', reason: 'no funds' },
      { msg: 'not charged', outcome: 'declined', reason: 'no funds' },
    ],
    [
      'what a person has to settle',
      'chargeStripe',
      { rechargeId: 'rch_1' },
      { kind: 'ended', outcome: 'needs_attention', reason: 'another amount' },
      { msg: 'parked: a person has to settle it', level: 40, reason: 'another amount' },
    ],
    [
      'that the quota is raised',
      'updateKmsQuota',
      { rechargeId: 'rch_1' },
      { kind: 'granted', before: '10', after: '30.5' },
      { msg: 'the quota is raised', before: '10', after: '30.5' },
    ],
    [
      'that a charge is refunded, and why',
      'refundCharge',
      { rechargeId: 'rch_1', reason: 'no such team' },
      { kind: 'refunded' },
      { msg: 'refunded: the quota could not be raised', reason: 'no such team' },
    ],
  ])('%s', async (_what, activity, input, result, line) => {
    const { lines, ended } = await seen(activity, input, async () => result);
    expect(ended).toEqual({ result });
    expect(lines).toEqual([expect.objectContaining(line)]);
  });
});

test('a result that cannot be understood is the result all the same', async () => {
  const { ended, lines } = await seen('chargeStripe', { rechargeId: 'rch_1' }, async () => undefined);
  expect(ended).toEqual({ result: undefined });
  expect(lines).toEqual([expect.objectContaining({ level: 40, activityType: 'chargeStripe' })]);
});

test('nothing is logged of an activity that decides nothing', async () => {
  expect((await seen('recordRecharge', { rechargeId: 'rch_1' }, async () => undefined)).lines).toEqual([]);
});

test.each([
  ['one of ours by its type', ApplicationFailure.retryable('no answer', 'StripeUnavailable'), 'StripeUnavailable'],
  ['any other as unexpected', ApplicationFailure.retryable('TypeError: x', 'TypeError'), 'Unexpected'],
])('a failed attempt is counted, %s, and goes on', async (_what, failure, label) => {
  const { samples, ended } = await seen('chargeStripe', { rechargeId: 'rch_1' }, () => Promise.reject(failure));
  expect(ended).toEqual({ error: failure });
  expect(totalOf(samples, 'bill_activity_failures_total', { activity: 'chargeStripe', failure: label })).toBe(1);
});

test('findings are counted by kind and by whether they are settled', async () => {
  const findings = [
    { kind: 'run_missing', settled: true },
    { kind: 'captured_unknown', settled: false },
    { kind: 'captured_unknown', settled: false },
  ];
  const { samples } = await seen('compareIntents', {}, async () => ({ findings }));
  expect(totalOf(samples, 'bill_reconcile_findings_total', { kind: 'captured_unknown', settled: 'false' })).toBe(2);
  expect(totalOf(samples, 'bill_reconcile_findings_total', { settled: 'true' })).toBe(1);
});

test('an attempt that was cancelled, as when its worker is shut down, counts as no failure that nobody expects', async () => {
  const { samples, ended } = await seen('sweepTeams', {}, () => Promise.reject(new CancelledFailure('WORKER_SHUTDOWN')));
  expect(ended).toEqual({ error: expect.any(CancelledFailure) });
  expect(totalOf(samples, 'bill_activity_failures_total', {})).toBe(0);
});

/** What the terminal of `bill dev` says of money that goes back, and of what stops charges. */
import { describe, expect, test } from '@jest/globals';
import { holdLines, reversalLines } from '../../../src/cli/dev/return-lines.ts';
import type { Hold, Reversal } from '../../../src/database/entities.ts';
import { currency, minorUnits, parseQuota } from '../../../src/domain/money.ts';

const CREATED = new Date('2026-11-26T12:00:00Z');
const MOVED = new Date('2026-11-26T12:00:01Z');

function dispute(fields: Partial<Reversal>): Reversal {
  return {
    id: 'du_1',
    kind: 'dispute',
    rechargeId: 'rch_1',
    organizationId: 'acme',
    litellmTeamId: 'acme',
    status: 'open',
    amountMinor: minorUnits(2050),
    currency: currency('usd'),
    quota: parseQuota('20.50'),
    takenBefore: null,
    takenAfter: null,
    givenBefore: null,
    givenAfter: null,
    failureMessage: null,
    createdAt: CREATED,
    updatedAt: MOVED,
    ...fields,
  } as Reversal;
}
const taken = { takenBefore: parseQuota('30.50'), takenAfter: parseQuota('10') };

describe('a dispute', () => {
  const BEGUN = { key: 'du_1 begun', at: CREATED, organization: 'acme', step: 'dispute', text: 'du_1 takes 20.50 USD of rch_1 back' };

  test('is shown when it takes money', () => {
    expect(reversalLines(dispute({}))).toEqual([BEGUN]);
  });

  test.each([
    [{ status: 'taken_back', ...taken }, 'taken back', 'quota lowered from 30.50 to 10.00'],
    [{ status: 'taken_back' }, 'taken back', 'the quota is gone'],
    [{ status: 'taken_back', quota: parseQuota('0') }, 'taken back', 'there is no quota to take back'],
    [
      { status: 'given_back', ...taken, givenBefore: parseQuota('10'), givenAfter: parseQuota('30.50') },
      'given back',
      'du_1: 20.50 USD has come back; quota raised from 10.00 to 30.50',
    ],
    [{ status: 'given_back' }, 'given back', 'du_1: 20.50 USD has come back; no quota was taken for it'],
    [
      { status: 'needs_attention', failureMessage: 'somebody has edited the budget' },
      'needs_attention',
      'du_1: somebody has edited the budget',
    ],
  ] as [Partial<Reversal>, string, string][])('is shown with what has become of the quota: %j', (fields, step, text) => {
    const key = `du_1 ${fields.status}`;
    expect(reversalLines(dispute(fields))).toEqual([BEGUN, { key, at: MOVED, organization: 'acme', step, text }]);
  });
});

describe('a hold', () => {
  const hold = {
    id: 'hld_1',
    scope: 'organization',
    reason: 'disputed',
    detail: 'dispute du_1 of recharge rch_1',
    organizationId: 'acme',
    since: CREATED,
    until: null,
  } as Hold;

  test('is shown with what ends it', () => {
    const text =
      'disputed: dispute du_1 of recharge rch_1; the dispute is won (evidence is given at Stripe), or a person releases it (hld_1)';
    expect(holdLines(hold)).toEqual([{ key: 'hld_1 opened', at: CREATED, organization: 'acme', step: 'held', text }]);
    const [timed] = holdLines({ ...hold, until: MOVED });
    expect(timed?.text).toBe('disputed: dispute du_1 of recharge rch_1; until 2026-11-26T12:00:01.000Z (hld_1)');
  });

  test('is shown when it ends, and whose it is', () => {
    const released = holdLines({ ...hold, organizationId: null, scope: 'service', releasedAt: MOVED, releasedBy: 'ada' });
    expect(released.map(({ organization, step, text }) => [organization, step, text])).toEqual([
      ['service', 'held', expect.any(String)],
      ['service', 'released', 'disputed, by ada (hld_1)'],
    ]);
  });
});

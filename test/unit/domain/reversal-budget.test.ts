/** What a reversal writes, and what the ledger lacks when a person accepts one. */
import { describe, expect, test } from '@jest/globals';
import { parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { budgetAfter, doubtOf, missingTransfers, takenBy } from '../../../src/domain/reversal-budget.ts';

describe('the budget around a write', () => {
  const quota = parseQuota('20.50');

  test.each([
    ['30.50', '10.00'],
    ['20.50', '0.00'],
    ['20.49', '0.00'],
    ['5.00', '0.00'],
    ['0.00', '0.00'],
    ['-1.00', '-1.00'],
  ])('goes from %s to %s when quota is taken: never below nothing, and never up', (live, after) => {
    expect(budgetAfter({ quota }, 'take', parseQuota(live))).toBe(parseQuota(after));
  });

  test('rises by what was taken when it is given back, not by what was due', () => {
    const taken = { quota, takenBefore: parseQuota('10'), takenAfter: parseQuota('0') };
    expect(takenBy(taken)).toBe(parseQuota('10'));
    expect(budgetAfter(taken, 'give', parseQuota('3'))).toBe(parseQuota('13'));
    const empty = { quota, takenBefore: parseQuota('0'), takenAfter: parseQuota('0') };
    expect(budgetAfter(empty, 'give', parseQuota('3'))).toBe(parseQuota('3'));
  });

  test.each([{}, { takenBefore: null, takenAfter: null }, { takenBefore: undefined, takenAfter: undefined }])(
    'that nobody planned (%j) counts as the whole quota: it went with its team, or a person has seen to it',
    (plan) => {
      expect(takenBy({ quota, ...plan })).toBe(quota);
      expect(budgetAfter({ quota, ...plan }, 'give', parseQuota('3'))).toBe(parseQuota('23.50'));
    },
  );
});

describe('a write that Stripe remembers, and a restored database does not,', () => {
  const write = { before: parseQuota('30.50'), after: parseQuota('10'), upon: 'rch_1' };

  test.each([
    ['is made where LiteLLM shows the budget after it', { live: '10', lastMover: 'rch_1' }],
    ['is made where LiteLLM shows the budget after it, whatever else was entered since', { live: '10', lastMover: 'rch_2' }],
    [
      'is outstanding where LiteLLM shows the budget before it, and nothing has moved the quota since',
      { live: '30.50', lastMover: 'rch_1' },
    ],
    ['is seen to be overwritten where LiteLLM shows another budget', { live: '31', lastMover: 'rch_2' }],
  ])('%s', (_what, { live, lastMover }) => {
    expect(doubtOf(write, { live: parseQuota(live), lastMover })).toBeUndefined();
  });

  test('is in doubt where a recharge since may have raised the budget to what it was before', () => {
    expect(doubtOf(write, { live: parseQuota('30.50'), lastMover: 'rch_2' })).toBe(
      'a write of the budget from 30.50 to 10.00 began before the database was restored, and rch_2 has changed it since: look at the budget in LiteLLM, then accept',
    );
  });
});

describe('when a person accepts a reversal, the ledger lacks', () => {
  test.each([
    { isTaken: false, isGone: true, lacking: 'taking' },
    { isTaken: true, isGone: true, lacking: 'none' },
    { isTaken: true, isGone: false, lacking: 'giving' },
    { isTaken: false, isGone: false, lacking: 'none' },
  ])('$lacking where it has the taking: $isTaken, and the money is gone: $isGone', ({ lacking, ...facts }) => {
    expect(missingTransfers({ quota: quotaMicros(1) }, facts)).toBe(lacking);
    expect(missingTransfers({ quota: quotaMicros(0) }, facts)).toBe('none');
  });
});

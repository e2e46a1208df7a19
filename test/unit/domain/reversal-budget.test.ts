/** What a reversal writes, and what the ledger lacks when a person accepts one. */
import { describe, expect, test } from '@jest/globals';
import { parseQuota, quotaMicros } from '../../../src/domain/money.ts';
import { type BudgetStep, budgetAfter, missingTransfers, standingOf, takenBy } from '../../../src/domain/reversal-budget.ts';

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

describe('a write of 30.50 to 10 that Stripe remembers, and a restored database does not,', () => {
  const write = { before: parseQuota('30.50'), after: parseQuota('10'), upon: 'rch_1' };
  const step = (before: string, after: string) => ({ before: parseQuota(before), after: parseQuota(after) });
  const standing = (live: string, since: readonly BudgetStep[] | null) => standingOf(write, { live: parseQuota(live), since });

  test.each([
    ['it shows what was there before the write, and nothing else was written', '30.50', []],
    ['what is entered since began with that, and has left what it shows', '60', [step('30.50', '45'), step('45', '60')]],
    ['what is entered since has left what the write would have', '10', [step('30.50', '10')]],
    ['what is entered since has left what was there before', '30.50', [step('30.50', '51'), step('51', '30.50')]],
  ])('is outstanding where LiteLLM tells that it is not in the budget: %s', (_what, live, since) => {
    expect(standing(live, since)).toBe('outstanding');
  });

  test.each([
    ['nothing else was written', []],
    ['something else is entered since', [step('10', '30.50')]],
    ['what it was made upon is lost', null],
  ])('is made where LiteLLM shows what it has left: %s', (_what, since) => {
    expect(standing('10', since)).toBe('made');
  });

  test.each([
    ['may have raised the budget to it', [step('10', '30.50')]],
    ['was settled by a person', [{ before: null, after: null }]],
    ['began elsewhere', [step('30.50', '45'), step('40', '30.50')]],
    ['is lost', null],
  ])('is in doubt where LiteLLM shows what was there before, and what changed it since %s', (_what, since) => {
    expect(standing('30.50', since)).toBe('doubtful');
  });

  test.each([
    ['alone', []],
    ['besides a recharge', [step('30.50', '45')]],
    ['and what the write was made upon is lost', null],
  ])('is overwritten where LiteLLM shows another budget: %s', (_what, since) => {
    expect(standing('31', since)).toBe('overwritten');
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

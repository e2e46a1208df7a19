import { describe, expect, test } from '@jest/globals';
import { FAILURE } from '../../../src/domain/failures.ts';

describe('the type of a failure', () => {
  test.each(Object.entries(FAILURE))('%s is its name with a capital: %s', (name, type) => {
    expect(type).toBe(name.replace(/^./, (first) => first.toUpperCase()));
  });

  test('stays as it is: operators search for it, and runs of an older release are retried by it', () => {
    expect(Object.values(FAILURE)).toEqual(
      expect.arrayContaining([
        'KmsTeamNotFound',
        'KmsConflict',
        'KmsInvalid',
        'KmsForbidden',
        'KmsUnauthenticated',
        'KmsUnavailable',
        'KmsUnknownOutcome',
        'KmsStale',
        'KmsWriteNotVisible',
        'StripeKeyRefused',
        'StripeBusy',
        'StripeUnavailable',
        'DatabaseUnavailable',
        'UnexpectedStatus',
        'BalanceUnstable',
        'BudgetRefused',
        'BudgetBusy',
        'RechargeNotAtRest',
        'InvalidInput',
        'NeedsAttention',
      ]),
    );
  });
});

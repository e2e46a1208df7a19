import { describe, expect, test } from '@jest/globals';
import { ACCOUNTS, LEDGER_ACCOUNTS, type LedgerAccount, TRANSFER_KINDS, type TransferKind } from '../../../src/domain/ledger.ts';

/** What the accounts hold after one transfer of the same amount of each kind. */
function balancesAfter(kinds: readonly TransferKind[]): Record<LedgerAccount, number> {
  const balances = { stripe: 0, prepaid: 0, granted: 0 };
  for (const kind of kinds) {
    balances[ACCOUNTS[kind].debitAccount]--;
    balances[ACCOUNTS[kind].creditAccount]++;
  }
  return balances;
}

test.each(TRANSFER_KINDS)('a %s moves between two accounts', (kind) => {
  const { debitAccount, creditAccount } = ACCOUNTS[kind];
  expect(LEDGER_ACCOUNTS).toEqual(expect.arrayContaining([debitAccount, creditAccount]));
  expect(debitAccount).not.toBe(creditAccount);
});

describe('prepaid is zero', () => {
  test.each<[string, TransferKind[], Partial<Record<LedgerAccount, number>>]>([
    ['when a charge was granted', ['charge', 'grant'], { granted: 1, stripe: -1 }],
    ['when a charge was refunded', ['charge', 'refund'], { granted: 0, stripe: 0 }],
    ['when a granted charge was refunded without us', ['charge', 'grant', 'reversal', 'refund'], { granted: 0, stripe: 0 }],
    ['when a granted charge was disputed', ['charge', 'grant', 'reversal', 'chargeback'], { granted: 0, stripe: 0 }],
    ['when the dispute was won', ['charge', 'grant', 'reversal', 'chargeback', 'recovery', 'grant'], { granted: 1, stripe: -1 }],
  ])('%s', (_when, kinds, others) => {
    expect(balancesAfter(kinds)).toEqual({ prepaid: 0, ...others });
  });

  test('not while a charge is neither granted nor refunded, nor when our own refund failed', () => {
    expect(balancesAfter(['charge']).prepaid).toBe(1);
    expect(balancesAfter(['charge', 'refund', 'recovery']).prepaid).toBe(1);
  });
});

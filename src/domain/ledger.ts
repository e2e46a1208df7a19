/**
 * The ledger's vocabulary: double entry over three accounts of each organization.
 *
 * Money moves from the debit account to the credit account. `stripe` is the customer's side, `prepaid` is
 * captured and not granted yet, `granted` has become quota. When a recharge is settled its `prepaid` is zero.
 */
export const LEDGER_ACCOUNTS = ['stripe', 'prepaid', 'granted'] as const;
export type LedgerAccount = (typeof LEDGER_ACCOUNTS)[number];

export const TRANSFER_KINDS = ['charge', 'grant', 'refund', 'reversal', 'chargeback', 'recovery'] as const;
export type TransferKind = (typeof TRANSFER_KINDS)[number];

/** The accounts that a transfer of each kind moves between. */
export const ACCOUNTS: Readonly<Record<TransferKind, { debitAccount: LedgerAccount; creditAccount: LedgerAccount }>> = {
  /** Stripe captured the charge. */
  charge: { debitAccount: 'stripe', creditAccount: 'prepaid' },
  /** LiteLLM's budget was raised. */
  grant: { debitAccount: 'prepaid', creditAccount: 'granted' },
  /** The money went back to the customer, by us or, after a `reversal`, without us. */
  refund: { debitAccount: 'prepaid', creditAccount: 'stripe' },
  /** Quota was taken back because its money went back. */
  reversal: { debitAccount: 'granted', creditAccount: 'prepaid' },
  /** The money of a dispute went back. */
  chargeback: { debitAccount: 'prepaid', creditAccount: 'stripe' },
  /** Money returned to us: a dispute that was won, a refund that failed. */
  recovery: { debitAccount: 'stripe', creditAccount: 'prepaid' },
};

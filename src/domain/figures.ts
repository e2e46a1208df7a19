/**
 * The books and the tables in numbers, all of them as they were at one moment: what the metrics show, and what has to
 * agree with the ledger to the cent.
 */
import { ACCOUNTS, LEDGER_ACCOUNTS, type LedgerAccount, TRANSFER_KINDS, type TransferKind } from './ledger.ts';
import type { Currency, MinorUnits } from './money.ts';
import type { RechargeStatus } from './recharge-status.ts';

/** The sum of every transfer of one kind and currency. */
export type Transferred = { kind: TransferKind; currency: Currency; amount: MinorUnits };
/** Open recharges of one status and currency, and what is held for them. `oldestMs`: since when the oldest is in it. */
export type OpenFigures = { status: RechargeStatus; currency: Currency; count: number; oldestMs: number; held: MinorUnits };
/** What waits in one queue. `oldestMs`: null where nothing waits. */
export type Waiting = { count: number; oldestMs: number | null };

export type Figures = {
  transferred: readonly Transferred[];
  open: readonly OpenFigures[];
  /** Reversals that a person has to settle. */
  parkedReversals: number;
  holds: readonly { scope: string; reason: string; count: number }[];
  backlog: Readonly<Record<'alerts' | 'stripe_events' | 'outbound_events', Waiting>>;
  /** Events without an outcome; the oldest of those that have no recharge either. */
  events: { open: number; undecided: Waiting };
  outbound: { failing: number; endpoints: Readonly<Record<'ok' | 'failing' | 'disabled', number>>; failingForMs: number | null };
  organizations: Readonly<Record<'on' | 'off', number>>;
  drift: readonly { kind: string; count: number }[];
};

/** Where the money of one currency is. */
export type AccountFigures = Record<LedgerAccount, number> & { currency: Currency };

/**
 * The accounts as the transfers leave them, by currency. `prepaid` is 0 when every recharge is settled and none needs
 * attention.
 */
export function accountsOf(transferred: readonly Transferred[]): AccountFigures[] {
  return [...Map.groupBy(transferred, ({ currency }) => currency)].map(([currency, transfers]) => {
    const accounts = Object.fromEntries(LEDGER_ACCOUNTS.map((account) => [account, 0])) as Record<LedgerAccount, number>;
    for (const { kind, amount } of transfers) {
      accounts[ACCOUNTS[kind].debitAccount] -= amount;
      accounts[ACCOUNTS[kind].creditAccount] += amount;
    }
    return { currency, ...accounts };
  });
}

/** What is on `prepaid` of each currency and belongs to no open recharge: 0, or the books are wrong. */
export function unaccounted({ transferred, open }: Pick<Figures, 'transferred' | 'open'>): { currency: Currency; amount: number }[] {
  return accountsOf(transferred).map(({ currency, prepaid }) => {
    const held = open.filter((each) => each.currency === currency).reduce((sum, each) => sum + each.held, 0);
    return { currency, amount: prepaid - held };
  });
}

/** Every kind of each currency that there is, with 0 for what has not happened: a series that is there from the start. */
export function everyKind(transferred: readonly Transferred[]): { kind: TransferKind; currency: Currency; amount: number }[] {
  const currencies = [...new Set(transferred.map(({ currency }) => currency))];
  return currencies.flatMap((currency) =>
    TRANSFER_KINDS.map((kind) => ({
      kind,
      currency,
      amount: transferred.find((each) => each.kind === kind && each.currency === currency)?.amount ?? 0,
    })),
  );
}

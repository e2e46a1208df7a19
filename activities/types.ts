/** What activities take and give: everything here is JSON and stays in workflow history. */
import type { RechargeSource } from '../src/database/entities.ts';
import type { SyncWish } from '../src/database/sync-runs.ts';
import type { Outcome } from '../src/domain/outcome.ts';
import type { Refusal } from '../src/domain/policy.ts';
import type { ReversalDecision } from '../src/domain/reversal.ts';
import type { SyncCounts, SyncOutcome } from '../src/domain/sync.ts';

export type EventRef = { eventId: string };
export type RechargeRef = { rechargeId: string };

/** A reserved recharge, in the words of its operator. Amounts are decimal strings, `amountMinor` is for the search attribute. */
export type ReservedRecharge = RechargeRef & {
  organizationId: string;
  organizationName: string;
  teamId: string;
  source: RechargeSource;
  eventType: string;
  amountMinor: number;
  /** Such as "20.00 USD". */
  amount: string;
  /** LiteLLM dollars, decimal. */
  balance: string;
  minimumBalance: string;
};

export type LimitsResult =
  | { kind: 'reserved'; recharge: ReservedRecharge }
  | { kind: 'refused'; outcome: Refusal | 'cancelled'; reason: string }
  /** LiteLLM has not flushed the spend that the alert speaks of: look again in a few seconds. */
  | { kind: 'spend_flushing'; balance: string };

export type ChargeResult =
  /** `at`: when we saw it, RFC 3339. */
  | { kind: 'captured'; at: string }
  /** The bank takes its time: ask again later. */
  | { kind: 'processing' }
  /** At rest without money, or for a person to decide. */
  | { kind: 'ended'; outcome: Extract<Outcome, 'declined' | 'action_required' | 'cancelled' | 'needs_attention'>; reason: string };

export type QuotaResult =
  /** LiteLLM dollars, decimal. */
  | { kind: 'granted'; before: string; after: string }
  /** Somebody else has edited the budget: neither before nor after. */
  | { kind: 'needs_attention'; reason: string };

export type RefundResult =
  | { kind: 'refunded' }
  | { kind: 'pending' }
  /** No money is held for this recharge. */
  | { kind: 'nothing_to_refund' }
  | { kind: 'needs_attention'; reason: string };

export type ReversalRef = { reversalId: string };

/** What has to be done about the refunds and disputes of a recharge; what is opened is recorded already. */
export type ReversalsResult = Omit<ReversalDecision, 'open'>;

export type FindingKind =
  | 'run_missing'
  | 'recharge_lost'
  | 'captured_unknown'
  | 'money_returned'
  | 'ledger_without_capture'
  | 'reversal_parked'
  | 'ledger_changed'
  | 'budget_differs';

/** What reconciliation has found: what was seen, what was expected, whether it was settled, and the command that settles it. */
export type Finding = {
  kind: FindingKind;
  subject: string;
  organizationId: string;
  seen: string;
  expected: string;
  settled: boolean;
  command: string;
};

export type LostIntent = { intentId: string };
/** `next`: where the next page begins; null at the end. */
export type IntentsPage = { compared: number; findings: Finding[]; lost: LostIntent[]; next: string | null };
export type BudgetsPage = { compared: number; findings: Finding[]; next: string | null };

/** A page of LiteLLM's teams, counted from 1, and how many there were when last one was read. */
export type TeamsCursor = { page: number; totalPages: number };
export type TeamsPart = {
  pages: number;
  teams: number;
  /** Teams that LiteLLM shows and that make no sense. */
  unreadable: number;
  failedPages: number[];
  next: TeamsCursor | null;
};

export type SweepCounts = Omit<TeamsPart, 'next'> & {
  organizations: number;
  /** Organizations whose last attempts have failed: left alone for a while. */
  waiting: number;
  /** What was put into the inbox. `balance` in LiteLLM dollars, decimal. */
  reported: { organizationId: string; eventId: string; eventType: string; balance: string }[];
};
export type SweepPart = SweepCounts & Pick<TeamsPart, 'next'>;

/** A run of the synchronisation. `since`: when it began by the database's clock, RFC 3339. */
export type SyncRef = SyncWish & { runId: string; since: string };
export type SyncTeamsPart = { counts: SyncCounts; next: TeamsCursor | null };
/** `next`: the last organization that was looked at; null at the end. */
export type SyncOrganizationsPart = { counts: SyncCounts; next: string | null };
export type SyncSummary = { runId: string; counts: SyncCounts; outcomes: Partial<Record<SyncOutcome, number>> };

export type Notification = EventRef & { outcome: Outcome; recharge: ReservedRecharge | null; detail: string };

/** What the activities of a recharge take and return: JSON that stays in workflow history. */
import type { EventOutcome } from '../../src/domain/event-outcome.ts';
import type { Refusal } from '../../src/domain/policy.ts';
import type { RechargeSource } from '../../src/domain/recharge-source.ts';

export type EventRef = { eventId: string };
export type RechargeRef = { rechargeId: string };

/**
 * A reserved recharge, in the words of its operator. Amounts are decimal strings, `amountMinor` is for the
 * search attribute.
 */
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
  | SpendFlushing;

/**
 * LiteLLM has not flushed the spend that the alert speaks of: look again in a few seconds. `outcome` and
 * `reason`: how the event ends if it never does. A worker of the version before does not say.
 */
export type SpendFlushing = {
  kind: 'spend_flushing';
  balance: string;
  outcome: Extract<Refusal, 'spend_not_shown' | 'refused_with_money_left'>;
  reason: string;
};

export type ChargeResult =
  /** `at`: when we saw it, RFC 3339. */
  | { kind: 'captured'; at: string }
  /** The bank takes its time: ask again later. */
  | { kind: 'processing' }
  /** Settled without money, or a person has to decide. */
  | {
      kind: 'ended';
      outcome: Extract<EventOutcome, 'declined' | 'action_required' | 'cancelled' | 'needs_attention'>;
      /** Why it was cancelled before the card was touched: the event ends as this. */
      refusal?: Refusal;
      reason: string;
    };

export type QuotaResult =
  /**
   * LiteLLM dollars, decimal. `isEventClosed`: with the last move of the recharge, so that nothing is left to do; absent
   * also where a worker of the version before has granted.
   */
  | { kind: 'granted'; before: string; after: string; isEventClosed?: true }
  /** Somebody else has edited the budget: neither before nor after. */
  | { kind: 'needs_attention'; reason: string };

export type RefundResult =
  | { kind: 'refunded' }
  | { kind: 'pending' }
  /** A person has settled the recharge meanwhile. */
  | { kind: 'settled'; outcome: Extract<EventOutcome, 'succeeded' | 'declined' | 'action_required' | 'cancelled'> }
  /** No money is held for this recharge. */
  | { kind: 'nothing_to_refund' }
  | { kind: 'needs_attention'; reason: string };

export type Notification = EventRef & { outcome: EventOutcome; recharge: ReservedRecharge | null; detail: string };

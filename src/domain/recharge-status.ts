/**
 * The statuses of a recharge and the moves between them. PostgreSQL applies a move only to a recharge that is
 * still in a status that the move starts from, so two writers can never both make it.
 *
 *   reserved ──▶ charging ──▶ charged ──▶ succeeded      the quota is raised
 *      │            │            └──▶ refunding ──▶ refunded      it cannot be raised
 *      │            ├──▶ processing ──▶ charged      a bank debit takes days
 *      │            ├──▶ declined, action_required      from processing too
 *      └────────────┴──▶ cancelled      before the card was asked
 *
 * A person decides on `needs_attention`: reached from every open status, from `reserved` before there is an
 * intent. Only a person, or Stripe weeks later, makes the LATE_MOVES.
 */

export const RECHARGE_STATUSES = [
  'reserved',
  'charging',
  'processing',
  'charged',
  'refunding',
  'needs_attention',
  'succeeded',
  'refunded',
  'declined',
  'action_required',
  'cancelled',
] as const;
export type RechargeStatus = (typeof RECHARGE_STATUSES)[number];

const MOVES: Readonly<Record<RechargeStatus, readonly RechargeStatus[]>> = {
  reserved: ['charging', 'cancelled', 'needs_attention'],
  charging: ['charged', 'processing', 'declined', 'action_required', 'cancelled', 'needs_attention'],
  processing: ['charged', 'declined', 'action_required', 'needs_attention'],
  charged: ['succeeded', 'refunding', 'needs_attention'],
  refunding: ['refunded', 'needs_attention'],
  // Stryker disable ArrayDeclaration: what is planted into an empty list is no status, so no move ever asks for it.
  needs_attention: [],
  succeeded: [],
  refunded: [],
  declined: [],
  action_required: [],
  cancelled: [],
  // Stryker restore ArrayDeclaration
};

/** What only a person, or Stripe's word from weeks later, may do to a recharge. */
export const LATE_MOVES = {
  /**
   * A person settles it: what needs attention, and what its run tries again and again. Which decision leads
   * where is in resolution.ts.
   */
  resolve: {
    from: ['reserved', 'charging', 'processing', 'charged', 'refunding', 'needs_attention'],
    to: ['charged', 'refunding', 'succeeded', 'cancelled'],
  },
  /**
   * Stripe has money that the settled recharge does not account for: a refund that failed weeks later, an
   * intent captured by somebody else.
   */
  reopen: { from: ['refunded', 'declined', 'action_required', 'cancelled'], to: ['needs_attention'] },
} as const satisfies Record<string, { from: RechargeStatus[]; to: RechargeStatus[] }>;

/**
 * While a recharge is in one of these, its organization gets no other. The partial unique index names the
 * same list.
 */
export const OPEN_STATUSES = [
  'reserved',
  'charging',
  'processing',
  'charged',
  'refunding',
  'needs_attention',
] as const satisfies RechargeStatus[];

/** Whether a run waits for Stripe's word: of a bank, or on a refund. It looks by itself too, later. */
export function waitsForStripe(status: RechargeStatus): boolean {
  return status === 'processing' || status === 'refunding';
}

/** A run moves these on by itself: of the open ones, all but the one that waits for a person. */
export const UNDER_WAY_STATUSES = without(OPEN_STATUSES, ['needs_attention']);

/**
 * The quota write is still to come. A refunding recharge gets no quota, and one that needs attention is
 * planned anew when a person grants it.
 */
export const QUOTA_DUE_STATUSES = without(UNDER_WAY_STATUSES, ['refunding']);

/** Attempts that count against the daily limit, declined ones too. A cancelled recharge reached no card. */
export const ATTEMPTED_STATUSES = without(RECHARGE_STATUSES, ['cancelled']);

/** Nothing was charged, and nothing will be: what a person has approved is not used up by it. */
export const NOT_CHARGED_STATUSES = ['cancelled', 'declined', 'action_required'] as const satisfies RechargeStatus[];

/** What counts against the limits of a day and a month: money that was kept, and money that may still be taken. */
export const CHARGED_STATUSES = [...OPEN_STATUSES, 'succeeded'] as const satisfies RechargeStatus[];

function without(statuses: readonly RechargeStatus[], excluded: readonly RechargeStatus[]): readonly RechargeStatus[] {
  return statuses.filter((status) => !excluded.includes(status));
}

export function isOpen(status: RechargeStatus): boolean {
  return (OPEN_STATUSES as readonly RechargeStatus[]).includes(status);
}

/** The statuses from which a move to `to` may start. */
export function statusesBefore(to: RechargeStatus): RechargeStatus[] {
  return RECHARGE_STATUSES.filter((from) => MOVES[from].includes(to));
}

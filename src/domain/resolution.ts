/** What a person may do with a recharge that is not settled. */
import type { RechargeStatus } from './recharge-status.ts';

export const RESOLUTIONS = ['grant', 'refund', 'accept'] as const;
export type Resolution = (typeof RESOLUTIONS)[number];

export type ResolutionRequest = {
  resolution: Resolution;
  /** Who decided. */
  by: string;
  /** Why; kept for good. */
  reason: string;
};

export type Destination = 'charged' | 'refunding' | 'succeeded' | 'cancelled';
type Destinations = Partial<Record<Resolution, Destination>>;

/**
 * Nothing is captured. `accept` cancels it, once Stripe has said that nothing was and nothing will be taken. There
 * is nothing to grant or to give back.
 */
const NOTHING_CAPTURED: Destinations = { accept: 'cancelled' };

/**
 * Money is held. `grant` and `refund` go on in a run, on the ordinary way. `accept` says that it is right as it
 * is: what is held counts as granted, because the person has seen to the quota.
 */
const HELD: Destinations = { grant: 'charged', refund: 'refunding', accept: 'succeeded' };

/**
 * The money may be on its way back, so it can be neither granted nor counted as granted: it becomes
 * `needs_attention` by itself when the refund fails. `refund` tries again now; `accept` says that the budget is
 * right as it is, so that the refund no longer waits for a look at it.
 */
const GOING_BACK: Destinations = { refund: 'refunding', accept: 'refunding' };

/**
 * Where a resolution takes a recharge.
 *
 * @param isMoneyHeld captured, and neither granted nor refunded.
 * @returns undefined where it is not possible.
 */
export function destinationOf(
  resolution: Resolution,
  { status, isMoneyHeld }: { status: RechargeStatus; isMoneyHeld: boolean },
): Destination | undefined {
  return destinationsOf(status, isMoneyHeld)[resolution];
}

/** The resolutions that are possible. */
export function resolutionsOf(status: RechargeStatus, isMoneyHeld: boolean): Resolution[] {
  return RESOLUTIONS.filter((resolution) => destinationsOf(status, isMoneyHeld)[resolution]);
}

function destinationsOf(status: RechargeStatus, isMoneyHeld: boolean): Destinations {
  switch (status) {
    case 'reserved':
    case 'charging':
    case 'processing':
      return NOTHING_CAPTURED;
    case 'charged':
      return isMoneyHeld ? HELD : {};
    case 'needs_attention':
      return isMoneyHeld ? HELD : NOTHING_CAPTURED;
    case 'refunding':
      return isMoneyHeld ? GOING_BACK : {};
    case 'succeeded':
    case 'refunded':
    case 'declined':
    case 'action_required':
    case 'cancelled':
      return {};
  }
}

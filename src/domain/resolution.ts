/** What a person may do with a recharge that needs attention. */

export const RESOLUTIONS = ['grant', 'refund', 'accept'] as const;
export type Resolution = (typeof RESOLUTIONS)[number];

export type ResolutionRequest = {
  resolution: Resolution;
  /** Who decided. */
  by: string;
  /** Why; kept for good. */
  reason: string;
};

/**
 * Where a resolution takes a recharge, by what is held for it.
 *
 * - `grant` and `refund` need money: the rest of the way is the ordinary one, from `charged` or `refunding`.
 * - `accept` says that it is right as it is: what is held counts as granted (the person has seen to the
 *   quota), and where nothing is held the recharge counts as cancelled.
 *
 * @returns undefined where there is no money to grant or to give back.
 */
export function destinationOf(
  resolution: Resolution,
  isMoneyHeld: boolean,
): 'charged' | 'refunding' | 'succeeded' | 'cancelled' | undefined {
  if (resolution === 'accept') return isMoneyHeld ? 'succeeded' : 'cancelled';
  if (!isMoneyHeld) return undefined;
  return resolution === 'grant' ? 'charged' : 'refunding';
}

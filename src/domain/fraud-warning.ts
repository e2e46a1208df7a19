/**
 * Early fraud warnings: the card's issuer reports a charge as fraudulent, mostly before its holder disputes it.
 * Whoever pays with such a card is not charged again before a person has looked.
 */
import { type Currency, formatMoney, type MinorUnits } from './money.ts';
import { isOpen, type RechargeStatus } from './recharge-status.ts';

/** A warning and its charge, as Stripe has them now. */
export type FraudWarning = {
  id: string;
  chargeId: string;
  /** null: not known, or a charge without an intent, so none of ours. */
  intentId: string | null;
  /** Of the charge; null where it cannot be read. */
  amountMinor: MinorUnits | null;
  /** False when Stripe says that a refund helps no more. */
  isActionable: boolean;
  /** All of it. */
  isRefunded: boolean;
  isDisputed: boolean;
};

type WarnedRecharge = { id: string; status: RechargeStatus; amountMinor: MinorUnits; currency: Currency };

/**
 * What a person reads of a warning, with the command where a refund still helps: what is refunded before it is
 * disputed costs no dispute. https://docs.stripe.com/api/radar/early_fraud_warnings/object
 */
export function describeWarning(warning: FraudWarning, recharge: WarnedRecharge): string {
  const amount = formatMoney(warning.amountMinor ?? recharge.amountMinor, recharge.currency);
  const charge = `charge ${warning.chargeId} of ${amount} ${recharge.currency.toUpperCase()}, recharge ${recharge.id}`;
  return `the card's issuer reports ${charge}, as fraudulent (${warning.id}); ${whatARefundDoes(warning, recharge)}`;
}

function whatARefundDoes({ chargeId, isActionable, isRefunded, isDisputed }: FraudWarning, { id, status }: WarnedRecharge): string {
  if (isDisputed) return 'it is disputed already, so a refund avoids nothing any more';
  if (isRefunded) return 'it is refunded already, so nothing is left to give back';
  if (!isActionable) return 'Stripe says that a refund avoids nothing any more';
  // What has not settled is given back by its own run, which takes back the quota as well.
  const command = isOpen(status) ? `bill resolve ${id} --refund "reason"` : `stripe refunds create --charge=${chargeId}`;
  return `a refund now avoids a dispute: ${command}`;
}

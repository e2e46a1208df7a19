/** An early fraud warning of Stripe, with its charge. */
import type Stripe from 'stripe';
import type { FraudWarning } from '../domain/fraud-warning.ts';
import { minorUnits } from '../domain/money.ts';
import { amountIn, idIn } from './fields.ts';

type Read = Pick<Stripe.Radar.EarlyFraudWarning, 'id' | 'actionable' | 'charge' | 'payment_intent'>;

/** @param warning its charge expanded, where Stripe shows that. */
export function ofFraudWarning({ id, actionable, charge, payment_intent: intent }: Read): FraudWarning {
  const isActionable = actionable !== false;
  if (typeof charge === 'string') {
    return { id, chargeId: charge, intentId: idIn(intent), amountMinor: null, isActionable, isRefunded: false, isDisputed: false };
  }
  const amount = amountIn(charge.amount);
  return {
    id,
    chargeId: charge.id,
    // Not every warning names the intent of its charge.
    intentId: idIn(intent) ?? idIn(charge.payment_intent),
    amountMinor: amount === null ? null : minorUnits(amount),
    isActionable,
    isRefunded: charge.refunded === true,
    isDisputed: charge.disputed === true,
  };
}

/**
 * Early fraud warnings: the card's issuer reports a charge as fraudulent, mostly before the cardholder
 * disputes it. https://docs.stripe.com/api/radar/early_fraud_warnings
 */
import type { Account } from './account.ts';
import { invalidRequest } from './errors.ts';
import { type EarlyFraudWarning, newId, now } from './objects.ts';
import type { Parameters } from './parameters.ts';

const FRAUD_TYPES = [
  'card_never_received',
  'fraudulent_card_application',
  'made_with_counterfeit_card',
  'made_with_lost_card',
  'made_with_stolen_card',
  'misc',
  'unauthorized_use_of_card',
] as const;

/**
 * Knob: the issuer warns of a charge. Unless `actionable` says otherwise, the warning is while the charge is
 * neither disputed nor wholly refunded. `with_payment_intent: false` leaves `payment_intent` out, which
 * Stripe does not always have.
 */
export function warnOfFraud(account: Account, parameters: Parameters, chargeId: string): EarlyFraudWarning {
  parameters.allowOnly('fraud_type', 'actionable', 'with_payment_intent');
  const charge = account.charges.get(chargeId);
  if (charge.status !== 'succeeded') throw invalidRequest(`Charge ${chargeId} has not succeeded.`);
  const namesIntent = parameters.boolean('with_payment_intent') ?? true;
  const warning = account.earlyFraudWarnings.add({
    id: newId('issfr'),
    object: 'radar.early_fraud_warning',
    actionable: parameters.boolean('actionable') ?? !(charge.disputed || charge.refunded),
    charge: chargeId,
    created: now(),
    fraud_type: parameters.oneOf('fraud_type', FRAUD_TYPES) ?? 'made_with_stolen_card',
    livemode: false,
    ...(namesIntent && { payment_intent: charge.payment_intent }),
  });
  account.emit('radar.early_fraud_warning.created', warning);
  return warning;
}

export function retrieveEarlyFraudWarning(account: Account, parameters: Parameters, id: string): EarlyFraudWarning {
  parameters.allowOnly();
  return account.earlyFraudWarnings.get(id, 'early_fraud_warning');
}

export function listEarlyFraudWarnings(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'charge', 'payment_intent');
  const inRange = parameters.created();
  const [charge, intent] = [parameters.text('charge'), parameters.text('payment_intent')];
  return account.earlyFraudWarnings.list(
    '/v1/radar/early_fraud_warnings',
    parameters.page(),
    (warning) =>
      inRange(warning.created) &&
      (charge === undefined || warning.charge === charge) &&
      (intent === undefined || account.charges.get(warning.charge).payment_intent === intent),
  );
}

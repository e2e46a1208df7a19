/** Disputes: opened and decided by the cardholder's bank, which here is a knob. */
import type { Account } from './account.ts';
import { invalidRequest } from './errors.ts';
import { readPositiveAmount } from './money.ts';
import { type Dispute, newId, now } from './objects.ts';
import type { Parameters } from './parameters.ts';
import { failPendingRefunds } from './refunds.ts';

/**
 * Knob: the cardholder disputes a payment, whole unless `amount` says how much, and in the payment's currency
 * unless `currency` names another: the bank may settle in its own.
 */
export function openDispute(account: Account, parameters: Parameters): Dispute {
  const intent = account.paymentIntents.refer(parameters.requiredText('payment_intent'), 'payment_intent');
  const charge = intent.latest_charge === null ? undefined : account.charges.find(intent.latest_charge);
  if (charge?.status !== 'succeeded' || !charge.captured) throw invalidRequest(`${intent.id} has no captured charge to dispute.`);
  if (charge.disputed) throw invalidRequest(`Charge ${charge.id} is disputed already.`);
  const dispute = account.disputes.add({
    id: newId('du'),
    object: 'dispute',
    amount: readPositiveAmount(parameters, 'amount') ?? charge.amount_captured,
    charge: charge.id,
    created: now(),
    currency: parameters.text('currency') ?? charge.currency,
    is_charge_refundable: false,
    livemode: false,
    metadata: {},
    payment_intent: intent.id,
    reason: parameters.text('reason') ?? 'fraudulent',
    status: 'needs_response',
  });
  charge.disputed = true;
  account.emit('charge.dispute.created', dispute);
  failPendingRefunds(account, charge);
  return dispute;
}

/** Knob: the bank decides. */
export function closeDispute(account: Account, parameters: Parameters, id: string): Dispute {
  const status = parameters.oneOf('status', ['won', 'lost']);
  if (status === undefined) throw parameters.missing('status');
  const dispute = account.disputes.get(id, 'dispute');
  if (dispute.status !== 'needs_response') throw invalidRequest(`Dispute ${id} is ${dispute.status} already.`);
  dispute.status = status;
  dispute.is_charge_refundable = status === 'won';
  account.emit('charge.dispute.closed', dispute);
  return dispute;
}

export function retrieveDispute(account: Account, _: Parameters, id: string): Dispute {
  return account.disputes.get(id, 'dispute');
}

export function listDisputes(account: Account, parameters: Parameters) {
  parameters.allowOnly('limit', 'starting_after', 'ending_before', 'created', 'charge', 'payment_intent');
  const inRange = parameters.created();
  const [charge, intent] = [parameters.text('charge'), parameters.text('payment_intent')];
  return account.disputes.list(
    '/v1/disputes',
    parameters.page(),
    (dispute) =>
      inRange(dispute.created) &&
      (charge === undefined || dispute.charge === charge) &&
      (intent === undefined || dispute.payment_intent === intent),
  );
}

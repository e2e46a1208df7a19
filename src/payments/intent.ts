/** A PaymentIntent as this service reads it, and what it carries of its recharge. */
import type Stripe from 'stripe';
import { type Currency, formatQuota, type MinorUnits, parseQuota, type QuotaMicros } from '../domain/money.ts';
import type { BudgetDirection, RememberedWrite } from '../domain/reversal-budget.ts';
import { type ChargeOutcome, outcomeOf } from './charge-outcome.ts';
import { amountIn, currencyIn, idIn } from './fields.ts';

/** What Stripe is asked for, as a recharge has it. */
export type ChargeOrder = {
  /** Of the recharge; every idempotency key is made from it. */
  id: string;
  eventId: string;
  organizationId: string;
  litellmTeamId: string;
  stripeCustomerId: string;
  amountMinor: MinorUnits;
  currency: Currency;
  quotaGranted: QuotaMicros;
  quotaBefore?: QuotaMicros | null | undefined;
  balanceSeen: QuotaMicros;
  /** How many idempotency keys Stripe has a saved 500 for; part of the next keys. */
  keysSpent: number;
};

export type Intent = {
  id: string;
  outcome: ChargeOutcome;
  /** Nobody can confirm it any more. */
  isCanceled: boolean;
  /**
   * Whether the card's network may have been asked: not for an intent that was never confirmed, nor for a
   * payment that Stripe's own rules have blocked.
   */
  reachedNetwork: boolean;
  /** Stripe's own word, for a person to read; decisions are made on `outcome`. */
  status: string;
  /** What was asked for, in minor units, as Stripe says it; null where that cannot be read. */
  amountMinor: number | null;
  currency: string | null;
  customerId: string | null;
  /** null: not an intent of ours. */
  metadata: IntentMetadata | null;
};

/** What an intent remembers of its recharge: enough to enter it again, should the database have lost it. */
export type IntentMetadata = {
  /** null: from before installations were marked. */
  installation: string | null;
  rechargeId: string;
  eventId: string;
  organizationId: string;
  litellmTeamId: string;
  /** null: not known, or not a decimal. */
  quota: QuotaMicros | null;
  quotaBefore: QuotaMicros | null;
  balance: QuotaMicros | null;
};

export function ofIntent(intent: Stripe.PaymentIntent): Intent {
  return {
    id: intent.id,
    outcome: outcomeOf(intent),
    isCanceled: intent.status === 'canceled',
    reachedNetwork: reachedNetwork(intent),
    status: intent.status,
    amountMinor: amountIn(intent.amount),
    currency: currencyIn(intent.currency),
    customerId: idIn(intent.customer),
    metadata: readMetadata(intent.metadata ?? {}),
  };
}

/**
 * A question to the network leaves a charge, or at least an error. Of a payment that Stripe's own rules have
 * blocked, `network_status` is `not_sent_to_network`: https://docs.stripe.com/declines#blocked-payments
 */
function reachedNetwork({ latest_charge: charge, last_payment_error: error }: Stripe.PaymentIntent): boolean {
  if (!charge) return error !== null && error !== undefined;
  return typeof charge === 'string' || charge.outcome?.network_status !== 'not_sent_to_network';
}

/** As Stripe keeps it: quota as decimal strings, empty where it is not known. */
export function metadataOf(order: ChargeOrder, installation: string): Stripe.MetadataParam {
  return {
    installation,
    recharge_id: order.id,
    event_id: order.eventId,
    organization_id: order.organizationId,
    litellm_team_id: order.litellmTeamId,
    quota: formatQuota(order.quotaGranted),
    quota_before: order.quotaBefore === null || order.quotaBefore === undefined ? '' : formatQuota(order.quotaBefore),
    balance: formatQuota(order.balanceSeen),
  };
}

function readMetadata(metadata: Stripe.Metadata): IntentMetadata | null {
  const rechargeId = metadata['recharge_id'];
  if (!rechargeId) return null;
  return {
    installation: metadata['installation'] ?? null,
    rechargeId,
    eventId: metadata['event_id'] ?? '',
    organizationId: metadata['organization_id'] ?? '',
    litellmTeamId: metadata['litellm_team_id'] ?? '',
    quota: quotaIn(metadata['quota']),
    quotaBefore: quotaIn(metadata['quota_before']),
    balance: quotaIn(metadata['balance']),
  };
}

/** Stripe allows keys of 40 characters, and its ids have 27: https://docs.stripe.com/api/metadata */
function writeKey(reversalId: string, direction: BudgetDirection): string {
  return `${direction}/${reversalId}`;
}

/** A write that follows returned money, as Stripe keeps it: `take/du_1` is `30.50 10.00 rch_1`. */
export function metadataOfWrite(reversalId: string, direction: BudgetDirection, write: RememberedWrite): Stripe.MetadataParam {
  const { before, after, upon } = write;
  return { [writeKey(reversalId, direction)]: `${formatQuota(before)} ${formatQuota(after)} ${upon}` };
}

/** undefined where no such write was noted, or where it cannot be read. */
export function readWrite(metadata: Stripe.Metadata, reversalId: string, direction: BudgetDirection): RememberedWrite | undefined {
  const [beforeText, afterText, upon = ''] = (metadata[writeKey(reversalId, direction)] ?? '').split(' ');
  const [before, after] = [quotaIn(beforeText), quotaIn(afterText)];
  return before === null || after === null ? undefined : { before, after, upon };
}

/** Whoever has the key may edit metadata: what cannot be read counts as not known. */
function quotaIn(text = ''): QuotaMicros | null {
  try {
    return parseQuota(text);
  } catch {
    return null;
  }
}

import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import * as organizations from '../../src/database/organizations.ts';
import * as recharges from '../../src/database/recharges.ts';
import { minorUnits } from '../../src/domain/money.ts';
import type { RechargeStatus } from '../../src/domain/recharge-status.ts';
import type { ChargeFailure, ChargeOutcome } from '../../src/payments/charge-outcome.ts';
import type { PaymentsClient } from '../../src/payments/client.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import type { Intent } from '../../src/payments/intent.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { ChargeResult, RechargeRef } from './types.ts';

/**
 * Charges the card once: creates a PaymentIntent, stores its id, confirms it, and says what came of it.
 *
 * From the moment its id is stored the intent is the truth: every further attempt reads it first, so a lost
 * answer, a crash or a saved 500 is read back and never guessed. Throws while the outcome is unknown; the
 * next attempt looks again.
 */
export function chargeStripe({ database, payments }: Pick<ActivityDependencies, 'database' | 'payments'>) {
  return async ({ rechargeId }: RechargeRef): Promise<ChargeResult> => {
    const em = database.fork();
    const recharge = await recharges.get(em, rechargeId);
    switch (recharge.status) {
      case 'reserved': {
        if (await isSuspended(em, recharge))
          return ended(await recharges.move(em, recharge, { to: 'cancelled', facts: { reason: 'suspended' } }));
        const created = await createIntent(em, payments, recharge);
        return created.kind === 'refused'
          ? decline(em, created.recharge, 'declined', created.failure, ['reserved'])
          : recordOutcome(em, payments, created.recharge, created.intent);
      }
      case 'charging':
      case 'processing':
        return recordOutcome(em, payments, recharge, await payments.readIntent(intentIdOf(recharge)));
      case 'declined':
      case 'action_required':
      case 'cancelled':
      case 'needs_attention':
        return ended(recharge);
      case 'charged':
      case 'succeeded':
      case 'refunding':
      case 'refunded':
        return captured();
    }
  };
}

type Created = { kind: 'created'; recharge: Recharge; intent: Intent } | { kind: 'refused'; recharge: Recharge; failure: ChargeFailure };

/** An unconfirmed intent, its id stored. Until then no money can move; after it none can move unnoticed. */
async function createIntent(em: EntityManager, payments: PaymentsClient, recharge: Recharge): Promise<Created> {
  try {
    const card = await payments.choosePaymentMethod(recharge.stripeCustomerId);
    if (card.kind === 'none')
      return { kind: 'refused', recharge, failure: { code: card.code, declineCode: null, adviceCode: null, message: card.message } };
    if (await recharges.isCardRefused(em, recharge, card.id)) {
      const message = 'this card was refused for good before: the customer has to name another one';
      return { kind: 'refused', recharge, failure: { code: 'card_refused_before', declineCode: null, adviceCode: null, message } };
    }
    const intent = await payments.createIntent(recharge, card.id);
    const charging = await recharges.move(em, recharge, {
      to: 'charging',
      changes: { paymentIntentId: intent.id, paymentMethodId: card.id },
      facts: { payment_intent: intent.id },
    });
    return { kind: 'created', recharge: charging, intent };
  } catch (error) {
    if (!(error instanceof PaymentsError)) throw error;
    if (error.kind === 'refused') return { kind: 'refused', recharge, failure: error.failure };
    // If the request did create an intent, it stays unconfirmed and takes no money.
    if (error.isSavedServerError) await recharges.countSpentKey(em, recharge);
    throw error;
  }
}

/** Confirms where that is outstanding, and records whatever is final. */
async function recordOutcome(em: EntityManager, payments: PaymentsClient, recharge: Recharge, intent: Intent): Promise<ChargeResult> {
  const outcome = intent.outcome.kind === 'unconfirmed' ? await confirm(em, payments, recharge) : intent.outcome;
  switch (outcome.kind) {
    case 'captured':
      if (outcome.amountMinor === recharge.amountMinor && outcome.currency === recharge.currency) return captured();
      return parkCaptured(em, recharge, outcome);
    case 'processing':
      if (recharge.status !== 'processing') await recharges.move(em, recharge, { to: 'processing' });
      return { kind: 'processing' };
    case 'unexpected':
      return park(em, recharge, `PaymentIntent ${recharge.paymentIntentId} is in the unknown status "${outcome.status}"`);
    case 'declined':
    case 'action_required': {
      // Nothing is left that could still be confirmed. Refused when the intent has moved since: read it
      // again.
      const late = await cancel(em, payments, recharge);
      if (late.kind === 'captured' || late.kind === 'processing')
        return recordOutcome(em, payments, recharge, await payments.readIntent(intentIdOf(recharge)));
      return decline(em, recharge, outcome.kind, outcome.failure);
    }
  }
}

type ConfirmedOutcome = Exclude<ChargeOutcome, { kind: 'unconfirmed' }>;

async function confirm(em: EntityManager, payments: PaymentsClient, recharge: Recharge): Promise<ConfirmedOutcome> {
  let refusal: PaymentsError | undefined;
  try {
    const { outcome } = await payments.confirmIntent(recharge, intentIdOf(recharge));
    if (outcome.kind !== 'unconfirmed') return outcome;
  } catch (error) {
    if (!(error instanceof PaymentsError)) throw error;
    if (error.kind !== 'card' && error.kind !== 'refused' && !error.isSavedServerError) throw error;
    refusal = error;
  }

  const { outcome } = await payments.readIntent(intentIdOf(recharge));
  if (outcome.kind !== 'unconfirmed') return outcome;
  if (refusal?.kind === 'refused') return { kind: 'declined', failure: refusal.failure };
  // The intent shows that nothing was charged, and one intent succeeds only once: a new key for it is safe.
  await recharges.countSpentKey(em, recharge);
  throw refusal ?? new Error(`PaymentIntent ${recharge.paymentIntentId} is still unconfirmed after a confirm`);
}

/** Cancels the intent, or returns what it has become where it cannot be cancelled any more. */
async function cancel(em: EntityManager, payments: PaymentsClient, recharge: Recharge): Promise<ChargeOutcome> {
  const intent = await payments.readIntent(intentIdOf(recharge));
  if (intent.isCanceled) return intent.outcome;
  try {
    return (await payments.cancelIntent(recharge, intent.id)).outcome;
  } catch (error) {
    if (!(error instanceof PaymentsError)) throw error;
    if (error.isSavedServerError) await recharges.countSpentKey(em, recharge);
    if (error.kind !== 'refused') throw error;
    return (await payments.readIntent(intent.id)).outcome;
  }
}

function captured(): ChargeResult {
  return { kind: 'captured', at: new Date().toISOString() };
}

/** @param from where the card was refused before there was an intent: from `reserved`. */
async function decline(
  em: EntityManager,
  recharge: Recharge,
  to: 'declined' | 'action_required',
  failure: ChargeFailure,
  from?: RechargeStatus[],
): Promise<ChargeResult> {
  const moved = await recharges.move(em, recharge, {
    to,
    ...(from && { from }),
    changes: {
      failureCode: failure.code,
      declineCode: failure.declineCode,
      adviceCode: failure.adviceCode,
      failureMessage: failure.message,
    },
    facts: { code: failure.declineCode ?? failure.code },
  });
  return ended(moved);
}

/** The captured amount or currency is not the reserved one: the money is held, and a person decides. */
async function parkCaptured(
  em: EntityManager,
  recharge: Recharge,
  { amountMinor, currency }: { amountMinor: number; currency: string },
): Promise<ChargeResult> {
  const reason = `Stripe captured ${amountMinor} ${currency}, expected ${recharge.amountMinor} ${recharge.currency}`;
  const portion = { reference: '', amountMinor: minorUnits(amountMinor), quotaMicros: recharge.quotaGranted };
  const changes = { failureCode: 'unexpected_charge', failureMessage: reason };
  return ended(await recharges.move(em, recharge, { to: 'needs_attention', changes, facts: { reason }, transfer: 'charge', portion }));
}

/** An operator may have suspended the organization while Stripe was unavailable; nothing is charged yet. */
async function isSuspended(em: EntityManager, { organizationId }: Recharge): Promise<boolean> {
  const organization = await organizations.find(em, organizationId);
  return organization === null || organization.suspendedAt !== null;
}

async function park(em: EntityManager, recharge: Recharge, reason: string): Promise<ChargeResult> {
  return ended(
    await recharges.move(em, recharge, {
      to: 'needs_attention',
      changes: { failureCode: 'unexpected_charge', failureMessage: reason },
      facts: { reason },
    }),
  );
}

function ended(recharge: Recharge): ChargeResult {
  const codes = [recharge.failureCode, recharge.declineCode].filter(Boolean).join('/');
  return {
    kind: 'ended',
    outcome: recharge.status as Extract<ChargeResult, { kind: 'ended' }>['outcome'],
    reason: recharge.failureMessage ? `${recharge.failureMessage} (${codes})` : recharge.status,
  };
}

function intentIdOf(recharge: Recharge): string {
  if (!recharge.paymentIntentId) throw new Error(`recharge ${recharge.id} is ${recharge.status} without a PaymentIntent`);
  return recharge.paymentIntentId;
}

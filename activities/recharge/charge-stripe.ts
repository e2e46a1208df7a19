import { ApplicationFailure } from '@temporalio/activity';
import * as cardAttempts from '../../src/database/card-attempts.ts';
import * as cardHolds from '../../src/database/card-holds.ts';
import type { EntityManager } from '../../src/database/database.ts';
import type { Recharge } from '../../src/database/entities.ts';
import { installationId } from '../../src/database/installation.ts';
import * as recharges from '../../src/database/recharges.ts';
import type { Card } from '../../src/domain/card.ts';
import { classifyDecline, type DeclineKind } from '../../src/domain/decline.ts';
import { FAILURE } from '../../src/domain/failures.ts';
import { minorUnits } from '../../src/domain/money.ts';
import { REFUSALS, type Refusal } from '../../src/domain/policy.ts';
import type { ChargeFailure } from '../../src/payments/charge-outcome.ts';
import type { PaymentsClient } from '../../src/payments/client.ts';
import { PaymentsError } from '../../src/payments/errors.ts';
import type { Intent } from '../../src/payments/intent.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { requireInTime } from '../in-time.ts';
import { enterLost, lostPayment, NEWEST_INTENTS, noteLostRefund } from '../lost-recharge.ts';
import { judgedCard } from './find-card.ts';
import { type Obstacle, obstacleTo } from './last-look.ts';
import type { ChargeResult, RechargeRef } from './types.ts';

type Dependencies = Pick<ActivityDependencies, 'database' | 'payments' | 'kms' | 'workflows'>;
type Tools = Pick<Dependencies, 'payments' | 'kms' | 'workflows'> & { em: EntityManager };

/**
 * Charges the card once: creates a PaymentIntent, stores its id, confirms it, and says what came of it.
 *
 * From the moment its id is stored the intent is the truth: every further attempt reads it first, so a lost
 * answer, a crash or a saved 500 is read back and never guessed. What stops charges is looked at again before
 * the card is touched, since the reservation may be hours old: no card is charged while LiteLLM cannot be read.
 * Throws while the outcome is unknown; the next attempt looks again.
 */
export function chargeStripe({ database, payments, kms, workflows }: Dependencies) {
  return async ({ rechargeId }: RechargeRef): Promise<ChargeResult> => {
    const em = database.fork();
    const tools: Tools = { em, payments, kms, workflows };
    const recharge = await recharges.find(em, rechargeId);
    // A database that was restored to before it. Where Stripe has taken money for it, it is entered again, with a run of
    // its own; where not, its event is open or lost, and whatever comes of that charges anew.
    if (!recharge) throw ApplicationFailure.nonRetryable(`recharge ${rechargeId} is gone from the database`, FAILURE.unexpectedStatus);
    switch (recharge.status) {
      case 'reserved': {
        const created = await createIntent(tools, recharge);
        return created.kind === 'ended' ? ended(created.recharge) : recordOutcome(tools, created.recharge, created.intent);
      }
      case 'charging':
      case 'processing': {
        const intent = await payments.readIntent(intentIdOf(recharge));
        if (intent.outcome.kind === 'captured') await noteLostRefund(em, payments, recharge);
        return recordOutcome(tools, recharge, intent);
      }
      case 'charged':
        await noteLostRefund(em, payments, recharge);
        return captured();
      case 'declined':
      case 'action_required':
      case 'cancelled':
      case 'needs_attention':
        return ended(recharge);
      case 'succeeded':
      case 'refunding':
      case 'refunded':
        return captured();
    }
  };
}

type Created = { kind: 'created'; recharge: Recharge; intent: Intent } | { kind: 'ended'; recharge: Recharge };

/** An unconfirmed intent, its id stored. Until then no money can move; after it none can move unnoticed. */
async function createIntent({ em, payments, kms, workflows }: Tools, recharge: Recharge): Promise<Created> {
  const { choice, ...newest } = await payments.cardAndNewestIntents(recharge.stripeCustomerId, NEWEST_INTENTS);
  const installation = await installationId(em);
  const lost = await lostPayment({ em, payments }, recharge, { newest, installation });
  if (lost?.metadata?.rechargeId === recharge.id) return takeOver(em, payments, recharge, lost);
  if (lost) {
    const reason = `${REFUSALS.payment_unknown} (PaymentIntent ${lost.id})`;
    const calledOff = await callOff(em, recharge, { refusal: 'payment_unknown', reason });
    await enterLost({ em, payments, workflows }, lost);
    return { kind: 'ended', recharge: calledOff };
  }
  const found = await judgedCard({ em, payments }, recharge, choice);
  if (found.kind === 'refused') return { kind: 'ended', recharge: await callOff(em, recharge, found) };
  const { card } = found;
  const obstacle = await obstacleTo({ em, kms, recharge }, card);
  if (obstacle) return { kind: 'ended', recharge: await callOff(em, recharge, obstacle, card) };
  try {
    const intent = await payments.createIntent(recharge, { paymentMethodId: card.id, installation });
    const charging = await recharges.move(em, recharge, {
      to: 'charging',
      changes: { paymentIntentId: intent.id, ...noted(card) },
      facts: { payment_intent: intent.id },
    });
    return { kind: 'created', recharge: charging, intent };
  } catch (error) {
    if (!(error instanceof PaymentsError)) throw error;
    if (error.kind === 'refused') {
      return { kind: 'ended', recharge: await endRefused(em, recharge, error.failure) };
    }
    // If the request did create an intent, it stays unconfirmed and takes no money.
    if (error.isSavedServerError) await recharges.countSpentKey(em, recharge);
    throw error;
  }
}

/** The database was restored to before it had stored this payment: it is the recharge's own, whatever became of it. */
async function takeOver(em: EntityManager, payments: PaymentsClient, recharge: Recharge, intent: Intent): Promise<Created> {
  const charging = await recharges.move(em, recharge, {
    to: 'charging',
    changes: { paymentIntentId: intent.id },
    facts: { payment_intent: intent.id, restored: 1 },
  });
  await noteLostRefund(em, payments, charging);
  return { kind: 'created', recharge: charging, intent };
}

/** So long after the intent was made, a person looks at what cannot be read. */
const UNREADABLE_MS = 10 * 60_000;

function isOverdue({ timeline }: Recharge): boolean {
  const charging = timeline.find(({ status }) => status === 'charging');
  return charging !== undefined && Date.now() - Date.parse(charging.at) > UNREADABLE_MS;
}

/** Confirms where that is outstanding, and records whatever is final. */
async function recordOutcome(tools: Tools, recharge: Recharge, intent: Intent): Promise<ChargeResult> {
  if (intent.outcome.kind !== 'unconfirmed') return record(tools, recharge, intent);
  const { em, payments } = tools;
  const lookedAt = Date.now();
  const obstacle = await obstacleNow(tools, recharge);
  if (!obstacle) requireInTime({ at: lookedAt, what: 'what stops charges' });
  const confirmed = obstacle ? undefined : await confirm(em, payments, recharge);
  if (confirmed?.kind === 'answered') return record(tools, recharge, confirmed.intent);
  const late = await cancel(em, payments, recharge);
  // A confirm from before has come through after all.
  if (!late.isCanceled) return record(tools, recharge, late);
  if (obstacle) return ended(await callOff(em, recharge, obstacle));
  return ended(await endRefused(em, recharge, (confirmed as Refused).failure));
}

async function record(tools: Tools, recharge: Recharge, intent: Intent): Promise<ChargeResult> {
  const { em, payments } = tools;
  const { outcome } = intent;
  switch (outcome.kind) {
    case 'captured':
      if (outcome.amountMinor === recharge.amountMinor && outcome.currency === recharge.currency) return captured();
      return parkCaptured(em, recharge, outcome);
    case 'processing':
      if (recharge.status !== 'processing') await recharges.move(em, recharge, { to: 'processing' });
      return { kind: 'processing' };
    case 'unconfirmed':
      throw new Error(`PaymentIntent ${recharge.paymentIntentId} is unconfirmed again`);
    case 'unexpected':
      // Money was taken, and how much cannot be read: it may be by the next attempts.
      if (outcome.status === 'succeeded' && !isOverdue(recharge))
        throw ApplicationFailure.retryable(outcome.reason, FAILURE.stripeUnavailable);
      return park(em, recharge, `PaymentIntent ${recharge.paymentIntentId} ${outcome.reason}`);
    case 'declined':
    case 'action_required': {
      // Cancelled by an attempt of ours that ended before it could record that, or by somebody at Stripe.
      if (intent.isCanceled && !intent.reachedNetwork && recharge.status === 'charging')
        return ended(await callOff(em, recharge, (await obstacleNow(tools, recharge)) ?? { reason: 'the PaymentIntent was cancelled' }));
      // Nothing is left that could still be confirmed. Refused when the intent has moved since: read it
      // again.
      const late = (await cancel(em, payments, recharge)).outcome;
      if (late.kind === 'captured' || late.kind === 'processing')
        return recordOutcome(tools, recharge, await payments.readIntent(intentIdOf(recharge)));
      return decline(em, recharge, { to: outcome.kind, failure: outcome.failure, reachedNetwork: intent.reachedNetwork });
    }
  }
}

/** Stripe has not taken the request, so the card's network was not asked. */
type Refused = { kind: 'refused'; failure: ChargeFailure };

/** The intent after its confirm: in any outcome but `unconfirmed`. */
async function confirm(
  em: EntityManager,
  payments: PaymentsClient,
  recharge: Recharge,
): Promise<{ kind: 'answered'; intent: Intent } | Refused> {
  let refusal: PaymentsError | undefined;
  try {
    const intent = await payments.confirmIntent(recharge, intentIdOf(recharge));
    if (intent.outcome.kind !== 'unconfirmed') return { kind: 'answered', intent };
  } catch (error) {
    if (!(error instanceof PaymentsError)) throw error;
    if (error.kind !== 'card' && error.kind !== 'refused' && !error.isSavedServerError) throw error;
    refusal = error;
  }

  const intent = await payments.readIntent(intentIdOf(recharge));
  if (intent.outcome.kind !== 'unconfirmed') return { kind: 'answered', intent };
  if (refusal?.kind === 'refused') return { kind: 'refused', failure: refusal.failure };
  // The intent shows that nothing was charged, and one intent succeeds only once: a new key for it is safe.
  await recharges.countSpentKey(em, recharge);
  throw refusal ?? new Error(`PaymentIntent ${recharge.paymentIntentId} is still unconfirmed after a confirm`);
}

/** Cancels the intent, or returns what it has become where it cannot be cancelled any more. */
async function cancel(em: EntityManager, payments: PaymentsClient, recharge: Recharge): Promise<Intent> {
  const intent = await payments.readIntent(intentIdOf(recharge));
  if (intent.isCanceled) return intent;
  try {
    return await payments.cancelIntent(recharge, intent.id);
  } catch (error) {
    if (!(error instanceof PaymentsError)) throw error;
    if (error.isSavedServerError) await recharges.countSpentKey(em, recharge);
    if (error.kind !== 'refused') throw error;
    return payments.readIntent(intent.id);
  }
}

function captured(): ChargeResult {
  return { kind: 'captured', at: new Date().toISOString() };
}

async function obstacleNow({ em, kms }: Tools, recharge: Recharge): Promise<Obstacle | undefined> {
  const card = cardAttempts.cardOf(recharge);
  return card ? obstacleTo({ em, kms, recharge }, card) : undefined;
}

/**
 * Ends the recharge before any card was touched: it counts against nobody. One that was found reserved only while it
 * is: another attempt, given up by Temporal, may have stored its intent since, and be charging.
 */
async function callOff(em: EntityManager, recharge: Recharge, { refusal, reason }: Obstacle, card?: Card): Promise<Recharge> {
  return em.transactional(async (tx) => {
    await cardAttempts.forget(tx, recharge.id);
    const changes = { failureCode: refusal ?? 'called_off', failureMessage: reason, ...(card && noted(card)) };
    const from = recharge.status === 'reserved' ? { from: ['reserved'] as const } : {};
    const cancelled = await recharges.move(tx, recharge, { to: 'cancelled', changes, facts: { reason }, ...from });
    // Behind the move, which locks the organization.
    if (card) await cardHolds.noteCard(tx, recharge.organizationId, card);
    return cancelled;
  });
}

function noted({ id, fingerprint, expiry }: Card): recharges.Changes {
  return { paymentMethodId: id, cardFingerprint: fingerprint, cardExpiry: expiry };
}

async function decline(
  em: EntityManager,
  recharge: Recharge,
  { to, failure, reachedNetwork }: { to: 'declined' | 'action_required'; failure: ChargeFailure; reachedNetwork: boolean },
): Promise<ChargeResult> {
  const code = failure.declineCode ?? failure.code ?? 'unknown';
  const kind: DeclineKind = to === 'action_required' ? 'authentication_required' : classifyDecline(failure);
  return em.transactional(async (tx) => {
    const moved = await recharges.move(tx, recharge, { to, changes: changesOf(failure), facts: { code } });
    if (reachedNetwork) await cardAttempts.fail(tx, moved, { kind, code });
    else await cardAttempts.pause(tx, moved, code);
    return ended(moved);
  });
}

function changesOf({ code, declineCode, adviceCode, message }: ChargeFailure): recharges.Changes {
  return { failureCode: code, declineCode, adviceCode, failureMessage: message };
}

/** The captured amount or currency is not the reserved one: the money is held, and a person decides. */
async function parkCaptured(
  em: EntityManager,
  recharge: Recharge,
  { amountMinor, currency }: { amountMinor: number; currency: string },
): Promise<ChargeResult> {
  const difference = `Stripe captured ${amountMinor} ${currency}, expected ${recharge.amountMinor} ${recharge.currency}`;
  const isOurCurrency = currency === recharge.currency;
  const reason = isOurCurrency ? difference : `${difference}: refund it in Stripe, then accept it`;
  const changes = { failureCode: 'unexpected_charge', failureMessage: reason };
  // What money of another currency has bought, nobody can say: no account of ours holds it.
  const money = isOurCurrency ? ({ transfer: 'charge', captured: minorUnits(amountMinor) } as const) : {};
  return em.transactional(async (tx) => {
    await cardAttempts.succeed(tx, recharge);
    return ended(await recharges.move(tx, recharge, { to: 'needs_attention', changes, facts: { reason }, ...money }));
  });
}

/**
 * Stripe refuses the request itself, so no card was asked. One that was detached since it was chosen is the
 * customer's; anything else is our fault or the settings', and no decline.
 */
async function endRefused(em: EntityManager, recharge: Recharge, failure: ChargeFailure): Promise<Recharge> {
  if (failure.code === 'resource_missing') return callOff(em, recharge, { refusal: 'no_payment_method', reason: failure.message });
  return em.transactional(async (tx) => {
    await cardAttempts.forget(tx, recharge.id);
    return recharges.move(tx, recharge, {
      to: 'needs_attention',
      changes: { ...changesOf(failure), failureMessage: `Stripe refuses the request: ${failure.message}` },
      facts: { reason: failure.message },
    });
  });
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
    ...(isCalledOff(recharge) && { refusal: recharge.failureCode as Refusal }),
    reason: recharge.failureMessage ? `${recharge.failureMessage} (${codes})` : recharge.status,
  };
}

/** Cancelled for what the policy has a word for, and not with its run. */
function isCalledOff({ status, failureCode }: Recharge): boolean {
  return status === 'cancelled' && failureCode !== null && failureCode !== undefined && failureCode in REFUSALS;
}

function intentIdOf(recharge: Recharge): string {
  if (!recharge.paymentIntentId) throw new Error(`recharge ${recharge.id} is ${recharge.status} without a PaymentIntent`);
  return recharge.paymentIntentId;
}
